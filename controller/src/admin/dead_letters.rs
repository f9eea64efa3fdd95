//! Dead letters: events that were not delivered, run again or thrown away. They are listed as events.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{EventId, FunctionName, Namespace};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::{Document, NamedFunction, invalid_parameter};
use crate::code::Code;
use crate::config::REDRIVEN_MAX;
use crate::problem::{Problem, ProblemDocument};
use crate::store::Redrive;

/// Which dead letters are meant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Choice {
    /// These.
    ids: Option<Vec<String>>,
    /// Or all of the function.
    #[serde(default)]
    all: bool,
    /// Run them on this version; without it, on the latest one.
    version: Option<u32>,
    /// Only say which ones they are.
    #[serde(default)]
    dry_run: bool,
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Handled {
    /// The events that were meant and are dead letters.
    ids: Vec<String>,
    /// How many of them were changed; 0 in a dry run.
    changed: u64,
    /// There are more; ask again.
    more: bool,
}

/// Queues dead letters again, with all attempts before them.
#[utoipa::path(post, path = "/v1/ns/{ns}/functions/{name}/dead-letters/redrive",
    operation_id = "redrive_dead_letters", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Function")),
    request_body = Choice,
    responses((status = 200, body = Handled), (status = 404, body = ProblemDocument)))]
pub(super) async fn redrive(
    State(admin): State<Admin>,
    NamedFunction(namespace, name): NamedFunction,
    Document(choice): Document<Choice>,
) -> Result<Json<Handled>, Problem> {
    let route = admin.ingress.routes.of(&namespace, &name).await;
    if let Some(number) = choice.version
        && admin.parts.store.version(&namespace, &name, number).await?.is_none()
    {
        return Err(invalid_parameter(format!("there is no version {number} of {name}")));
    }
    let (ids, more) = chosen(&admin, &namespace, &name, (choice.ids, choice.all)).await?;
    // What a function has left behind that is to be told outside needs no function.
    let (retry, gone) = match route {
        Ok(route) => (route.retry, None),
        Err(problem) if problem.code == Code::FunctionNotFound => (RetryPolicy::default(), Some(problem)),
        Err(problem) => return Err(problem),
    };
    let store = &admin.parts.store;
    let ids = match gone {
        None => ids,
        Some(problem) => match store.webhooks_among(&namespace, &ids).await? {
            none if none.is_empty() => return Err(problem),
            webhooks => webhooks,
        },
    };
    let now_ms = admin.parts.clock.unix_ms();
    let redrive = Redrive {
        version: choice.version,
        due_ms: now_ms,
        expires_ms: now_ms.saturating_add(retry.max_age_ms()),
    };
    let lanes = if choice.dry_run {
        Vec::new()
    } else {
        store.redrive_events(&namespace, &ids, redrive).await?
    };
    let changed = lanes.len() as u64;
    for lane in BTreeSet::from_iter(lanes) {
        admin.events.wakeups.wake(lane, now_ms);
    }
    Ok(handled(&ids, changed, more))
}

/// Throws dead letters away.
#[utoipa::path(post, path = "/v1/ns/{ns}/functions/{name}/dead-letters/purge",
    operation_id = "purge_dead_letters", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Function")),
    request_body = Choice,
    responses((status = 200, body = Handled), (status = 404, body = ProblemDocument)))]
pub(super) async fn purge(
    State(admin): State<Admin>,
    NamedFunction(namespace, name): NamedFunction,
    Document(choice): Document<Choice>,
) -> Result<Json<Handled>, Problem> {
    if choice.version.is_some() {
        return Err(invalid_parameter("version means nothing for a purge"));
    }
    let (ids, more) = chosen(&admin, &namespace, &name, (choice.ids, choice.all)).await?;
    let changed = if choice.dry_run {
        0
    } else {
        admin.parts.store.purge_events(&namespace, &ids).await?
    };
    Ok(handled(&ids, changed, more))
}

fn handled(ids: &[EventId], changed: u64, more: bool) -> Json<Handled> {
    Json(Handled {
        ids: ids.iter().map(EventId::to_string).collect(),
        changed,
        more,
    })
}

/// The dead letters of the function that are meant; and whether there are more.
async fn chosen(
    admin: &Admin,
    namespace: &Namespace,
    name: &FunctionName,
    (ids, all): (Option<Vec<String>>, bool),
) -> Result<(Vec<EventId>, bool), Problem> {
    let limit = u32::try_from(REDRIVEN_MAX).unwrap_or(u32::MAX);
    if ids.is_some() == all {
        return Err(invalid_parameter("name the dead letters in ids, or say all: true"));
    }
    let Some(ids) = ids else {
        let found = admin.parts.store.undelivered(namespace, name, None, limit).await?;
        let more = found.len() == REDRIVEN_MAX;
        return Ok((found, more));
    };
    if ids.len() > REDRIVEN_MAX {
        return Err(invalid_parameter(format!(
            "at most {REDRIVEN_MAX} ids may be named at once"
        )));
    }
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let id: EventId = id.parse().map_err(invalid_parameter)?;
        match admin.parts.store.event(namespace, id).await? {
            Some(event) if event.function == *name && event.state.is_undelivered() => found.push(id),
            _ => {
                return Err(Problem::new(
                    Code::EventNotFound,
                    format!("there is no dead letter {id} of {name}"),
                ));
            }
        }
    }
    Ok((found, false))
}
