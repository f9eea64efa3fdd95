//! The subcommands, one file each, and what they have in common: a client, and a runtime to wait on.

mod completions;
mod delete;
mod deploy;
mod describe;
mod explain;
mod invocations;
mod invoke;
mod list;
mod logs;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mayfly_invoker_api::FunctionName;

use crate::args::{Cli, Global};
use crate::client::Client;
use crate::error::{CliError, ErrorKind, cause_text};
use crate::serve;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server
    Serve(ServeArgs),

    #[command(flatten)]
    Client(ClientCommand),

    /// Print the completion script of a shell
    Completions(completions::Args),

    /// Explain an error code, or list all of them
    Explain(explain::Args),

    /// Compiles one artifact; the server starts this as a child of its own, with limits.
    #[command(hide = true)]
    Compile,
}

/// Where and on what the server runs.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Folder for everything the server keeps; else one of the user's own
    #[arg(long, env = "MAYFLY_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Address on which functions are called; port 0 takes a free one
    #[arg(
        long,
        env = "MAYFLY_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:8080"
    )]
    pub(crate) listen: SocketAddr,

    /// Address of the admin API; port 0 takes a free one
    #[arg(
        long,
        env = "MAYFLY_ADMIN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8081"
    )]
    pub(crate) admin: SocketAddr,

    /// Keep the state in this Postgres instead of a file, as postgres://USER:PASSWORD@HOST/NAME
    #[arg(long, env = "MAYFLY_DATABASE", value_name = "URL", hide_env_values = true)]
    pub(crate) database: Option<String>,

    /// How callers reach the functions' address, for the URLs that are shown
    #[arg(long, env = "MAYFLY_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,

    /// Profile of the client on this machine, to be told of this server; from the global options.
    #[arg(skip)]
    pub(crate) profile: Option<PathBuf>,
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
    /// Show what was consumed
    Usage(usage::Args),
    /// Delete a function with all its versions
    Delete(delete::Args),
}

/// What a client command works with.
#[derive(Debug)]
struct Session {
    client: Client,
    /// Whether the output is JSON.
    json: bool,
}

/// Does what the command line says.
///
/// # Errors
/// What to print, and which exit code to end with.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Serve(args) => serve::run(ServeArgs {
            profile: cli.global.profile_path(),
            ..args
        })?,
        Command::Client(command) => run_client(cli.global, &command)?,
        Command::Completions(args) => completions::run(&args)?,
        Command::Explain(args) => explain::run(&args, cli.global.json)?,
        Command::Compile => return Ok(mayfly_invoker::compile_child_main()),
    }
    Ok(ExitCode::SUCCESS)
}

fn run_client(global: Global, command: &ClientCommand) -> Result<(), CliError> {
    let client = Client::new(&global.connection()?, global.namespace)?;
    let session = Session {
        client,
        json: global.json,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| {
            CliError::new(
                ErrorKind::Failed,
                "internal",
                format!("cannot start: {}", cause_text(&cause)),
            )
        })?;
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
            Self::Usage(args) => usage::run(session, args).await,
            Self::Delete(args) => delete::run(session, args).await,
        }
    }

    /// The existing function that the command is about.
    fn function(&self) -> Option<&FunctionName> {
        match self {
            Self::Deploy(_) | Self::List | Self::Usage(_) => None,
            Self::Invoke(args) => Some(&args.name),
            Self::Describe(args) => Some(&args.name),
            Self::Logs(args) => Some(&args.name),
            Self::Invocations(args) => Some(&args.name),
            Self::Delete(args) => Some(&args.name),
        }
    }
}

impl Session {
    /// A command line that looks at the same namespace.
    fn command_line(&self, command: &str, name: &FunctionName) -> String {
        let namespace = self.client.namespace();
        match namespace.as_str() {
            "default" => format!("fn {command} {name}"),
            _ => format!("fn {command} {name} -n {namespace}"),
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
