//! From a request to what the guest is given, by its kind.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use mayfly_invoker_api::{Body, Gauge, Input, InvokeError, InvokeErrorKind, Kind};
use serde::de::IgnoredAny;

use crate::body::{self, ReadError};
use crate::code::Code;
use crate::config::Bounds;
use crate::ingress::gateway;
use crate::ingress::meter::Meter;
use crate::ingress::route::Routed;
use crate::ledger::Trigger;
use crate::problem::Problem;

/// How much is taken from a client, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct InputLimits {
    request_body_bytes_max: u64,
    payload_bytes_max: usize,
    payload_time_max: Duration,
}

impl InputLimits {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        Self {
            request_body_bytes_max: bounds.request_body_bytes_max,
            payload_bytes_max: bounds.payload_bytes_max,
            payload_time_max: bounds.payload_time_max,
        }
    }

    /// Makes the input of `routed`; an http guest streams its body, the others get all of it at once.
    pub(crate) async fn take(&self, routed: Routed, meter: &Meter) -> Result<Input, Problem> {
        let Routed {
            target,
            trigger,
            request,
            peer,
        } = routed;
        match (target.kind, trigger) {
            (Kind::Http, Trigger::Http) => Ok(Input::Http(self.counted(request, meter))),
            (Kind::Http, Trigger::Direct) => Ok(Input::Http(self.counted(as_post(request), meter))),
            (Kind::Event | Kind::Command, Trigger::Http) => {
                let (parts, body) = request.into_parts();
                let body = self.payload(body, meter).await?;
                gateway::event(&parts, &body, peer, meter.id(), target.function.as_str()).map(Input::Payload)
            }
            (Kind::Event, Trigger::Direct) => {
                let payload = self.payload(request.into_body(), meter).await?;
                check_json(&payload)?;
                Ok(Input::Payload(payload))
            }
            (Kind::Command, Trigger::Direct) => self.payload(request.into_body(), meter).await.map(Input::Payload),
        }
    }

    fn counted(&self, request: Request<Body>, meter: &Meter) -> Request<Body> {
        let (gauge, left) = (Arc::clone(meter.gauge()), self.request_body_bytes_max);
        request.map(|body| CountedBody { body, gauge, left }.boxed_unsync())
    }

    async fn payload(&self, body: Body, meter: &Meter) -> Result<Bytes, Problem> {
        let most = self.payload_bytes_max;
        let read = body::read(body, most, self.payload_time_max).await;
        let payload = read.map_err(|error| match error {
            ReadError::TooLong => Problem::new(
                Code::PayloadTooLarge,
                format!("this function takes at most {most} bytes"),
            ),
            ReadError::TooSlow(message) => Problem::new(Code::RequestTimeout, message),
            ReadError::Broken(message) => Problem::new(Code::Cancelled, message),
        })?;
        meter.gauge().add_bytes_in(payload.len() as u64);
        Ok(payload)
    }
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

fn check_json(payload: &[u8]) -> Result<(), Problem> {
    serde_json::from_slice::<IgnoredAny>(payload)
        .map(drop)
        .map_err(|error| Problem::new(Code::InvalidJson, format!("an event must be a JSON document: {error}")))
}

/// A request body on its way to the guest: counted, and cut off at its bound.
struct CountedBody {
    body: Body,
    gauge: Arc<Gauge>,
    left: u64,
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
