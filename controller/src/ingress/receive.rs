//! Bringing in the whole payload of an event or a command, before there is any permit to hold: a client that sends
//! slowly keeps others from sending, not from running.

use std::time::Duration;

use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use mayfly_invoker_api::Kind;
use tokio::sync::Semaphore;

use crate::body::{self, ReadError};
use crate::code::Code;
use crate::config::Bounds;
use crate::ingress::route::Routed;
use crate::problem::Problem;

/// Receives payloads, a bounded number at once.
pub(crate) struct Receiver {
    permits: Semaphore,
    payload_bytes_max: usize,
    payload_time_max: Duration,
}

impl Receiver {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        Self {
            permits: Semaphore::new(bounds.payloads_arriving_max),
            payload_bytes_max: bounds.payload_bytes_max,
            payload_time_max: bounds.payload_time_max,
        }
    }

    /// `routed` with its body in memory; an http guest's body stays a stream.
    pub(crate) async fn receive(&self, routed: Routed) -> Result<Routed, Problem> {
        if routed.target.kind == Kind::Http {
            return Ok(routed);
        }
        self.receive_all(routed).await
    }

    /// `routed` with its body in memory, whatever the function is.
    pub(crate) async fn receive_all(&self, routed: Routed) -> Result<Routed, Problem> {
        if routed.request.body().is_end_stream() {
            return Ok(routed);
        }
        let most = self.payload_bytes_max;
        let too_long = || {
            Problem::new(
                Code::PayloadTooLarge,
                format!("this function takes at most {most} bytes"),
            )
        };
        if routed.request.body().size_hint().lower() > most as u64 {
            body::discard_refused(routed.request, most).await;
            return Err(too_long());
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            body::discard_refused(routed.request, most).await;
            return Err(Problem::new(
                Code::ConcurrencyLimit,
                "as many payloads as are allowed are arriving at the moment",
            ));
        };
        let (parts, body) = routed.request.into_parts();
        let payload = body::read(body, most, self.payload_time_max)
            .await
            .map_err(|error| match error {
                ReadError::TooLong => too_long(),
                ReadError::TooSlow(message) => Problem::new(Code::RequestTimeout, message),
                ReadError::Broken(message) => Problem::new(Code::InvalidParameter, message),
            })?;
        let body = Full::new(payload).map_err(|never| match never {}).boxed_unsync();
        Ok(Routed {
            request: http::Request::from_parts(parts, body),
            ..routed
        })
    }
}
