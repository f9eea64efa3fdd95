//! From what the function answered to what the client gets. The meter is settled here, or by the body at its end.

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use mayfly_invoker_api::{Body, Gauge, InvocationId, InvokeError, Kind, Output, Start};

use crate::code::Code;
use crate::ingress::dispatch::{Answered, Failure};
use crate::ingress::gateway;
use crate::ingress::meter::{Ending, Meter};
use crate::ingress::metered_body::MeteredBody;
use crate::ingress::timing;
use crate::ledger::Trigger;
use crate::problem::Problem;

/// A whole answer up to this size may wait for its reader without a permit, in bytes.
const SMALL_BYTES_MAX: usize = 16 << 10;
/// Names the invocation in every answer.
const INVOCATION_ID: HeaderName = HeaderName::from_static("mayfly-invocation-id");
/// `cold` or `warm`, in every answer of a function that was started.
pub(super) const START: HeaderName = HeaderName::from_static("mayfly-start");

/// What goes out on a connection.
pub(crate) enum ResponseBody {
    /// Complete and small; its invocation is over.
    Small(Full<Bytes>),
    /// Large or still coming; holds its permit until it is taken.
    Metered(MeteredBody),
}

/// A refusal: nothing was started, nothing is charged.
pub(crate) fn refuse(problem: &Problem) -> Response<ResponseBody> {
    problem.response::<Full<Bytes>>().map(ResponseBody::Small)
}

/// A refusal after which nothing more is read from an HTTP/1 connection.
pub(crate) fn refuse_and_close(problem: &Problem) -> Response<ResponseBody> {
    let mut response = refuse(problem);
    close_after(&mut response);
    response
}

/// The answer is the last one on its HTTP/1 connection.
pub(crate) fn close_after(response: &mut Response<ResponseBody>) {
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// The answer of an invocation.
pub(crate) async fn with(answered: Answered, unread_time_max: Duration) -> Response<ResponseBody> {
    let Answered {
        result,
        mut meter,
        kind,
        trigger,
        head_only,
    } = answered;
    match result {
        Ok(Output::Http(response)) => http_answer(response, meter, head_only, unread_time_max).await,
        Ok(Output::Payload(answer)) => match payload_answer(answer, kind, trigger) {
            Ok(response) if head_only => whole(without_body(response), meter, unread_time_max),
            Ok(response) => whole(response, meter, unread_time_max),
            Err(problem) => failed(&problem, true, &mut meter),
        },
        Err(Failure::Input(problem)) => failed(&problem, false, &mut meter),
        Err(Failure::Invoke(error)) => failed(&Problem::from(&error), error.kind().is_function_fault(), &mut meter),
    }
}

fn failed(problem: &Problem, billed: bool, meter: &mut Meter) -> Response<ResponseBody> {
    let problem = problem.clone().of_invocation(meter.id());
    let mut response = problem.response::<Full<Bytes>>().map(ResponseBody::Small);
    describe(&mut response, meter);
    let http_status = Some(response.status().as_u16());
    meter.settle(Ending::Failed {
        problem: &problem,
        billed,
        http_status,
    });
    response
}

/// The answer to HEAD: HTTP/1.1 would leave the body out by itself, HTTP/2 would not.
pub(crate) fn head_of(response: Response<ResponseBody>) -> Response<ResponseBody> {
    match response.body() {
        ResponseBody::Small(body) => {
            let bytes = body.size_hint().exact().unwrap_or(0);
            with_length(response, bytes).map(|_| ResponseBody::Small(Full::default()))
        }
        ResponseBody::Metered(_) => response,
    }
}

fn without_body(response: Response<Bytes>) -> Response<Bytes> {
    let bytes = response.body().len() as u64;
    with_length(response, bytes).map(|_| Bytes::new())
}

/// Says how long the body would be.
fn with_length<B>(mut response: Response<B>, bytes: u64) -> Response<B> {
    let lengths = response.headers_mut().entry(header::CONTENT_LENGTH);
    lengths.or_insert_with(|| HeaderValue::from(bytes));
    response
}

/// The guest has ended and all of its answer is here.
fn whole(response: Response<Bytes>, mut meter: Meter, unread_time_max: Duration) -> Response<ResponseBody> {
    let mut response = response;
    describe(&mut response, &meter);
    meter.gauge().add_bytes_out(response.body().len() as u64);
    meter.settle(Ending::Answered {
        http_status: Some(response.status().as_u16()),
    });
    response.map(|body| {
        if body.len() <= SMALL_BYTES_MAX {
            ResponseBody::Small(Full::new(body))
        } else {
            ResponseBody::Metered(MeteredBody::whole(body, meter, unread_time_max))
        }
    })
}

pub(crate) fn payload_answer(answer: Bytes, kind: Kind, trigger: Trigger) -> Result<Response<Bytes>, Problem> {
    if kind == Kind::Event && trigger == Trigger::Http {
        let mut response = gateway::response(answer)?;
        strip_connection_headers(response.headers_mut());
        return Ok(response);
    }
    let content_type = match kind {
        Kind::Event => HeaderValue::from_static("application/json"),
        Kind::Command | Kind::Http => gateway::content_type(&answer),
    };
    let mut response = Response::new(answer);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

async fn http_answer(
    response: Response<Body>,
    mut meter: Meter,
    head_only: bool,
    unread_time_max: Duration,
) -> Response<ResponseBody> {
    let (mut parts, mut body) = response.into_parts();
    if meter.too_long().load(Relaxed) {
        // Whatever the function made of the part that it got.
        let problem = Problem::new(
            Code::PayloadTooLarge,
            "the body is longer than an http function may be sent",
        );
        return failed(&problem, true, &mut meter);
    }
    if !(200..600).contains(&parts.status.as_u16()) {
        // 101 would turn the connection into something else, the rest below 200 is not the end of an answer.
        let message = format!(
            "the function answered with {}, which is no final status",
            parts.status.as_u16()
        );
        return failed(&Problem::new(Code::BadResponse, message), true, &mut meter);
    }
    strip_connection_headers(&mut parts.headers);
    if head_only || has_no_body(parts.status) {
        // The connection will not poll this body, but the guest has to come to its end.
        return bodiless(parts, body, meter, unread_time_max).await;
    }
    let first = match body.size_hint().exact() {
        Some(0) => return whole(Response::from_parts(parts, Bytes::new()), meter, unread_time_max),
        Some(bytes) => match frame_at_hand(&mut body) {
            Some(Ok(frame)) if frame.data_ref().is_some_and(|data| data.len() as u64 == bytes) => {
                let data = frame.into_data().unwrap_or_default();
                return whole(Response::from_parts(parts, data), meter, unread_time_max);
            }
            first => first,
        },
        None => None,
    };
    let mut response = Response::from_parts(parts, ());
    describe(&mut response, &meter);
    let http_status = response.status().as_u16();
    response.map(|()| ResponseBody::Metered(MeteredBody::streaming(first, body, meter, http_status, unread_time_max)))
}

/// A short answer is here already when its guest has ended.
fn frame_at_hand(body: &mut Body) -> Option<Result<Frame<Bytes>, InvokeError>> {
    let mut nothing = Context::from_waker(std::task::Waker::noop());
    match Pin::new(body).poll_frame(&mut nothing) {
        Poll::Ready(frame) => frame,
        Poll::Pending => None,
    }
}

async fn bodiless(
    parts: http::response::Parts,
    mut body: Body,
    mut meter: Meter,
    unread_time_max: Duration,
) -> Response<ResponseBody> {
    while let Some(frame) = body.frame().await {
        if let Err(error) = frame {
            return failed(&Problem::from(&error), error.kind().is_function_fault(), &mut meter);
        }
    }
    whole(Response::from_parts(parts, Bytes::new()), meter, unread_time_max)
}

fn has_no_body(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

fn describe<B>(response: &mut Response<B>, meter: &Meter) {
    let headers = response.headers_mut();
    name_invocation(headers, meter.id(), meter.gauge());
    if meter.timing_wanted() {
        headers.insert(timing::SERVER_TIMING, timing::of(meter.gauge()));
    }
}

/// Ours, whatever the function has said under these names.
pub(super) fn name_invocation(headers: &mut HeaderMap, id: InvocationId, gauge: &Gauge) {
    headers.insert(INVOCATION_ID, id_value(id));
    if let Some(start) = gauge.start() {
        let start = match start {
            Start::Cold => "cold",
            Start::Warm => "warm",
        };
        headers.insert(START, HeaderValue::from_static(start));
    }
}

fn id_value(id: InvocationId) -> HeaderValue {
    HeaderValue::try_from(id.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Framing and the connection are the edge's business; a guest's word on them could split responses.
pub(super) fn strip_connection_headers(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = InvokeError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, InvokeError>>> {
        match self.get_mut() {
            Self::Small(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Metered(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Small(body) => body.is_end_stream(),
            Self::Metered(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Small(body) => body.size_hint(),
            Self::Metered(body) => body.size_hint(),
        }
    }
}
