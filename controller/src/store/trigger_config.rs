//! What fires a trigger, as it is kept.

use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{BucketName, Namespace, QueueName};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::columns::{from_json, json};
use crate::sealing::Sealed;

const CONFIG: &str = "configuration of a trigger";
/// The source of those that take messages of RabbitMQ.
pub(super) const AMQP: &str = "amqp";

/// The source of those that wait for changes of a bucket's objects.
pub(super) fn source_of_bucket(bucket: &BucketName) -> String {
    format!("bucket:{bucket}")
}

/// What happens to ticks that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Nothing.
    Skip,
    /// The last one fires.
    #[default]
    One,
    /// All fire, at most the last hundred.
    All,
}

/// When a schedule fires and what it gives to the function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronConfig {
    /// As it was written.
    pub schedule: String,
    /// Name in the database of time zones.
    pub timezone: String,
    /// What happens to ticks that nobody was there for.
    pub missed: Missed,
    /// Each tick is late by up to so many seconds, so that not all functions begin at once.
    pub jitter_seconds: u32,
    /// The `detail` of the event.
    pub detail: serde_json::Value,
    /// In place of the function's own.
    pub retry: Option<RetryPolicy>,
}

/// Where messages come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageSource {
    /// A queue of the trigger's namespace.
    Queue(QueueName),
    /// A queue of a RabbitMQ broker.
    Amqp(AmqpSource),
}

/// A queue of a RabbitMQ broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmqpSource {
    /// Its URL, with user and password.
    pub url: Sealed,
    /// The same as it can be shown.
    pub shown: String,
    /// The queue's name there.
    pub queue: String,
    /// Where messages go whose events are given up.
    #[serde(default)]
    pub dead_letter: Option<AmqpTarget>,
}

/// Where a message is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmqpTarget {
    /// Empty for the default one, which knows queues by their names.
    pub exchange: String,
    /// What the exchange goes by.
    pub routing_key: String,
}

impl AmqpSource {
    /// What its URL is sealed for.
    #[must_use]
    pub fn purpose(namespace: &Namespace, trigger: &str) -> String {
        format!("amqp url of {namespace}/{trigger}")
    }
}

/// Which messages a trigger wants, and how it gives them to the function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Where they come from.
    #[serde(flatten)]
    pub source: MessageSource,
    /// Which messages, as a pattern; all without one.
    pub filter: Option<serde_json::Value>,
    /// Where a message says what it must be in order with, as `body.customer.id` or `attributes.customer`.
    pub order_key: Option<String>,
    /// Messages that are given to the function at once, at most.
    pub batch: u32,
    /// How long the first of them may wait for more, in milliseconds.
    pub window_ms: u32,
    /// Batches that are under way at once, at most.
    pub concurrency: u32,
    /// A batch that failed as a whole comes again in halves.
    pub bisect: bool,
    /// In place of the function's own.
    pub retry: Option<RetryPolicy>,
}

/// Where objects change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageSource {
    /// In a bucket of the trigger's namespace.
    Bucket(BucketName),
    /// In another storage, which posts a notification that proves itself with this secret.
    Webhook(Sealed),
    /// In another storage, which sends its notifications to a queue of RabbitMQ.
    Amqp(AmqpSource),
}

/// What has become of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectChange {
    /// It was written, also in the place of another one.
    Created,
    /// It was deleted.
    Removed,
}

impl ObjectChange {
    /// The type of its event, as CloudEvents has it.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Created => "mayfly.storage.object.created",
            Self::Removed => "mayfly.storage.object.removed",
        }
    }
}

/// Which changes of objects fire a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageWatch {
    /// Where they are.
    #[serde(flatten)]
    pub source: StorageSource,
    /// In which bucket of another storage; in all without it.
    #[serde(default)]
    pub other_bucket: Option<String>,
    /// What their keys begin with.
    pub prefix: String,
    /// What their keys end with.
    pub suffix: String,
    /// What has become of them.
    pub changes: Vec<ObjectChange>,
    /// In place of the function's own.
    pub retry: Option<RetryPolicy>,
}

impl StorageWatch {
    /// Whether this change of this object fires it.
    #[must_use]
    pub fn wants(&self, change: ObjectChange, key: &str) -> bool {
        self.changes.contains(&change) && key.starts_with(&self.prefix) && key.ends_with(&self.suffix)
    }
}

/// What fires, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerConfig {
    /// The clock.
    Cron(CronConfig),
    /// The messages of a queue.
    Queue(Subscription),
    /// The objects of a bucket.
    Storage(StorageWatch),
}

impl TriggerConfig {
    /// The name used in the API and in the database.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cron(_) => "cron",
            Self::Queue(_) => "queue",
            Self::Storage(_) => "storage",
        }
    }

    /// In place of the function's own.
    #[must_use]
    pub fn retry(&self) -> Option<RetryPolicy> {
        match self {
            Self::Cron(config) => config.retry,
            Self::Queue(subscription) => subscription.retry,
            Self::Storage(watch) => watch.retry,
        }
    }

    /// The RabbitMQ queue that it takes messages of, if it does.
    #[must_use]
    pub fn amqp(&self) -> Option<&AmqpSource> {
        match self {
            Self::Queue(Subscription {
                source: MessageSource::Amqp(source),
                ..
            })
            | Self::Storage(StorageWatch {
                source: StorageSource::Amqp(source),
                ..
            }) => Some(source),
            Self::Cron(_) | Self::Queue(_) | Self::Storage(_) => None,
        }
    }

    /// What the column `source` has, by which triggers are found: all of one bucket, or all of RabbitMQ.
    pub(super) fn source(&self) -> Option<String> {
        match self {
            Self::Storage(StorageWatch {
                source: StorageSource::Bucket(bucket),
                ..
            }) => Some(source_of_bucket(bucket)),
            _ => self.amqp().map(|_| AMQP.to_owned()),
        }
    }

    pub(super) fn to_column(&self) -> Result<String, StoreError> {
        match self {
            Self::Cron(config) => json(CONFIG, config),
            Self::Queue(subscription) => json(CONFIG, subscription),
            Self::Storage(watch) => json(CONFIG, watch),
        }
    }

    pub(super) fn of_columns(kind: &str, config: &str) -> Result<Self, StoreError> {
        match kind {
            "cron" => from_json(CONFIG, config).map(Self::Cron),
            "queue" => from_json(CONFIG, config).map(Self::Queue),
            "storage" => from_json(CONFIG, config).map(Self::Storage),
            _ => Err(StoreError::Corrupt("kind of a trigger")),
        }
    }
}
