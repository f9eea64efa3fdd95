//! What may be asked for of a trigger that waits for changes of objects.

use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::BucketName;
use serde::Deserialize;
use utoipa::ToSchema;

use super::wanted::{PartialRetry, Wanted, What, broker, checked_name, yes};
use crate::admin::extract::invalid_parameter;
use crate::config::OBJECT_KEY_BYTES_MAX;
use crate::events::BrokerUrl;
use crate::problem::Problem;
use crate::storage::OTHER_BUCKET_BYTES_MAX;
use crate::store::{ObjectChange, StorageSource, StorageWatch};

/// A trigger that waits for changes of objects.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWatch {
    /// Unique in the namespace; without it, the function's name with `-storage` and a number.
    name: Option<String>,
    function: String,
    /// Of the same namespace. With `webhook` or `amqp` it is one of another storage, and may be left out.
    bucket: Option<String>,
    /// Another storage posts its notifications; the answer says where to, and with which secret.
    #[serde(default)]
    webhook: bool,
    /// Another storage publishes its notifications to a queue of this RabbitMQ broker.
    amqp: Option<String>,
    queue: Option<String>,
    /// What the objects' keys begin with.
    #[serde(default)]
    prefix: String,
    /// What they end with.
    #[serde(default)]
    suffix: String,
    /// What has become of the objects; `created` unless something else is said.
    #[serde(default = "created")]
    events: Vec<ObjectChange>,
    /// In place of the function's own; what is left out is as the function has it at the moment.
    retry: Option<PartialRetry>,
    /// Whether it fires from now on. Changes that are made while it does not are not made up for.
    #[serde(default = "yes")]
    enabled: bool,
}

fn created() -> Vec<ObjectChange> {
    vec![ObjectChange::Created]
}

/// Where the objects are.
pub(super) enum NewStorage {
    Bucket(BucketName),
    Webhook,
    Amqp { url: BrokerUrl, queue: String },
}

impl NewWatch {
    /// As it is kept.
    pub(super) fn with(self, source: StorageSource, retry: Option<RetryPolicy>) -> StorageWatch {
        StorageWatch {
            other_bucket: match source {
                StorageSource::Bucket(_) => None,
                StorageSource::Webhook(_) | StorageSource::Amqp(_) => self.bucket,
            },
            source,
            prefix: self.prefix,
            suffix: self.suffix,
            changes: self.events,
            retry,
        }
    }
}

/// What is wanted, as far as it can be said without looking at anything else.
pub(super) fn watch(mut new: NewWatch) -> Result<Wanted, Problem> {
    let name = checked_name(new.name.take())?;
    for (what, text) in [("prefix", &new.prefix), ("suffix", &new.suffix)] {
        if text.len() > OBJECT_KEY_BYTES_MAX {
            return Err(invalid_parameter(format!(
                "{what} has {} bytes; a key has at most {OBJECT_KEY_BYTES_MAX}",
                text.len()
            )));
        }
    }
    if new.events.is_empty() {
        return Err(invalid_parameter("events names `created`, `removed` or both"));
    }
    new.events.sort_unstable();
    new.events.dedup();
    Ok(Wanted {
        name,
        function: new.function.parse().map_err(invalid_parameter)?,
        retry: new.retry,
        enabled: new.enabled,
        what: What::Storage(source(&new)?, Box::new(new)),
    })
}

fn source(new: &NewWatch) -> Result<NewStorage, Problem> {
    if new
        .bucket
        .as_ref()
        .is_some_and(|bucket| bucket.len() > OTHER_BUCKET_BYTES_MAX)
    {
        return Err(invalid_parameter(format!(
            "the name of a bucket has at most {OTHER_BUCKET_BYTES_MAX} bytes"
        )));
    }
    match (&new.bucket, new.webhook, &new.amqp, &new.queue) {
        (Some(bucket), false, None, None) => Ok(NewStorage::Bucket(bucket.parse().map_err(invalid_parameter)?)),
        (_, true, None, None) => Ok(NewStorage::Webhook),
        (_, false, Some(url), Some(queue)) => Ok(NewStorage::Amqp {
            url: broker(url, queue)?,
            queue: queue.clone(),
        }),
        (None, false, None, None) => Err(invalid_parameter(
            "say where the objects are: `bucket`, or `webhook`, or `amqp` and `queue` for another storage",
        )),
        _ => Err(invalid_parameter(
            "notifications come by `webhook`, or over `amqp` from a `queue`, not both",
        )),
    }
}
