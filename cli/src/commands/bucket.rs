//! `fn bucket create|list|show|delete|credentials|put|get|ls|rm`.

mod listing;
mod removal;
mod transfer;

use clap::Subcommand;
use mayfly_invoker_api::BucketName;
use serde_json::json;

use crate::api::{Bucket, BucketCredentials};
use crate::error::CliError;
use crate::output::{self, Fields, Table};
use crate::quantity::{bytes_text, time_text};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a bucket
    Create(NameArgs),
    /// List the buckets
    List,
    /// Show a bucket and who waits for its changes
    Show(NameArgs),
    /// Delete a bucket that is empty
    Delete(NameArgs),
    /// Show what clients of S3 come in with
    Credentials(CredentialsArgs),
    /// Write an object
    Put(transfer::PutArgs),
    /// Read an object
    Get(transfer::GetArgs),
    /// List objects
    Ls(listing::Args),
    /// Delete objects
    Rm(removal::Args),
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// Name of the bucket
    name: BucketName,
}

#[derive(Debug, clap::Args)]
struct CredentialsArgs {
    /// Name of the bucket
    name: BucketName,

    /// Make new ones; those before them open nothing any more
    #[arg(long)]
    rotate: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    match &args.command {
        Command::Create(args) => show(session, &session.client.create_bucket(args.name.as_str()).await?),
        Command::List => list(session).await,
        Command::Show(args) => show(session, &session.client.bucket(args.name.as_str()).await?),
        Command::Delete(args) => delete(session, args.name.as_str()).await,
        Command::Credentials(args) => credentials(session, args).await,
        Command::Put(args) => transfer::put(session, args).await,
        Command::Get(args) => transfer::get(session, args).await,
        Command::Ls(args) => listing::run(session, args).await,
        Command::Rm(args) => removal::run(session, args).await,
    }
}

async fn list(session: &Session) -> Result<(), CliError> {
    let buckets = session.client.buckets().await?;
    if session.json {
        return output::json(&buckets);
    }
    if buckets.is_empty() {
        output::note("no buckets");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "CREATED"]);
    for bucket in buckets {
        table.row([bucket.name, time_text(&bucket.created_at)]);
    }
    output::table(table)
}

fn show(session: &Session, bucket: &Bucket) -> Result<(), CliError> {
    if session.json {
        return output::json(bucket);
    }
    let mut fields = Fields::default();
    fields.add("bucket", &bucket.name);
    fields.add("created", time_text(&bucket.created_at));
    if let (Some(objects), Some(bytes)) = (bucket.objects, bucket.bytes) {
        fields.add("objects", format!("{objects}, {} together", bytes_text(bytes)));
    }
    for trigger in bucket.triggers.iter().flatten() {
        fields.add("trigger", trigger);
    }
    output::line(fields.into_text().trim_end())
}

async fn delete(session: &Session, name: &str) -> Result<(), CliError> {
    session.client.delete_bucket(name).await?;
    if session.json {
        return output::json(&json!({ "name": name, "namespace": session.client.namespace(), "deleted": true }));
    }
    output::line(&format!("deleted {}", output::escape_line(name)))
}

async fn credentials(session: &Session, args: &CredentialsArgs) -> Result<(), CliError> {
    let credentials = if args.rotate {
        session.client.rotate_bucket_credentials(args.name.as_str()).await?
    } else {
        session.client.bucket_credentials(args.name.as_str()).await?
    };
    if session.json {
        return output::json(&credentials);
    }
    print_exports(&credentials)
}

/// As a shell takes them, so that the next command can be `aws s3 ls`.
fn print_exports(credentials: &BucketCredentials) -> Result<(), CliError> {
    let BucketCredentials {
        endpoint,
        bucket,
        access_key_id,
        secret_access_key,
        ..
    } = credentials;
    for (name, value) in [
        ("AWS_ENDPOINT_URL_S3", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", access_key_id),
        ("AWS_SECRET_ACCESS_KEY", secret_access_key),
        // Any region does; clients want one.
        ("AWS_REGION", "us-east-1"),
    ] {
        // Quoted, because a shell will read what a server has said.
        let quoted = value.replace('\'', "'\\''");
        output::line(&output::escape_line(&format!("export {name}='{quoted}'")))?;
    }
    output::note(&format!(
        "for clients of S3, such as: aws s3 cp picture.jpg s3://{}/",
        output::escape_line(bucket)
    ));
    Ok(())
}
