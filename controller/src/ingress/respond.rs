//! From what the function answered to what the client gets. The meter is settled here, or by the body at its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use mayfly_invoker_api::{Body, InvocationId, InvokeError, Kind, Output, Start};

use crate::ingress::dispatch::{Answered, Failure};
use crate::ingress::gateway;
use crate::ingress::meter::{Ending, Meter};
use crate::ledger::Trigger;
use crate::problem::{Problem, code_of};

/// Names the invocation in every answer.
const INVOCATION_ID: HeaderName = HeaderName::from_static("mayfly-invocation-id");
/// `cold` or `warm`, in every answer of a function that was started.
const START: HeaderName = HeaderName::from_static("mayfly-start");

/// What goes out on a connection.
pub(crate) enum ResponseBody {
    /// Complete; its invocation is settled already.
    Whole(Full<Bytes>),
    /// Still coming; settles its invocation at its end.
    Streaming(Box<MeteredBody>),
}

/// A refusal: nothing was started, nothing is charged.
pub(crate) fn refuse(problem: &Problem) -> Response<ResponseBody> {
    problem.response::<Full<Bytes>>().map(ResponseBody::Whole)
}

/// The answer of an invocation.
pub(crate) async fn with(answered: Answered) -> Response<ResponseBody> {
    let Answered {
        result,
        mut meter,
        kind,
        trigger,
        head_only,
    } = answered;
    match result {
        Ok(Output::Http(response)) => http_answer(response, meter, head_only).await,
        Ok(Output::Payload(answer)) => match payload_answer(answer, kind, trigger) {
            Ok(response) => whole(response, &mut meter),
            Err(problem) => failed(&problem, true, &mut meter),
        },
        Err(Failure::Input(problem)) => failed(&problem, false, &mut meter),
        Err(Failure::Invoke(error)) => failed(&Problem::from(&error), error.kind().is_function_fault(), &mut meter),
    }
}

fn failed(problem: &Problem, billed: bool, meter: &mut Meter) -> Response<ResponseBody> {
    let problem = problem.clone().of_invocation(meter.id());
    let mut response = problem.response::<Full<Bytes>>().map(ResponseBody::Whole);
    describe(&mut response, meter);
    let http_status = Some(response.status().as_u16());
    meter.settle(Ending::Failed {
        problem: &problem,
        billed,
        http_status,
    });
    response
}

fn whole(response: Response<Bytes>, meter: &mut Meter) -> Response<ResponseBody> {
    let mut response = response.map(|body| ResponseBody::Whole(Full::new(body)));
    describe(&mut response, meter);
    meter
        .gauge()
        .add_bytes_out(response.body().size_hint().exact().unwrap_or(0));
    meter.settle(Ending::Answered {
        http_status: Some(response.status().as_u16()),
    });
    response
}

fn payload_answer(answer: Bytes, kind: Kind, trigger: Trigger) -> Result<Response<Bytes>, Problem> {
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

async fn http_answer(response: Response<Body>, mut meter: Meter, head_only: bool) -> Response<ResponseBody> {
    let (mut parts, mut body) = response.into_parts();
    strip_connection_headers(&mut parts.headers);
    if head_only || has_no_body(parts.status) {
        // The connection will not poll this body, but the guest has to come to its end.
        return bodiless(parts, body, meter).await;
    }
    let first = match body.size_hint().exact() {
        Some(0) => return whole(Response::from_parts(parts, Bytes::new()), &mut meter),
        Some(bytes) => match frame_at_hand(&mut body) {
            Some(Ok(frame)) if frame.data_ref().is_some_and(|data| data.len() as u64 == bytes) => {
                let data = frame.into_data().unwrap_or_default();
                return whole(Response::from_parts(parts, data), &mut meter);
            }
            first => first,
        },
        None => None,
    };
    let mut response = Response::from_parts(parts, ());
    describe(&mut response, &meter);
    let http_status = response.status().as_u16();
    response.map(|()| {
        let body = MeteredBody {
            first,
            body,
            meter,
            http_status,
            held: None,
            ended: false,
        };
        ResponseBody::Streaming(Box::new(body))
    })
}

/// A short answer is here already when its guest has ended.
fn frame_at_hand(body: &mut Body) -> Option<Result<Frame<Bytes>, InvokeError>> {
    let mut nothing = Context::from_waker(std::task::Waker::noop());
    match Pin::new(body).poll_frame(&mut nothing) {
        Poll::Ready(frame) => frame,
        Poll::Pending => None,
    }
}

async fn bodiless(parts: http::response::Parts, mut body: Body, mut meter: Meter) -> Response<ResponseBody> {
    while let Some(frame) = body.frame().await {
        if let Err(error) = frame {
            return failed(&Problem::from(&error), error.kind().is_function_fault(), &mut meter);
        }
    }
    whole(Response::from_parts(parts, Bytes::new()), &mut meter)
}

fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

fn describe<B>(response: &mut Response<B>, meter: &Meter) {
    let headers = response.headers_mut();
    headers.insert(INVOCATION_ID, id_value(meter.id()));
    if let Some(start) = meter.gauge().start() {
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
fn strip_connection_headers(headers: &mut HeaderMap) {
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

/// A body that settles its invocation before its end goes out.
pub(crate) struct MeteredBody {
    /// Came before the response's head was made.
    first: Option<Result<Frame<Bytes>, InvokeError>>,
    body: Body,
    meter: Meter,
    http_status: u16,
    /// Trailers end a response: they wait here until the guest has ended.
    held: Option<Frame<Bytes>>,
    ended: bool,
}

impl MeteredBody {
    fn settle(&mut self, failed: Option<&InvokeError>) {
        let http_status = Some(self.http_status);
        match failed {
            None => self.meter.settle(Ending::Answered { http_status }),
            Some(error) => {
                let problem = Problem::new(code_of(error.kind()), error.to_string());
                let billed = error.kind().is_function_fault();
                self.meter.settle(Ending::Failed {
                    problem: &problem,
                    billed,
                    http_status,
                });
            }
        }
        self.ended = true;
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, InvokeError>>> {
        if self.ended {
            return Poll::Ready(self.held.take().map(Ok));
        }
        loop {
            let frame = match self.first.take() {
                Some(first) => Some(first),
                None => ready!(Pin::new(&mut self.body).poll_frame(context)),
            };
            match frame {
                Some(Ok(frame)) if frame.is_data() => {
                    self.meter
                        .gauge()
                        .add_bytes_out(frame.data_ref().map_or(0, |data| data.len() as u64));
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Ok(trailers)) => self.held = Some(trailers),
                Some(Err(error)) => {
                    self.settle(Some(&error));
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.settle(None);
                    return Poll::Ready(self.held.take().map(Ok));
                }
            }
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = InvokeError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, InvokeError>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Streaming(body) => body.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Streaming(body) => body.ended && body.held.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Streaming(_) => SizeHint::default(),
        }
    }
}
