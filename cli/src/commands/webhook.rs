//! `fn webhook secret|rotate-secret`.

use clap::Subcommand;

use crate::api::WebhookSecret;
use crate::error::CliError;
use crate::output;
use crate::quantity::time_text;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the secret that the namespace's webhooks are signed with
    Secret,
    /// Make a new secret; the one before it signs, too, for 24 hours
    RotateSecret,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    let secret = match args.command {
        Command::Secret => session.client.webhook_secret().await?,
        Command::RotateSecret => session.client.rotate_webhook_secret().await?,
    };
    show(session, &secret)
}

/// The secret alone, so that a script can take it as it is.
fn show(session: &Session, secret: &WebhookSecret) -> Result<(), CliError> {
    if session.json {
        return output::json(secret);
    }
    if let Some(until) = &secret.former_until {
        output::note(&format!("the secret before it signs, too, until {}", time_text(until)));
    }
    output::line(&output::escape_line(&secret.secret))
}
