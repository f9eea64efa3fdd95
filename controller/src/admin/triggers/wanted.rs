//! What may be asked for of a trigger, and what is wrong with it.

use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{FunctionName, QueueName};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::watch::{NewStorage, NewWatch};
use crate::admin::extract::invalid_parameter;
use crate::code::Code;
use crate::config::{BATCH_MAX, DETAIL_BYTES_MAX, INSTANCES_MAX, JITTER_SECONDS_MAX, WINDOW_MS_MAX};
use crate::events::{BrokerUrl, Filters, OrderPath, Timing, check_name};
use crate::problem::Problem;
use crate::store::{AmqpTarget, CronConfig, MessageSource, Missed, Subscription};

/// Longest name of a time zone that is looked up, in characters.
const ZONE_CHARS_MAX: usize = 64;

/// What fires a function.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum NewTrigger {
    /// The clock.
    Cron(NewCron),
    /// The messages of a queue.
    Queue(NewSubscription),
    /// The objects of a bucket.
    Storage(NewWatch),
}

/// A trigger that follows the clock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCron {
    /// Unique in the namespace; without it, the function's name with `-cron` and a number.
    name: Option<String>,
    function: String,
    /// Five fields as in crontab, or six with seconds first; `@hourly` and its kin; `rate(5 minutes)`;
    /// `at(2026-12-31T23:59:00)`.
    schedule: String,
    /// As `Europe/Berlin`.
    #[serde(default = "utc")]
    timezone: String,
    /// What happens to ticks that nobody was there for.
    #[serde(default)]
    missed: Missed,
    /// Each tick is late by up to so many seconds.
    #[serde(default)]
    jitter_seconds: u32,
    /// The `detail` of the event; an empty object unless something else is given.
    #[serde(default = "nothing")]
    #[schema(value_type = Object)]
    detail: Value,
    /// In place of the function's own; what is left out is as the function has it at the moment.
    retry: Option<PartialRetry>,
    /// Whether it fires from now on.
    #[serde(default = "yes")]
    enabled: bool,
}

/// A trigger that takes the messages of a queue. Without a Debug form: there may be a password in it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSubscription {
    /// Unique in the namespace; without it, the function's name with `-queue` and a number.
    name: Option<String>,
    function: String,
    /// Of the same namespace; with `amqp`, of that broker.
    queue: String,
    /// URL of a RabbitMQ broker, as `amqp://USER:PASSWORD@HOST:5672/VHOST` or `amqps://`. It is kept encrypted, and its
    /// password is never shown.
    amqp: Option<String>,
    /// With `amqp`: the exchange to which a message goes whose event is given up; empty for the default one.
    dead_letter_exchange: Option<String>,
    /// With `dead_letter_exchange`: the routing key; the queue's name unless something else is said.
    dead_letter_routing_key: Option<String>,
    /// Which messages, as a pattern of AWS EventBridge about `{"attributes": {...}, "body": ...}`; all without one.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// Where a message says what it must be in order with: `attributes.NAME` or `body.FIELD.FIELD`.
    order_key: Option<String>,
    /// Messages that the function is given at once, at most.
    #[serde(default = "ten")]
    batch: u32,
    /// How long the first of them may wait for more, in milliseconds.
    #[serde(default)]
    window_ms: u32,
    /// Batches at once, at most; the function's `max_instances` is a bound, too.
    #[serde(default = "most_instances")]
    concurrency: u32,
    /// A batch that failed as a whole comes again in halves, so that one message cannot fail the others for good.
    #[serde(default = "yes")]
    bisect: bool,
    /// In place of the function's own; what is left out is as the function has it at the moment. How old a message may
    /// become is up to its queue.
    retry: Option<PartialRetry>,
    /// Whether it fires from now on; while it does not, messages wait for it.
    #[serde(default = "yes")]
    enabled: bool,
}

impl NewSubscription {
    pub(super) fn with(self, source: MessageSource, retry: Option<RetryPolicy>) -> Subscription {
        Subscription {
            source,
            filter: self.filter,
            order_key: self.order_key,
            batch: self.batch,
            window_ms: self.window_ms,
            concurrency: self.concurrency,
            bisect: self.bisect,
            retry,
        }
    }
}

/// A part of a retry policy.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartialRetry {
    max_attempts: Option<u32>,
    backoff_seconds: Option<u32>,
    max_backoff_seconds: Option<u32>,
    max_age_seconds: Option<u32>,
}

impl PartialRetry {
    pub(super) fn over(self, own: RetryPolicy) -> RetryPolicy {
        let backoff_seconds = self.backoff_seconds.unwrap_or(own.backoff_seconds);
        RetryPolicy {
            max_attempts: self.max_attempts.unwrap_or(own.max_attempts),
            backoff_seconds,
            // A longer first pause than the longest was asked for by itself.
            max_backoff_seconds: self
                .max_backoff_seconds
                .unwrap_or_else(|| own.max_backoff_seconds.max(backoff_seconds)),
            max_age_seconds: self.max_age_seconds.unwrap_or(own.max_age_seconds),
        }
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

pub(super) fn yes() -> bool {
    true
}

fn ten() -> u32 {
    10
}

fn most_instances() -> u32 {
    INSTANCES_MAX
}

/// What all kinds of triggers have, and what makes each what it is.
pub(super) struct Wanted {
    pub(super) name: Option<String>,
    pub(super) function: FunctionName,
    pub(super) retry: Option<PartialRetry>,
    pub(super) enabled: bool,
    pub(super) what: What,
}

pub(super) enum What {
    Cron { timing: Timing, config: CronConfig },
    Queue(NewSource, Box<NewSubscription>),
    Storage(NewStorage, Box<NewWatch>),
}

/// Where messages are to come from.
pub(super) enum NewSource {
    Queue(QueueName),
    Amqp {
        url: BrokerUrl,
        queue: String,
        dead_letter: Option<AmqpTarget>,
    },
}

impl What {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Cron { .. } => "cron",
            Self::Queue(..) => "queue",
            Self::Storage(..) => "storage",
        }
    }
}

/// A trigger's name follows the rules of a function's.
pub(super) fn checked_name(name: Option<String>) -> Result<Option<String>, Problem> {
    let Some(name) = name else { return Ok(None) };
    match name.parse::<FunctionName>() {
        Ok(_) => Ok(Some(name)),
        Err(error) => Err(Problem::new(
            Code::InvalidName,
            error.to_string().replace("function", "trigger"),
        )),
    }
}

/// Everything about a schedule that can be said without the database.
pub(super) fn cron(new: NewCron) -> Result<Wanted, Problem> {
    let name = checked_name(new.name)?;
    if new.timezone.len() > ZONE_CHARS_MAX {
        return Err(Problem::new(
            Code::InvalidSchedule,
            "there is no time zone with such a long name",
        ));
    }
    at_most("jitter_seconds", new.jitter_seconds, 0, JITTER_SECONDS_MAX)?;
    let detail_bytes = new.detail.to_string().len();
    if detail_bytes > DETAIL_BYTES_MAX {
        return Err(invalid_parameter(format!(
            "detail has {detail_bytes} bytes; at most {DETAIL_BYTES_MAX} may be"
        )));
    }
    let timing =
        Timing::parse(&new.schedule, &new.timezone).map_err(|message| Problem::new(Code::InvalidSchedule, message))?;
    let config = CronConfig {
        schedule: new.schedule,
        timezone: new.timezone,
        missed: new.missed,
        jitter_seconds: new.jitter_seconds,
        detail: new.detail,
        retry: None,
    };
    Ok(Wanted {
        name,
        function: new.function.parse().map_err(invalid_parameter)?,
        retry: new.retry,
        enabled: new.enabled,
        what: What::Cron { timing, config },
    })
}

/// The same about a queue.
pub(super) fn subscription(mut new: NewSubscription) -> Result<Wanted, Problem> {
    let name = checked_name(new.name.take())?;
    at_most("batch", new.batch, 1, BATCH_MAX)?;
    at_most("window_ms", new.window_ms, 0, WINDOW_MS_MAX)?;
    at_most("concurrency", new.concurrency, 1, INSTANCES_MAX)?;
    if let Some(pattern) = &new.filter {
        Filters::new()
            .add(0, pattern)
            .map_err(|error| invalid_parameter(format!("the filter is no pattern: {error}")))?;
    }
    if let Some(path) = &new.order_key {
        OrderPath::parse(path).map_err(invalid_parameter)?;
    }
    if new.retry.is_some_and(|retry| retry.max_age_seconds.is_some()) {
        return Err(invalid_parameter(
            "how old a message may become is the retention of its queue: leave max_age_seconds out",
        ));
    }
    let source = match new.amqp.take() {
        None if new.dead_letter_exchange.is_some() || new.dead_letter_routing_key.is_some() => {
            return Err(invalid_parameter(
                "a queue of ours has a dead-letter queue, not an exchange: say so when you make it",
            ));
        }
        None => NewSource::Queue(new.queue.parse().map_err(invalid_parameter)?),
        Some(url) => amqp_source(&url, &mut new)?,
    };
    Ok(Wanted {
        name,
        function: new.function.parse().map_err(invalid_parameter)?,
        retry: new.retry,
        enabled: new.enabled,
        what: What::Queue(source, Box::new(new)),
    })
}

/// A broker and a queue of it, as far as can be said without asking it: it may be away at the moment.
fn amqp_source(text: &str, new: &mut NewSubscription) -> Result<NewSource, Problem> {
    let queue = std::mem::take(&mut new.queue);
    let dead_letter = match (new.dead_letter_exchange.take(), new.dead_letter_routing_key.take()) {
        (None, None) => None,
        (None, Some(_)) => {
            return Err(invalid_parameter(
                "dead_letter_routing_key wants dead_letter_exchange, too",
            ));
        }
        (Some(exchange), key) => Some(AmqpTarget {
            exchange,
            routing_key: key.unwrap_or_else(|| queue.clone()),
        }),
    };
    if let Some(target) = &dead_letter {
        check_name(&target.exchange).map_err(invalid_parameter)?;
        check_name(&target.routing_key).map_err(invalid_parameter)?;
    }
    // It would come back at once, for ever.
    if dead_letter
        .as_ref()
        .is_some_and(|target| target.exchange.is_empty() && target.routing_key == queue)
    {
        return Err(invalid_parameter("a queue cannot be its own dead-letter queue"));
    }
    Ok(NewSource::Amqp {
        url: broker(text, &queue)?,
        queue,
        dead_letter,
    })
}

/// The URL of a broker, for a queue of it.
pub(super) fn broker(text: &str, queue: &str) -> Result<BrokerUrl, Problem> {
    if queue.is_empty() {
        return Err(invalid_parameter("say which queue of the broker it is"));
    }
    check_name(queue).map_err(invalid_parameter)?;
    let url = BrokerUrl::parse(text).map_err(|error| invalid_parameter(format!("amqp: {error}")))?;
    if url.is_hidden() {
        return Err(invalid_parameter(
            "amqp: *** stands for a password that is not shown; write the password in its place",
        ));
    }
    Ok(url)
}

fn at_most(name: &str, found: u32, least: u32, most: u32) -> Result<(), Problem> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(invalid_parameter(format!(
        "{name} must be from {least} to {most}, not {found}"
    )))
}
