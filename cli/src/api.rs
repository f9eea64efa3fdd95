//! The documents of the admin API as the client reads and writes them. Times are RFC 3339 UTC and kept as text.

mod buckets;
mod events;
mod queues;
mod triggers;

use std::collections::{BTreeMap, BTreeSet};

use mayfly_invoker_api::Digest;
use serde::{Deserialize, Serialize};

pub(crate) use buckets::{Bucket, BucketCredentials, Object, Objects};
pub(crate) use events::{
    Accepted, Choice, Event, EventDetail, EventSummary, Handled, Retry, RetryRequest, WebhookSecret,
};
pub(crate) use queues::{NewMessage, NewQueue, PurgedQueue, Queue, ReceivedMessage, SentMessage};
pub(crate) use triggers::{Cron, NewCron, NewSubscription, NewTrigger, NewWatch, Subscription, Trigger, Watch, What};

/// What a version is run with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// All linear memories of an instance together.
    pub(crate) memory_mib: u32,
    /// Wall time of one invocation.
    pub(crate) timeout_ms: u64,
    /// Environment variables of the guest.
    pub(crate) env: BTreeMap<String, String>,
    /// `auto`, `function`, `invocation` or `key:HEADER`; text, so that a newer server can be described.
    pub(crate) isolation: String,
    /// Invocations that one instance serves.
    pub(crate) max_requests_per_instance: u32,
    /// Instances that are kept although nobody calls.
    pub(crate) min_warm: u32,
    /// Instances alive at once.
    pub(crate) max_instances: u32,
    /// Hosts that the function may send requests to; text, as with the isolation.
    #[serde(default)]
    pub(crate) allow_hosts: BTreeSet<String>,
    /// `auto`, `on` or `off`; text, so that a newer server can be described.
    pub(crate) snapshot: String,
    /// How often and when a failed event is tried again.
    #[serde(default)]
    pub(crate) retry: Option<Retry>,
    /// Where outcomes of events go, as `function:NAME`.
    #[serde(default)]
    pub(crate) on_success: Option<String>,
    #[serde(default)]
    pub(crate) on_failure: Option<String>,
}

/// What a deployment asks for; what it leaves out, the server decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ConfigRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_mib: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) isolation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_requests_per_instance: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_warm: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_instances: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<String>,
    #[serde(skip_serializing_if = "RetryRequest::is_empty")]
    pub(crate) retry: RetryRequest,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on_success: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on_failure: Option<String>,
    pub(crate) env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) allow_hosts: BTreeSet<String>,
}

impl ConfigRequest {
    /// Asks for exactly what a version has.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            memory_mib: Some(config.memory_mib),
            timeout_ms: Some(config.timeout_ms),
            isolation: Some(config.isolation.clone()),
            max_requests_per_instance: Some(config.max_requests_per_instance),
            min_warm: Some(config.min_warm),
            max_instances: Some(config.max_instances),
            snapshot: Some(config.snapshot.clone()),
            retry: RetryRequest::default().over(config.retry),
            on_success: config.on_success.clone(),
            on_failure: config.on_failure.clone(),
            env: config.env.clone(),
            allow_hosts: config.allow_hosts.clone(),
        }
    }
}

/// The body of a deployment.
#[derive(Debug, Serialize)]
pub(crate) struct DeployRequest<'a> {
    pub(crate) artifact: Digest,
    pub(crate) config: &'a ConfigRequest,
}

/// The latest version of a function.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) version: u32,
    /// `http`, `event` or `command`; text, so that a newer server can be listed.
    pub(crate) kind: String,
    pub(crate) digest: Digest,
    pub(crate) url: String,
    pub(crate) config: Config,
    pub(crate) created_at: String,
}

/// A function with the versions that it had, newest first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FunctionDetail {
    #[serde(flatten)]
    pub(crate) latest: Function,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) versions: Vec<Version>,
    pub(crate) pool: Pool,
}

/// What the server has of the latest version at the moment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pool {
    /// Instances that wait for a call.
    pub(crate) idle: u32,
    /// Instances that serve one.
    pub(crate) running: u32,
    /// Calls that wait for an instance.
    pub(crate) waiting: u32,
    /// Memory of the instances that is really there; an estimate.
    pub(crate) resident_bytes: u64,
    /// Native code; none while it is not in memory.
    pub(crate) code_bytes: Option<u64>,
    /// An instance was found to serve one call only.
    pub(crate) single_use: bool,
}

/// Whether instances begin with what the init function has left.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) taken: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Time that no instance spends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) init_saved_us: Option<u64>,
}

/// What the invoker has done since it started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Invoker {
    pub(crate) code: CodeCounters,
}

/// How often native code was had, and from where.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CodeCounters {
    pub(crate) compiled: u64,
    pub(crate) loaded: u64,
    pub(crate) found: u64,
    pub(crate) rejected: u64,
}

/// One immutable deployment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) version: u32,
    pub(crate) digest: Digest,
    pub(crate) kind: String,
    /// Of the wasm file.
    pub(crate) size_bytes: u64,
    pub(crate) config: Config,
    pub(crate) created_at: String,
}

/// The answer to a deployment, and what `fn deploy --json` prints.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Deployed {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) version: u32,
    pub(crate) kind: String,
    pub(crate) digest: Digest,
    pub(crate) url: String,
    /// Whether this deployment made a new version.
    pub(crate) changed: bool,
}

/// The record of one invocation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Invocation {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) function: String,
    pub(crate) version: u32,
    pub(crate) trigger: String,
    pub(crate) event_id: String,
    pub(crate) attempt: u32,
    /// `ok` or `error`.
    pub(crate) status: String,
    pub(crate) error_code: Option<String>,
    pub(crate) error_message: Option<String>,
    pub(crate) http_status: Option<u16>,
    pub(crate) started_at: String,
    pub(crate) trace_id: Option<String>,
    pub(crate) usage: InvocationUsage,
}

/// What one invocation consumed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InvocationUsage {
    /// `cold` or `warm`; none when no instance was had.
    pub(crate) start: Option<String>,
    pub(crate) duration_ms: f64,
    pub(crate) billed_ms: u64,
    pub(crate) queue_ms: f64,
    pub(crate) code_ms: f64,
    pub(crate) init_ms: f64,
    pub(crate) cpu_ms: f64,
    pub(crate) memory_limit_bytes: u64,
    pub(crate) memory_peak_bytes: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// One thing that a guest printed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogEntry {
    pub(crate) at: String,
    pub(crate) invocation_id: String,
    pub(crate) version: u32,
    /// `stdout` or `stderr`.
    pub(crate) stream: String,
    pub(crate) text: String,
}

/// A page of what was printed.
#[derive(Debug, Deserialize)]
pub(crate) struct LogPage {
    /// Oldest first.
    pub(crate) entries: Vec<LogEntry>,
    /// Where to go on, now or later.
    pub(crate) next: String,
}

/// What was consumed by a function, by a version or on a day.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UsageRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) day: Option<String>,
    pub(crate) invocations: u64,
    pub(crate) errors: u64,
    pub(crate) cold_starts: u64,
    pub(crate) billed_ms: u64,
    pub(crate) gb_seconds: f64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// RFC 9457 with our code.
#[derive(Debug, Deserialize)]
pub(crate) struct Problem {
    pub(crate) title: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) code: String,
    pub(crate) hint: Option<String>,
    pub(crate) invocation_id: Option<String>,
}
