//! A request to the platform itself: it is answered in this process, without a look-up and without a connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use mayfly_invoker_api::{Body, Caller, InvokeError, InvokeErrorKind};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use super::Sent;
use super::allowance::{Admitted, Allowance};
use super::body::RequestBody;
use crate::config::OUTBOUND_RESPONSE_BYTES_MAX;

/// Has `request` answered by the service that it names.
pub(super) async fn answer(
    allowance: Arc<Allowance>,
    admitted: Admitted,
    request: Request<WasiBody>,
) -> Result<Sent, HttpError> {
    if !allowance.admits_inside(&admitted) {
        return Err(HttpError::HttpRequestDenied);
    }
    let place = allowance.connection(Instant::now() + allowance.remaining()).await?;
    let (lent, back) = oneshot::channel();
    let (head, body) = admitted.route.rewrite(request)?.into_parts();
    let body = Arc::new(Mutex::new(Some(RequestBody::new(body))));
    let lent = Lent {
        body: Arc::clone(&body),
        _lent: lent,
    };
    let request = Request::from_parts(head, lent.boxed_unsync());
    let service = mayfly_invoker_api::service_of(&admitted.route.destination).unwrap_or_default();
    let running = allowance.running();
    let caller = Caller {
        target: Arc::clone(&running.target),
        depth: running.depth,
    };
    let response = timeout(
        allowance.remaining(),
        running.services.answer(&caller, service, request),
    )
    .await
    .map_err(|_elapsed| HttpError::ConnectionReadTimeout)?;
    let rest = rest(body, back, allowance.ended());
    let ended = Box::pin(allowance.ended().cancelled_owned());
    let response = response.map(|inner| {
        let body = InsideBody {
            inner,
            left_bytes: OUTBOUND_RESPONSE_BYTES_MAX,
            ended,
            _place: place,
        };
        body.boxed_unsync()
    });
    Ok((response, Box::new(rest)))
}

/// Reads what the service has left of a request's body, once it reads no more: a guest that still writes would see its line
/// break, and not the answer.
async fn rest(
    body: Arc<Mutex<Option<RequestBody>>>,
    back: oneshot::Receiver<()>,
    ended: CancellationToken,
) -> Result<(), HttpError> {
    let reading = async move {
        // It comes back when it is dropped.
        let _ = back.await;
        while let Some(Ok(_)) = poll_fn(|context| poll_shared(&body, context)).await {}
    };
    // With the invocation it just ends.
    let _ = ended.run_until_cancelled_owned(reading).await;
    Ok(())
}

/// The body of a request as the service reads it.
struct Lent {
    body: Arc<Mutex<Option<RequestBody>>>,
    _lent: oneshot::Sender<()>,
}

/// What comes next of a body that is gone when it has ended.
fn poll_shared(
    body: &Mutex<Option<RequestBody>>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
    let mut shared = body.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(body) = &mut *shared else {
        return Poll::Ready(None);
    };
    let polled = ready!(Pin::new(body).poll_frame(context));
    if !matches!(polled, Some(Ok(_))) {
        *shared = None;
    }
    Poll::Ready(polled)
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = InvokeError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, InvokeError>>> {
        let polled = ready!(poll_shared(&self.body, context));
        Poll::Ready(polled.map(|frame| {
            frame.map_err(|error| {
                InvokeError::new(
                    InvokeErrorKind::Cancelled,
                    format!("the request's body was cut off: {error}"),
                )
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        shared.as_ref().is_none_or(RequestBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        shared
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), RequestBody::size_hint)
    }
}

/// What the platform answers: as long as other responses may be, and until the invocation ends.
struct InsideBody {
    inner: Body,
    left_bytes: u64,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// One of those that connections have: what is not read holds something here, too.
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for InsideBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if self.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(HttpError::ConnectionTerminated)));
        }
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(Some(Err(HttpError::HttpResponseIncomplete))),
            None => return Poll::Ready(None),
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left_bytes.checked_sub(bytes) {
            Some(left) => {
                self.left_bytes = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => Poll::Ready(Some(Err(HttpError::HttpResponseBodySize(Some(
                OUTBOUND_RESPONSE_BYTES_MAX,
            ))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
