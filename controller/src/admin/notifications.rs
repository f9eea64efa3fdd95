//! Notifications of other storages, which come as webhooks. They bear no token of the API: each trigger has a secret, with
//! which AWS-like senders sign (Standard Webhooks), or which MinIO shows as its `auth_token`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use mayfly_invoker_api::{EventId, FunctionName, Namespace};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::{InNamespace, invalid_parameter};
use crate::admin::triggers::NameInPath;
use crate::body::{self, ReadError};
use crate::code::Code;
use crate::config::{KEY_CHARS_MAX, KEY_KEPT, NOTIFICATION_BYTES_MAX};
use crate::events::{Reserved, SigningSecret, is_signed};
use crate::problem::{Problem, ProblemDocument};
use crate::storage::{max_age_ms, notification_events};
use crate::store::{
    Begun, EventTrigger, KeptAnswer, KeyedRequest, NewEvent, StorageSource, StorageWatch, TriggerConfig,
};

/// What has become of a notification.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Notified {
    /// The events that it became; none when the trigger does not want it. The same ones when it comes again.
    #[schema(value_type = Vec<String>)]
    events: Vec<EventId>,
}

/// Takes a notification of S3 or MinIO for a storage trigger that was made with `webhook`. It proves itself with the
/// trigger's secret: signed as in Standard Webhooks, or as `Authorization: Bearer SECRET`. One that comes again within a day
/// is not done again.
#[utoipa::path(post, path = "/v1/ns/{ns}/triggers/{name}/notifications",
    operation_id = "notify_trigger",
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Trigger")),
    request_body(content = Object, description = "The notification, as S3 or MinIO sends it"),
    responses((status = 200, body = Notified), (status = 400, body = ProblemDocument),
        (status = 401, description = "It does not prove itself", body = ProblemDocument),
        (status = 413, body = ProblemDocument)))]
pub(super) async fn notify(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<NameInPath>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Notified>, Problem> {
    // Who shows nothing, or asks for what cannot be, is not listened to.
    let shows_something = headers.contains_key("webhook-signature") || headers.contains_key(header::AUTHORIZATION);
    if !shows_something || path.name.parse::<FunctionName>().is_err() {
        return Err(unproven());
    }
    // Who cannot prove himself does not learn which triggers there are, either.
    let found = admin.parts.store.trigger(&namespace, &path.name).await?;
    let (trigger, watch, secret) = found
        .and_then(|trigger| with_webhook(&admin, trigger))
        .ok_or_else(unproven)?;
    let body = received(&admin, body).await?;
    let now_ms = admin.parts.clock.unix_ms();
    let identity = proven(&secret, &headers, &body, now_ms)?;
    let nothing = Notified { events: Vec::new() };
    if !trigger.enabled {
        return Ok(Json(nothing));
    }
    let times = (now_ms, max_age_ms(&admin.parts.store, &trigger).await?);
    let events = notification_events((&trigger, &watch), &body, times, &admin.events.ids)
        .map_err(|reason| invalid_parameter(format!("the notification is refused: {reason}")))?;
    if events.is_empty() {
        return Ok(Json(nothing));
    }
    let hash = Sha256::digest(&body).into();
    accept(&admin, &trigger, identity, hash, events).await.map(Json)
}

/// The body, once there is room for it: whoever sends one has not proved anything yet.
async fn received(admin: &Admin, body: Body) -> Result<Bytes, Problem> {
    let busy = || Problem::new(Code::Overloaded, "too many notifications come at once");
    let _place = admin.notifications.try_acquire().map_err(|_| busy())?;
    let read = body::read(body, NOTIFICATION_BYTES_MAX, admin.parts.bounds.payload_time_max).await;
    read.map_err(|error| match error {
        ReadError::TooLong => Problem::new(
            Code::PayloadTooLarge,
            format!("a notification has at most {NOTIFICATION_BYTES_MAX} bytes"),
        ),
        ReadError::TooSlow(reason) => Problem::new(Code::RequestTimeout, reason),
        ReadError::Broken(reason) => invalid_parameter(reason),
    })
}

/// Accepts the events of a notification, or says which ones it became before.
async fn accept(
    admin: &Admin,
    trigger: &EventTrigger,
    identity: String,
    hash: [u8; 32],
    events: Vec<NewEvent>,
) -> Result<Notified, Problem> {
    let store = admin.parts.store.clone();
    let now_ms = store.shared_time_ms(admin.parts.clock.unix_ms()).await?;
    let kept_ms = i64::try_from(KEY_KEPT.as_millis()).unwrap_or(i64::MAX);
    // Functions' keys begin with a name; so it is none of them.
    let key = format!("/notification/{}/{identity}", trigger.id);
    let notified = Notified {
        events: events.iter().map(|event| event.id).collect(),
    };
    let answer = KeptAnswer {
        status: StatusCode::OK.as_u16(),
        head: "[]".to_owned(),
        body: serde_json::to_vec(&notified).unwrap_or_default(),
    };
    let reserved = Reserved::new(&admin.events, &trigger.namespace, events.clone())?;
    let namespace = trigger.namespace.clone();
    let transaction = async move {
        let request = KeyedRequest {
            namespace: &namespace,
            key: &key,
            hash,
            expires_ms: now_ms.saturating_add(kept_ms),
        };
        store.accept_keyed(request, &events, &answer, now_ms).await
    };
    let made = |begun: &Begun| {
        let is_first = *begun == Begun::First;
        move |_: &NewEvent| is_first
    };
    match reserved.change((), transaction, made).await? {
        Begun::First => Ok(notified),
        Begun::Answered(before) => {
            tracing::info!(
                trigger = trigger.name,
                "a notification has come again, and is not done again"
            );
            serde_json::from_slice(&before.body).map_err(|error| Problem::new(Code::Internal, error.to_string()))
        }
        Begun::UnderWay | Begun::Other => Err(Problem::new(
            Code::IdempotencyKeyReused,
            "another notification came with this webhook-id",
        )),
    }
}

/// A trigger that takes webhooks, and its secret.
fn with_webhook(admin: &Admin, trigger: EventTrigger) -> Option<(EventTrigger, StorageWatch, SigningSecret)> {
    let TriggerConfig::Storage(watch) = &trigger.config else {
        return None;
    };
    let StorageSource::Webhook(sealed) = &watch.source else {
        return None;
    };
    let opened = admin
        .parts
        .seal
        .open(&purpose(&trigger.namespace, &trigger.name), sealed);
    let secret = opened
        .inspect_err(|error| tracing::error!(%error, trigger = trigger.name, "the secret of a trigger cannot be read"))
        .ok()?;
    let (watch, secret) = (watch.clone(), SigningSecret::parse(&secret)?);
    Some((trigger, watch, secret))
}

/// What the secret of a trigger is sealed for.
pub(super) fn purpose(namespace: &Namespace, trigger: &str) -> String {
    format!("storage webhook of {namespace}/{trigger}")
}

/// What tells this notification from others, once it has proved that it comes from who knows the secret.
fn proven(secret: &SigningSecret, headers: &HeaderMap, body: &[u8], now_ms: i64) -> Result<String, Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(signatures) = text("webhook-signature") {
        let (id, timestamp) = (text("webhook-id"), text("webhook-timestamp"));
        let (Some(id), Some(timestamp)) = (id, timestamp) else {
            return Err(unproven());
        };
        let fits = (1..=KEY_CHARS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits || !is_signed(secret, (id, timestamp, signatures), body, now_ms) {
            return Err(unproven());
        }
        return Ok(format!("id/{id}"));
    }
    let shown = text(header::AUTHORIZATION.as_str()).and_then(|value| value.split_once(' '));
    let is_known = |(scheme, token): (&str, &str)| scheme.eq_ignore_ascii_case("bearer") && secret.is(token.trim());
    if !shown.is_some_and(is_known) {
        return Err(unproven());
    }
    // MinIO sends one again as it was, with the time of the change and its number in the text.
    let digest: [u8; 32] = Sha256::digest(body).into();
    Ok(format!("body/{}", digest.map(|byte| format!("{byte:02x}")).concat()))
}

fn unproven() -> Problem {
    Problem::new(
        Code::Unauthorized,
        "the notification does not prove with the trigger's secret where it comes from, or was signed more than five minutes ago",
    )
}
