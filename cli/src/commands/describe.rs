//! `fn describe NAME`.

use mayfly_invoker_api::FunctionName;

use crate::api::FunctionDetail;
use crate::error::CliError;
use crate::output::{self, Fields, Table};
use crate::quantity::{bytes_text, time_text, timeout_text};
use crate::session::Session;

/// Hex digits of a digest that people compare.
const DIGEST_DIGITS_SHOWN: usize = 12;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the function
    pub(super) name: FunctionName,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    let function = session.client.function(&args.name).await?;
    if session.json {
        return output::json(&function);
    }
    output::line(&fields(&function).into_text())?;
    output::table(versions(&function))
}

fn fields(function: &FunctionDetail) -> Fields {
    let latest = &function.latest;
    let mut fields = Fields::default();
    fields.add("name", &latest.name);
    fields.add("namespace", &latest.namespace);
    fields.add("url", &latest.url);
    fields.add("kind", &latest.kind);
    fields.add("version", latest.version.to_string());
    fields.add("deployed", time_text(&latest.created_at));
    fields.add("digest", latest.digest.to_string());
    fields.add("memory", format!("{} MiB", latest.config.memory_mib));
    fields.add("timeout", timeout_text(latest.config.timeout_ms));
    fields.add("isolation", &latest.config.isolation);
    fields.add(
        "instance",
        format!("replaced after {} calls", latest.config.max_requests_per_instance),
    );
    for (index, (key, value)) in latest.config.env.iter().enumerate() {
        fields.add(if index == 0 { "env" } else { "" }, format!("{key}={value}"));
    }
    fields
}

fn versions(function: &FunctionDetail) -> Table {
    let mut table = Table::new(&["VERSION", "DEPLOYED", "KIND", "SIZE", "MEMORY", "TIMEOUT", "SHA256"]);
    for version in &function.versions {
        let digest = version.digest.hex();
        table.row([
            version.version.to_string(),
            time_text(&version.created_at),
            version.kind.clone(),
            bytes_text(version.size_bytes),
            format!("{} MiB", version.config.memory_mib),
            timeout_text(version.config.timeout_ms),
            digest[..DIGEST_DIGITS_SHOWN].to_owned(),
        ]);
    }
    table
}
