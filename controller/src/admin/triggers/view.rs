//! A trigger as the API shows it.

use mayfly_delivery::RetryPolicy;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::admin::extract::time;
use crate::events::{Condition, SigningSecret};
use crate::store::{EventTrigger, MessageSource, Missed, ObjectChange, StorageSource, TriggerConfig};

/// A trigger. Without a Debug form: the answer that has made one may hold a secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Trigger)]
pub(crate) struct TriggerView {
    name: String,
    namespace: String,
    function: String,
    /// `cron`, `queue` or `storage`.
    kind: &'static str,
    #[serde(flatten)]
    what: What,
    #[schema(value_type = Option<Object>)]
    retry: Option<RetryPolicy>,
    enabled: bool,
    created_at: String,
    /// Of a queue trigger that is shown alone: messages that wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waiting: Option<u64>,
    /// Of one that takes messages of RabbitMQ: `connecting`, `connected` or `failing`, as this server sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// Why no messages come.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_reason: Option<String>,
    /// Only in the answer that has made it: with this secret, notifications prove themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_secret: Option<String>,
}

/// What fires it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum What {
    /// The clock.
    Cron {
        schedule: String,
        timezone: String,
        missed: Missed,
        jitter_seconds: u32,
        #[schema(value_type = Object)]
        detail: Value,
        /// Its last tick that fired; RFC 3339.
        last_fire_at: Option<String>,
        /// Its next tick.
        next_fire_at: Option<String>,
    },
    /// The messages of a queue.
    Queue {
        queue: String,
        /// The RabbitMQ broker that has the queue, without the password; null for a queue of ours.
        amqp: Option<String>,
        /// Where messages of RabbitMQ go whose events are given up.
        #[serde(skip_serializing_if = "Option::is_none")]
        dead_letter_exchange: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        dead_letter_routing_key: Option<String>,
        /// Which messages; all without one.
        #[schema(value_type = Option<Object>)]
        filter: Option<Value>,
        /// What a message must be in order with.
        order_key: Option<String>,
        batch: u32,
        window_ms: u32,
        concurrency: u32,
        bisect: bool,
    },
    /// The objects of a bucket.
    Storage {
        /// Null when notifications of another storage are taken whatever their bucket.
        bucket: Option<String>,
        /// Where another storage posts its notifications: a path of this API.
        #[serde(skip_serializing_if = "Option::is_none")]
        webhook: Option<String>,
        /// The RabbitMQ broker to which another storage publishes them, without the password, and the queue.
        #[serde(skip_serializing_if = "Option::is_none")]
        amqp: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        prefix: String,
        suffix: String,
        events: Vec<ObjectChange>,
    },
}

impl From<EventTrigger> for TriggerView {
    fn from(trigger: EventTrigger) -> Self {
        let (kind, retry) = (trigger.config.kind(), trigger.config.retry());
        let what = match trigger.config {
            TriggerConfig::Cron(config) => What::Cron {
                schedule: config.schedule,
                timezone: config.timezone,
                missed: config.missed,
                jitter_seconds: config.jitter_seconds,
                detail: config.detail,
                last_fire_at: trigger.last_ms.map(time),
                next_fire_at: trigger.next_ms.map(time),
            },
            TriggerConfig::Queue(subscription) => {
                let (queue, amqp, dead_letter) = match subscription.source {
                    MessageSource::Queue(queue) => (queue.to_string(), None, None),
                    MessageSource::Amqp(source) => (source.queue, Some(source.shown), source.dead_letter),
                };
                let dead_letter = dead_letter.map(|target| (target.exchange, target.routing_key));
                let (dead_letter_exchange, dead_letter_routing_key) = dead_letter.unzip();
                What::Queue {
                    queue,
                    amqp,
                    dead_letter_exchange,
                    dead_letter_routing_key,
                    filter: subscription.filter,
                    order_key: subscription.order_key,
                    batch: subscription.batch,
                    window_ms: subscription.window_ms,
                    concurrency: subscription.concurrency,
                    bisect: subscription.bisect,
                }
            }
            TriggerConfig::Storage(watch) => {
                let (mut bucket, mut webhook, mut broker) = (watch.other_bucket, None, None);
                match watch.source {
                    StorageSource::Bucket(own) => bucket = Some(own.to_string()),
                    StorageSource::Webhook(_) => {
                        let (namespace, name) = (&trigger.namespace, &trigger.name);
                        webhook = Some(format!("/v1/ns/{namespace}/triggers/{name}/notifications"));
                    }
                    StorageSource::Amqp(source) => broker = Some((source.shown, source.queue)),
                }
                let (amqp, queue) = broker.unzip();
                What::Storage {
                    bucket,
                    webhook,
                    amqp,
                    queue,
                    prefix: watch.prefix,
                    suffix: watch.suffix,
                    events: watch.changes,
                }
            }
        };
        Self {
            name: trigger.name,
            namespace: trigger.namespace.to_string(),
            function: trigger.function.to_string(),
            kind,
            what,
            retry,
            enabled: trigger.enabled,
            created_at: time(trigger.created_ms),
            waiting: None,
            state: None,
            state_reason: None,
            webhook_secret: None,
        }
    }
}

impl TriggerView {
    /// With what is told once.
    pub(super) fn with_secret(mut self, secret: Option<SigningSecret>) -> Self {
        self.webhook_secret = secret.map(|secret| secret.reveal());
        self
    }

    /// What the server that is asked knows of its consumer.
    pub(super) fn with_condition(mut self, condition: Option<&Condition>) -> Self {
        self.state = condition.map(Condition::as_str);
        self.state_reason = condition.and_then(Condition::reason).map(str::to_owned);
        self
    }
}
