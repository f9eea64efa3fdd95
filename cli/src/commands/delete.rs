//! `fn delete NAME`.

use mayfly_invoker_api::FunctionName;
use serde_json::json;

use crate::error::CliError;
use crate::output;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the function
    pub(super) name: FunctionName,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    let (name, namespace) = (&args.name, session.client.namespace());
    if !args.yes {
        let question = format!("delete function {name} of namespace {namespace} with all its versions?");
        if !output::confirm(&question, &format!("{} --yes", session.command_line("delete", name)))? {
            output::note("nothing deleted");
            return Ok(());
        }
    }
    session.client.delete(name).await?;
    if session.json {
        return output::json(&json!({ "name": name, "namespace": namespace, "deleted": true }));
    }
    output::line(&format!("deleted {name}"))
}
