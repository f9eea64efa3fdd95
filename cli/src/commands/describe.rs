//! `fn describe NAME`.

use std::time::Duration;

use mayfly_invoker_api::FunctionName;

use crate::api::{FunctionDetail, Pool, Retry, Snapshot};
use crate::error::CliError;
use crate::output::{self, Fields, Table};
use crate::quantity::{bytes_text, ms_text, seconds_text, time_text, timeout_text};
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
    fields.add(
        "instances",
        format!(
            "{} kept warm, {} at most",
            latest.config.min_warm, latest.config.max_instances
        ),
    );
    add_pool(&mut fields, &function.pool);
    fields.add("snapshot", snapshot(function));
    if let Some(retry) = &latest.config.retry {
        fields.add("retry", retry_text(retry));
    }
    for (name, destination) in [
        ("on success", &latest.config.on_success),
        ("on failure", &latest.config.on_failure),
    ] {
        if let Some(destination) = destination {
            fields.add(name, destination);
        }
    }
    for (index, (key, value)) in latest.config.env.iter().enumerate() {
        fields.add(if index == 0 { "env" } else { "" }, format!("{key}={value}"));
    }
    if latest.config.allow_hosts.is_empty() {
        fields.add("may call", "no host");
    }
    for (index, host) in latest.config.allow_hosts.iter().enumerate() {
        fields.add(if index == 0 { "may call" } else { "" }, host);
    }
    fields
}

/// How events are tried again.
pub(super) fn retry_text(retry: &Retry) -> String {
    format!(
        "{} attempts, pauses from {} to {}, for at most {}",
        retry.max_attempts,
        seconds_text(retry.backoff_seconds),
        seconds_text(retry.max_backoff_seconds),
        seconds_text(retry.max_age_seconds)
    )
}

/// What there is of it just now.
fn add_pool(fields: &mut Fields, pool: &Pool) {
    let Pool {
        idle, running, waiting, ..
    } = pool;
    let resident = bytes_text(pool.resident_bytes);
    fields.add("pool", format!("{idle} idle, {running} running, about {resident}"));
    if *waiting > 0 {
        fields.add("", format!("{waiting} calls wait for an instance"));
    }
    if pool.single_use {
        fields.add("", "each instance serves one call only, so none is kept warm");
    }
    let code = pool.code_bytes.map_or("not in memory".to_owned(), bytes_text);
    fields.add("code", code);
}

fn snapshot(function: &FunctionDetail) -> String {
    match &function.snapshot {
        None => "not known before the next call".to_owned(),
        Some(Snapshot {
            init_saved_us: Some(saved_us),
            ..
        }) => format!(
            "yes: every instance is spared about {}",
            ms_text(Duration::from_micros(*saved_us).as_secs_f64() * 1000.0)
        ),
        Some(Snapshot { reason, .. }) => format!("no: {}", reason.as_deref().unwrap_or("for no known reason")),
    }
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
