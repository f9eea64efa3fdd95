//! Triggers: what fires functions by the clock.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{FunctionName, Namespace};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::admin::Admin;
use crate::admin::extract::{Document, InNamespace, Params, invalid_parameter, page_rows, time};
use crate::code::Code;
use crate::config::{DETAIL_BYTES_MAX, JITTER_SECONDS_MAX, TRIGGERS_MAX};
use crate::events::Timing;
use crate::problem::{Problem, ProblemDocument};
use crate::store::{CronConfig, CronTrigger, Missed};

/// Longest name of a trigger, in characters.
const NAME_CHARS_MAX: usize = 63;
/// Longest name of a time zone that is looked up, in characters.
const ZONE_CHARS_MAX: usize = 64;

/// What fires a function.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTrigger {
    /// Unique in the namespace; without it, the function's name with `-cron` and a number.
    name: Option<String>,
    function: String,
    /// `cron`.
    kind: Kind,
    /// Five fields as in crontab, or six with seconds first; `@hourly` and its kin; `rate(5 minutes)`;
    /// `at(2026-12-31T23:59:00)`.
    schedule: String,
    /// As `Europe/Berlin`.
    #[serde(default = "utc")]
    timezone: String,
    /// What happens to ticks that nobody was there for.
    #[serde(default)]
    missed: Missed,
    /// Each tick is late by up to so many seconds.
    #[serde(default)]
    jitter_seconds: u32,
    /// The `detail` of the event; an empty object unless something else is given.
    #[serde(default = "nothing")]
    #[schema(value_type = Object)]
    detail: Value,
    /// In place of the function's own; what is left out is as the function has it at the moment.
    retry: Option<PartialRetry>,
    /// Whether it fires from now on.
    #[serde(default = "yes")]
    enabled: bool,
}

/// A part of a retry policy.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartialRetry {
    max_attempts: Option<u32>,
    backoff_seconds: Option<u32>,
    max_backoff_seconds: Option<u32>,
    max_age_seconds: Option<u32>,
}

impl PartialRetry {
    fn over(self, own: RetryPolicy) -> RetryPolicy {
        let backoff_seconds = self.backoff_seconds.unwrap_or(own.backoff_seconds);
        RetryPolicy {
            max_attempts: self.max_attempts.unwrap_or(own.max_attempts),
            backoff_seconds,
            // A longer first pause than the longest was asked for by itself.
            max_backoff_seconds: self
                .max_backoff_seconds
                .unwrap_or_else(|| own.max_backoff_seconds.max(backoff_seconds)),
            max_age_seconds: self.max_age_seconds.unwrap_or(own.max_age_seconds),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Cron,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

fn yes() -> bool {
    true
}

/// A trigger.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TriggerView {
    name: String,
    namespace: String,
    function: String,
    /// `cron`.
    kind: &'static str,
    schedule: String,
    timezone: String,
    missed: Missed,
    jitter_seconds: u32,
    #[schema(value_type = Object)]
    detail: Value,
    #[schema(value_type = Option<Object>)]
    retry: Option<RetryPolicy>,
    enabled: bool,
    created_at: String,
    /// Its last tick that fired; RFC 3339.
    last_fire_at: Option<String>,
    /// Its next tick.
    next_fire_at: Option<String>,
}

/// One page of triggers, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Triggers {
    triggers: Vec<TriggerView>,
    /// Give this as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// A trigger that was fired by hand.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fired {
    /// The event.
    id: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Rows of this page.
    limit: Option<u32>,
    /// The name after which this page begins.
    after: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct NameInPath {
    name: String,
}

impl From<CronTrigger> for TriggerView {
    fn from(trigger: CronTrigger) -> Self {
        Self {
            name: trigger.name,
            namespace: trigger.namespace.to_string(),
            function: trigger.function.to_string(),
            kind: "cron",
            schedule: trigger.config.schedule,
            timezone: trigger.config.timezone,
            missed: trigger.config.missed,
            jitter_seconds: trigger.config.jitter_seconds,
            detail: trigger.config.detail,
            retry: trigger.config.retry,
            enabled: trigger.enabled,
            created_at: time(trigger.created_ms),
            last_fire_at: trigger.last_ms.map(time),
            next_fire_at: trigger.next_ms.map(time),
        }
    }
}

/// Makes a trigger.
#[utoipa::path(post, path = "/v1/ns/{ns}/triggers",
    operation_id = "create_trigger", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace")), request_body = NewTrigger,
    responses((status = 201, body = TriggerView), (status = 400, body = ProblemDocument),
        (status = 404, description = "There is no such function", body = ProblemDocument),
        (status = 409, description = "There is a trigger of that name", body = ProblemDocument)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Document(new): Document<NewTrigger>,
) -> Result<(StatusCode, Json<TriggerView>), Problem> {
    let Kind::Cron = new.kind;
    let function: FunctionName = new.function.parse().map_err(invalid_parameter)?;
    let timing = checked(&new)?;
    let now_ms = admin.parts.clock.unix_ms();
    let next_ms = timing.next_ms(now_ms, now_ms);
    if next_ms.is_none() {
        return Err(Problem::new(
            Code::InvalidSchedule,
            "this schedule never fires from now on",
        ));
    }
    let own = admin.ingress.routes.of(&namespace, &function).await?.retry;
    let retry = new.retry.map(|retry| retry.over(own));
    retry.map_or(Ok(()), |retry| retry.check()).map_err(invalid_parameter)?;
    let store = &admin.parts.store;
    if store.count_triggers(&namespace).await? >= TRIGGERS_MAX {
        return Err(invalid_parameter(format!(
            "a namespace has at most {TRIGGERS_MAX} triggers"
        )));
    }
    let id = admin.events.ids.event(now_ms);
    let digits = id.to_string();
    let name = new.name.unwrap_or_else(|| default_name(&function, &digits));
    let trigger = CronTrigger {
        id,
        namespace,
        name,
        function,
        config: CronConfig {
            schedule: new.schedule,
            timezone: new.timezone,
            missed: new.missed,
            jitter_seconds: new.jitter_seconds,
            detail: new.detail,
            retry,
        },
        enabled: new.enabled,
        created_ms: now_ms,
        next_ms: next_ms.filter(|_| new.enabled),
        last_ms: None,
    };
    if !store.insert_trigger(&trigger).await? {
        return Err(Problem::new(
            Code::TriggerExists,
            format!("there is a trigger named {} in this namespace", trigger.name),
        ));
    }
    admin.events.scheduler.look_again();
    Ok((StatusCode::CREATED, Json(trigger.into())))
}

/// `FUNCTION-cron-` and the last digits of an id, which differ.
fn default_name(function: &FunctionName, digits: &str) -> String {
    let ending = format!("-cron-{}", &digits[digits.len() - 6..]);
    let room = NAME_CHARS_MAX - ending.len();
    let function = function.as_str();
    format!("{}{ending}", function[..function.len().min(room)].trim_end_matches('-'))
}

/// Everything that can be said without the database.
fn checked(new: &NewTrigger) -> Result<Timing, Problem> {
    if let Some(name) = &new.name {
        // A trigger's name follows the rules of a function's.
        name.parse::<FunctionName>()
            .map_err(|error| Problem::new(Code::InvalidName, error.to_string().replace("function", "trigger")))?;
    }
    if new.timezone.len() > ZONE_CHARS_MAX {
        return Err(Problem::new(
            Code::InvalidSchedule,
            "there is no time zone with such a long name",
        ));
    }
    if new.jitter_seconds > JITTER_SECONDS_MAX {
        return Err(invalid_parameter(format!(
            "jitter_seconds must be at most {JITTER_SECONDS_MAX}, not {}",
            new.jitter_seconds
        )));
    }
    let detail_bytes = new.detail.to_string().len();
    if detail_bytes > DETAIL_BYTES_MAX {
        return Err(invalid_parameter(format!(
            "detail has {detail_bytes} bytes; at most {DETAIL_BYTES_MAX} may be"
        )));
    }
    Timing::parse(&new.schedule, &new.timezone).map_err(|message| Problem::new(Code::InvalidSchedule, message))
}

/// Lists the triggers.
#[utoipa::path(get, path = "/v1/ns/{ns}/triggers",
    operation_id = "list_triggers", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), Page),
    responses((status = 200, body = Triggers), (status = 400, body = ProblemDocument)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Params(page): Params<Page>,
) -> Result<Json<Triggers>, Problem> {
    let limit = page_rows(page.limit, 100)?;
    let after = page
        .after
        .map(|name| name.parse::<FunctionName>())
        .transpose()
        .map_err(invalid_parameter)?;
    let after = after.as_ref().map_or("", FunctionName::as_str);
    let triggers = admin.parts.store.triggers(&namespace, after, limit).await?;
    let full = triggers.len() == limit as usize;
    let next = triggers.last().filter(|_| full).map(|last| last.name.clone());
    Ok(Json(Triggers {
        triggers: triggers.into_iter().map(TriggerView::from).collect(),
        next,
    }))
}

/// Shows a trigger.
#[utoipa::path(get, path = "/v1/ns/{ns}/triggers/{name}",
    operation_id = "get_trigger", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Trigger")),
    responses((status = 200, body = TriggerView), (status = 404, body = ProblemDocument)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<NameInPath>,
) -> Result<Json<TriggerView>, Problem> {
    find(&admin, &namespace, &path.name)
        .await
        .map(|trigger| Json(trigger.into()))
}

/// Deletes a trigger. Events that it has made stay.
#[utoipa::path(delete, path = "/v1/ns/{ns}/triggers/{name}",
    operation_id = "delete_trigger", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Trigger")),
    responses((status = 204, description = "It is gone"), (status = 404, body = ProblemDocument)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<NameInPath>,
) -> Result<StatusCode, Problem> {
    let trigger = find(&admin, &namespace, &path.name).await?;
    if admin.parts.store.delete_trigger(&namespace, &trigger.name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(not_found(&path.name))
    }
}

/// Lets a trigger fire from now on.
#[utoipa::path(post, path = "/v1/ns/{ns}/triggers/{name}/enable",
    operation_id = "enable_trigger", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Trigger")),
    responses((status = 200, body = TriggerView), (status = 404, body = ProblemDocument)))]
pub(super) async fn enable(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<NameInPath>,
) -> Result<Json<TriggerView>, Problem> {
    switch(&admin, &namespace, &path.name, true).await
}

/// Lets a trigger fire no more. Ticks until it is enabled again are not made up for.
#[utoipa::path(post, path = "/v1/ns/{ns}/triggers/{name}/disable",
    operation_id = "disable_trigger", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Trigger")),
    responses((status = 200, body = TriggerView), (status = 404, body = ProblemDocument)))]
pub(super) async fn disable(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<NameInPath>,
) -> Result<Json<TriggerView>, Problem> {
    switch(&admin, &namespace, &path.name, false).await
}

/// Fires a trigger now, enabled or not, beside its schedule.
#[utoipa::path(post, path = "/v1/ns/{ns}/triggers/{name}/fire",
    operation_id = "fire_trigger", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Trigger")),
    responses((status = 202, body = Fired), (status = 404, body = ProblemDocument)))]
pub(super) async fn fire(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<NameInPath>,
) -> Result<(StatusCode, Json<Fired>), Problem> {
    let trigger = find(&admin, &namespace, &path.name).await?;
    let event = admin
        .events
        .scheduler
        .event_now(&trigger, admin.parts.clock.unix_ms())
        .await?;
    let id = event.id.to_string();
    admin.events.accept(event).await?;
    Ok((StatusCode::ACCEPTED, Json(Fired { id })))
}

async fn switch(admin: &Admin, namespace: &Namespace, name: &str, enabled: bool) -> Result<Json<TriggerView>, Problem> {
    let trigger = find(admin, namespace, name).await?;
    if trigger.enabled != enabled {
        let now_ms = admin.parts.clock.unix_ms();
        let timing = Timing::parse(&trigger.config.schedule, &trigger.config.timezone)
            .map_err(|message| Problem::new(Code::InvalidSchedule, message))?;
        let next_ms = timing.next_ms(now_ms, trigger.created_ms).filter(|_| enabled);
        admin
            .parts
            .store
            .enable_trigger(namespace, name, enabled, next_ms)
            .await?;
        admin.events.scheduler.look_again();
    }
    find(admin, namespace, name).await.map(|trigger| Json(trigger.into()))
}

async fn find(admin: &Admin, namespace: &Namespace, name: &str) -> Result<CronTrigger, Problem> {
    if name.parse::<FunctionName>().is_err() {
        // No trigger has such a name, and not every database could be asked for it.
        return Err(not_found(name));
    }
    let found = admin.parts.store.trigger(namespace, name).await?;
    found.ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> Problem {
    let shown: String = name.chars().take(NAME_CHARS_MAX).collect();
    Problem::new(
        Code::TriggerNotFound,
        format!("there is no trigger named {shown} in this namespace"),
    )
}
