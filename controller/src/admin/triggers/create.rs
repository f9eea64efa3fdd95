//! Making a trigger.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use mayfly_invoker_api::{FunctionName, Namespace, QueueName};

use super::view::TriggerView;
use super::wanted::{NewSource, NewTrigger, Wanted, What, cron, subscription};
use super::watch::{NewStorage, watch};
use super::{NAME_CHARS_MAX, changed};
use crate::admin::Admin;
use crate::admin::buckets::find as find_bucket;
use crate::admin::extract::{Document, InNamespace, invalid_parameter};
use crate::admin::notifications;
use crate::admin::queues::find;
use crate::code::Code;
use crate::config::{SUBSCRIBERS_MAX, TRIGGERS_MAX, WATCHERS_MAX};
use crate::events::{BrokerUrl, SigningSecret};
use crate::problem::{Problem, ProblemDocument};
use crate::sealing::Seal;
use crate::store::{AmqpSource, CronConfig, EventTrigger, MessageSource, StorageSource, Subscription, TriggerConfig};

/// Makes a trigger.
#[utoipa::path(post, path = "/v1/ns/{ns}/triggers",
    operation_id = "create_trigger", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace")), request_body = NewTrigger,
    responses((status = 201, body = TriggerView), (status = 400, body = ProblemDocument),
        (status = 404, description = "There is no such function or queue", body = ProblemDocument),
        (status = 409, description = "There is a trigger of that name", body = ProblemDocument)))]
pub(crate) async fn create(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Document(new): Document<NewTrigger>,
) -> Result<(StatusCode, Json<TriggerView>), Problem> {
    let wanted: Wanted = match new {
        NewTrigger::Cron(new) => cron(new)?,
        NewTrigger::Queue(new) => subscription(new)?,
        NewTrigger::Storage(new) => watch(new)?,
    };
    let now_ms = admin.parts.clock.unix_ms();
    let own = admin.ingress.routes.of(&namespace, &wanted.function).await?.retry;
    let retry = wanted.retry.map(|retry| retry.over(own));
    retry.map_or(Ok(()), |retry| retry.check()).map_err(invalid_parameter)?;
    let store = &admin.parts.store;
    if store.count_triggers(&namespace).await? >= TRIGGERS_MAX {
        return Err(invalid_parameter(format!(
            "a namespace has at most {TRIGGERS_MAX} triggers"
        )));
    }
    let id = admin.events.ids.event(now_ms);
    let name = wanted
        .name
        .unwrap_or_else(|| default_name(&wanted.function, wanted.what.kind(), &id.to_string()));
    let mut secret = None;
    let (config, next_ms) = match wanted.what {
        What::Cron { timing, config } => {
            let next_ms = timing
                .next_ms(now_ms, now_ms)
                .ok_or_else(|| Problem::new(Code::InvalidSchedule, "this schedule never fires from now on"))?;
            let config = CronConfig { retry, ..config };
            (TriggerConfig::Cron(config), Some(next_ms).filter(|_| wanted.enabled))
        }
        What::Queue(source, new) => {
            let source = kept(&admin, &namespace, &name, source).await?;
            (TriggerConfig::Queue(new.with(source, retry)), None)
        }
        What::Storage(source, new) => {
            let (source, shown) = kept_storage(&admin, &namespace, &name, source).await?;
            secret = shown;
            (TriggerConfig::Storage(new.with(source, retry)), None)
        }
    };
    let trigger = EventTrigger {
        id,
        namespace,
        name,
        function: wanted.function,
        config,
        enabled: wanted.enabled,
        created_ms: now_ms,
        next_ms,
        last_ms: None,
    };
    if !store.insert_trigger(&trigger).await? {
        return Err(Problem::new(
            Code::TriggerExists,
            format!("there is a trigger named {} in this namespace", trigger.name),
        ));
    }
    changed(&admin);
    if let TriggerConfig::Queue(Subscription {
        source: MessageSource::Queue(queue),
        ..
    }) = &trigger.config
    {
        take_waiting(&admin, &trigger.namespace, queue);
    }
    let view = TriggerView::from(trigger).with_secret(secret);
    Ok((StatusCode::CREATED, Json(view)))
}

/// Where objects change, as it is kept; and the secret that other storages are told. A bucket of ours must be there, and has
/// only so many triggers.
async fn kept_storage(
    admin: &Admin,
    namespace: &Namespace,
    trigger: &str,
    source: NewStorage,
) -> Result<(StorageSource, Option<SigningSecret>), Problem> {
    let seal = &admin.parts.seal;
    match source {
        NewStorage::Bucket(bucket) => {
            find_bucket(admin, namespace, &bucket).await?;
            if admin.parts.store.watchers(namespace, &bucket).await?.len() >= WATCHERS_MAX {
                return Err(invalid_parameter(format!(
                    "changes of a bucket fire at most {WATCHERS_MAX} triggers"
                )));
            }
            Ok((StorageSource::Bucket(bucket), None))
        }
        NewStorage::Webhook => {
            let random = admin.parts.random.secret();
            let secret = random.map(SigningSecret::from_bytes).map_err(not_sealed)?;
            let purpose = notifications::purpose(namespace, trigger);
            let sealed = seal.seal(&purpose, &secret.reveal()).map_err(not_sealed)?;
            Ok((StorageSource::Webhook(sealed), Some(secret)))
        }
        NewStorage::Amqp { url, queue } => {
            let purpose = AmqpSource::purpose(namespace, trigger);
            Ok((StorageSource::Amqp(sealed(seal, &purpose, &url, queue)?), None))
        }
    }
}

pub(in crate::admin) fn not_sealed(error: std::io::Error) -> Problem {
    tracing::error!(%error, "a secret could not be encrypted");
    Problem::new(Code::Internal, "the secret could not be encrypted")
}

/// Where messages come from, as it is kept; a queue of ours must be there.
async fn kept(
    admin: &Admin,
    namespace: &Namespace,
    trigger: &str,
    source: NewSource,
) -> Result<MessageSource, Problem> {
    match source {
        NewSource::Queue(queue) => {
            find(admin, namespace, &queue).await?;
            if admin.parts.store.subscribers(namespace, &queue).await?.len() >= SUBSCRIBERS_MAX {
                return Err(invalid_parameter(format!(
                    "the messages of a queue go to at most {SUBSCRIBERS_MAX} triggers"
                )));
            }
            Ok(MessageSource::Queue(queue))
        }
        NewSource::Amqp {
            url,
            queue,
            dead_letter,
        } => {
            let purpose = AmqpSource::purpose(namespace, trigger);
            let source = sealed(&admin.parts.seal, &purpose, &url, queue)?;
            Ok(MessageSource::Amqp(AmqpSource { dead_letter, ..source }))
        }
    }
}

/// The source as it is kept: whoever reads the database or asks the API does not learn the password.
fn sealed(seal: &Seal, purpose: &str, url: &BrokerUrl, queue: String) -> Result<AmqpSource, Problem> {
    Ok(AmqpSource {
        url: seal.seal(purpose, &url.reveal()).map_err(not_sealed)?,
        shown: url.to_string(),
        queue,
        dead_letter: None,
    })
}

/// Messages that wait in the queue are given to those triggers that want them, in the background: there may be many.
pub(in crate::admin) fn take_waiting(admin: &Admin, namespace: &Namespace, queue: &QueueName) {
    let (admin, namespace, queue) = (admin.clone(), namespace.clone(), queue.clone());
    tokio::spawn(async move {
        let clock = Arc::clone(&admin.parts.clock);
        admin.events.take_waiting(&namespace, &queue, &*clock).await;
    });
}

/// `FUNCTION-KIND-` and the last digits of an id, which differ.
fn default_name(function: &FunctionName, kind: &str, digits: &str) -> String {
    let ending = format!("-{kind}-{}", &digits[digits.len() - 6..]);
    let room = NAME_CHARS_MAX - ending.len();
    let function = function.as_str();
    format!("{}{ending}", function[..function.len().min(room)].trim_end_matches('-'))
}
