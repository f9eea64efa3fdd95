//! What one invocation has consumed and printed so far.
//!
//! The invoker writes while the guest runs; the controller may read at any moment. So usage is known even when the
//! caller goes away in the middle and the call's future is dropped.

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Whether the instance was made for this invocation or had served before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Made for this invocation.
    Cold,
    /// Reused.
    Warm,
}

/// Where a line of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One piece of output, as the guest wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Milliseconds since the invocation started.
    pub offset_ms: u64,
    /// Standard output or standard error.
    pub stream: LogStream,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// All that one invocation printed, up to a bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// In the order of writing.
    pub entries: Vec<LogEntry>,
    /// Bytes that came after the bound was reached.
    pub dropped_bytes: u64,
}

impl Logs {
    /// Nothing printed and nothing dropped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dropped_bytes == 0
    }
}

/// Shared counters of one invocation. All durations are in microseconds, all sizes in bytes.
#[derive(Debug, Default)]
pub struct Gauge {
    /// 0 not started, 1 cold, 2 warm.
    start: AtomicU8,
    finished: AtomicBool,
    duration_us: AtomicU64,
    queue_us: AtomicU64,
    code_us: AtomicU64,
    init_us: AtomicU64,
    cpu_ns: AtomicU64,
    memory_peak_bytes: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    outbound_requests: AtomicU64,
    logs: Mutex<Logs>,
}

impl Gauge {
    /// The guest is about to run.
    pub fn set_start(&self, start: Start) {
        self.start.store(if start == Start::Cold { 1 } else { 2 }, Relaxed);
    }

    /// Cold or warm; `None` while no instance was taken.
    #[must_use]
    pub fn start(&self) -> Option<Start> {
        match self.start.load(Relaxed) {
            1 => Some(Start::Cold),
            2 => Some(Start::Warm),
            _ => None,
        }
    }

    /// The guest has ended, `duration_us` after its instance was asked for; its code was there by then.
    pub fn finish(&self, duration_us: u64) {
        self.duration_us.store(duration_us, Relaxed);
        // Who sees that it has ended sees for how long it ran.
        self.finished.store(true, Release);
    }

    /// Wall time of the guest, instantiation included; `None` while it runs.
    #[must_use]
    pub fn duration_us(&self) -> Option<u64> {
        self.finished.load(Acquire).then(|| self.duration_us.load(Relaxed))
    }

    /// Forgets what the guest has used and printed so far, because it is run again and only that counts.
    pub fn forget_try(&self) {
        self.init_us.store(0, Relaxed);
        self.cpu_ns.store(0, Relaxed);
        self.memory_peak_bytes.store(0, Relaxed);
        drop(self.take_logs());
    }

    /// Adds time for which the invocation waited until it might have an instance.
    pub fn add_queue_us(&self, us: u64) {
        self.queue_us.fetch_add(us, Relaxed);
    }

    /// Time spent waiting for an instance; not in the duration.
    #[must_use]
    pub fn queue_us(&self) -> u64 {
        self.queue_us.load(Relaxed)
    }

    /// Adds time for which the invocation waited for code that was not in memory: fetched, loaded, or compiled again.
    pub fn add_code_us(&self, us: u64) {
        self.code_us.fetch_add(us, Relaxed);
    }

    /// Time spent waiting for code; not in the duration.
    #[must_use]
    pub fn code_us(&self) -> u64 {
        self.code_us.load(Relaxed)
    }

    /// Adds the time that making the instance took.
    pub fn add_init_us(&self, us: u64) {
        self.init_us.fetch_add(us, Relaxed);
    }

    /// Time spent to make the instance; 0 for a warm one.
    #[must_use]
    pub fn init_us(&self) -> u64 {
        self.init_us.load(Relaxed)
    }

    /// Adds processor time, in nanoseconds, of the thread that ran the guest.
    pub fn add_cpu_ns(&self, ns: u64) {
        self.cpu_ns.fetch_add(ns, Relaxed);
    }

    /// Processor time of the guest and of the host calls that it made.
    #[must_use]
    pub fn cpu_us(&self) -> u64 {
        self.cpu_ns.load(Relaxed) / 1_000
    }

    /// Notes the size of all linear memories together; the largest is kept.
    pub fn note_memory_bytes(&self, bytes: u64) {
        self.memory_peak_bytes.fetch_max(bytes, Relaxed);
    }

    /// Largest size of all linear memories together.
    #[must_use]
    pub fn memory_peak_bytes(&self) -> u64 {
        self.memory_peak_bytes.load(Relaxed)
    }

    /// Adds bytes of the request's body that the guest was given.
    pub fn add_bytes_in(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    /// Bytes of the request's body.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Relaxed)
    }

    /// Adds bytes of the response's body that went out.
    pub fn add_bytes_out(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    /// Bytes of the response's body.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Relaxed)
    }

    /// Counts a request that the guest sends.
    pub fn add_outbound_request(&self) {
        self.outbound_requests.fetch_add(1, Relaxed);
    }

    /// Requests that the guest has sent, whatever became of them.
    #[must_use]
    pub fn outbound_requests(&self) -> u64 {
        self.outbound_requests.load(Relaxed)
    }

    /// Changes what was printed; the closure must be short, other writers wait.
    pub fn with_logs<T>(&self, change: impl FnOnce(&mut Logs) -> T) -> T {
        change(&mut self.logs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what was printed so far.
    #[must_use]
    pub fn take_logs(&self) -> Logs {
        self.with_logs(std::mem::take)
    }
}
