//! What is kept of one invocation.

use mayfly_invoker_api::{FunctionName, InvocationId, Logs, Namespace, Start};
use serde::{Deserialize, Serialize};

use crate::code::Code;

/// One entry of the ledger: what ran, how it ended, what it consumed, what it printed. Written once, never changed.
///
/// The order of the fields is the order on disk; a change of it, or of a type, wants a new mark in `frame.rs` and a new
/// format of the blocks in the database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InvocationRecord {
    /// Names the invocation.
    pub id: InvocationId,
    /// Who pays.
    pub namespace: Namespace,
    /// What was called.
    pub function: FunctionName,
    /// Number of the version that ran.
    pub version: u32,
    /// What fired it.
    pub trigger: Trigger,
    /// Stays the same over the attempts of one event; `None` where it is the id of the invocation.
    pub event_id: Option<String>,
    /// Counts from 1.
    pub attempt: u32,
    /// Why it failed; `None` when it did not.
    pub error: Option<RecordedError>,
    /// Status of the HTTP answer, where there was one.
    pub http_status: Option<u16>,
    /// When it was admitted, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// The caller's W3C trace id, 32 hex digits.
    pub trace_id: Option<String>,
    /// Cold or warm; `None` when no instance was taken.
    pub start: Option<Start>,
    /// Wall time of the guest, in microseconds.
    pub duration_us: u64,
    /// What the owner pays for, in milliseconds; 0 for a fault of the platform.
    pub billed_ms: u64,
    /// Time spent waiting for an instance before the guest's time began, in microseconds.
    pub queue_us: u64,
    /// Time spent waiting for code before the guest's time began, in microseconds.
    pub code_us: u64,
    /// Time to make the instance, in microseconds.
    pub init_us: u64,
    /// Processor time, in microseconds.
    pub cpu_us: u64,
    /// Memory limit of the version, in MiB.
    pub memory_mib: u32,
    /// Largest size of all linear memories together, in bytes.
    pub memory_peak_bytes: u64,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// What the guest printed.
    pub logs: Logs,
}

/// Why an invocation failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedError {
    /// Our stable code.
    pub code: String,
    /// A sentence for the function's owner.
    pub message: String,
}

/// Longest error message that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 2_048;

impl RecordedError {
    /// What is kept of an error: its message may be cut.
    #[must_use]
    pub fn of(code: Code, message: &str) -> Self {
        let mut end = message.len().min(MESSAGE_BYTES_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            code: code.as_str().to_owned(),
            // Postgres has no text with NUL in it, and a function may say anything.
            message: message[..end].replace('\0', "\u{fffd}"),
        }
    }
}

/// What fires a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A request to the function's endpoint.
    Http,
    /// A call through the admin API.
    Direct,
    /// A tick of a schedule.
    Cron,
    /// A message of a queue, or several.
    Queue,
    /// A change of an object.
    Storage,
}

impl Trigger {
    /// The name used in the API and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Direct => "direct",
            Self::Cron => "cron",
            Self::Queue => "queue",
            Self::Storage => "storage",
        }
    }

    /// The trigger of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Http, Self::Direct, Self::Cron, Self::Queue, Self::Storage]
            .into_iter()
            .find(|trigger| trigger.as_str() == name)
    }
}
