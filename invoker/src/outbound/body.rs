//! Bodies in both directions, with a bound on their size and on the pauses in them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use super::failure;
use crate::config::{OUTBOUND_REQUEST_BYTES_MAX, OUTBOUND_RESPONSE_BYTES_MAX};

/// What a guest sends. Trailers are not sent: they could carry what the fields may not.
pub(crate) struct RequestBody {
    inner: WasiBody,
    left_bytes: u64,
}

impl RequestBody {
    pub(crate) fn new(inner: WasiBody) -> Self {
        Self {
            inner,
            left_bytes: OUTBOUND_REQUEST_BYTES_MAX,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)?) else {
            return Poll::Ready(None);
        };
        if frame.is_trailers() {
            return Poll::Ready(None);
        }
        if !take(&mut self.left_bytes, &frame) {
            return Poll::Ready(Some(Err(HttpError::HttpRequestBodySize(Some(
                OUTBOUND_REQUEST_BYTES_MAX,
            )))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What a guest receives. Bytes are passed on as they come, compressed or not.
pub(crate) struct ResponseBody {
    inner: Incoming,
    left_bytes: u64,
    between_bytes: Duration,
    /// Runs while the guest waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    pub(crate) fn new(inner: Incoming, between_bytes: Duration) -> Self {
        Self {
            inner,
            left_bytes: OUTBOUND_RESPONSE_BYTES_MAX,
            between_bytes,
            alarm: None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            let between_bytes = self.between_bytes;
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(between_bytes)));
            ready!(alarm.as_mut().poll(context));
            return Poll::Ready(Some(Err(HttpError::ConnectionReadTimeout)));
        };
        self.alarm = None;
        match frame {
            Some(Ok(frame)) if take(&mut self.left_bytes, &frame) => Poll::Ready(Some(Ok(frame))),
            Some(Ok(_too_much)) => {
                let error = HttpError::HttpResponseBodySize(Some(OUTBOUND_RESPONSE_BYTES_MAX));
                Poll::Ready(Some(Err(error)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(failure::after_head(&error)))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Takes a frame off what is left; `false` when it is too long.
fn take(left_bytes: &mut u64, frame: &Frame<Bytes>) -> bool {
    let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
    match left_bytes.checked_sub(bytes) {
        Some(left) => {
            *left_bytes = left;
            true
        }
        None => false,
    }
}
