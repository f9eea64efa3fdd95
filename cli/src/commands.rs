//! The command line: the subcommands, one file each.

mod bucket;
mod completions;
mod delete;
mod deploy;
mod describe;
mod dlq;
mod events;
mod explain;
mod invocations;
mod invoke;
mod list;
mod logs;
mod payload;
mod queue;
mod status;
mod trigger;
mod usage;
mod webhook;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use mayfly_invoker_api::FunctionName;

use crate::args::Global;
use crate::client::Client;
use crate::error::CliError;
use crate::session::Session;
use crate::{runtime, serve};

/// Run WebAssembly functions on your own server.
///
/// `fn serve` starts the server; every other command talks to it. Answers go to standard output, everything else to
/// standard error. Exit codes: 0 done, 1 the function or the request failed, 2 wrong use, 3 server not reachable,
/// 4 refused (token, quota).
#[derive(Debug, Parser)]
#[command(name = "fn", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "Environment: MAYFLY_URL, MAYFLY_TOKEN (else the profile that `fn serve` writes on the same \
machine), MAYFLY_NAMESPACE, MAYFLY_PROFILE (path of that profile), NO_COLOR.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server
    Serve(serve::Args),

    #[command(flatten)]
    Client(ClientCommand),

    /// Print the completion script of a shell
    Completions(completions::Args),

    /// Explain an error code, or list all of them
    Explain(explain::Args),

    /// Compiles one artifact; the server starts this as a child of its own, with limits.
    #[command(hide = true)]
    Compile {
        /// Initialise the component first
        #[arg(long)]
        snapshot: bool,

        /// Take one of WASI 0.3 too
        #[arg(long = "wasi-0-3")]
        wasi_0_3: bool,
    },
}

/// What talks to a server.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Make a wasm file a function, or a new version of one
    Deploy(deploy::Args),
    /// Call a function and print its answer
    Invoke(invoke::Args),
    /// List the functions
    List,
    /// Show a function and its versions
    Describe(describe::Args),
    /// Show what a function printed
    Logs(logs::Args),
    /// List the last invocations of a function
    Invocations(invocations::Args),
    /// Events: calls that are made later or again, and ticks of schedules
    Events(events::Args),
    /// What fires functions by itself
    Trigger(trigger::Args),
    /// Queues: messages for functions, or for whoever receives them
    Queue(queue::Args),
    /// Buckets: objects for functions, and for clients of S3
    Bucket(bucket::Args),
    /// Dead letters: events that were given up
    Dlq(dlq::Args),
    /// What receivers of webhooks check signatures with
    Webhook(webhook::Args),
    /// Show what was consumed
    Usage(usage::Args),
    /// Show what the server has done since it started
    Status,
    /// Delete a function with all its versions
    Delete(delete::Args),
}

/// Does what the command line says.
///
/// # Errors
/// What to print, and which exit code to end with.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Serve(args) => serve::run(args, cli.global.profile_path())?,
        Command::Client(command) => run_client(cli.global, &command)?,
        Command::Completions(args) => completions::run(&args, Cli::command())?,
        Command::Explain(args) => explain::run(&args, cli.global.json)?,
        Command::Compile { snapshot, wasi_0_3 } => {
            return Ok(mayfly_invoker::compile_child_main(snapshot, serve::wasi(wasi_0_3)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_client(global: Global, command: &ClientCommand) -> Result<(), CliError> {
    let client = Client::new(&global.connection()?, global.namespace)?;
    let session = Session {
        client,
        json: global.json,
    };
    let runtime = runtime::start(&mut tokio::runtime::Builder::new_current_thread())?;
    runtime.block_on(async {
        let result = command.run(&session).await;
        match (result, command.function()) {
            (Err(error), Some(name)) if error.code() == "function_not_found" => {
                Err(with_nearest_name(&session.client, name, error).await)
            }
            (result, _) => result,
        }
    })
}

impl ClientCommand {
    async fn run(&self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::Deploy(args) => deploy::run(session, args).await,
            Self::Invoke(args) => invoke::run(session, args).await,
            Self::List => list::run(session).await,
            Self::Describe(args) => describe::run(session, args).await,
            Self::Logs(args) => logs::run(session, args).await,
            Self::Invocations(args) => invocations::run(session, args).await,
            Self::Events(args) => events::run(session, args).await,
            Self::Trigger(args) => trigger::run(session, args).await,
            Self::Queue(args) => queue::run(session, args).await,
            Self::Bucket(args) => bucket::run(session, args).await,
            Self::Dlq(args) => dlq::run(session, args).await,
            Self::Webhook(args) => webhook::run(session, args).await,
            Self::Usage(args) => usage::run(session, args).await,
            Self::Status => status::run(session).await,
            Self::Delete(args) => delete::run(session, args).await,
        }
    }

    /// The existing function that the command is about.
    fn function(&self) -> Option<&FunctionName> {
        match self {
            Self::Bucket(_)
            | Self::Deploy(_)
            | Self::Events(_)
            | Self::List
            | Self::Queue(_)
            | Self::Status
            | Self::Usage(_)
            | Self::Webhook(_) => None,
            Self::Trigger(args) => args.function(),
            Self::Dlq(args) => args.function(),
            Self::Invoke(args) => Some(&args.name),
            Self::Describe(args) => Some(&args.name),
            Self::Logs(args) => Some(&args.name),
            Self::Invocations(args) => Some(&args.name),
            Self::Delete(args) => Some(&args.name),
        }
    }
}

/// Adds the name that was perhaps meant. When the names cannot be had, the error is enough by itself.
async fn with_nearest_name(client: &Client, name: &FunctionName, error: CliError) -> CliError {
    let functions = client.functions().await.unwrap_or_default();
    match nearest(name.as_str(), functions.iter().map(|function| function.name.as_str())) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error,
    }
}

/// The candidate that is a beginning or a typing error away from `name`.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| {
        if candidate.starts_with(name) || name.starts_with(candidate) {
            return Some(1);
        }
        let edits = strsim::osa_distance(name, candidate);
        (edits <= name.len().max(3) / 3).then_some(edits)
    };
    let near = candidates.filter_map(|candidate| distance(candidate).map(|distance| (distance, candidate)));
    near.min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_nearest_name_is_a_typing_error_away() {
        let names = ["hello-http", "order-total", "word-count"];
        for (typed, meant) in [
            ("hello", Some("hello-http")),
            ("helo-htpp", Some("hello-http")),
            ("word-count-2", Some("word-count")),
            ("oder-total", Some("order-total")),
            ("billing", None),
        ] {
            assert_eq!(nearest(typed, names.into_iter()), meant, "{typed}");
        }
    }
}
