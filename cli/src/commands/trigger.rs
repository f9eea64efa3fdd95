//! `fn trigger create|list|show|enable|disable|fire|delete`.

use clap::Subcommand;
use mayfly_invoker_api::FunctionName;
use serde_json::{Value, json};

use crate::api::{Cron, NewCron, NewSubscription, NewTrigger, RetryRequest, Subscription, Trigger, What};
use crate::error::CliError;
use crate::output::{self, Fields, Table};
use crate::quantity::{parse_seconds, parse_timeout_ms, time_text, timeout_text};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a trigger
    #[command(subcommand)]
    Create(Create),
    /// List the triggers
    List,
    /// Show a trigger
    Show(NameArgs),
    /// Let a trigger fire from now on
    Enable(NameArgs),
    /// Let a trigger fire no more
    Disable(NameArgs),
    /// Fire a trigger now, beside its schedule
    Fire(NameArgs),
    /// Delete a trigger; events that it has made stay
    Delete(NameArgs),
}

#[derive(Debug, Subcommand)]
enum Create {
    /// One that fires by the clock
    Cron(CronArgs),
    /// One that takes the messages of a queue
    Queue(Box<QueueArgs>),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Schedules: five fields as in crontab, or six with seconds first; @yearly, @monthly, @weekly, @daily, \
@hourly; rate(5 minutes); at(2026-12-31T23:59:00). docs/schedules.md says what happens when clocks are changed."
)]
struct CronArgs {
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

    /// Attempts at most, in place of the function's own number
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,

    /// The pause after the first failure, in place of the function's own
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    retry_backoff: Option<u32>,

    /// The age at which an event is given up, in place of the function's own
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    max_event_age: Option<u32>,

    /// Make it, but do not let it fire yet
    #[arg(long)]
    disabled: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Filters are patterns as in AWS EventBridge, about the attributes and the JSON body of a message: {\"body\": {\"type\": [\"OrderPlaced\"]}, \"attributes\": {\"region\": [{\"prefix\": \"eu-\"}]}}. docs/queues.md says more."
)]
struct QueueArgs {
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
struct NameArgs {
    /// Name of the trigger
    name: String,
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not one JSON document: {error}"))
}

impl Args {
    /// The existing function that the command is about.
    pub(super) fn function(&self) -> Option<&FunctionName> {
        match &self.command {
            Command::Create(Create::Cron(args)) => Some(&args.function),
            Command::Create(Create::Queue(args)) => Some(&args.function),
            _ => None,
        }
    }
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    match &args.command {
        Command::Create(Create::Cron(args)) => create_cron(session, args).await,
        Command::Create(Create::Queue(args)) => create_queue(session, args).await,
        Command::List => list(session).await,
        Command::Show(args) => show(session, &session.client.trigger(&args.name).await?),
        Command::Enable(args) => show(session, &session.client.switch_trigger(&args.name, "enable").await?),
        Command::Disable(args) => show(session, &session.client.switch_trigger(&args.name, "disable").await?),
        Command::Fire(args) => fire(session, &args.name).await,
        Command::Delete(args) => delete(session, &args.name).await,
    }
}

async fn create_cron(session: &Session, args: &CronArgs) -> Result<(), CliError> {
    let retry = RetryRequest {
        max_attempts: args.max_attempts,
        backoff_seconds: args.retry_backoff,
        max_age_seconds: args.max_event_age,
        ..RetryRequest::default()
    };
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
        retry: Some(retry).filter(|retry| !retry.is_empty()),
        enabled: !args.disabled,
    });
    show(session, &session.client.create_trigger(&new).await?)
}

async fn create_queue(session: &Session, args: &QueueArgs) -> Result<(), CliError> {
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
    show(session, &session.client.create_trigger(&new).await?)
}

async fn list(session: &Session) -> Result<(), CliError> {
    let triggers = session.client.triggers().await?;
    if session.json {
        return output::json(&triggers);
    }
    if triggers.is_empty() {
        output::note("no triggers");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "FUNCTION", "KIND", "BY", "NEXT", "LAST"]);
    for trigger in triggers {
        let next = next(&trigger);
        let (by, last) = match &trigger.what {
            What::Cron(Cron {
                schedule,
                timezone,
                last_fire_at,
                ..
            }) => (format!("{schedule} {timezone}"), last_fire_at.as_deref().map(time_text)),
            What::Queue(Subscription { queue, amqp, .. }) => {
                let at = amqp
                    .as_deref()
                    .map_or_else(String::new, |broker| format!(" at {broker}"));
                (format!("{queue}{at}"), None)
            }
            What::Other(_) => ("?".to_owned(), None),
        };
        table.row([
            trigger.name,
            trigger.function,
            trigger.kind,
            by,
            next,
            last.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    output::table(table)
}

fn next(trigger: &Trigger) -> String {
    match &trigger.what {
        _ if !trigger.enabled => "disabled".to_owned(),
        What::Cron(cron) => cron
            .next_fire_at
            .as_deref()
            .map_or_else(|| "no more".to_owned(), time_text),
        What::Queue(_) | What::Other(_) => trigger.state.clone().unwrap_or_else(|| "-".to_owned()),
    }
}

fn show(session: &Session, trigger: &Trigger) -> Result<(), CliError> {
    if session.json {
        return output::json(trigger);
    }
    let mut fields = Fields::default();
    fields.add("trigger", &trigger.name);
    fields.add("function", &trigger.function);
    fields.add("kind", &trigger.kind);
    match &trigger.what {
        What::Cron(cron) => add_cron(&mut fields, cron, next(trigger)),
        What::Queue(subscription) => {
            add_subscription(&mut fields, subscription);
            if !trigger.enabled {
                fields.add("disabled", "messages wait");
            }
        }
        What::Other(_) => {}
    }
    if let Some(state) = &trigger.state {
        let reason = trigger
            .state_reason
            .as_deref()
            .map_or_else(String::new, |reason| format!(": {reason}"));
        fields.add("state", format!("{state}{reason}"));
    }
    if let Some(waiting) = trigger.waiting {
        fields.add("waiting", waiting.to_string());
    }
    if let Some(retry) = &trigger.retry {
        fields.add("retry", super::describe::retry_text(retry));
    }
    output::line(fields.into_text().trim_end())
}

fn add_cron(fields: &mut Fields, cron: &Cron, next: String) {
    fields.add("schedule", &cron.schedule);
    fields.add("zone", &cron.timezone);
    fields.add("next", next);
    let last = cron.last_fire_at.as_deref();
    fields.add("last", last.map_or_else(|| "never".to_owned(), time_text));
    fields.add("missed", &cron.missed);
    if cron.jitter_seconds > 0 {
        fields.add("jitter", format!("up to {} s", cron.jitter_seconds));
    }
    if cron.detail.as_object().is_none_or(|detail| !detail.is_empty()) {
        fields.add("detail", cron.detail.to_string());
    }
}

fn add_subscription(fields: &mut Fields, subscription: &Subscription) {
    fields.add("queue", &subscription.queue);
    if let Some(broker) = &subscription.amqp {
        fields.add("broker", broker);
    }
    if let (Some(exchange), Some(key)) = (
        &subscription.dead_letter_exchange,
        &subscription.dead_letter_routing_key,
    ) {
        fields.add("dead letters", format!("to exchange '{exchange}' with key '{key}'"));
    }
    if let Some(filter) = &subscription.filter {
        fields.add("filter", filter.to_string());
    }
    if let Some(path) = &subscription.order_key {
        fields.add("order key", path);
    }
    let window = match subscription.window_ms {
        0 => String::new(),
        ms => format!(", waits up to {} for more", timeout_text(ms)),
    };
    fields.add("batch", format!("up to {}{window}", subscription.batch));
    fields.add("at once", format!("up to {}", subscription.concurrency));
    if !subscription.bisect {
        fields.add("bisect", "no");
    }
}

async fn fire(session: &Session, name: &str) -> Result<(), CliError> {
    let accepted = session.client.fire_trigger(name).await?;
    if session.json {
        return output::json(&accepted);
    }
    output::line(&output::escape_line(&accepted.id))
}

async fn delete(session: &Session, name: &str) -> Result<(), CliError> {
    session.client.delete_trigger(name).await?;
    if session.json {
        return output::json(&json!({ "name": name, "namespace": session.client.namespace(), "deleted": true }));
    }
    output::line(&format!("deleted {}", output::escape_line(name)))
}
