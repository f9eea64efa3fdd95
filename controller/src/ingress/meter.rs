//! The meter of one invocation: opened when it is admitted, settled exactly once, whatever happens in between.
//!
//! Settling writes the ledger row before the last byte of the answer goes out. So whoever has a complete answer has a
//! row, even if the process is killed the moment after. The permit rides along until the answer has been taken.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mayfly_invoker_api::{EventId, Gauge, InvocationId, LogEntry, LogStream, Logs, Target};
use tokio::sync::OwnedSemaphorePermit;

use crate::code::Code;
use crate::ingress::route::Routed;
use crate::ledger::{InvocationRecord, Ledger, RecordedError, Trigger};
use crate::problem::Problem;

/// An open meter.
pub(crate) struct Meter {
    open: Option<Open>,
    id: InvocationId,
    gauge: Arc<Gauge>,
    time_max: Duration,
    started_at_ms: i64,
    timing_wanted: bool,
    /// Set when the request's body turned out to be longer than is allowed.
    too_long: Arc<AtomicBool>,
    /// Free when this is dropped, which may be later than it is settled.
    _permit: OwnedSemaphorePermit,
}

/// Where the record goes.
pub(crate) enum Sink {
    /// Of a call: the spool.
    Spool(Ledger),
    /// Of an attempt to deliver an event: whoever ends the attempt.
    Slot(RecordSlot),
}

/// Where the record of an attempt waits until the attempt is ended in the database.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordSlot(Arc<Mutex<Option<InvocationRecord>>>);

impl RecordSlot {
    fn put(&self, record: InvocationRecord) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
    }

    /// The record, once the meter was settled.
    pub(crate) fn take(&self) -> Option<InvocationRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Open {
    sink: Sink,
    event: Option<(EventId, u32)>,
    target: Arc<Target>,
    trigger: Trigger,
    trace_id: Option<String>,
    opened: Instant,
}

/// How an invocation ended, as far as its bill is concerned.
#[derive(Debug)]
pub(crate) enum Ending<'a> {
    /// The guest has ended and its answer is on its way.
    Answered { http_status: Option<u16> },
    /// Something failed; the function's time is billed if the function or its caller is to blame.
    Failed {
        problem: &'a Problem,
        billed: bool,
        http_status: Option<u16>,
    },
}

impl Meter {
    pub(crate) fn open(
        sink: Sink,
        permit: OwnedSemaphorePermit,
        id: InvocationId,
        routed: &Routed,
        trace_id: Option<String>,
        started_at_ms: i64,
    ) -> Self {
        let open = Open {
            sink,
            event: routed.occurrence.as_ref().map(|of| (of.event, of.attempt)),
            target: Arc::clone(&routed.target),
            trigger: routed.trigger,
            trace_id,
            opened: Instant::now(),
        };
        Self {
            open: Some(open),
            id,
            gauge: Arc::default(),
            time_max: routed.target.limits.timeout,
            started_at_ms,
            timing_wanted: routed.timing_wanted,
            too_long: Arc::default(),
            _permit: permit,
        }
    }

    pub(crate) fn id(&self) -> InvocationId {
        self.id
    }

    pub(crate) fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// To be set when the request's body turns out to be longer than is allowed.
    pub(crate) fn too_long(&self) -> &Arc<AtomicBool> {
        &self.too_long
    }

    /// When it was admitted, in milliseconds since 1970.
    pub(crate) fn started_at_ms(&self) -> i64 {
        self.started_at_ms
    }

    /// Whether the client asked how long each part took.
    pub(crate) fn timing_wanted(&self) -> bool {
        self.timing_wanted
    }

    /// Time limit of the function.
    pub(crate) fn time_max(&self) -> Duration {
        self.time_max
    }

    /// Writes the row. Later calls, and the drop, do nothing.
    pub(crate) fn settle(&mut self, ending: Ending<'_>) {
        let Some(open) = self.open.take() else { return };
        match &open.sink {
            Sink::Spool(ledger) if ledger.discards() => {}
            Sink::Spool(ledger) => ledger.record(&self.record(&open, ending)),
            Sink::Slot(slot) => slot.put(self.record(&open, ending)),
        }
    }

    fn record(&self, open: &Open, ending: Ending<'_>) -> InvocationRecord {
        // It may still run, after its client has gone: then its time is all but the platform's.
        let elapsed_us = || {
            let all_us = u64::try_from(open.opened.elapsed().as_micros()).unwrap_or(u64::MAX);
            all_us.saturating_sub(self.gauge.queue_us() + self.gauge.code_us())
        };
        let duration_us = self.gauge.duration_us().unwrap_or_else(elapsed_us);
        let (error, http_status, billed) = match ending {
            Ending::Answered { http_status } => (None, http_status, true),
            Ending::Failed {
                problem,
                billed,
                http_status,
            } => (
                Some(RecordedError::of(problem.code, &problem.detail)),
                http_status,
                billed,
            ),
        };
        let start = self.gauge.start();
        let billed_ms = if billed && start.is_some() {
            duration_us.div_ceil(1_000)
        } else {
            0
        };
        InvocationRecord {
            id: self.id,
            namespace: open.target.namespace.clone(),
            function: open.target.function.clone(),
            version: open.target.version,
            trigger: open.trigger,
            event_id: open.event.map(|(id, _)| id.to_string()),
            attempt: open.event.map_or(1, |(_, attempt)| attempt),
            error,
            http_status,
            started_at_ms: self.started_at_ms,
            trace_id: open.trace_id.clone(),
            start,
            duration_us,
            billed_ms,
            queue_us: self.gauge.queue_us(),
            code_us: self.gauge.code_us(),
            init_us: self.gauge.init_us(),
            cpu_us: self.gauge.cpu_us(),
            memory_mib: u32::try_from(open.target.limits.memory_bytes >> 20).unwrap_or(u32::MAX),
            memory_peak_bytes: self.gauge.memory_peak_bytes(),
            bytes_in: self.gauge.bytes_in(),
            bytes_out: self.gauge.bytes_out(),
            logs: closed(self.gauge.take_logs()),
        }
    }
}

/// Says at the end of the output if some of it is missing.
fn closed(mut logs: Logs) -> Logs {
    if logs.dropped_bytes > 0 {
        let text = format!("[mayfly] {} more bytes of output were dropped\n", logs.dropped_bytes);
        let offset_ms = logs.entries.last().map_or(0, |last| last.offset_ms);
        logs.entries.push(LogEntry {
            offset_ms,
            stream: LogStream::Stderr,
            text,
        });
    }
    logs
}

impl Drop for Meter {
    /// Nobody settled it: the client went away and took the request's future along.
    fn drop(&mut self) {
        if self.open.is_some() {
            let problem = Problem::new(Code::Cancelled, "the client went away before the answer was complete");
            self.settle(Ending::Failed {
                problem: &problem,
                billed: true,
                http_status: None,
            });
        }
    }
}
