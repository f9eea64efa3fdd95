//! A request whose body nobody read to its end is the last one on an HTTP/1 connection: what is left of it stands before
//! the next request. Whoever is told so sends the next one on another connection; whoever is not sees it fail.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use mayfly_invoker_api::{Body, InvokeError};

/// Whether the body of a request was given up before its end.
pub(crate) struct Unread(Option<Arc<AtomicBool>>);

impl Unread {
    pub(crate) fn is_so(&self) -> bool {
        self.0.as_ref().is_some_and(|unread| unread.load(Relaxed))
    }
}

/// Watches over the body of a request, if it is of a kind that matters.
pub(crate) fn watch(request: Request<Body>) -> (Request<Body>, Unread) {
    if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
        return (request, Unread(None));
    }
    let unread = Arc::new(AtomicBool::new(false));
    let watched = request.map(|body| {
        let watched = WatchedBody {
            body,
            ended: false,
            unread: Arc::clone(&unread),
        };
        watched.boxed_unsync()
    });
    (watched, Unread(Some(unread)))
}

struct WatchedBody {
    body: Body,
    ended: bool,
    unread: Arc<AtomicBool>,
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = InvokeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InvokeError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // Nobody who has seen trailers asks whether there is more.
        self.ended |= match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(end_or_error) => end_or_error.is_none(),
            Poll::Pending => false,
        };
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.unread.store(true, Relaxed);
        }
    }
}
