//! Queues: made, looked at, emptied, deleted.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use mayfly_invoker_api::{Namespace, QueueName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::admin::Admin;
use crate::admin::extract::{Document, InNamespace, PageByName, Params, invalid_parameter, page_rows, time};
use crate::admin::triggers::lane_of;
use crate::code::Code;
use crate::config::{MESSAGE_DELAY_SECONDS_MAX, QUEUES_MAX, RETENTION_SECONDS_MAX};
use crate::events::no_queue;
use crate::problem::{Problem, ProblemDocument};
use crate::store::{EventTrigger, MessageCounts, Queue, QueueConfig};

/// Times that a message may be received before it goes to the dead-letter queue, at most.
const RECEIVES_MAX: u32 = 1_000;

/// A queue to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewQueue {
    /// Unique in the namespace.
    name: String,
    /// For how long a message is kept from everybody, unless it says so itself; at most 15 minutes.
    #[serde(default)]
    delay_seconds: u32,
    /// How old a message may become; at most 14 days.
    #[serde(default = "four_days")]
    retention_seconds: u32,
    /// The queue, of the same namespace, to which messages go that could not be delivered.
    dead_letter: Option<String>,
    /// How often a message may be received, and not deleted, until it goes there.
    #[serde(default = "ten")]
    max_receives: u32,
}

fn four_days() -> u32 {
    4 * 24 * 3_600
}

fn ten() -> u32 {
    10
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub(crate) struct QueueView {
    name: String,
    namespace: String,
    delay_seconds: u32,
    retention_seconds: u32,
    dead_letter: Option<String>,
    max_receives: u32,
    created_at: String,
    /// Messages that no trigger has taken: they wait to be received.
    messages: u64,
    /// Those of them that somebody has received and not deleted yet.
    received: u64,
    /// When the first of them was sent; RFC 3339.
    oldest_message_at: Option<String>,
    /// What else its messages go to.
    triggers: Vec<SubscriberView>,
}

/// A trigger that takes the messages of a queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Subscriber)]
pub(crate) struct SubscriberView {
    name: String,
    function: String,
    enabled: bool,
    /// Messages that wait for it.
    waiting: u64,
}

/// One page of queues, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queues {
    queues: Vec<QueueView>,
    /// Give this as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// What was thrown away.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Purged {
    /// Messages that waited to be received.
    messages: u64,
    /// Messages that waited for triggers, once for each.
    events: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Force {
    /// Also if messages wait in it; they are gone then.
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
pub(super) struct QueueInPath {
    queue: String,
}

impl QueueInPath {
    pub(super) fn name(&self) -> Result<QueueName, Problem> {
        queue_named(&self.queue)
    }
}

/// A name that no queue can have is one that none has.
pub(super) fn queue_named(name: &str) -> Result<QueueName, Problem> {
    name.parse().map_err(|_| {
        let shown: String = name.chars().take(63).collect();
        Problem::new(
            Code::QueueNotFound,
            format!("there is no queue named {shown} in this namespace"),
        )
    })
}

impl QueueView {
    fn new(queue: Queue, counts: MessageCounts, triggers: Vec<SubscriberView>) -> Self {
        let QueueConfig {
            delay_seconds,
            retention_seconds,
            dead_letter,
            max_receives,
        } = queue.config;
        Self {
            name: queue.name.to_string(),
            namespace: queue.namespace.to_string(),
            delay_seconds,
            retention_seconds,
            dead_letter: dead_letter.map(String::from),
            max_receives,
            created_at: time(queue.created_ms),
            messages: counts.messages,
            received: counts.received,
            oldest_message_at: counts.oldest_ms.map(time),
            triggers,
        }
    }
}

/// Makes a queue.
#[utoipa::path(post, path = "/v1/ns/{ns}/queues",
    operation_id = "create_queue", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace")), request_body = NewQueue,
    responses((status = 201, body = QueueView), (status = 400, body = ProblemDocument),
        (status = 409, description = "There is a queue of that name", body = ProblemDocument)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Document(new): Document<NewQueue>,
) -> Result<(StatusCode, Json<QueueView>), Problem> {
    let queue = Queue {
        name: new
            .name
            .parse()
            .map_err(|error: mayfly_invoker_api::ParseError| Problem::new(Code::InvalidName, error.to_string()))?,
        config: checked(&new)?,
        namespace,
        created_ms: admin.parts.clock.unix_ms(),
    };
    let store = &admin.parts.store;
    if store.count_queues(&queue.namespace).await? >= QUEUES_MAX {
        return Err(invalid_parameter(format!(
            "a namespace has at most {QUEUES_MAX} queues"
        )));
    }
    if !store.insert_queue(&queue).await? {
        return Err(Problem::new(
            Code::QueueExists,
            format!("there is a queue named {} in this namespace", queue.name),
        ));
    }
    admin.events.subscriptions.forget();
    view(&admin, queue).await.map(|view| (StatusCode::CREATED, Json(view)))
}

/// Everything that can be said without the database.
fn checked(new: &NewQueue) -> Result<QueueConfig, Problem> {
    for (name, found, least, most) in [
        ("delay_seconds", new.delay_seconds, 0, MESSAGE_DELAY_SECONDS_MAX),
        ("retention_seconds", new.retention_seconds, 60, RETENTION_SECONDS_MAX),
        ("max_receives", new.max_receives, 1, RECEIVES_MAX),
    ] {
        if !(least..=most).contains(&found) {
            return Err(invalid_parameter(format!(
                "{name} must be from {least} to {most}, not {found}"
            )));
        }
    }
    let dead_letter: Option<QueueName> = new
        .dead_letter
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(invalid_parameter)?;
    if dead_letter.as_ref().is_some_and(|name| name.as_str() == new.name) {
        return Err(invalid_parameter("a queue cannot be its own dead-letter queue"));
    }
    Ok(QueueConfig {
        delay_seconds: new.delay_seconds,
        retention_seconds: new.retention_seconds,
        dead_letter,
        max_receives: new.max_receives,
    })
}

/// Lists the queues.
#[utoipa::path(get, path = "/v1/ns/{ns}/queues",
    operation_id = "list_queues", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), PageByName),
    responses((status = 200, body = Queues), (status = 400, body = ProblemDocument)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Params(page): Params<PageByName>,
) -> Result<Json<Queues>, Problem> {
    let limit = page_rows(page.limit, 100)?;
    let after: Option<QueueName> = page
        .after
        .map(|name| name.parse())
        .transpose()
        .map_err(invalid_parameter)?;
    let after = after.as_ref().map_or("", QueueName::as_str);
    let found = admin.parts.store.queues(&namespace, after, limit).await?;
    let full = found.len() == limit as usize;
    let next = found.last().filter(|_| full).map(|last| last.name.to_string());
    let mut queues = Vec::with_capacity(found.len());
    for queue in found {
        queues.push(view(&admin, queue).await?);
    }
    Ok(Json(Queues { queues, next }))
}

/// Shows a queue.
#[utoipa::path(get, path = "/v1/ns/{ns}/queues/{queue}",
    operation_id = "get_queue", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("queue" = String, Path, description = "Queue")),
    responses((status = 200, body = QueueView), (status = 404, body = ProblemDocument)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<QueueInPath>,
) -> Result<Json<QueueView>, Problem> {
    let queue = find(&admin, &namespace, &path.name()?).await?;
    view(&admin, queue).await.map(Json)
}

/// Deletes a queue that no trigger takes messages from.
#[utoipa::path(delete, path = "/v1/ns/{ns}/queues/{queue}",
    operation_id = "delete_queue", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("queue" = String, Path, description = "Queue"), Force),
    responses((status = 204, description = "It is gone"), (status = 404, body = ProblemDocument),
        (status = 409, description = "It has triggers or messages", body = ProblemDocument)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<QueueInPath>,
    Params(Force { force }): Params<Force>,
) -> Result<StatusCode, Problem> {
    let name = path.name()?;
    find(&admin, &namespace, &name).await?;
    let store = &admin.parts.store;
    let in_use = |what: String| Problem::new(Code::QueueInUse, what);
    if let Some(trigger) = store.subscribers(&namespace, &name).await?.first() {
        return Err(in_use(format!(
            "the trigger {} takes messages of {name}: delete it first",
            trigger.name
        )));
    }
    let counts = store
        .count_messages(&namespace, &name, admin.parts.clock.unix_ms())
        .await?;
    if counts.messages > 0 && !force {
        return Err(in_use(format!(
            "{} messages wait in {name}: receive or purge them first, or delete them with it (force)",
            counts.messages
        )));
    }
    if !store.delete_queue(&namespace, &name).await? {
        return Err(no_queue(&name));
    }
    admin.events.subscriptions.forget();
    Ok(StatusCode::NO_CONTENT)
}

/// Throws away the messages of a queue: those that wait to be received, and those that wait for its triggers. What runs, runs on.
#[utoipa::path(post, path = "/v1/ns/{ns}/queues/{queue}/purge",
    operation_id = "purge_queue", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("queue" = String, Path, description = "Queue")),
    responses((status = 200, body = Purged), (status = 404, body = ProblemDocument)))]
pub(super) async fn purge(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<QueueInPath>,
) -> Result<Json<Purged>, Problem> {
    let queue = find(&admin, &namespace, &path.name()?).await?;
    let store = &admin.parts.store;
    let mut events = 0;
    for trigger in store.subscribers(&namespace, &queue.name).await? {
        events += store
            .cancel_waiting(&lane_of(&trigger), admin.parts.clock.unix_ms())
            .await?;
    }
    let messages = store.purge_messages(&namespace, &queue.name).await?;
    Ok(Json(Purged { messages, events }))
}

async fn view(admin: &Admin, queue: Queue) -> Result<QueueView, Problem> {
    let store = &admin.parts.store;
    let counts = store
        .count_messages(&queue.namespace, &queue.name, admin.parts.clock.unix_ms())
        .await?;
    let mut triggers = Vec::new();
    for trigger in store.subscribers(&queue.namespace, &queue.name).await? {
        triggers.push(subscriber(admin, trigger).await?);
    }
    Ok(QueueView::new(queue, counts, triggers))
}

async fn subscriber(admin: &Admin, trigger: EventTrigger) -> Result<SubscriberView, Problem> {
    Ok(SubscriberView {
        waiting: admin.parts.store.count_waiting(&lane_of(&trigger)).await?,
        name: trigger.name,
        function: trigger.function.to_string(),
        enabled: trigger.enabled,
    })
}

/// The queue of that name.
pub(super) async fn find(admin: &Admin, namespace: &Namespace, name: &QueueName) -> Result<Queue, Problem> {
    let found = admin.parts.store.queue(namespace, name).await?;
    found.ok_or_else(|| no_queue(name))
}
