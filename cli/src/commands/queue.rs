//! `fn queue create|list|show|send|receive|purge|delete`.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::json;

use super::payload::Data;
use crate::api::{NewMessage, NewQueue, Queue};
use crate::client::Receive;
use crate::error::CliError;
use crate::output::{self, Fields, Table};
use crate::quantity::{parse_seconds, seconds_text, time_text};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a queue
    Create(CreateArgs),
    /// List the queues
    List,
    /// Show a queue and who takes its messages
    Show(NameArgs),
    /// Send a message
    Send(SendArgs),
    /// Receive messages that no trigger has taken, and delete them
    Receive(ReceiveArgs),
    /// Throw the messages of a queue away
    Purge(PurgeArgs),
    /// Delete a queue
    Delete(DeleteArgs),
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Name of the queue
    name: String,

    /// Keep each message from everybody for so long, such as 5s
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    delay: Option<u32>,

    /// How old a message may become [default: 4 days]
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    retention: Option<u32>,

    /// The queue to which messages go that could not be delivered
    #[arg(long, value_name = "QUEUE")]
    dead_letter: Option<String>,

    /// How often a message may be received, and not deleted, until it goes there [default: 10]
    #[arg(long, value_name = "N")]
    max_receives: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// Name of the queue
    name: String,
}

#[derive(Debug, clap::Args)]
struct SendArgs {
    /// Name of the queue
    name: String,

    /// What it says: text, mostly JSON; the content of a file; or `-` for standard input
    #[arg(value_name = "TEXT|@FILE|-", allow_hyphen_values = true)]
    body: Data,

    /// What the message says of itself, for filters; may be given several times
    #[arg(short, long = "attribute", value_name = "NAME=VALUE", value_parser = parse_attribute)]
    attributes: Vec<(String, String)>,

    /// Keep it from everybody for so long, in place of the queue's own time
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    delay: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct ReceiveArgs {
    /// Name of the queue
    name: String,

    /// How many at most
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100))]
    max: u32,

    /// Wait for a first one for up to this, at most 20s
    #[arg(long, value_name = "TIME", value_parser = parse_seconds, default_value = "0s")]
    wait: u32,

    /// Do not delete them: they are there again after --visibility
    #[arg(long)]
    keep: bool,

    /// For how long nobody else receives them
    #[arg(long, value_name = "TIME", value_parser = parse_seconds, default_value = "30s")]
    visibility: u32,
}

#[derive(Debug, clap::Args)]
struct PurgeArgs {
    /// Name of the queue
    name: String,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct DeleteArgs {
    /// Name of the queue
    name: String,

    /// Also if messages wait in it
    #[arg(long)]
    force: bool,
}

fn parse_attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    match &args.command {
        Command::Create(args) => create(session, args).await,
        Command::List => list(session).await,
        Command::Show(args) => show(session, &session.client.queue(&args.name).await?),
        Command::Send(args) => send(session, args).await,
        Command::Receive(args) => receive(session, args).await,
        Command::Purge(args) => purge(session, args).await,
        Command::Delete(args) => delete(session, args).await,
    }
}

async fn create(session: &Session, args: &CreateArgs) -> Result<(), CliError> {
    let new = NewQueue {
        name: &args.name,
        delay_seconds: args.delay,
        retention_seconds: args.retention,
        dead_letter: args.dead_letter.as_deref(),
        max_receives: args.max_receives,
    };
    show(session, &session.client.create_queue(&new).await?)
}

async fn list(session: &Session) -> Result<(), CliError> {
    let queues = session.client.queues().await?;
    if session.json {
        return output::json(&queues);
    }
    if queues.is_empty() {
        output::note("no queues");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "MESSAGES", "TRIGGERS", "WAITING", "DEAD LETTERS TO"]);
    for queue in queues {
        let waiting: u64 = queue.triggers.iter().map(|trigger| trigger.waiting).sum();
        table.row([
            queue.name,
            queue.messages.to_string(),
            queue.triggers.len().to_string(),
            waiting.to_string(),
            queue.dead_letter.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    output::table(table)
}

fn show(session: &Session, queue: &Queue) -> Result<(), CliError> {
    if session.json {
        return output::json(queue);
    }
    let mut fields = Fields::default();
    fields.add("queue", &queue.name);
    let received = match queue.received {
        0 => String::new(),
        received => format!(", {received} of them received and not deleted yet"),
    };
    fields.add("messages", format!("{}{received}", queue.messages));
    if let Some(oldest) = &queue.oldest_message_at {
        fields.add("oldest", time_text(oldest));
    }
    for trigger in &queue.triggers {
        let disabled = if trigger.enabled { "" } else { ", disabled" };
        let text = format!(
            "{} ({}): {} waiting{disabled}",
            trigger.name, trigger.function, trigger.waiting
        );
        fields.add("trigger", text);
    }
    if queue.delay_seconds > 0 {
        fields.add("delay", seconds_text(queue.delay_seconds));
    }
    fields.add("retention", seconds_text(queue.retention_seconds));
    if let Some(dead_letter) = &queue.dead_letter {
        fields.add(
            "dead letters",
            format!("to {dead_letter}, also after {} receives", queue.max_receives),
        );
    }
    output::line(fields.into_text().trim_end())
}

async fn send(session: &Session, args: &SendArgs) -> Result<(), CliError> {
    let attributes: BTreeMap<String, String> = args.attributes.iter().cloned().collect();
    let message = NewMessage {
        body: args.body.text()?,
        attributes,
        delay_seconds: args.delay,
    };
    let sent = session.client.send_messages(&args.name, &[message]).await?;
    if session.json {
        return output::json(&sent.first());
    }
    for message in &sent {
        output::line(&output::escape_line(&message.id))?;
        match message.events.len() {
            0 => output::note("no trigger wants it: it waits to be received"),
            1 => {}
            count => output::note(&format!("it went to {count} triggers")),
        }
    }
    Ok(())
}

async fn receive(session: &Session, args: &ReceiveArgs) -> Result<(), CliError> {
    let how = Receive {
        max: args.max,
        visibility_seconds: args.visibility,
        wait_seconds: args.wait,
    };
    let messages = session.client.receive_messages(&args.name, how).await?;
    if session.json {
        output::json(&messages)?;
    } else if messages.is_empty() {
        output::note("no messages");
    } else {
        for message in &messages {
            print(&message.body)?;
        }
    }
    // Only now: what could not be printed is not lost.
    if !args.keep {
        for message in &messages {
            session.client.delete_message(&args.name, &message.receipt).await?;
        }
    }
    Ok(())
}

/// As it is; on a terminal, without what a terminal obeys.
fn print(body: &str) -> Result<(), CliError> {
    if output::stdout_is_terminal() {
        output::escape_lines(body).try_for_each(|line| output::line(&line))
    } else {
        output::line(body)
    }
}

async fn purge(session: &Session, args: &PurgeArgs) -> Result<(), CliError> {
    let question = format!("throw all messages of {} away?", output::escape_line(&args.name));
    if !args.yes && !output::confirm(&question, "--yes")? {
        return Ok(());
    }
    let purged = session.client.purge_queue(&args.name).await?;
    if session.json {
        return output::json(&purged);
    }
    output::line(&format!(
        "{} messages, and {} that waited for triggers",
        purged.messages, purged.events
    ))
}

async fn delete(session: &Session, args: &DeleteArgs) -> Result<(), CliError> {
    session.client.delete_queue(&args.name, args.force).await?;
    if session.json {
        return output::json(&json!({ "name": args.name, "namespace": session.client.namespace(), "deleted": true }));
    }
    output::line(&format!("deleted {}", output::escape_line(&args.name)))
}
