//! Events, dead letters, and the secret of webhooks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that the server has accepted and owes an ending.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) function: String,
    /// Text, so that a newer server can be read.
    pub(crate) state: String,
    pub(crate) source: String,
    pub(crate) trigger: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) failures: u32,
    pub(crate) version: Option<u32>,
    pub(crate) pinned_version: Option<u32>,
    pub(crate) cancelling: bool,
    pub(crate) created_at: String,
    pub(crate) due_at: String,
    pub(crate) expires_at: String,
    pub(crate) ended_at: Option<String>,
    pub(crate) depth: u32,
    #[serde(default)]
    pub(crate) order_key: Option<String>,
    pub(crate) payload_bytes: u64,
    pub(crate) result: Option<EventResult>,
    pub(crate) webhook: Option<String>,
    pub(crate) error_code: Option<String>,
    pub(crate) error_message: Option<String>,
}

/// How much waits, runs and was given up.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventSummary {
    pub(crate) queued: u64,
    pub(crate) queued_bytes: u64,
    pub(crate) oldest_queued_ms: u64,
    pub(crate) running: u64,
    pub(crate) dead_letters: u64,
}

/// What the function answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventResult {
    pub(crate) http_status: Option<u16>,
    pub(crate) content_type: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) body: Value,
}

/// An event with its attempts that failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventDetail {
    #[serde(flatten)]
    pub(crate) event: Event,
    pub(crate) failed_attempts: Vec<FailedAttempt>,
}

/// An attempt that did not succeed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FailedAttempt {
    pub(crate) attempt: u32,
    pub(crate) invocation_id: Option<String>,
    pub(crate) version: Option<u32>,
    pub(crate) started_at: String,
    pub(crate) ended_at: String,
    pub(crate) error_code: String,
    pub(crate) error_message: String,
}

/// The id of an event that is durable.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) id: String,
}

/// Which dead letters are meant.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Choice {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ids: Option<Vec<String>>,
    pub(crate) all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u32>,
    pub(crate) dry_run: bool,
}

/// What was done with dead letters.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handled {
    pub(crate) ids: Vec<String>,
    pub(crate) changed: u64,
    pub(crate) more: bool,
}

/// How often and when a failed event is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retry {
    pub(crate) max_attempts: u32,
    pub(crate) backoff_seconds: u32,
    pub(crate) max_backoff_seconds: u32,
    pub(crate) max_age_seconds: u32,
}

/// A part of it; what is left out, the server decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RetryRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backoff_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_backoff_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age_seconds: Option<u32>,
}

impl RetryRequest {
    /// What is asked for, over what was there before.
    pub(crate) fn over(self, earlier: Option<Retry>) -> Self {
        Self {
            max_attempts: self.max_attempts.or(earlier.map(|retry| retry.max_attempts)),
            backoff_seconds: self.backoff_seconds.or(earlier.map(|retry| retry.backoff_seconds)),
            max_backoff_seconds: self
                .max_backoff_seconds
                .or(earlier.map(|retry| retry.max_backoff_seconds)),
            max_age_seconds: self.max_age_seconds.or(earlier.map(|retry| retry.max_age_seconds)),
        }
    }

    /// Whether it asks for nothing.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What webhooks are signed with. Without a Debug form: it is printed where it was asked for and nowhere else.
#[derive(Serialize, Deserialize)]
pub(crate) struct WebhookSecret {
    pub(crate) namespace: String,
    pub(crate) secret: String,
    pub(crate) rotated_at: String,
    pub(crate) former_until: Option<String>,
}
