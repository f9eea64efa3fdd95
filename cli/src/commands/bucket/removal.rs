//! `fn bucket rm`.

use mayfly_invoker_api::BucketName;
use serde_json::json;

use crate::client::ObjectQuery;
use crate::error::{CliError, ErrorKind};
use crate::output;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the bucket
    bucket: BucketName,

    /// Keys of the objects
    #[arg(required_unless_present = "prefix")]
    keys: Vec<String>,

    /// All objects whose keys begin so; "" means all there are
    #[arg(long, value_name = "PREFIX", conflicts_with = "keys")]
    prefix: Option<String>,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    let keys = match &args.prefix {
        Some(prefix) => {
            let query = ObjectQuery {
                prefix,
                delimiter: None,
            };
            let found = session.client.objects(args.bucket.as_str(), query).await?;
            found.objects.into_iter().map(|object| object.key).collect()
        }
        None => args.keys.clone(),
    };
    let mut deleted = Vec::new();
    let mut missing = Vec::new();
    let mut failed = Ok(());
    for key in keys {
        match session.client.delete_object(args.bucket.as_str(), &key).await {
            Ok(true) => deleted.push(key),
            Ok(false) => missing.push(key),
            Err(error) => {
                failed = Err(error);
                break;
            }
        }
    }
    // What was deleted until something failed is told, too.
    if session.json {
        output::json(&json!({ "bucket": args.bucket.as_str(), "deleted": deleted, "missing": missing }))?;
    } else {
        deleted
            .iter()
            .try_for_each(|key| output::line(&format!("deleted {}", output::escape_line(key))))?;
    }
    failed?;
    // Of those that a list named, somebody else was faster: gone is gone.
    match missing.first().filter(|_| args.prefix.is_none()) {
        None => Ok(()),
        Some(key) => Err(CliError::new(
            ErrorKind::Failed,
            "object_not_found",
            format!("there is no object {} in {}", output::escape_line(key), args.bucket),
        )
        .hint(format!("see what is there: fn bucket ls {} --recursive", args.bucket))),
    }
}
