//! `fn status`.

use crate::error::CliError;
use crate::output::{self, Fields};
use crate::session::Session;

pub(super) async fn run(session: &Session) -> Result<(), CliError> {
    let invoker = session.client.invoker().await?;
    if session.json {
        return output::json(&invoker);
    }
    let code = &invoker.code;
    let mut fields = Fields::default();
    for (what, times) in [
        ("code compiled", code.compiled),
        ("code loaded from disk", code.loaded),
        ("code found in memory", code.found),
        ("code refused as not authentic", code.rejected),
    ] {
        fields.add(what, times.to_string());
    }
    output::line(&fields.into_text())
}
