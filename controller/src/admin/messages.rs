//! Messages of queues: sent, received, deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use mayfly_invoker_api::{EventId, Namespace, OutgoingMessage};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::{Document, InNamespace, invalid_parameter, time};
use crate::admin::queues::{QueueInPath, find, queue_named};
use crate::admin::triggers::create::take_waiting;
use crate::code::Code;
use crate::config::{RECEIVE_WAIT_MAX, RECEIVED_AT_ONCE_MAX, VISIBILITY_SECONDS_MAX};
use crate::events::checked_messages;
use crate::problem::{Problem, ProblemDocument};
use crate::store::{Queue, StoredMessage};

/// Between two looks for messages whose time has come, or that another controller has taken.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Messages to be sent: all of them or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessages {
    messages: Vec<MessageToSend>,
}

/// A message to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageToSend {
    /// Text, mostly JSON; at most 256 KiB.
    body: String,
    /// What it says of itself, for filters.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// In place of the queue's own; at most 15 minutes.
    delay_seconds: Option<u32>,
}

/// Messages that were accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SentMessages {
    messages: Vec<SentMessage>,
}

/// A message that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SentMessage {
    id: String,
    /// Its events, one for each trigger that wants it; without any it waits to be received.
    events: Vec<String>,
}

/// How messages are received.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receive {
    /// How many at most.
    #[serde(default = "one")]
    max: u32,
    /// For how long nobody else receives them; who has not deleted them by then gets them again.
    #[serde(default = "half_a_minute")]
    visibility_seconds: u32,
    /// How long the answer may wait for a first message; at most 20.
    #[serde(default)]
    wait_seconds: u32,
}

fn one() -> u32 {
    1
}

fn half_a_minute() -> u32 {
    30
}

/// Messages that were received.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceivedMessages {
    messages: Vec<ReceivedMessage>,
}

/// A message that was received.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceivedMessage {
    id: String,
    /// What it is deleted with.
    receipt: String,
    body: String,
    attributes: BTreeMap<String, String>,
    /// RFC 3339.
    sent_at: String,
    /// How often it was received, this time included.
    receives: u32,
}

#[derive(Deserialize)]
pub(super) struct ReceiptInPath {
    queue: String,
    receipt: String,
}

/// Sends messages: all of them or none. They are durable when this answers.
#[utoipa::path(post, path = "/v1/ns/{ns}/queues/{queue}/messages",
    operation_id = "send_messages", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("queue" = String, Path, description = "Queue")),
    request_body = NewMessages,
    responses((status = 202, body = SentMessages), (status = 400, body = ProblemDocument),
        (status = 404, body = ProblemDocument), (status = 413, body = ProblemDocument),
        (status = 429, description = "Too much waits in the namespace", body = ProblemDocument)))]
pub(super) async fn send(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<QueueInPath>,
    Document(new): Document<NewMessages>,
) -> Result<(StatusCode, Json<SentMessages>), Problem> {
    let queue = path.name()?;
    let messages = checked_messages(new.messages.into_iter().map(OutgoingMessage::from).collect(), 0)?;
    let sent = admin
        .events
        .send(&namespace, &queue, messages, admin.parts.clock.unix_ms())
        .await?;
    let messages = sent.into_iter().map(|(id, events)| SentMessage {
        id: id.to_string(),
        events: events.iter().map(EventId::to_string).collect(),
    });
    Ok((
        StatusCode::ACCEPTED,
        Json(SentMessages {
            messages: messages.collect(),
        }),
    ))
}

impl From<MessageToSend> for OutgoingMessage {
    fn from(new: MessageToSend) -> Self {
        Self {
            body: new.body,
            attributes: new.attributes,
            delay_seconds: new.delay_seconds,
        }
    }
}

/// Receives messages that no trigger has taken, those first that were sent first. They are there again, for everybody, when
/// they were not deleted in time.
#[utoipa::path(post, path = "/v1/ns/{ns}/queues/{queue}/receive",
    operation_id = "receive_messages", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("queue" = String, Path, description = "Queue")),
    request_body = Receive,
    responses((status = 200, body = ReceivedMessages), (status = 400, body = ProblemDocument),
        (status = 404, body = ProblemDocument)))]
pub(super) async fn receive(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<QueueInPath>,
    Document(wanted): Document<Receive>,
) -> Result<Json<ReceivedMessages>, Problem> {
    for (name, found, least, most) in [
        ("max", wanted.max, 1, RECEIVED_AT_ONCE_MAX),
        (
            "visibility_seconds",
            wanted.visibility_seconds,
            0,
            VISIBILITY_SECONDS_MAX,
        ),
        ("wait_seconds", wanted.wait_seconds, 0, 20),
    ] {
        if !(least..=most).contains(&found) {
            return Err(invalid_parameter(format!(
                "{name} must be from {least} to {most}, not {found}"
            )));
        }
    }
    let queue = find(&admin, &namespace, &path.name()?).await?;
    let wait = Duration::from_secs(u64::from(wanted.wait_seconds)).min(RECEIVE_WAIT_MAX);
    let until = Instant::now() + wait;
    loop {
        let arrived = admin.events.subscriptions.arrived();
        let messages = received(&admin, &namespace, &queue, &wanted).await?;
        let now = Instant::now();
        if !messages.is_empty() || now >= until {
            return Ok(Json(ReceivedMessages { messages }));
        }
        tokio::select! {
            () = arrived => {}
            () = tokio::time::sleep_until(until.min(now + LOOK_PAUSE)) => {}
            () = admin.stop.cancelled() => return Ok(Json(ReceivedMessages { messages: Vec::new() })),
        }
    }
}

async fn received(
    admin: &Admin,
    namespace: &Namespace,
    queue: &Queue,
    wanted: &Receive,
) -> Result<Vec<ReceivedMessage>, Problem> {
    let (store, now_ms) = (&admin.parts.store, admin.parts.clock.unix_ms());
    if let Some(dead_letter) = &queue.config.dead_letter {
        let max_receives = queue.config.max_receives;
        let moved = store
            .move_undeliverable((namespace, &queue.name), dead_letter, max_receives, now_ms)
            .await?;
        if moved > 0 {
            take_waiting(admin, namespace, dead_letter);
        }
    }
    let random = admin.parts.random.secret().map_err(|error| {
        tracing::error!(%error, "the system has no random numbers");
        Problem::new(Code::Internal, "a receipt could not be made")
    })?;
    let mut receipt = [0; 16];
    receipt.copy_from_slice(&random[..16]);
    let hidden_until_ms = now_ms.saturating_add(i64::from(wanted.visibility_seconds) * 1_000);
    let messages = store
        .receive_messages((namespace, &queue.name), wanted.max, now_ms, hidden_until_ms, receipt)
        .await?;
    Ok(messages.into_iter().map(|stored| shown(stored, receipt)).collect())
}

fn shown(stored: StoredMessage, receipt: [u8; 16]) -> ReceivedMessage {
    let StoredMessage { message, receives } = stored;
    let secret: String = receipt.iter().map(|byte| format!("{byte:02x}")).collect();
    ReceivedMessage {
        receipt: format!("{}.{secret}", message.id),
        id: message.id.to_string(),
        body: message.body,
        attributes: message.attributes,
        sent_at: time(message.created_ms),
        receives,
    }
}

/// Deletes a message that was received.
#[utoipa::path(delete, path = "/v1/ns/{ns}/queues/{queue}/messages/{receipt}",
    operation_id = "delete_message", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("queue" = String, Path, description = "Queue"),
        ("receipt" = String, Path, description = "The receipt that came with it")),
    responses((status = 204, description = "It is gone"), (status = 400, body = ProblemDocument),
        (status = 404, description = "It is gone already, or was received again since", body = ProblemDocument)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(ReceiptInPath { queue, receipt }): Path<ReceiptInPath>,
) -> Result<StatusCode, Problem> {
    let queue = queue_named(&queue)?;
    let (id, secret) = receipt_parts(&receipt)
        .ok_or_else(|| invalid_parameter("a receipt is what came with a message that was received"))?;
    if admin
        .parts
        .store
        .delete_message((&namespace, &queue), id, secret)
        .await?
    {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::new(
        Code::MessageNotFound,
        "there is no message with this receipt: it was deleted, or received again since",
    ))
}

fn receipt_parts(text: &str) -> Option<(EventId, [u8; 16])> {
    let (id, secret) = text.split_once('.')?;
    let number = u128::from_str_radix(secret, 16).ok().filter(|_| secret.len() == 32)?;
    Some((id.parse().ok()?, number.to_be_bytes()))
}
