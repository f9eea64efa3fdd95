//! `fn trigger create cron|queue|storage`.

use clap::Subcommand;
use mayfly_invoker_api::FunctionName;
use serde_json::Value;

use crate::api::{NewCron, NewSubscription, NewTrigger, NewWatch, RetryRequest, Trigger};
use crate::error::CliError;
use crate::quantity::{parse_seconds, parse_timeout_ms};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(super) enum Create {
    /// One that fires by the clock
    Cron(CronArgs),
    /// One that takes the messages of a queue
    Queue(Box<QueueArgs>),
    /// One that waits for changes of the objects in a bucket
    Storage(StorageArgs),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Schedules: five fields as in crontab, or six with seconds first; @yearly, @monthly, @weekly, @daily, \
@hourly; rate(5 minutes); at(2026-12-31T23:59:00). docs/schedules.md says what happens when clocks are changed."
)]
pub(super) struct CronArgs {
    /// Name of the function
    function: FunctionName,

    /// When it fires, such as "0 9 * * *"
    #[arg(long, value_name = "SCHEDULE")]
    schedule: String,

    /// Whose clock it follows, such as Asia/Seoul
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: String,

    /// Name of the trigger; else one is made of the function's
    #[arg(long)]
    name: Option<String>,

    /// What happens to ticks that the server was not there for: none fires, the last one, or all (at most 100)
    #[arg(long, value_name = "POLICY", value_parser = ["skip", "one", "all"], default_value = "one")]
    missed: String,

    /// Let each tick be late by up to this, such as 30s, so that not all functions begin at once
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    jitter: Option<u32>,

    /// JSON that becomes the `detail` of the event
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    data: Option<Value>,

    #[command(flatten)]
    retry: RetryArgs,

    /// Make it, but do not let it fire yet
    #[arg(long)]
    disabled: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Filters are patterns as in AWS EventBridge, about the attributes and the JSON body of a message: {\"body\": {\"type\": [\"OrderPlaced\"]}, \"attributes\": {\"region\": [{\"prefix\": \"eu-\"}]}}. docs/queues.md says more."
)]
pub(super) struct QueueArgs {
    /// Name of the function
    function: FunctionName,

    /// The queue whose messages it is given
    #[arg(long, value_name = "QUEUE")]
    queue: String,

    /// The queue is one of this RabbitMQ broker: amqp://USER:PASSWORD@HOST:5672/VHOST, or amqps://; VHOST %2f is the default one
    #[arg(long, env = "MAYFLY_AMQP", value_name = "URL", hide_env_values = true)]
    amqp: Option<String>,

    /// With --amqp: the exchange to which a message goes whose event is given up; "" is the default one
    #[arg(long, value_name = "EXCHANGE", requires = "amqp")]
    dead_letter_exchange: Option<String>,

    /// With --dead-letter-exchange: the routing key; else the name of the queue
    #[arg(long, value_name = "KEY", requires = "dead_letter_exchange")]
    dead_letter_key: Option<String>,

    /// Name of the trigger; else one is made of the function's
    #[arg(long)]
    name: Option<String>,

    /// Messages that are given to the function at once, at most [default: 10]
    #[arg(long, value_name = "N")]
    batch: Option<u32>,

    /// How long the first message may wait for more, such as 200ms [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout_ms)]
    window: Option<u64>,

    /// Batches at once, at most; else as many as the function has instances
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,

    /// Only messages that fit this pattern
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    filter: Option<Value>,

    /// Keep messages in order that have the same value there: attributes.NAME or body.FIELD.FIELD
    #[arg(long, value_name = "PATH")]
    order_key: Option<String>,

    /// Do not try a batch that failed again in halves, but as it was
    #[arg(long)]
    no_bisect: bool,

    /// Attempts at most, in place of the function's own number
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,

    /// The pause after the first failure, in place of the function's own
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    retry_backoff: Option<u32>,

    /// Make it, but let messages wait
    #[arg(long)]
    disabled: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct StorageArgs {
    /// Name of the function
    function: FunctionName,

    /// The bucket whose objects it waits for; with --webhook or --amqp one of another storage, or any without it
    #[arg(long, value_name = "BUCKET", required_unless_present_any = ["webhook", "queue"])]
    bucket: Option<String>,

    /// The objects lie in S3 or MinIO, which posts notifications: prints where to, and a secret, once
    #[arg(long, conflicts_with_all = ["amqp", "queue"])]
    webhook: bool,

    /// They lie in MinIO, which publishes notifications to RabbitMQ: the queue from which they are taken
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,

    /// With --queue: the broker, else that of MAYFLY_AMQP: amqp://USER:PASSWORD@HOST:5672/VHOST
    #[arg(long, value_name = "URL", requires = "queue")]
    amqp: Option<String>,

    /// Only objects whose keys begin with this, such as incoming/
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prefix: Option<String>,

    /// Only objects whose keys end with this, such as .jpg
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    suffix: Option<String>,

    /// What becomes of them: created (also written anew), removed, or both with a comma
    #[arg(long, value_name = "EVENTS", value_delimiter = ',', value_parser = ["created", "removed"], default_value = "created")]
    events: Vec<String>,

    /// Name of the trigger; else one is made of the function's
    #[arg(long)]
    name: Option<String>,

    #[command(flatten)]
    retry: RetryArgs,

    /// Make it, but do not let it fire yet: changes until then are not made up for
    #[arg(long)]
    disabled: bool,
}

/// How often and for how long an event is tried.
#[derive(Debug, clap::Args)]
struct RetryArgs {
    /// Attempts at most, in place of the function's own number
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,

    /// The pause after the first failure, in place of the function's own
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    retry_backoff: Option<u32>,

    /// The age at which an event is given up, in place of the function's own
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    max_event_age: Option<u32>,
}

impl RetryArgs {
    /// What was said; nothing when everything is as the function has it.
    fn request(&self) -> Option<RetryRequest> {
        let retry = RetryRequest {
            max_attempts: self.max_attempts,
            backoff_seconds: self.retry_backoff,
            max_age_seconds: self.max_event_age,
            ..RetryRequest::default()
        };
        Some(retry).filter(|retry| !retry.is_empty())
    }
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not one JSON document: {error}"))
}

impl Create {
    /// The existing function that is to be fired.
    pub(super) fn function(&self) -> &FunctionName {
        match self {
            Self::Cron(args) => &args.function,
            Self::Queue(args) => &args.function,
            Self::Storage(args) => &args.function,
        }
    }

    /// Makes the trigger.
    ///
    /// # Errors
    /// When the server does not.
    pub(super) async fn run(&self, session: &Session) -> Result<Trigger, CliError> {
        match self {
            Self::Cron(args) => create_cron(session, args).await,
            Self::Queue(args) => create_queue(session, args).await,
            Self::Storage(args) => create_storage(session, args).await,
        }
    }
}

async fn create_cron(session: &Session, args: &CronArgs) -> Result<Trigger, CliError> {
    let new = NewTrigger::Cron(NewCron {
        name: args.name.as_deref(),
        function: args.function.as_str(),
        schedule: &args.schedule,
        timezone: &args.timezone,
        missed: match args.missed.as_str() {
            "skip" => "skip",
            "all" => "all",
            _ => "one",
        },
        jitter_seconds: args.jitter.unwrap_or(0),
        detail: args.data.as_ref(),
        retry: args.retry.request(),
        enabled: !args.disabled,
    });
    session.client.create_trigger(&new).await
}

async fn create_queue(session: &Session, args: &QueueArgs) -> Result<Trigger, CliError> {
    let retry = RetryRequest {
        max_attempts: args.max_attempts,
        backoff_seconds: args.retry_backoff,
        ..RetryRequest::default()
    };
    let new = NewTrigger::Queue(NewSubscription {
        name: args.name.as_deref(),
        function: args.function.as_str(),
        queue: &args.queue,
        amqp: args.amqp.as_deref(),
        dead_letter_exchange: args.dead_letter_exchange.as_deref(),
        dead_letter_routing_key: args.dead_letter_key.as_deref(),
        filter: args.filter.as_ref(),
        order_key: args.order_key.as_deref(),
        batch: args.batch,
        window_ms: args.window,
        concurrency: args.concurrency,
        bisect: !args.no_bisect,
        retry: Some(retry).filter(|retry| !retry.is_empty()),
        enabled: !args.disabled,
    });
    session.client.create_trigger(&new).await
}

async fn create_storage(session: &Session, args: &StorageArgs) -> Result<Trigger, CliError> {
    // Not as clap reads it: a trigger of a bucket has nothing to do with a broker that the environment names.
    let from_environment = || args.queue.as_ref().and_then(|_| crate::args::amqp_from_environment());
    let amqp = args.amqp.clone().or_else(from_environment);
    if args.queue.is_some() && amqp.is_none() {
        return Err(
            CliError::usage("--queue is a queue of a RabbitMQ broker, and none was named")
                .hint("add --amqp URL, or set MAYFLY_AMQP"),
        );
    }
    let new = NewTrigger::Storage(NewWatch {
        name: args.name.as_deref(),
        function: args.function.as_str(),
        bucket: args.bucket.as_deref(),
        webhook: args.webhook,
        amqp: amqp.as_deref(),
        queue: args.queue.as_deref(),
        prefix: args.prefix.as_deref().unwrap_or_default(),
        suffix: args.suffix.as_deref().unwrap_or_default(),
        events: &args.events,
        retry: args.retry.request(),
        enabled: !args.disabled,
    });
    session.client.create_trigger(&new).await
}
