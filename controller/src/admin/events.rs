//! Events: what was accepted, and what became of it.

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::StatusCode;
use mayfly_invoker_api::{EventId, FunctionName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::admin::Admin;
use crate::admin::extract::{InNamespace, Params, invalid_parameter, page_rows, time};
use crate::code::Code;
use crate::problem::{Problem, ProblemDocument};
use crate::store::{Event, EventCounts, EventState, FailedAttempt, StoredResult};

/// Something that the platform has accepted and owes an ending.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    id: String,
    namespace: String,
    function: String,
    /// `queued`, `held` (it waits for the one before it in its order), `leased` (an attempt is under way), `succeeded`, `dead`, `expired` or `cancelled`.
    state: &'static str,
    /// `http`, `direct`, `cron`, `queue` or `storage`.
    source: &'static str,
    /// The trigger's name, where there is one.
    trigger: Option<String>,
    /// Attempts that were begun.
    attempts: u32,
    /// Those of them that count against the retry policy.
    failures: u32,
    /// The version of the last attempt.
    version: Option<u32>,
    /// It runs only on this version, since it was redriven to it.
    pinned_version: Option<u32>,
    /// Somebody has asked to cancel it.
    cancelling: bool,
    /// When it was accepted; RFC 3339, as all times.
    created_at: String,
    /// When it is or was due.
    due_at: String,
    /// When it is given up.
    expires_at: String,
    ended_at: Option<String>,
    /// How many events led to this one.
    depth: u32,
    /// Of those with the same key, one at a time is run.
    order_key: Option<String>,
    payload_bytes: u64,
    result: Option<ResultView>,
    /// The URL that is told about another event of the function; null for an event that runs the function.
    webhook: Option<String>,
    /// Of the last attempt, if it failed.
    error_code: Option<String>,
    error_message: Option<String>,
}

/// What the function answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResultView {
    http_status: Option<u16>,
    content_type: Option<String>,
    bytes: u64,
    /// JSON as it is, other text as a string, anything else as `{"base64": ...}`; null when it was too large to be kept.
    #[schema(value_type = Object)]
    body: Value,
}

/// One event with the attempts that failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventDetail {
    #[serde(flatten)]
    event: EventView,
    failed_attempts: Vec<AttemptView>,
}

/// An attempt that did not succeed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    attempt: u32,
    /// Its record; null if the function was not started.
    invocation_id: Option<String>,
    version: Option<u32>,
    started_at: String,
    ended_at: String,
    error_code: String,
    error_message: String,
}

/// One page of events, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Events {
    events: Vec<EventView>,
    /// Give this as `before` for the next page; null on the last one.
    next: Option<String>,
}

/// How much waits, runs and was given up in the namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Summary {
    queued: u64,
    queued_bytes: u64,
    /// For how long the first of those that are due has been so, in milliseconds.
    oldest_queued_ms: i64,
    /// Attempts that are under way.
    running: u64,
    /// Events that were given up and are still kept.
    dead_letters: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Rows of this page.
    limit: Option<u32>,
    /// The id before which this page begins.
    before: Option<String>,
    /// Only those of this function.
    function: Option<String>,
    /// Only those in this state.
    state: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct IdInPath {
    id: String,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let (error_code, error_message) = event.error.unzip();
        Self {
            id: event.id.to_string(),
            namespace: event.namespace.to_string(),
            function: event.function.to_string(),
            state: event.state.as_str(),
            source: event.source.as_str(),
            trigger: event.trigger,
            attempts: event.attempts,
            failures: event.burned,
            version: event.version.filter(|_| event.webhook.is_none()),
            pinned_version: event.pinned_version,
            cancelling: event.cancel_asked && event.ended_ms.is_none(),
            created_at: time(event.created_ms),
            due_at: time(event.due_ms),
            expires_at: time(event.expires_ms),
            ended_at: event.ended_ms.map(time),
            depth: event.depth,
            order_key: event.order_key,
            payload_bytes: event.payload_bytes,
            result: event.result.map(ResultView::from),
            webhook: event.webhook.map(|url| url.to_string()),
            error_code,
            error_message,
        }
    }
}

impl From<StoredResult> for ResultView {
    fn from(result: StoredResult) -> Self {
        Self {
            http_status: result.http_status,
            content_type: result.content_type,
            bytes: result.bytes,
            body: result.body.as_ref().map_or(Value::Null, shown),
        }
    }
}

fn shown(body: &Bytes) -> Value {
    serde_json::from_slice(body)
        .ok()
        .or_else(|| std::str::from_utf8(body).ok().map(Value::from))
        .unwrap_or_else(|| serde_json::json!({ "base64": BASE64.encode(body) }))
}

impl From<FailedAttempt> for AttemptView {
    fn from(failed: FailedAttempt) -> Self {
        Self {
            attempt: failed.attempt,
            invocation_id: failed.invocation_id.map(|id| id.to_string()),
            version: failed.version,
            started_at: time(failed.started_ms),
            ended_at: time(failed.ended_ms),
            error_code: failed.error_code,
            error_message: failed.error_message,
        }
    }
}

/// Lists events.
#[utoipa::path(get, path = "/v1/ns/{ns}/events",
    operation_id = "list_events", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), Page),
    responses((status = 200, body = Events), (status = 400, body = ProblemDocument)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Params(page): Params<Page>,
) -> Result<Json<Events>, Problem> {
    let limit = page_rows(page.limit, 50)?;
    let before = page
        .before
        .map(|id| id.parse::<EventId>())
        .transpose()
        .map_err(invalid_parameter)?;
    let function = page
        .function
        .map(|name| name.parse::<FunctionName>())
        .transpose()
        .map_err(invalid_parameter)?;
    let state = page.state.as_deref().map(state_named).transpose()?;
    let events = admin
        .parts
        .store
        .events(&namespace, function.as_ref(), state, before, limit)
        .await?;
    let full = events.len() == limit as usize;
    let next = events.last().filter(|_| full).map(|last| last.id.to_string());
    Ok(Json(Events {
        events: events.into_iter().map(EventView::from).collect(),
        next,
    }))
}

fn state_named(name: &str) -> Result<EventState, Problem> {
    EventState::from_name(name)
        .ok_or_else(|| invalid_parameter("state must be queued, held, leased, succeeded, dead, expired or cancelled"))
}

/// How much waits, runs and was given up in the namespace.
#[utoipa::path(get, path = "/v1/ns/{ns}/events/summary",
    operation_id = "summarize_events", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace")), responses((status = 200, body = Summary)))]
pub(super) async fn summary(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
) -> Result<Json<Summary>, Problem> {
    let counts = admin.parts.store.event_counts().await?;
    let count = counts.into_iter().find(|count| count.namespace == namespace);
    let now_ms = admin.parts.clock.unix_ms();
    let oldest_ms = count.as_ref().and_then(|count| count.first_due_ms).unwrap_or(now_ms);
    let number = |of: fn(&EventCounts) -> u64| count.as_ref().map_or(0, of);
    Ok(Json(Summary {
        queued: number(|count| count.queued),
        queued_bytes: number(|count| count.queued_bytes),
        oldest_queued_ms: now_ms.saturating_sub(oldest_ms).max(0),
        running: number(|count| count.running),
        dead_letters: number(|count| count.undelivered),
    }))
}

/// Shows one event.
#[utoipa::path(get, path = "/v1/ns/{ns}/events/{id}",
    operation_id = "get_event", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("id" = String, Path, description = "Event")),
    responses((status = 200, body = EventDetail), (status = 404, body = ProblemDocument)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<IdInPath>,
) -> Result<Json<EventDetail>, Problem> {
    let id: EventId = path.id.parse().map_err(invalid_parameter)?;
    let store = &admin.parts.store;
    let event = store.event(&namespace, id).await?.ok_or_else(|| not_found(id))?;
    let failed = store.failed_attempts(id).await?;
    Ok(Json(EventDetail {
        event: event.into(),
        failed_attempts: failed.into_iter().map(AttemptView::from).collect(),
    }))
}

/// Cancels an event that waits or runs. One that runs is stopped, and its time is billed until then.
#[utoipa::path(post, path = "/v1/ns/{ns}/events/{id}/cancel",
    operation_id = "cancel_event", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("id" = String, Path, description = "Event")),
    responses((status = 200, description = "It has ended", body = EventView),
        (status = 202, description = "It is being stopped", body = EventView),
        (status = 404, body = ProblemDocument)))]
pub(super) async fn cancel(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<IdInPath>,
) -> Result<(StatusCode, Json<EventView>), Problem> {
    let id: EventId = path.id.parse().map_err(invalid_parameter)?;
    let store = &admin.parts.store;
    let state = store.cancel_event(&namespace, id, admin.parts.clock.unix_ms()).await?;
    let state = state.ok_or_else(|| not_found(id))?;
    if state == EventState::Leased {
        admin.events.stop_running(id);
    }
    let event = store.event(&namespace, id).await?.ok_or_else(|| not_found(id))?;
    let status = if event.ended_ms.is_some() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(event.into())))
}

fn not_found(id: EventId) -> Problem {
    Problem::new(Code::EventNotFound, format!("there is no event {id} in this namespace"))
}
