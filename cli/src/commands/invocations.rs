//! `fn invocations NAME`.

use clap::builder::RangedU64ValueParser;
use mayfly_invoker_api::FunctionName;

use crate::api::Invocation;
use crate::client::InvocationQuery;
use crate::error::CliError;
use crate::output::{self, Table};
use crate::quantity::{bytes_text, ms_text, time_text};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the function
    pub(super) name: FunctionName,

    /// How many at most
    #[arg(long, value_name = "N", default_value = "50", value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    limit: usize,

    /// Only those that failed
    #[arg(long)]
    failed: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    let query = InvocationQuery {
        limit: args.limit,
        failed: args.failed,
    };
    let invocations = session.client.invocations(&args.name, query).await?;
    if session.json {
        return output::json(&invocations);
    }
    if invocations.is_empty() {
        let which = if args.failed {
            "failed invocations"
        } else {
            "invocations"
        };
        output::note(&format!("no {which} of {}", args.name));
        return Ok(());
    }
    output::table(table(invocations))
}

fn table(invocations: Vec<Invocation>) -> Table {
    let header = [
        "STARTED", "ID", "STATUS", "DURATION", "START", "VERSION", "TRIGGER", "MEMORY", "MESSAGE",
    ];
    let mut table = Table::new(&header);
    for invocation in invocations {
        let usage = &invocation.usage;
        table.row([
            time_text(&invocation.started_at),
            invocation.id,
            // The code of the error says more in as little room.
            invocation.error_code.unwrap_or(invocation.status),
            ms_text(usage.duration_ms),
            usage.start.clone().unwrap_or_else(|| "-".to_owned()),
            invocation.version.to_string(),
            invocation.trigger,
            bytes_text(usage.memory_peak_bytes),
            invocation.error_message.unwrap_or_default(),
        ]);
    }
    table
}
