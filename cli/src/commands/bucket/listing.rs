//! `fn bucket ls`.

use mayfly_invoker_api::BucketName;

use crate::api::Objects;
use crate::client::ObjectQuery;
use crate::error::CliError;
use crate::output::{self, Table};
use crate::quantity::{bytes_text, time_text};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the bucket
    bucket: BucketName,

    /// What keys begin with, such as raw/
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// All objects, in place of folders and what lies beside them
    #[arg(short, long)]
    recursive: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    let query = ObjectQuery {
        prefix: &args.prefix,
        delimiter: (!args.recursive).then_some("/"),
    };
    let found = session.client.objects(args.bucket.as_str(), query).await?;
    if session.json {
        return output::json(&found);
    }
    if found.objects.is_empty() && found.folders.is_empty() {
        output::note("no objects");
        return Ok(());
    }
    output::table(table(found))
}

fn table(found: Objects) -> Table {
    let mut table = Table::new(&["KEY", "SIZE", "MODIFIED"]);
    for folder in found.folders {
        table.row([folder, "-".to_owned(), "-".to_owned()]);
    }
    for object in found.objects {
        table.row([object.key, bytes_text(object.bytes), time_text(&object.modified_at)]);
    }
    table
}
