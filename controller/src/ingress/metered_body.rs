//! A body that belongs to an invocation: it holds the permit until it has been taken, and settles the meter before its
//! last byte goes out.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use mayfly_invoker_api::{Body, InvokeError, InvokeErrorKind};
use tokio_util::task::AbortOnDropHandle;

use crate::code::Code;
use crate::ingress::meter::{Ending, Meter};
use crate::problem::{Problem, code_of};

type Polled = Poll<Option<Result<Frame<Bytes>, InvokeError>>>;

/// Nobody polls the body of a client that does not read, so somebody else has to look after it.
pub(crate) struct MeteredBody {
    state: Arc<Mutex<State>>,
    length: Option<u64>,
    _watch: AbortOnDropHandle<()>,
}

enum State {
    Open(Box<Open>),
    /// The meter is settled.
    Ended,
    /// The client took too long.
    GivenUp,
}

struct Open {
    /// Came before the response's head was made.
    first: Option<Result<Frame<Bytes>, InvokeError>>,
    body: Body,
    meter: Meter,
    http_status: u16,
    /// They end a response, so they wait here until the guest has ended.
    trailers: Option<Frame<Bytes>>,
}

impl MeteredBody {
    /// A body that is still being written; settles its invocation at its end.
    pub(crate) fn streaming(
        first: Option<Result<Frame<Bytes>, InvokeError>>,
        body: Body,
        meter: Meter,
        http_status: u16,
        unread_time_max: Duration,
    ) -> Self {
        let wait = meter.time_max() + unread_time_max;
        let open = Open {
            first,
            body,
            meter,
            http_status,
            trailers: None,
        };
        Self::watched(open, None, wait)
    }

    /// A body that is complete, of an invocation that is settled.
    pub(crate) fn whole(body: Bytes, meter: Meter, unread_time_max: Duration) -> Self {
        let length = Some(body.len() as u64);
        let open = Open {
            first: None,
            body: Full::new(body).map_err(|never| match never {}).boxed_unsync(),
            meter,
            http_status: 0,
            trailers: None,
        };
        Self::watched(open, length, unread_time_max)
    }

    fn watched(open: Open, length: Option<u64>, wait: Duration) -> Self {
        let state = Arc::new(Mutex::new(State::Open(Box::new(open))));
        let watched = Arc::downgrade(&state);
        Self {
            state,
            length,
            _watch: AbortOnDropHandle::new(tokio::spawn(give_up_after(wait, watched))),
        }
    }
}

/// Takes the guest, the memory and the permit from a client that does not read.
async fn give_up_after(wait: Duration, watched: Weak<Mutex<State>>) {
    tokio::time::sleep(wait).await;
    let Some(state) = watched.upgrade() else { return };
    let mut state = lock(&state);
    let given_up = std::mem::replace(&mut *state, State::GivenUp);
    drop(state);
    if let State::Open(mut open) = given_up {
        let problem = Problem::new(Code::Cancelled, "the client did not take the answer in time");
        open.meter.settle(Ending::Failed {
            problem: &problem,
            billed: true,
            http_status: Some(open.http_status),
        });
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Polled {
        match self {
            Self::Open(open) => {
                let polled = ready!(open.poll_frame(context));
                if matches!(&polled, Some(Ok(frame)) if frame.is_data()) {
                    return Poll::Ready(polled);
                }
                let trailers = open.trailers.take();
                *self = Self::Ended;
                Poll::Ready(polled.or(trailers.map(Ok)))
            }
            Self::Ended => Poll::Ready(None),
            Self::GivenUp => Poll::Ready(Some(Err(InvokeError::new(
                InvokeErrorKind::Cancelled,
                "the client did not take the answer in time",
            )))),
        }
    }
}

impl Open {
    /// The next piece of data, the error that ended the body, or nothing at its end; the latter two are settled.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Polled {
        loop {
            let frame = match self.first.take() {
                Some(first) => Some(first),
                None => ready!(Pin::new(&mut self.body).poll_frame(context)),
            };
            match frame {
                Some(Ok(frame)) if frame.is_data() => {
                    let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.meter.gauge().add_bytes_out(bytes);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Ok(trailers)) => self.trailers = Some(trailers),
                Some(Err(error)) => {
                    self.settle(Some(&error));
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.settle(None);
                    return Poll::Ready(None);
                }
            }
        }
    }

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
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = InvokeError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        lock(&self.state).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        matches!(*lock(&self.state), State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
