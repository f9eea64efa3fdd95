//! `fn list`.

use crate::error::CliError;
use crate::output;
use crate::quantity::time_text;
use crate::session::Session;

pub(super) async fn run(session: &Session) -> Result<(), CliError> {
    let functions = session.client.functions().await?;
    if session.json {
        return output::json(&functions);
    }
    if functions.is_empty() {
        output::note(&format!(
            "no functions in namespace {} yet; `fn deploy FILE` makes one",
            session.client.namespace()
        ));
        return Ok(());
    }
    let mut table = output::Table::new(&["NAME", "KIND", "VERSION", "URL", "DEPLOYED"]);
    for function in functions {
        let deployed = time_text(&function.created_at);
        table.row([
            function.name,
            function.kind,
            function.version.to_string(),
            function.url,
            deployed,
        ]);
    }
    output::table(table)
}
