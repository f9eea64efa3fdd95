//! Who is told of a change of an object: an event for each trigger that wants it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use aws_lambda_events::s3::S3Event;
use bytes::Bytes;
use chrono::DateTime;
use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{BucketName, EventId, Namespace};
use serde_json::json;

use super::Scope;
use super::error::StorageError;
use crate::admin::time;
use crate::clock::Ids;
use crate::code::Code;
use crate::config::EVENT_DEPTH_MAX;
use crate::events::{CloudEvent, Envelope};
use crate::ledger::Trigger;
use crate::problem::Problem;
use crate::store::{EventTrigger, NewEvent, ObjectChange, StorageWatch, Store, StoreError, TriggerConfig};

/// How long a trigger that another controller has changed may go unseen.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Buckets whose triggers are kept in memory.
const KNOWN_MAX: u64 = 10_000;

/// A change that is about to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change<'a> {
    /// Name of the event as S3 has it, behind `s3:`.
    pub(crate) name: &'static str,
    pub(crate) key: &'a str,
    /// Size and etag of what was written.
    pub(crate) written: Option<(u64, &'a str)>,
    /// In milliseconds since 1970.
    pub(crate) at_ms: i64,
}

impl Change<'_> {
    fn kind(&self) -> ObjectChange {
        if self.written.is_some() {
            ObjectChange::Created
        } else {
            ObjectChange::Removed
        }
    }
}

/// The triggers of all buckets.
pub(crate) struct Watchers {
    store: Store,
    ids: Arc<Ids>,
    /// Which look at the triggers a list is of, and of which bucket.
    buckets: moka::future::Cache<(u64, Namespace, BucketName), Arc<Vec<Watcher>>>,
    generation: AtomicU64,
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchers").finish_non_exhaustive()
    }
}

/// A trigger that is on.
struct Watcher {
    trigger: EventTrigger,
    watch: StorageWatch,
    max_age_ms: i64,
}

impl Watchers {
    pub(super) fn new(store: Store, ids: Arc<Ids>) -> Self {
        Self {
            store,
            ids,
            buckets: moka::future::Cache::builder()
                .max_capacity(KNOWN_MAX)
                .time_to_live(AGE_MAX)
                .build(),
            generation: AtomicU64::new(0),
        }
    }

    /// Something was changed here. Nobody is given a list any more that was begun before.
    pub(crate) fn forget(&self) {
        self.generation.fetch_add(1, SeqCst);
    }

    /// The events that follow from a change. They come into the table together with it, or not at all.
    pub(super) async fn events(&self, scope: &Scope, change: Change<'_>) -> Result<Vec<NewEvent>, StorageError> {
        let watchers = self.of(scope).await?;
        let wanted = |watcher: &&Watcher| watcher.watch.wants(change.kind(), change.key);
        let events: Vec<NewEvent> = watchers
            .iter()
            .filter(wanted)
            .map(|watcher| self.event(watcher, scope, change))
            .collect();
        if scope.depth > EVENT_DEPTH_MAX && !events.is_empty() {
            return Err(StorageError::Problem(Problem::new(
                Code::RecursionDetected,
                format!(
                    "{} events in a row led to this change, which would fire a function; at most {EVENT_DEPTH_MAX} may",
                    scope.depth
                ),
            )));
        }
        Ok(events)
    }

    /// How many triggers wait for changes of the bucket.
    pub(super) async fn count(&self, scope: &Scope) -> Result<usize, StorageError> {
        Ok(self.of(scope).await?.len())
    }

    async fn of(&self, scope: &Scope) -> Result<Arc<Vec<Watcher>>, Problem> {
        let key = (
            self.generation.load(SeqCst),
            scope.namespace.clone(),
            scope.bucket.clone(),
        );
        let found = self.buckets.try_get_with(key, self.look_up(scope)).await;
        found.map_err(|error| Problem::from(&*error))
    }

    async fn look_up(&self, scope: &Scope) -> Result<Arc<Vec<Watcher>>, StoreError> {
        let mut watchers = Vec::new();
        for trigger in self.store.watchers(&scope.namespace, &scope.bucket).await? {
            let TriggerConfig::Storage(watch) = &trigger.config else {
                continue;
            };
            if !trigger.enabled {
                continue;
            }
            watchers.push(Watcher {
                max_age_ms: max_age_ms(&self.store, &trigger).await?,
                watch: watch.clone(),
                trigger,
            });
        }
        Ok(Arc::new(watchers))
    }

    fn event(&self, watcher: &Watcher, scope: &Scope, change: Change<'_>) -> NewEvent {
        let id = self.ids.event(change.at_ms);
        let notification = notification(&watcher.trigger.name, scope, change, &hex(id.as_bytes()));
        let about = CloudEvent {
            r#type: change.kind().event_type().to_owned(),
            source: format!("/ns/{}/buckets/{}", scope.namespace, scope.bucket),
            time: time(change.at_ms),
        };
        let times = (change.at_ms, watcher.max_age_ms);
        event_of(id, &watcher.trigger, about, notification, times, scope.depth)
    }
}

/// How old an event of a trigger may become.
pub(crate) async fn max_age_ms(store: &Store, trigger: &EventTrigger) -> Result<i64, StoreError> {
    if let Some(policy) = trigger.config.retry() {
        return Ok(policy.max_age_ms());
    }
    let version = store.function(&trigger.namespace, &trigger.function).await?;
    Ok(version
        .map_or(RetryPolicy::default(), |version| version.config.retry)
        .max_age_ms())
}

/// The event of a storage trigger.
pub(crate) fn event_of(
    id: EventId,
    trigger: &EventTrigger,
    about: CloudEvent,
    payload: Bytes,
    (now_ms, max_age_ms): (i64, i64),
    depth: u32,
) -> NewEvent {
    NewEvent {
        id,
        namespace: trigger.namespace.clone(),
        function: trigger.function.clone(),
        pinned_version: None,
        source: Trigger::Storage,
        trigger: Some(trigger.name.clone()),
        created_ms: now_ms,
        due_ms: now_ms,
        expires_ms: now_ms.saturating_add(max_age_ms),
        depth,
        order_key: None,
        envelope: Envelope::of_document(about, trigger.config.retry()).to_text(),
        payload,
    }
}

/// The event as AWS S3 sends it. There the key is written as in a form.
fn notification(trigger: &str, scope: &Scope, change: Change<'_>, sequencer: &str) -> Bytes {
    let key: String = form_urlencoded::byte_serialize(change.key.as_bytes()).collect();
    let (size, etag) = change.written.unzip();
    // Its types have fields that a later version may add to, so it is read from what AWS documents.
    let event: Result<S3Event, _> = serde_json::from_value(json!({ "Records": [{
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "mayfly",
        "eventTime": DateTime::from_timestamp_millis(change.at_ms),
        "eventName": change.name,
        "userIdentity": { "principalId": scope.principal },
        "requestParameters": { "sourceIPAddress": scope.peer.map(|peer: IpAddr| peer.to_string()) },
        "responseElements": {},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": trigger,
            "bucket": {
                "name": scope.bucket.as_str(),
                "ownerIdentity": { "principalId": scope.namespace.as_str() },
                "arn": format!("arn:aws:s3:::{}", scope.bucket),
            },
            "object": { "key": key, "size": size, "eTag": etag, "urlDecodedKey": change.key, "sequencer": sequencer },
        },
    }] }));
    let event = event.expect("it is what AWS documents");
    Bytes::from(serde_json::to_vec(&event).expect("text and numbers always have a JSON form"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
