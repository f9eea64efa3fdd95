//! How much of a request's body has come and was not taken yet: s3s keeps some of it, and it is the client who says how much.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http::{HeaderMap, Request};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use s3s::dto::StreamingBlob;
use s3s::{Body, StdError};
use tokio::time::{Instant, Sleep, sleep};

use super::chunks::Chunks;
use crate::config::S3_CHUNK_BYTES_MAX;

/// How long a client may pause while it sends a body.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// What is said when it pauses for longer.
pub(in crate::storage) const TOO_SLOW: &str = "the body came with too long a pause";
/// Pieces of a body that are held: what comes in smaller ones than a few hundred bytes is not meant well.
const PIECES_MAX: u64 = 1 << 16;

/// Of one request.
#[derive(Debug, Default)]
pub(super) struct Flow {
    held_bytes: AtomicU64,
    /// In so many pieces, each of which costs something, too.
    held_pieces: AtomicU64,
}

impl Flow {
    /// The same bytes, which are not held any more when they come out here.
    pub(super) fn taken(
        flow: Option<Arc<Self>>,
        body: StreamingBlob,
    ) -> impl Stream<Item = Result<Bytes, StdError>> + Send {
        body.inspect_ok(move |bytes| {
            if let Some(flow) = &flow {
                let taken = bytes.len() as u64;
                let _ = flow
                    .held_bytes
                    .fetch_update(Relaxed, Relaxed, |held| Some(held.saturating_sub(taken)));
                flow.held_pieces.store(0, Relaxed);
            }
        })
    }
}

/// The request with a body that ends with an error when too much of it is held; and its rest, whatever becomes of that.
pub(super) fn watched(request: Request<Incoming>) -> (Request<Body>, Rest) {
    let flow = Arc::new(Flow::default());
    let (head, body) = request.into_parts();
    let rest = Rest(Arc::new(Mutex::new(body)));
    let watched = Watched {
        chunks: chunks_of(&head.headers),
        rest: rest.clone(),
        flow: Arc::clone(&flow),
        pause: Box::pin(sleep(PAUSE_MAX)),
    };
    let mut request = Request::from_parts(head, Body::http_body(watched));
    request.extensions_mut().insert(flow);
    (request, rest)
}

/// How the body is put into chunks, if it is.
fn chunks_of(headers: &HeaderMap) -> Option<Chunks> {
    let payload = headers.get("x-amz-content-sha256")?.to_str().ok()?;
    payload
        .starts_with("STREAMING-")
        .then(|| Chunks::new(payload != "STREAMING-UNSIGNED-PAYLOAD-TRAILER"))
}

/// What is still to come of a body. A clone is the same body.
#[derive(Clone)]
pub(super) struct Rest(Arc<Mutex<Incoming>>);

impl http_body::Body for Rest {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

struct Watched {
    rest: Rest,
    flow: Arc<Flow>,
    chunks: Option<Chunks>,
    pause: Pin<Box<Sleep>>,
}

impl Watched {
    /// The bytes as s3s is to have them, and how many of them it will give on.
    fn passed(&mut self, bytes: Bytes) -> Result<(Bytes, u64), StdError> {
        match &mut self.chunks {
            None => {
                let data = bytes.len() as u64;
                Ok((bytes, data))
            }
            Some(chunks) => {
                let passed = chunks.pass(bytes)?;
                Ok((passed.bytes.freeze(), passed.data))
            }
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        loop {
            let frame = match Pin::new(&mut self.rest).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(self.pause.as_mut().poll(context));
                    return Poll::Ready(Some(Err(TOO_SLOW.into())));
                }
            };
            self.pause.as_mut().reset(Instant::now() + PAUSE_MAX);
            // Trailers of HTTP are none of S3's.
            let Ok(bytes) = frame.into_data() else { continue };
            let (bytes, data) = match self.passed(bytes) {
                Ok(passed) => passed,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            let held_bytes = self.flow.held_bytes.fetch_add(data, Relaxed) + data;
            let held_pieces = self.flow.held_pieces.fetch_add(1, Relaxed) + 1;
            if held_bytes > S3_CHUNK_BYTES_MAX || held_pieces > PIECES_MAX {
                let error =
                    format!("a chunk of a body that is signed by itself has at most {S3_CHUNK_BYTES_MAX} bytes");
                return Poll::Ready(Some(Err(error.into())));
            }
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.chunks {
            None => self.rest.size_hint(),
            // Chunks that are cut have more lines between them.
            Some(_) => SizeHint::default(),
        }
    }
}
