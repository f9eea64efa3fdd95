//! Triggers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Retry, RetryRequest};

/// A trigger to be made.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum NewTrigger<'a> {
    Cron(NewCron<'a>),
    Queue(NewSubscription<'a>),
    Storage(NewWatch<'a>),
}

/// One that follows the clock.
#[derive(Debug, Serialize)]
pub(crate) struct NewCron<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
    pub(crate) function: &'a str,
    pub(crate) schedule: &'a str,
    pub(crate) timezone: &'a str,
    pub(crate) missed: &'static str,
    pub(crate) jitter_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<RetryRequest>,
    pub(crate) enabled: bool,
}

/// One that takes the messages of a queue; what is left out, the server decides. Without a Debug form: there may be a
/// password in it.
#[derive(Serialize)]
pub(crate) struct NewSubscription<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
    pub(crate) function: &'a str,
    pub(crate) queue: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) amqp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter_exchange: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter_routing_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) order_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<u32>,
    pub(crate) bisect: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<RetryRequest>,
    pub(crate) enabled: bool,
}

/// One that waits for changes of objects.
#[derive(Debug, Serialize)]
pub(crate) struct NewWatch<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
    pub(crate) function: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bucket: Option<&'a str>,
    pub(crate) webhook: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) amqp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<&'a str>,
    pub(crate) prefix: &'a str,
    pub(crate) suffix: &'a str,
    pub(crate) events: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<RetryRequest>,
    pub(crate) enabled: bool,
}

/// What fires a function.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trigger {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) function: String,
    pub(crate) kind: String,
    #[serde(flatten)]
    pub(crate) what: What,
    pub(crate) retry: Option<Retry>,
    pub(crate) enabled: bool,
    pub(crate) created_at: String,
    /// Messages that wait for it, of one that is shown alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<u64>,
    /// Of one that takes messages of RabbitMQ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    /// Why no messages come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_reason: Option<String>,
    /// With what notifications prove themselves, of one that was made just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook_secret: Option<String>,
}

/// What by.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum What {
    /// The clock.
    Cron(Cron),
    /// The messages of a queue.
    Queue(Subscription),
    /// Changes of objects.
    Storage(Watch),
    /// Something that only a newer client knows.
    Other(Map<String, Value>),
}

/// When it fires.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cron {
    pub(crate) schedule: String,
    pub(crate) timezone: String,
    pub(crate) missed: String,
    pub(crate) jitter_seconds: u32,
    pub(crate) detail: Value,
    pub(crate) last_fire_at: Option<String>,
    pub(crate) next_fire_at: Option<String>,
}

/// Which messages, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) queue: String,
    #[serde(default)]
    pub(crate) amqp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter_exchange: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter_routing_key: Option<String>,
    pub(crate) filter: Option<Value>,
    pub(crate) order_key: Option<String>,
    pub(crate) batch: u32,
    pub(crate) window_ms: u64,
    pub(crate) concurrency: u32,
    pub(crate) bisect: bool,
}

/// Which changes of which objects.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Watch {
    /// None when any bucket of another storage will do.
    pub(crate) bucket: Option<String>,
    /// Where another storage posts its notifications: a path of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook: Option<String>,
    /// The RabbitMQ broker to which it publishes them, without the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) amqp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<String>,
    pub(crate) prefix: String,
    pub(crate) suffix: String,
    /// `created` and `removed`; text, so that a newer server can be described.
    pub(crate) events: Vec<String>,
}
