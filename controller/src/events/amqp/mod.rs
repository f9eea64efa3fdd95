//! RabbitMQ: as a source of events, with one consumer for each trigger that is on, in every controller; and as where
//! outcomes and dead letters go.

mod broker;
mod connect;
mod consumer;
mod destination;
mod message;
mod properties;
mod publisher;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mayfly_invoker_api::EventId;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Parts;
use crate::clock::{Clock, Ids};
use crate::config::AMQP_CONSUMERS_MAX;
use crate::events::amqp::consumer::{Consumer, Taken};
use crate::events::intake::Intake;
use crate::sealing::Seal;
use crate::store::{AmqpSource, EventTrigger, Store, StoreError, TriggerConfig};

pub(crate) use broker::{BrokerUrl, check_name};
pub use destination::AmqpDestination;
pub(super) use message::{AmqpShape, DEPTH_HEADER, document};
pub(super) use publisher::{Publication, Publisher, UrlOwner};

/// Between two looks for triggers that another controller has changed.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// What a consumer is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It asks the broker.
    Connecting,
    /// Messages come.
    Connected,
    /// No messages come, and why; it is tried again and again.
    Failing(String),
}

impl Condition {
    /// The name used in the API.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Failing(_) => "failing",
        }
    }

    /// Why no messages come.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Failing(reason) => Some(reason),
            Self::Connecting | Self::Connected => None,
        }
    }
}

/// The consumers of this process.
pub(crate) struct Sources {
    shared: Arc<Shared>,
    changed: Notify,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// What all consumers work with.
struct Shared {
    store: Store,
    seal: Seal,
    intake: Intake,
    ids: Arc<Ids>,
    clock: Arc<dyn Clock>,
    conditions: Mutex<HashMap<EventId, Condition>>,
}

impl Shared {
    fn is(&self, trigger: EventId, condition: Condition) {
        self.lock().insert(trigger, condition);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventId, Condition>> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A consumer that runs.
struct Running {
    trigger: EventTrigger,
    stop: CancellationToken,
    work: JoinHandle<()>,
}

impl Sources {
    pub(super) fn new(parts: &Parts, intake: Intake, ids: Arc<Ids>) -> Self {
        Self {
            shared: Arc::new(Shared {
                store: parts.store.clone(),
                seal: parts.seal.clone(),
                intake,
                ids,
                clock: Arc::clone(&parts.clock),
                conditions: Mutex::default(),
            }),
            changed: Notify::new(),
        }
    }

    /// A trigger was made or changed.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    /// What the consumer of a trigger is doing here; `None` if there is none.
    pub(crate) fn condition(&self, trigger: EventId) -> Option<Condition> {
        self.shared.lock().get(&trigger).cloned()
    }

    /// Keeps a consumer for each trigger until `stop`; then ends them all.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut running: HashMap<EventId, Running> = HashMap::new();
        loop {
            if let Err(error) = self.keep_up(&mut running).await {
                tracing::warn!(%error, "whoever takes messages of RabbitMQ waits for the database");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
        }
        running.values().for_each(|consumer| consumer.stop.cancel());
        for (_, consumer) in running {
            end(consumer).await;
        }
    }

    /// Starts what is missing, ends what is no more or not the same any more.
    async fn keep_up(&self, running: &mut HashMap<EventId, Running>) -> Result<(), StoreError> {
        let mut wanted: HashMap<EventId, EventTrigger> = HashMap::new();
        for trigger in self.shared.store.amqp_triggers().await? {
            wanted.insert(trigger.id, trigger);
        }
        self.shared.lock().retain(|id, _| wanted.contains_key(id));
        let over: Vec<EventId> = running
            .iter()
            .filter(|(id, consumer)| wanted.get(id) != Some(&consumer.trigger) || consumer.work.is_finished())
            .map(|(id, _)| *id)
            .collect();
        for id in &over {
            running.get(id).inspect(|consumer| consumer.stop.cancel());
        }
        for id in over {
            if let Some(consumer) = running.remove(&id) {
                end(consumer).await;
            }
            self.shared.lock().remove(&id);
        }
        for (id, trigger) in wanted {
            let full = running.len() >= AMQP_CONSUMERS_MAX;
            if let (Entry::Vacant(vacant), Some((taken, source))) = (running.entry(id), source_of(&trigger)) {
                if full {
                    let reason = format!("this server has {AMQP_CONSUMERS_MAX} consumers already, as many as it may");
                    self.shared.is(id, Condition::Failing(reason));
                    continue;
                }
                let consumer = Consumer {
                    shared: Arc::clone(&self.shared),
                    taken,
                    source,
                    trigger: trigger.clone(),
                };
                let stop = CancellationToken::new();
                let work = tokio::spawn(consumer.run(stop.clone()));
                vacant.insert(Running { trigger, stop, work });
            }
        }
        Ok(())
    }
}

async fn end(consumer: Running) {
    consumer.stop.cancel();
    if let Err(error) = consumer.work.await {
        tracing::error!(%error, trigger = consumer.trigger.name, "a consumer of RabbitMQ did not end well");
    }
}

/// What a trigger takes from RabbitMQ, and from where.
fn source_of(trigger: &EventTrigger) -> Option<(Taken, AmqpSource)> {
    let taken = match &trigger.config {
        TriggerConfig::Queue(subscription) => Taken::Messages(subscription.clone()),
        TriggerConfig::Storage(watch) => Taken::Notifications(watch.clone()),
        TriggerConfig::Cron(_) => return None,
    };
    Some((taken, trigger.config.amqp()?.clone()))
}
