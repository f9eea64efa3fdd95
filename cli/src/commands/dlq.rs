//! `fn dlq list|show|redrive|purge`: events that were not delivered.

use clap::Subcommand;
use clap::builder::RangedU64ValueParser;
use mayfly_invoker_api::FunctionName;

use super::events;
use crate::api::{Choice, Event, Handled};
use crate::client::EventQuery;
use crate::error::CliError;
use crate::output;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters, newest first
    List(ListArgs),
    /// Show a dead letter with its attempts
    Show {
        /// Id of the event
        id: String,
    },
    /// Deliver dead letters again
    Redrive(RedriveArgs),
    /// Throw dead letters away
    Purge(PurgeArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only those of this function
    function: Option<FunctionName>,

    /// How many at most
    #[arg(long, value_name = "N", default_value = "50", value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    limit: usize,
}

#[derive(Debug, clap::Args)]
struct ChoiceArgs {
    /// The function
    function: FunctionName,

    /// Ids of the dead letters
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,

    /// All dead letters of the function
    #[arg(long)]
    all: bool,

    /// Only say which ones they are
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct RedriveArgs {
    #[command(flatten)]
    choice: ChoiceArgs,

    /// Run them on this version of the function; else on the latest
    #[arg(long, value_name = "N")]
    version: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct PurgeArgs {
    #[command(flatten)]
    choice: ChoiceArgs,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    match &args.command {
        Command::List(args) => list(session, args).await,
        Command::Show { id } => events::show(session, id).await,
        Command::Redrive(args) => handle(session, &args.choice, "redrive", args.version).await,
        Command::Purge(args) => purge(session, args).await,
    }
}

impl Args {
    /// The existing function that the command is about.
    pub(super) fn function(&self) -> Option<&FunctionName> {
        match &self.command {
            Command::Redrive(args) => Some(&args.choice.function),
            Command::Purge(args) => Some(&args.choice.function),
            Command::List(_) | Command::Show { .. } => None,
        }
    }
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), CliError> {
    let mut letters: Vec<Event> = Vec::new();
    for state in ["dead", "expired"] {
        let query = EventQuery {
            function: args.function.as_ref(),
            state: Some(state),
            limit: args.limit,
        };
        letters.extend(session.client.events(&query).await?);
    }
    // Ids begin with the time.
    letters.sort_by(|one, other| other.id.cmp(&one.id));
    letters.truncate(args.limit);
    if session.json {
        return output::json(&letters);
    }
    if letters.is_empty() {
        output::note("no dead letters");
        return Ok(());
    }
    output::table(events::table(letters))
}

async fn purge(session: &Session, args: &PurgeArgs) -> Result<(), CliError> {
    let choice = &args.choice;
    if !args.yes && !choice.dry_run {
        let question = format!(
            "throw away dead letters of {}? They cannot be brought back",
            choice.function
        );
        let again = format!("{} ... --yes", session.command_line("dlq purge", &choice.function));
        if !output::confirm(&question, &again)? {
            output::note("nothing thrown away");
            return Ok(());
        }
    }
    handle(session, choice, "purge", None).await
}

/// Asks until nothing is left of what was meant.
async fn handle(
    session: &Session,
    args: &ChoiceArgs,
    what: &'static str,
    version: Option<u32>,
) -> Result<(), CliError> {
    let choice = Choice {
        ids: (!args.all).then(|| args.ids.clone()),
        all: args.all,
        version,
        dry_run: args.dry_run,
    };
    let mut all = Handled {
        ids: Vec::new(),
        changed: 0,
        more: false,
    };
    loop {
        let handled = session
            .client
            .handle_dead_letters(&args.function, what, &choice)
            .await?;
        all.ids.extend(handled.ids);
        all.changed += handled.changed;
        all.more = handled.more;
        // What was changed is no dead letter any more, so asking again goes on behind it.
        if !handled.more || handled.changed == 0 {
            break;
        }
    }
    if session.json {
        return output::json(&all);
    }
    let done = if what == "purge" { "thrown away" } else { "queued again" };
    if args.dry_run {
        for id in &all.ids {
            output::line(&output::escape_line(id))?;
        }
        let more = if all.more { ", and more" } else { "" };
        output::note(&format!("{} dead letters would be {done}{more}", all.ids.len()));
        return Ok(());
    }
    output::line(&format!("{} dead letters {done}", all.changed))
}
