//! A request to the platform itself: it is answered in this process, without a look-up and without a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use mayfly_invoker_api::{Body, Caller, InvokeError, InvokeErrorKind};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tokio_util::sync::WaitForCancellationFutureOwned;
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
    let request = admitted.route.rewrite(request)?.map(|body| {
        let body = RequestBody::new(body).map_err(|error| {
            InvokeError::new(
                InvokeErrorKind::Cancelled,
                format!("the request's body was cut off: {error}"),
            )
        });
        body.boxed_unsync()
    });
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
    Ok((response, Box::new(async { Ok(()) })))
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
