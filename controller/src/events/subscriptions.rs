//! Where a message of a queue goes: an event for each trigger that wants it; if none does, it waits in the queue.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mayfly_invoker_api::{EventId, Namespace, QueueName};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::clock::Ids;
use crate::code::Code;
use crate::config::{EVENT_DEPTH_MAX, RETENTION_SECONDS_MAX};
use crate::events::envelope::{Envelope, MessageShape};
use crate::events::filter::{Filters, OrderPath, document};
use crate::ledger::Trigger;
use crate::problem::Problem;
use crate::store::{
    Arrival, EventTrigger, Lane, NewEvent, NewMessage, Queue, Store, StoreError, Subscription, TriggerConfig,
};

/// How long a trigger or a queue that another controller has changed may go unseen.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Queues, and triggers, that are kept in memory.
const KNOWN_MAX: u64 = 10_000;

/// A message before it is known where it goes.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) body: String,
    /// In place of the queue's own, in milliseconds.
    pub(crate) delay_ms: Option<i64>,
    /// How many events led to it.
    pub(crate) depth: u32,
}

/// What the messages of all queues are wanted by.
pub(crate) struct Subscriptions {
    store: Store,
    ids: Arc<Ids>,
    topics: moka::future::Cache<(Namespace, QueueName), Option<Arc<Topic>>>,
    triggers: moka::future::Cache<(Namespace, String), Option<Arc<EventTrigger>>>,
    arrived: Notify,
}

impl fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriptions").finish_non_exhaustive()
    }
}

/// A queue and the triggers that its messages go to.
pub(crate) struct Topic {
    queue: Queue,
    subscribers: Vec<Subscriber>,
    filters: Filters,
}

struct Subscriber {
    trigger: EventTrigger,
    has_filter: bool,
    order_path: Option<OrderPath>,
}

impl Subscriptions {
    pub(super) fn new(store: Store, ids: Arc<Ids>) -> Self {
        let build = || moka::future::Cache::builder().max_capacity(KNOWN_MAX);
        Self {
            store,
            ids,
            topics: build().time_to_live(AGE_MAX).build(),
            triggers: moka::future::Cache::builder()
                .max_capacity(KNOWN_MAX)
                .time_to_live(AGE_MAX)
                .build(),
            arrived: Notify::new(),
        }
    }

    /// Ends when the next message waits to be received here, in whichever queue.
    pub(crate) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// A message waits to be received.
    pub(super) fn has_arrived(&self) {
        self.arrived.notify_waiters();
    }

    /// Something was changed here.
    pub(crate) fn forget(&self) {
        self.topics.invalidate_all();
        self.triggers.invalidate_all();
    }

    /// The queue of that name.
    pub(crate) async fn topic(&self, namespace: &Namespace, queue: &QueueName) -> Result<Arc<Topic>, Problem> {
        let found = self
            .topics
            .try_get_with((namespace.clone(), queue.clone()), self.look_up(namespace, queue))
            .await;
        match found {
            Ok(Some(topic)) => Ok(topic),
            Ok(None) => Err(no_queue(queue)),
            Err(error) => Err(Problem::from(&*error)),
        }
    }

    async fn look_up(&self, namespace: &Namespace, queue: &QueueName) -> Result<Option<Arc<Topic>>, StoreError> {
        let Some(queue) = self.store.queue(namespace, queue).await? else {
            return Ok(None);
        };
        let triggers = self.store.subscribers(namespace, &queue.name).await?;
        Ok(Some(Arc::new(Topic::new(queue, triggers))))
    }

    /// The trigger of that name.
    pub(super) async fn trigger(
        &self,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<Arc<EventTrigger>>, Arc<StoreError>> {
        let look_up = async { Ok(self.store.trigger(namespace, name).await?.map(Arc::new)) };
        self.triggers
            .try_get_with((namespace.clone(), name.to_owned()), look_up)
            .await
    }

    /// What comes of a message, and its id.
    pub(crate) async fn arrival(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        message: Message,
        now_ms: i64,
    ) -> Result<(EventId, Arrival), Problem> {
        let topic = self.topic(namespace, queue).await?;
        let id = self.ids.event(now_ms);
        topic.check(&message)?;
        Ok((id, topic.arrival(id, message, now_ms, &self.ids)))
    }

    /// The same for a message that has to go somewhere: one that too many events led to, or whose queue is not there, waits in
    /// that queue for somebody to look at it.
    pub(super) async fn arrival_in_any_case(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        message: Message,
        now_ms: i64,
    ) -> Result<Arrival, Problem> {
        match self.arrival(namespace, queue, message.clone(), now_ms).await {
            Ok((_, arrival)) => Ok(arrival),
            Err(problem) if matches!(problem.code, Code::QueueNotFound | Code::RecursionDetected) => {
                tracing::warn!(%namespace, %queue, reason = problem.detail, "a message goes to no trigger, it waits");
                let waiting = NewMessage {
                    id: self.ids.event(now_ms),
                    namespace: namespace.clone(),
                    queue: queue.clone(),
                    attributes: message.attributes,
                    body: message.body,
                    depth: message.depth,
                    created_ms: now_ms,
                    visible_ms: now_ms,
                    expires_ms: now_ms.saturating_add(i64::from(RETENTION_SECONDS_MAX) * 1_000),
                };
                Ok(Arrival {
                    events: Vec::new(),
                    messages: vec![waiting],
                })
            }
            Err(problem) => Err(problem),
        }
    }

    /// Gives messages that wait in a queue to the triggers that want them by now. Gives the lanes in which there are events
    /// now, and when the first one of each is due.
    pub(crate) async fn take_waiting(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        now_ms: i64,
    ) -> Result<BTreeMap<Lane, i64>, Problem> {
        const AT_ONCE: u32 = 256;
        let topic = self.topic(namespace, queue).await?;
        let (mut lanes, mut after) = (BTreeMap::new(), None);
        if topic.subscribers.is_empty() {
            return Ok(lanes);
        }
        loop {
            let waiting = self
                .store
                .waiting_messages((namespace, queue), after, now_ms, AT_ONCE)
                .await?;
            let Some(last) = waiting.last() else { return Ok(lanes) };
            after = Some(last.message.id);
            let mut taken = Vec::new();
            for stored in waiting {
                let goes_on = stored.message.depth <= EVENT_DEPTH_MAX;
                let made = topic.events(&stored.message, &self.ids);
                if goes_on && !made.is_empty() {
                    taken.push((stored.message.id, made));
                }
            }
            for event in self.store.take_messages(&taken, now_ms).await? {
                let first = lanes.entry(event.lane()).or_insert(i64::MAX);
                *first = event.due_ms.min(*first);
            }
        }
    }
}

impl Topic {
    fn new(queue: Queue, triggers: Vec<EventTrigger>) -> Self {
        let (mut subscribers, mut filters) = (Vec::with_capacity(triggers.len()), Filters::new());
        for trigger in triggers {
            let TriggerConfig::Queue(subscription) = &trigger.config else {
                continue;
            };
            if let Some(pattern) = &subscription.filter
                && let Err(error) = filters.add(subscribers.len(), pattern)
            {
                // It was read when it was made, so this is about another version of the program.
                tracing::error!(
                    trigger = trigger.name,
                    error,
                    "a filter cannot be read and fits no message"
                );
            }
            let order_path = subscription.order_key.as_deref();
            subscribers.push(Subscriber {
                has_filter: subscription.filter.is_some(),
                order_path: order_path.and_then(|path| OrderPath::parse(path).ok()),
                trigger,
            });
        }
        Self {
            queue,
            subscribers,
            filters,
        }
    }

    /// Whether it is not one step too far in a circle.
    fn check(&self, message: &Message) -> Result<(), Problem> {
        if message.depth > EVENT_DEPTH_MAX {
            return Err(Problem::new(
                Code::RecursionDetected,
                format!(
                    "{} events in a row led to this message; at most {EVENT_DEPTH_MAX} may",
                    message.depth
                ),
            ));
        }
        Ok(())
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What comes of a message: events, or the message itself, which waits.
    fn arrival(&self, id: EventId, message: Message, now_ms: i64, ids: &Ids) -> Arrival {
        let config = &self.queue.config;
        let delay_ms = message.delay_ms.unwrap_or(i64::from(config.delay_seconds) * 1_000);
        let visible_ms = now_ms.saturating_add(delay_ms);
        let message = NewMessage {
            id,
            namespace: self.queue.namespace.clone(),
            queue: self.queue.name.clone(),
            attributes: message.attributes,
            body: message.body,
            depth: message.depth,
            created_ms: now_ms,
            visible_ms,
            expires_ms: visible_ms.saturating_add(i64::from(config.retention_seconds) * 1_000),
        };
        let events = self.events(&message, ids);
        let messages = if events.is_empty() { vec![message] } else { Vec::new() };
        Arrival { events, messages }
    }

    /// One for each trigger that wants the message.
    fn events(&self, message: &NewMessage, ids: &Ids) -> Vec<NewEvent> {
        let fitting = if self.filters.is_empty() {
            Vec::new()
        } else {
            let found = self.filters.matching(&document(&message.attributes, &message.body));
            found.unwrap_or_else(|error| {
                tracing::warn!(queue = %self.queue.name, message = %message.id, error, "a message fits no filter, because it cannot be read");
                Vec::new()
            })
        };
        // One for all of them.
        let body = Bytes::from(message.body.clone());
        let wants = |(place, subscriber): &(usize, &Subscriber)| !subscriber.has_filter || fitting.contains(place);
        let subscribers = self.subscribers.iter().enumerate().filter(wants);
        subscribers
            .map(|(_, subscriber)| subscriber.event(message, body.clone(), ids))
            .collect()
    }
}

impl Subscriber {
    fn event(&self, message: &NewMessage, body: Bytes, ids: &Ids) -> NewEvent {
        let shape = MessageShape {
            queue: message.queue.clone(),
            message: message.id,
            attributes: message.attributes.clone(),
            sent_ms: message.created_ms,
        };
        let order_path = self.order_path.as_ref();
        NewEvent {
            id: ids.event(message.created_ms),
            namespace: message.namespace.clone(),
            function: self.trigger.function.clone(),
            pinned_version: None,
            source: Trigger::Queue,
            trigger: Some(self.trigger.name.clone()),
            created_ms: message.created_ms,
            due_ms: message.visible_ms,
            expires_ms: message.expires_ms,
            depth: message.depth,
            order_key: order_path.and_then(|path| path.of(&message.attributes, &message.body)),
            envelope: Envelope::of_message(shape, self.trigger.config.retry()).to_text(),
            payload: body,
        }
    }
}

/// What a queue trigger asks for.
pub(super) fn subscription_of(trigger: &EventTrigger) -> Option<&Subscription> {
    match &trigger.config {
        TriggerConfig::Queue(subscription) => Some(subscription),
        TriggerConfig::Cron(_) | TriggerConfig::Storage(_) => None,
    }
}

pub(crate) fn no_queue(queue: &QueueName) -> Problem {
    Problem::new(
        Code::QueueNotFound,
        format!("there is no queue named {queue} in this namespace"),
    )
}
