//! Invocation records.

use axum::Json;
use axum::extract::{Path, State};
use mayfly_invoker_api::{InvocationId, Start};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::admin::Admin;
use crate::admin::extract::{InNamespace, NamedFunction, Params, invalid_parameter, page_rows, require_function, time};
use crate::code::Code;
use crate::ledger::InvocationRecord;
use crate::problem::{Problem, ProblemDocument};

/// One attempt to run a function, and what it used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvocationView {
    id: String,
    namespace: String,
    function: String,
    version: u32,
    /// `http` or `direct`.
    trigger: &'static str,
    /// Stays the same over the attempts of one event.
    event_id: String,
    /// Counts from 1.
    attempt: u32,
    /// `ok` or `error`.
    status: &'static str,
    error_code: Option<String>,
    error_message: Option<String>,
    /// What the client got.
    http_status: Option<u16>,
    /// RFC 3339.
    started_at: String,
    /// Of the caller's `traceparent`.
    trace_id: Option<String>,
    usage: UsageView,
}

/// What one invocation used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageView {
    /// `cold` or `warm`; null if the function was not started.
    start: Option<&'static str>,
    /// Wall time from taking an instance to the guest's end.
    duration_ms: f64,
    /// The duration rounded up to whole milliseconds; 0 if the platform was at fault.
    billed_ms: u64,
    /// Time spent waiting for an instance, before the duration.
    queue_ms: f64,
    /// Time spent waiting for the function's code, before the duration.
    code_ms: f64,
    /// Of the duration, what it took to make the instance.
    init_ms: f64,
    /// Processor time.
    cpu_ms: f64,
    memory_limit_bytes: u64,
    /// Largest size of the guest's linear memories together.
    memory_peak_bytes: u64,
    /// Of the request's body, what the function was given.
    bytes_in: u64,
    /// Body of the response.
    bytes_out: u64,
}

/// One page of invocations, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Invocations {
    invocations: Vec<InvocationView>,
    /// Give this as `before` for the next page; null on the last one.
    next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Rows of this page.
    limit: Option<u32>,
    /// The id before which this page begins.
    before: Option<String>,
    /// `ok` or `error`.
    status: Option<Status>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Ok,
    Error,
}

impl From<InvocationRecord> for InvocationView {
    fn from(record: InvocationRecord) -> Self {
        let usage = usage_of(&record);
        let (error_code, error_message) = record.error.map(|error| (error.code, error.message)).unzip();
        Self {
            id: record.id.to_string(),
            namespace: record.namespace.to_string(),
            function: record.function.to_string(),
            version: record.version,
            trigger: record.trigger.as_str(),
            event_id: record.event_id.unwrap_or_else(|| record.id.to_string()),
            attempt: record.attempt,
            status: if error_code.is_none() { "ok" } else { "error" },
            error_code,
            error_message,
            http_status: record.http_status,
            started_at: time(record.started_at_ms),
            trace_id: record.trace_id,
            usage,
        }
    }
}

fn usage_of(record: &InvocationRecord) -> UsageView {
    UsageView {
        start: record.start.map(|start| match start {
            Start::Cold => "cold",
            Start::Warm => "warm",
        }),
        duration_ms: milliseconds(record.duration_us),
        billed_ms: record.billed_ms,
        queue_ms: milliseconds(record.queue_us),
        code_ms: milliseconds(record.code_us),
        init_ms: milliseconds(record.init_us),
        cpu_ms: milliseconds(record.cpu_us),
        memory_limit_bytes: u64::from(record.memory_mib) << 20,
        memory_peak_bytes: record.memory_peak_bytes,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people; the ledger keeps whole microseconds"
)]
fn milliseconds(us: u64) -> f64 {
    us as f64 / 1_000.0
}

/// Lists the invocations of a function. Whatever was answered before this request is in it.
#[utoipa::path(get, path = "/v1/ns/{ns}/functions/{name}/invocations",
    operation_id = "list_invocations", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Function"), Page),
    responses((status = 200, body = Invocations), (status = 400, body = ProblemDocument)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    NamedFunction(namespace, name): NamedFunction,
    Params(page): Params<Page>,
) -> Result<Json<Invocations>, Problem> {
    let limit = page_rows(page.limit, 50)?;
    let before = page
        .before
        .map(|id| id.parse::<InvocationId>())
        .transpose()
        .map_err(invalid_parameter)?;
    let failed = page.status.map(|status| status == Status::Error);
    flush(&admin).await?;
    let records = admin
        .parts
        .store
        .invocations(&namespace, &name, before, failed, limit)
        .await?;
    if records.is_empty() {
        require_function(&admin, &namespace, &name).await?;
    }
    let full = records.len() == limit as usize;
    let next = records.last().filter(|_| full).map(|last| last.id.to_string());
    Ok(Json(Invocations {
        invocations: records.into_iter().map(InvocationView::from).collect(),
        next,
    }))
}

#[derive(Deserialize)]
pub(super) struct IdInPath {
    id: String,
}

/// Shows one invocation.
#[utoipa::path(get, path = "/v1/ns/{ns}/invocations/{id}",
    operation_id = "get_invocation", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("id" = String, Path, description = "Invocation")),
    responses((status = 200, body = InvocationView), (status = 404, body = ProblemDocument)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<IdInPath>,
) -> Result<Json<InvocationView>, Problem> {
    let id: InvocationId = path.id.parse().map_err(invalid_parameter)?;
    flush(&admin).await?;
    let record = admin.parts.store.invocation(&namespace, id).await?;
    record.map(|record| Json(record.into())).ok_or_else(|| {
        Problem::new(
            Code::InvocationNotFound,
            format!("there is no invocation {id} in this namespace"),
        )
    })
}

/// Brings everything that was answered so far into the database.
pub(super) async fn flush(admin: &Admin) -> Result<(), Problem> {
    admin.parts.ledger.flush().await.map_err(|error| {
        tracing::error!(%error, "the ledger could not be brought up to date");
        Problem::new(
            Code::LedgerUnavailable,
            "the usage of the last moments cannot be read yet",
        )
    })
}
