//! The gate: a request that passes it holds a permit and an open meter, and will be charged exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::HeaderMap;
use http_body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body;
use crate::clock::{Clock, Ids};
use crate::code::Code;
use crate::config::Bounds;
use crate::ingress::meter::{Meter, RecordSlot, Sink};
use crate::ingress::route::Routed;
use crate::ledger::Ledger;
use crate::problem::Problem;

/// Pause between two looks at whether all permits are back.
const QUIET_PAUSE: Duration = Duration::from_millis(10);

/// Decides what may run.
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    permits_max: usize,
    payload_bytes_max: usize,
    request_body_bytes_max: u64,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    closed: AtomicBool,
}

/// A request that may run. Only [`Gate::admit`] makes one.
pub(crate) struct Admitted {
    pub(crate) routed: Routed,
    pub(crate) meter: Meter,
    pub(crate) trace_parent: Option<String>,
    _only_the_gate: (),
}

impl Gate {
    pub(crate) fn new(bounds: &Bounds, ledger: Ledger, clock: Arc<dyn Clock>, ids: Arc<Ids>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(bounds.invocations_in_flight_max)),
            permits_max: bounds.invocations_in_flight_max,
            payload_bytes_max: bounds.payload_bytes_max,
            request_body_bytes_max: bounds.request_body_bytes_max,
            ledger,
            clock,
            ids,
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Lets `routed` pass or says why not. Nothing was started when it refuses.
    pub(crate) async fn admit(&self, routed: Routed) -> Result<Admitted, Problem> {
        match self.permit(&routed) {
            Ok(permit) => Ok(self.open(routed, permit, Sink::Spool(self.ledger.clone()))),
            Err(problem) => {
                body::discard_refused(routed.request, self.payload_bytes_max).await;
                Err(problem)
            }
        }
    }

    fn permit(&self, routed: &Routed) -> Result<OwnedSemaphorePermit, Problem> {
        if self.closed.load(Relaxed) {
            return Err(Problem::new(Code::ShuttingDown, "this server is shutting down"));
        }
        if !self.ledger.accepting() {
            return Err(Problem::new(
                Code::LedgerUnavailable,
                "usage cannot be recorded at the moment, so nothing is run",
            ));
        }
        self.check_declared_size(routed)?;
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_full| {
            Problem::new(
                Code::ConcurrencyLimit,
                format!(
                    "{} invocations are running already, as many as are allowed",
                    self.permits_max
                ),
            )
        })
    }

    /// Permits for up to `count` attempts to deliver events; there may be none at the moment.
    pub(crate) fn reserve(&self, count: u32) -> Vec<OwnedSemaphorePermit> {
        if self.closed.load(Relaxed) {
            return Vec::new();
        }
        let permits = (0..count).map_while(|_| Arc::clone(&self.permits).try_acquire_owned().ok());
        permits.collect()
    }

    /// A permit for an attempt whose event is claimed already, also while the gate closes.
    pub(crate) async fn wait_for_permit(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }

    /// Lets an attempt pass that has a permit. Its record goes to `slot` instead of the spool, because it belongs into one
    /// transaction with the end of the attempt.
    pub(crate) fn admit_event(&self, routed: Routed, permit: OwnedSemaphorePermit, slot: RecordSlot) -> Admitted {
        self.open(routed, permit, Sink::Slot(slot))
    }

    fn open(&self, routed: Routed, permit: OwnedSemaphorePermit, sink: Sink) -> Admitted {
        let trace_parent = trace_parent(routed.request.headers());
        let started_at_ms = self.clock.unix_ms();
        let meter = Meter::open(
            sink,
            permit,
            self.ids.invocation(started_at_ms),
            &routed,
            trace_parent.as_deref().map(trace_id),
            started_at_ms,
        );
        Admitted {
            routed,
            meter,
            trace_parent,
            _only_the_gate: (),
        }
    }

    /// A body that says itself that it is too long is refused before it is taken. Payloads were measured as they came.
    fn check_declared_size(&self, routed: &Routed) -> Result<(), Problem> {
        let most = self.request_body_bytes_max;
        match routed.request.body().size_hint().exact() {
            Some(bytes) if bytes > most => Err(Problem::new(
                Code::PayloadTooLarge,
                format!("the body has {bytes} bytes; this function takes at most {most}"),
            )),
            _ => Ok(()),
        }
    }

    /// Waits until all permits are back.
    pub(crate) async fn quiet(&self) {
        // Looking, not asking: who waits for all permits would keep late requests from theirs.
        while self.permits.available_permits() < self.permits_max {
            tokio::time::sleep(QUIET_PAUSE).await;
        }
    }
}

/// The W3C trace context of the caller, if it sent a valid one.
fn trace_parent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    is_trace_parent(value).then(|| value.to_owned())
}

fn is_trace_parent(value: &str) -> bool {
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let not_zero = |text: &str| text.bytes().any(|byte| byte != b'0');
    let parts: Vec<&str> = value.split('-').collect();
    match parts.as_slice() {
        [version, trace, span, flags] => {
            *version == "00" && hex(trace, 32) && not_zero(trace) && hex(span, 16) && not_zero(span) && hex(flags, 2)
        }
        _ => false,
    }
}

fn trace_id(trace_parent: &str) -> String {
    trace_parent.split('-').nth(1).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_trace_contexts_are_taken() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_trace_parent(good));
        assert_eq!(trace_id(good), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in [
            "",
            "00",
            &good.to_uppercase(),
            &good.replace("00-4b", "ff-4b"),
            &good.replace('4', "g"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            &format!("{good}-x"),
        ] {
            assert!(!is_trace_parent(bad), "{bad}");
        }
    }
}
