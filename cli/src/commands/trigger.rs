//! `fn trigger create|list|show|enable|disable|fire|delete`.

mod create;

use clap::Subcommand;
use mayfly_invoker_api::FunctionName;
use serde_json::json;

use self::create::Create;
use crate::api::{Cron, Subscription, Trigger, Watch, What};
use crate::error::CliError;
use crate::output::{self, Fields, Table};
use crate::quantity::{time_text, timeout_text};
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

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// Name of the trigger
    name: String,
}

impl Args {
    /// The existing function that the command is about.
    pub(super) fn function(&self) -> Option<&FunctionName> {
        match &self.command {
            Command::Create(create) => Some(create.function()),
            _ => None,
        }
    }
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    match &args.command {
        Command::Create(create) => show(session, &create.run(session).await?),
        Command::List => list(session).await,
        Command::Show(args) => show(session, &session.client.trigger(&args.name).await?),
        Command::Enable(args) => show(session, &session.client.switch_trigger(&args.name, "enable").await?),
        Command::Disable(args) => show(session, &session.client.switch_trigger(&args.name, "disable").await?),
        Command::Fire(args) => fire(session, &args.name).await,
        Command::Delete(args) => delete(session, &args.name).await,
    }
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
            What::Storage(watch) => (watch_text(watch), None),
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
        What::Queue(_) | What::Storage(_) | What::Other(_) => trigger.state.clone().unwrap_or_else(|| "-".to_owned()),
    }
}

/// `photos/incoming/*.jpg created, removed`.
fn watch_text(watch: &Watch) -> String {
    let Watch {
        bucket,
        prefix,
        suffix,
        events,
        ..
    } = watch;
    let from = match (&watch.webhook, &watch.amqp) {
        (Some(_), _) => " by webhook".to_owned(),
        (None, Some(broker)) => format!(" by {broker}"),
        (None, None) => String::new(),
    };
    let bucket = bucket.as_deref().unwrap_or("*");
    format!("{bucket}/{prefix}*{suffix} {}{from}", events.join(", "))
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
        What::Storage(watch) => {
            add_watch(&mut fields, session, watch);
            if !trigger.enabled {
                fields.add("disabled", "changes are not made up for");
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
    if let Some(secret) = &trigger.webhook_secret {
        fields.add("secret", secret);
        output::note("the secret is not shown again");
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

fn add_watch(fields: &mut Fields, session: &Session, watch: &Watch) {
    fields.add("bucket", watch.bucket.as_deref().unwrap_or("any"));
    if let Some(path) = &watch.webhook {
        fields.add("webhook", session.client.address_of(path));
    }
    for (name, text) in [("broker", &watch.amqp), ("queue", &watch.queue)] {
        if let Some(text) = text {
            fields.add(name, text);
        }
    }
    for (name, text) in [("prefix", &watch.prefix), ("suffix", &watch.suffix)] {
        if !text.is_empty() {
            fields.add(name, text);
        }
    }
    fields.add("events", watch.events.join(", "));
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
