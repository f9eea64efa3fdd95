//! What every command takes from the command line and the environment.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use mayfly_invoker_api::Namespace;

use crate::client::Connection;
use crate::error::CliError;
use crate::profile::Profile;

/// Where `fn serve` listens unless told otherwise.
const URL_DEFAULT: &str = "http://127.0.0.1:8081";

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print one JSON document instead of text (errors too, on standard error)
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    pub(crate) json: bool,

    /// Namespace of the function
    #[arg(
        short,
        long,
        global = true,
        env = "MAYFLY_NAMESPACE",
        value_name = "NS",
        default_value = "default"
    )]
    pub(crate) namespace: Namespace,

    /// Admin address of the server; else the current one of the profile
    #[arg(long, global = true, env = "MAYFLY_URL", value_name = "URL")]
    pub(crate) url: Option<String>,

    /// When to colour messages; `auto` heeds NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,

    /// File with servers and tokens.
    #[arg(long, global = true, hide = true, env = "MAYFLY_PROFILE", value_name = "FILE")]
    profile: Option<PathBuf>,
}

/// When to colour.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Global {
    /// Path of the profile; none when it was not named and the user has no folder for configuration.
    pub(crate) fn profile_path(&self) -> Option<PathBuf> {
        let named = self.profile.clone().filter(|path| !path.as_os_str().is_empty());
        named.or_else(|| dirs::config_dir().map(|dir| dir.join("mayfly/profile.toml")))
    }

    /// The server and the token: from flags and environment, what is missing from the profile.
    ///
    /// # Errors
    /// `profile_unreadable`; the file is not touched when nothing is missing.
    pub(crate) fn connection(&self) -> Result<Connection, CliError> {
        let url = self.url.clone().filter(|url| !url.is_empty());
        let token = token_from_environment();
        let profile = match self.profile_path() {
            Some(path) if url.is_none() || token.is_none() => Profile::load(&path)?,
            _ => Profile::default(),
        };
        let url = url
            .or_else(|| profile.current().map(str::to_owned))
            .unwrap_or_else(|| URL_DEFAULT.to_owned());
        let token = token.or_else(|| profile.token(&url).map(str::to_owned));
        Ok(Connection { url, token })
    }
}

/// Not a flag, because other users of the machine can read the command lines of all processes.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
fn token_from_environment() -> Option<String> {
    std::env::var("MAYFLY_TOKEN").ok().filter(|token| !token.is_empty())
}

/// The broker that is meant when a queue of one is named; for the same reason.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub(crate) fn amqp_from_environment() -> Option<String> {
    std::env::var("MAYFLY_AMQP").ok().filter(|url| !url.is_empty())
}
