//! `fn events list|show|cancel`.

use std::time::Duration;

use clap::Subcommand;
use clap::builder::RangedU64ValueParser;
use mayfly_invoker_api::FunctionName;

use crate::api::{Event, EventDetail};
use crate::client::EventQuery;
use crate::error::CliError;
use crate::output::{self, Fields, Table};
use crate::quantity::{bytes_text, time_text};
use crate::session::Session;

/// States of an event.
const STATES: [&str; 6] = ["queued", "leased", "succeeded", "dead", "expired", "cancelled"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List events, newest first
    List(ListArgs),
    /// Show an event with its result and the attempts that failed
    Show(IdArgs),
    /// Stop an event that waits or runs
    Cancel(IdArgs),
    /// How many wait and for how long, how many run, how many were given up
    Summary,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only those of this function
    function: Option<FunctionName>,

    /// Only those in this state
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    state: Option<String>,

    /// How many at most
    #[arg(long, value_name = "N", default_value = "50", value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    limit: usize,
}

#[derive(Debug, clap::Args)]
struct IdArgs {
    /// Id of the event
    id: String,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    match &args.command {
        Command::List(args) => list(session, args).await,
        Command::Show(args) => show(session, &args.id).await,
        Command::Cancel(args) => cancel(session, &args.id).await,
        Command::Summary => summary(session).await,
    }
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), CliError> {
    let query = EventQuery {
        function: args.function.as_ref(),
        state: args.state.as_deref(),
        limit: args.limit,
    };
    let events = session.client.events(&query).await?;
    if session.json {
        return output::json(&events);
    }
    if events.is_empty() {
        output::note("no events");
        return Ok(());
    }
    output::table(table(events))
}

/// One row for each event.
pub(super) fn table(events: Vec<Event>) -> Table {
    let header = ["ID", "FUNCTION", "STATE", "ATTEMPTS", "DUE", "SOURCE", "MESSAGE"];
    let mut table = Table::new(&header);
    for event in events {
        let source = source(&event).to_owned();
        table.row([
            event.id,
            event.function,
            event.state,
            event.attempts.to_string(),
            time_text(&event.due_at),
            source,
            event.error_message.unwrap_or_default(),
        ]);
    }
    table
}

/// What made an event; one for a webhook was made by the end of another.
fn source(event: &Event) -> &str {
    match (&event.webhook, &event.trigger) {
        (Some(_), _) => "webhook",
        (None, Some(trigger)) => trigger,
        (None, None) => &event.source,
    }
}

/// Shows one event; a dead letter is one, too.
pub(super) async fn show(session: &Session, id: &str) -> Result<(), CliError> {
    let detail = session.client.event(id).await?;
    if session.json {
        return output::json(&detail);
    }
    output::line(fields(&detail).into_text().trim_end())?;
    if detail.failed_attempts.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["ATTEMPT", "STARTED", "VERSION", "CODE", "MESSAGE"]);
    for failed in &detail.failed_attempts {
        table.row([
            failed.attempt.to_string(),
            time_text(&failed.started_at),
            failed
                .version
                .map_or_else(|| "-".to_owned(), |version| version.to_string()),
            failed.error_code.clone(),
            failed.error_message.clone(),
        ]);
    }
    output::line("")?;
    output::prose_table(table)
}

fn fields(detail: &EventDetail) -> Fields {
    let event = &detail.event;
    let mut fields = Fields::default();
    fields.add("event", &event.id);
    fields.add("function", &event.function);
    let state = if event.cancelling {
        format!("{}, being cancelled", event.state)
    } else {
        event.state.clone()
    };
    fields.add("state", state);
    fields.add("source", source(event));
    if let Some(url) = &event.webhook {
        fields.add("tells", url);
    }
    fields.add(
        "attempts",
        format!("{}, of which {} failures count", event.attempts, event.failures),
    );
    if let Some(version) = event.version {
        let pinned = if event.pinned_version.is_some() {
            " (bound to it)"
        } else {
            ""
        };
        fields.add("version", format!("{version}{pinned}"));
    }
    fields.add("accepted", time_text(&event.created_at));
    match &event.ended_at {
        Some(ended_at) => fields.add("ended", time_text(ended_at)),
        None => {
            fields.add("due", time_text(&event.due_at));
            fields.add("expires", time_text(&event.expires_at));
        }
    }
    fields.add("payload", bytes_text(event.payload_bytes));
    if let Some(result) = &event.result {
        let status = result
            .http_status
            .map(|status| format!(", HTTP {status}"))
            .unwrap_or_default();
        fields.add("result", format!("{}{status}", bytes_text(result.bytes)));
        if !result.body.is_null() {
            fields.add("", result.body.to_string());
        }
    }
    if let (Some(code), Some(message)) = (&event.error_code, &event.error_message) {
        fields.add("error", format!("{code}: {message}"));
    }
    fields
}

async fn summary(session: &Session) -> Result<(), CliError> {
    let summary = session.client.event_summary().await?;
    if session.json {
        return output::json(&summary);
    }
    let mut fields = Fields::default();
    fields.add(
        "queued",
        format!("{} with {}", summary.queued, bytes_text(summary.queued_bytes)),
    );
    let oldest = Duration::from_millis(summary.oldest_queued_ms).as_secs();
    fields.add("oldest", format!("{oldest} s"));
    fields.add("running", summary.running.to_string());
    fields.add("given up", summary.dead_letters.to_string());
    output::line(fields.into_text().trim_end())
}

async fn cancel(session: &Session, id: &str) -> Result<(), CliError> {
    let event = session.client.cancel_event(id).await?;
    if session.json {
        return output::json(&event);
    }
    let said = match event.state.as_str() {
        "cancelled" => format!("cancelled {}", event.id),
        "leased" => format!("{} runs and is being stopped", event.id),
        state => format!("{} had ended before: {state}", event.id),
    };
    output::line(&output::escape_line(&said))
}
