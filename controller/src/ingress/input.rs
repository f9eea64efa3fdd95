//! From a request to what the guest is given, by its kind.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use mayfly_invoker_api::{Body, Gauge, Input, InvokeError, InvokeErrorKind, Kind};
use serde::de::IgnoredAny;

use crate::code::Code;
use crate::config::Bounds;
use crate::ingress::gateway;
use crate::ingress::meter::Meter;
use crate::ingress::route::{Occurrence, Routed};
use crate::ledger::Trigger;
use crate::problem::Problem;

/// How much is taken from a client.
#[derive(Debug, Clone)]
pub(crate) struct InputLimits {
    request_body_bytes_max: u64,
}

impl InputLimits {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        Self {
            request_body_bytes_max: bounds.request_body_bytes_max,
        }
    }

    /// Makes the input of `routed`; an http guest streams its body, the others have all of it here already.
    pub(crate) async fn take(&self, routed: Routed, meter: &Meter) -> Result<Input, Problem> {
        let Routed {
            target,
            trigger,
            request,
            peer,
            occurrence,
            ..
        } = routed;
        match (target.kind, trigger) {
            (Kind::Http, Trigger::Http) => {
                let request = with_occurrence(request, occurrence.as_ref());
                Ok(Input::Http(self.counted(request, meter)))
            }
            (Kind::Http, _) => {
                let request = with_occurrence(as_post(request), occurrence.as_ref());
                Ok(Input::Http(self.counted(request, meter)))
            }
            (Kind::Event | Kind::Command, Trigger::Http) => {
                let (parts, body) = request.into_parts();
                let body = payload(body, meter).await?;
                gateway::event(
                    &parts,
                    &body,
                    peer,
                    (meter.id(), meter.started_at_ms()),
                    target.function.as_str(),
                )
                .map(Input::Payload)
            }
            (Kind::Event, _) => {
                let payload = payload(request.into_body(), meter).await?;
                check_json(&payload)?;
                Ok(Input::Payload(payload))
            }
            (Kind::Command, _) => payload(request.into_body(), meter).await.map(Input::Payload),
        }
    }

    fn counted(&self, request: Request<Body>, meter: &Meter) -> Request<Body> {
        request.map(|body| {
            let counted = CountedBody {
                body,
                gauge: Arc::clone(meter.gauge()),
                left: self.request_body_bytes_max,
                too_long: Arc::clone(meter.too_long()),
            };
            counted.boxed_unsync()
        })
    }
}

/// What `receive` has brought in already.
async fn payload(body: Body, meter: &Meter) -> Result<Bytes, Problem> {
    let read = body.collect().await;
    let payload = read
        .map_err(|error| Problem::new(Code::Internal, error.to_string()))?
        .to_bytes();
    meter.gauge().add_bytes_in(payload.len() as u64);
    Ok(payload)
}

/// A direct invocation of an http guest: its payload is posted to the root.
fn as_post(request: Request<Body>) -> Request<Body> {
    let (parts, body) = request.into_parts();
    let mut post = Request::new(body);
    *post.method_mut() = Method::POST;
    *post.uri_mut() = Uri::from_static("/");
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::ACCEPT] {
        if let Some(value) = parts.headers.get(&name) {
            post.headers_mut().insert(name, value.clone());
        }
    }
    if let Some(trace) = parts.headers.get("traceparent") {
        post.headers_mut().insert("traceparent", trace.clone());
    }
    post.headers_mut()
        .insert(header::HOST, HeaderValue::from_static("localhost"));
    post
}

/// Tells an http function which attempt of which event this is: CloudEvents' binary form, and two headers of our own.
fn with_occurrence(mut request: Request<Body>, occurrence: Option<&Occurrence>) -> Request<Body> {
    if let Some(occurrence) = occurrence {
        set_occurrence(request.headers_mut(), occurrence);
    }
    request
}

/// The headers that say so.
pub(crate) fn set_occurrence(headers: &mut HeaderMap, occurrence: &Occurrence) {
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    let id = occurrence.event.to_string();
    set("mayfly-event-id", &id);
    set("mayfly-attempt", &occurrence.attempt.to_string());
    if let Some(event) = &occurrence.cloud_event {
        set("ce-specversion", "1.0");
        set("ce-id", &id);
        set("ce-type", &event.r#type);
        set("ce-source", &event.source);
        set("ce-time", &event.time);
    }
}

pub(crate) fn check_json(payload: &[u8]) -> Result<(), Problem> {
    let refused = |error: &dyn std::fmt::Display| {
        Problem::new(Code::InvalidJson, format!("an event must be a JSON document: {error}"))
    };
    // What is ignored is not looked at closely, so the encoding is checked before.
    let text = std::str::from_utf8(payload).map_err(|error| refused(&error))?;
    serde_json::from_str::<IgnoredAny>(text)
        .map(drop)
        .map_err(|error| refused(&error))
}

/// A request body on its way to the guest: counted, and cut off at its bound.
struct CountedBody {
    body: Body,
    gauge: Arc<Gauge>,
    left: u64,
    too_long: Arc<AtomicBool>,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = InvokeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InvokeError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let bytes = data.len() as u64;
            let Some(left) = self.left.checked_sub(bytes) else {
                self.too_long.store(true, Relaxed);
                let message = "the request's body is longer than is allowed";
                return Poll::Ready(Some(Err(InvokeError::new(InvokeErrorKind::Cancelled, message))));
            };
            self.left = left;
            self.gauge.add_bytes_in(bytes);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
