//! `fn invoke NAME`.

mod answer;

use mayfly_invoker_api::FunctionName;
use reqwest::StatusCode;

use self::answer::Document;
use super::payload::{Data, Payload};
use crate::api::Invocation;
use crate::client::{Later, Reply};
use crate::error::{CliError, ErrorKind};
use crate::output::{self, Fields};
use crate::quantity::{bytes_text, ms_text, parse_seconds};
use crate::session::Session;

pub(super) use self::answer::Sink;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Name of the function
    pub(super) name: FunctionName,

    /// What to give the function: JSON, the content of a file, or `-` for standard input
    #[arg(short, long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    data: Option<Data>,

    /// Show the record of the invocation on standard error
    #[arg(long, conflicts_with = "later")]
    report: bool,

    /// Do not wait for the answer: print the id of an event, which `fn events show` follows
    #[arg(long = "async")]
    later: bool,

    /// With --async: call it after this, such as 10m
    #[arg(long, value_name = "TIME", requires = "later", conflicts_with = "at", value_parser = parse_seconds)]
    delay: Option<u32>,

    /// With --async: call it at this time, such as 2026-12-31T23:59:00Z
    #[arg(long, value_name = "TIME", requires = "later")]
    at: Option<String>,

    /// With --async: attempts at most, in place of the function's own number
    #[arg(long, value_name = "N", requires = "later")]
    max_attempts: Option<u32>,

    /// Whatever is sent again with this key gets the first answer, for a day
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

const AFTER_HELP: &str = "Prints the bytes of the answer as they are; on a terminal, control characters are written out \
and a line break is added when there is none. With --json, one document: status (ok when the exit code is 0), response \
(JSON, else text, else {\"base64\": ...}), usage, invocation.";

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    let payload = Payload::read(args.data.as_ref())?;
    if args.later {
        return hand_in(session, args, payload).await;
    }
    let called = session
        .client
        .invoke(
            &args.name,
            payload.content_type,
            payload.bytes,
            args.idempotency_key.as_deref(),
        )
        .await;
    let mut reply = called.map_err(|error| with_data_hint(error, args))?;

    let mut sink = Sink::new(session.json);
    let broken = match &reply.problem {
        Some(_) if !session.json => None,
        _ => pass_on(&mut reply, &mut sink).await?,
    };
    let body = sink.finish()?;

    let record = if session.json || args.report || broken.is_some() {
        record(session, &reply.invocation_id).await
    } else {
        None
    };
    let failure = match (reply.problem, broken) {
        (Some(problem), _) => Some(problem),
        (None, Some(broken)) => Some(broken_answer(broken, record.as_ref())),
        (None, None) => error_status(reply.status),
    };
    if session.json {
        output::json(&Document::new(failure.is_none(), &body, record.as_ref())?)?;
    } else if let Some(record) = record.filter(|_| args.report) {
        output::note(&fields(&record).into_text());
    }
    let Some(failure) = failure else { return Ok(()) };
    let failure = with_data_hint(failure, args).with_invocation(Some(reply.invocation_id));
    Err(if ran(&failure) {
        let command_line = session.command_line("logs", &args.name);
        failure.hint_instead("fn logs", format!("see what it printed: {command_line}"))
    } else {
        failure
    })
}

/// Hands in an event and prints its id.
async fn hand_in(session: &Session, args: &Args, payload: Payload) -> Result<(), CliError> {
    let delay = args.delay.map(|seconds| format!("{seconds}s"));
    let later = Later {
        delay: delay.as_deref(),
        at: args.at.as_deref(),
        max_attempts: args.max_attempts,
        idempotency_key: args.idempotency_key.as_deref(),
    };
    let accepted = session
        .client
        .invoke_later(&args.name, payload.content_type, payload.bytes, &later)
        .await
        .map_err(|error| with_data_hint(error, args))?;
    if session.json {
        return output::json(&accepted);
    }
    output::line(&output::escape_line(&accepted.id))
}

/// Whether the function got as far as printing something.
fn ran(failure: &CliError) -> bool {
    matches!(
        failure.code(),
        "function_trapped" | "function_failed" | "bad_response" | "memory_exceeded" | "deadline_exceeded" | "cancelled"
    )
}

/// Brings the answer to its end; gives the reason when it does not come to one.
async fn pass_on(reply: &mut Reply, sink: &mut Sink) -> Result<Option<CliError>, CliError> {
    loop {
        match reply.chunk().await {
            Ok(Some(chunk)) => sink.take(&chunk)?,
            Ok(None) => return Ok(None),
            Err(broken) => return Ok(Some(broken)),
        }
    }
}

/// The record; the answer is worth printing without it too.
async fn record(session: &Session, id: &str) -> Option<Invocation> {
    let record = session.client.invocation(id).await;
    if let Err(error) = &record {
        output::note(&format!(
            "the record of the invocation cannot be had: {}",
            output::escape_line(error.message())
        ));
    }
    record.ok()
}

/// Why an answer broke off: the record knows better than the connection, when the function was the reason.
fn broken_answer(broken: CliError, record: Option<&Invocation>) -> CliError {
    match record.and_then(|record| record.error_code.clone().zip(record.error_message.clone())) {
        Some((code, message)) => CliError::new(ErrorKind::Failed, code, format!("the answer broke off: {message}")),
        None => broken,
    }
}

/// A function of the http kind can say that it failed, or that it was asked for the wrong thing.
fn error_status(status: StatusCode) -> Option<CliError> {
    let failed = status.is_client_error() || status.is_server_error();
    failed.then(|| {
        CliError::new(
            ErrorKind::Failed,
            "function_failed",
            format!("the function answered HTTP {status}"),
        )
    })
}

fn with_data_hint(error: CliError, args: &Args) -> CliError {
    if error.code() != "invalid_json" || args.data.is_some() {
        return error;
    }
    error.hint("give the function an event with --data, such as --data '{}'")
}

fn fields(record: &Invocation) -> Fields {
    let usage = &record.usage;
    let mut fields = Fields::default();
    fields.add("invocation", &record.id);
    fields.add("function", format!("{} version {}", record.function, record.version));
    let http_status = record
        .http_status
        .map(|status| format!(" (HTTP {status})"))
        .unwrap_or_default();
    fields.add(
        "status",
        format!("{}{http_status}", record.error_code.as_ref().unwrap_or(&record.status)),
    );
    fields.add("start", usage.start.as_deref().unwrap_or("none"));
    if usage.queue_ms + usage.code_ms > 0.0 {
        let (queue, code) = (ms_text(usage.queue_ms), ms_text(usage.code_ms));
        fields.add("waited", format!("{queue} for an instance, {code} for code"));
    }
    let (init, cpu) = (ms_text(usage.init_ms), ms_text(usage.cpu_ms));
    fields.add(
        "duration",
        format!(
            "{} (billed {} ms, init {init}, cpu {cpu})",
            ms_text(usage.duration_ms),
            usage.billed_ms
        ),
    );
    let (peak, limit) = (
        bytes_text(usage.memory_peak_bytes),
        bytes_text(usage.memory_limit_bytes),
    );
    fields.add("memory", format!("{peak} of {limit}"));
    fields.add(
        "in, out",
        format!("{}, {}", bytes_text(usage.bytes_in), bytes_text(usage.bytes_out)),
    );
    fields
}
