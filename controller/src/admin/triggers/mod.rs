//! Triggers: what fires functions, by the clock or when a message comes.

pub(super) mod create;
mod view;
mod wanted;
mod watch;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use mayfly_invoker_api::{FunctionName, Namespace};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::{InNamespace, PageByName, Params, invalid_parameter, page_rows};
use crate::code::Code;
use crate::events::Timing;
use crate::ledger::Trigger;
use crate::problem::{Problem, ProblemDocument};
use crate::store::{EventTrigger, Lane, TriggerConfig};

use view::TriggerView;

/// Longest name of a trigger, in characters.
const NAME_CHARS_MAX: usize = 63;

/// One page of triggers, by name.
#[derive(Serialize, ToSchema)]
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

#[derive(Deserialize)]
pub(super) struct NameInPath {
    pub(super) name: String,
}

/// Lists the triggers.
#[utoipa::path(get, path = "/v1/ns/{ns}/triggers",
    operation_id = "list_triggers", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), PageByName),
    responses((status = 200, body = Triggers), (status = 400, body = ProblemDocument)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Params(page): Params<PageByName>,
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
        triggers: triggers.into_iter().map(|trigger| view(&admin, trigger)).collect(),
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
    let trigger = find(&admin, &namespace, &path.name).await?;
    let waiting = match trigger.config {
        TriggerConfig::Queue(_) => Some(admin.parts.store.count_waiting(&lane_of(&trigger)).await?),
        TriggerConfig::Cron(_) | TriggerConfig::Storage(_) => None,
    };
    let mut view = view(&admin, trigger);
    view.waiting = waiting;
    Ok(Json(view))
}

/// A trigger, and what its consumer does, if it has one here.
fn view(admin: &Admin, trigger: EventTrigger) -> TriggerView {
    let condition = admin.events.sources.condition(trigger.id);
    TriggerView::from(trigger).with_condition(condition.as_ref())
}

/// Where the events of a queue trigger wait.
pub(in crate::admin) fn lane_of(trigger: &EventTrigger) -> Lane {
    Lane::of(
        &trigger.namespace,
        &trigger.function,
        Trigger::Queue,
        Some(&trigger.name),
    )
}

/// Deletes a trigger. Events that it has made stay, also those that wait.
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
        changed(&admin);
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

/// Lets a trigger fire no more. Ticks until it is enabled again are not made up for; messages wait for it.
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
    let TriggerConfig::Cron(config) = &trigger.config else {
        return Err(invalid_parameter(format!(
            "only schedules are fired by hand; {} fires when something comes to its queue or bucket",
            trigger.name
        )));
    };
    let event = admin
        .events
        .scheduler
        .event_now(&trigger, config, admin.parts.clock.unix_ms())
        .await?;
    let id = event.id.to_string();
    admin.events.accept(event).await?;
    Ok((StatusCode::ACCEPTED, Json(Fired { id })))
}

async fn switch(admin: &Admin, namespace: &Namespace, name: &str, enabled: bool) -> Result<Json<TriggerView>, Problem> {
    let trigger = find(admin, namespace, name).await?;
    if trigger.enabled != enabled {
        let next_ms = match &trigger.config {
            TriggerConfig::Cron(config) => {
                let timing = Timing::parse(&config.schedule, &config.timezone)
                    .map_err(|message| Problem::new(Code::InvalidSchedule, message))?;
                timing
                    .next_ms(admin.parts.clock.unix_ms(), trigger.created_ms)
                    .filter(|_| enabled)
            }
            TriggerConfig::Queue(_) | TriggerConfig::Storage(_) => None,
        };
        admin
            .parts
            .store
            .enable_trigger(namespace, name, enabled, next_ms)
            .await?;
        changed(admin);
    }
    find(admin, namespace, name)
        .await
        .map(|trigger| Json(view(admin, trigger)))
}

/// Whoever works with triggers looks again.
fn changed(admin: &Admin) {
    admin.events.scheduler.look_again();
    admin.events.subscriptions.forget();
    admin.events.sources.look_again();
    admin.storage.watchers.forget();
}

async fn find(admin: &Admin, namespace: &Namespace, name: &str) -> Result<EventTrigger, Problem> {
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
