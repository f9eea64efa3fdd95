//! The messages of one RabbitMQ queue for one trigger: taken, made events, and only then acknowledged.
//!
//! A message is acknowledged when its event is durable, not when its function has run: from then on the event table is what
//! counts attempts, also over the end of a server, and no limit of the broker for unacknowledged messages is in the way of a
//! function that takes long. No more is taken than can be begun soon, so that the rest stays with the broker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::connect::{Trouble, connect};
use super::message::AmqpShape;
use super::{Condition, Shared};
use crate::code::Code;
use crate::config::{AMQP_MESSAGE_BYTES_MAX, RETENTION_SECONDS_MAX};
use crate::events::envelope::Envelope;
use crate::events::filter::{Filters, OrderPath, document};
use crate::ledger::Trigger;
use crate::storage::{max_age_ms, notification_events};
use crate::store::{AmqpSource, Arrival, EventTrigger, Lane, NewEvent, StorageWatch, Subscription};

/// How long a broker may take to answer to what is asked of it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause before the next try after a connection that failed; doubles up to the longest one.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// After so long a connection has been a good one.
const GOOD_AFTER: Duration = Duration::from_secs(30);
/// Events of one trigger that are due or run before no more messages are taken, unless two rounds of batches are more.
const OUTSTANDING_MAX: u32 = 2_000;
/// Messages that the broker gives before they are acknowledged, at least and at most. It counts messages, not bytes.
const PREFETCH_MIN: u16 = 64;
const PREFETCH_MAX: u16 = 256;
/// Bodies of messages that become events in one transaction, in bytes; the last one may go beyond it.
const AT_ONCE_BYTES_MAX: usize = 8 << 20;
/// Notifications that are taken in one transaction: each may become many events.
const NOTIFICATIONS_AT_ONCE_MAX: usize = 1;
/// Between two looks whether there is room again.
const ROOM_PAUSE: Duration = Duration::from_millis(200);
/// After so long without room the messages that are here go back to the broker, whose patience has an end, too.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(300);
/// Pause after events were not accepted.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Takes the messages for one trigger.
pub(super) struct Consumer {
    pub(super) shared: Arc<Shared>,
    pub(super) trigger: EventTrigger,
    pub(super) taken: Taken,
    pub(super) source: AmqpSource,
}

/// What the messages are to the trigger.
pub(super) enum Taken {
    /// What the function is given.
    Messages(Subscription),
    /// What another storage says of its objects.
    Notifications(StorageWatch),
}

impl Consumer {
    /// Takes messages until `stop`; when the broker is away, tries again for as long.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut pause = PAUSE_MIN;
        loop {
            self.is(Condition::Connecting);
            let began = Instant::now();
            match self.consume(&stop).await {
                Ok(()) => return,
                Err(Trouble(reason)) => {
                    tracing::warn!(
                        trigger = self.trigger.name,
                        reason,
                        "no messages are taken from RabbitMQ; it is tried again"
                    );
                    self.is(Condition::Failing(reason));
                }
            }
            if began.elapsed() > GOOD_AFTER {
                pause = PAUSE_MIN;
            }
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn is(&self, condition: Condition) {
        self.shared.is(self.trigger.id, condition);
    }

    /// Takes messages until `stop` or until something is wrong.
    async fn consume(&self, stop: &CancellationToken) -> Result<(), Trouble> {
        if !self.has_room(stop).await? {
            return Ok(());
        }
        let Some(connected) = stop.run_until_cancelled(answered(self.connect())).await else {
            return Ok(());
        };
        let (connection, channel) = connected?;
        // As AWS names it.
        let from = format!("{}::{}", self.source.queue, connection.status().vhost());
        let Some(subscribed) = stop.run_until_cancelled(answered(self.subscribe(&channel))).await else {
            return Ok(());
        };
        let mut messages = subscribed?;
        self.is(Condition::Connected);
        let look_every = self.at_once_max();
        let mut accepted = 0;
        loop {
            let Some(first) = stop.run_until_cancelled(messages.next()).await else {
                break;
            };
            let ended = || Trouble("the broker has ended the delivery: was the queue deleted?".to_owned());
            let mut batch = vec![first.ok_or_else(ended)??];
            let mut bytes = batch[0].data.len();
            while batch.len() < look_every
                && bytes < AT_ONCE_BYTES_MAX
                && let Some(Some(more)) = messages.next().now_or_never()
            {
                let more = more?;
                bytes += more.data.len();
                batch.push(more);
            }
            accepted += batch.len();
            if !self.take(batch, &from, stop).await? {
                break;
            }
            if accepted >= look_every {
                accepted = 0;
                if !self.has_room(stop).await? {
                    break;
                }
            }
        }
        // What was not acknowledged is delivered again, to whoever comes next.
        let _ = timeout(ANSWER_TIME_MAX, connection.close(200, "OK".into())).await;
        Ok(())
    }

    async fn connect(&self) -> Result<(Connection, Channel), Trouble> {
        let url = self
            .shared
            .seal
            .open(
                &AmqpSource::purpose(&self.trigger.namespace, &self.trigger.name),
                &self.source.url,
            )
            .map_err(|error| Trouble(error.to_string()))?;
        let name = format!("mayfly {}/{}", self.trigger.namespace, self.trigger.name);
        let connection = connect(&url, name).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    async fn subscribe(&self, channel: &Channel) -> Result<lapin::Consumer, Trouble> {
        let queue = &self.source.queue;
        // Only asks whether it is there: what it is like is up to its owner.
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(queue.as_str().into(), passive, FieldTable::default())
            .await?;
        let prefetch = match self.taken {
            Taken::Messages(_) => u16::try_from(self.outstanding_max()).unwrap_or(u16::MAX),
            Taken::Notifications(_) => PREFETCH_MIN,
        };
        let prefetch = prefetch.clamp(PREFETCH_MIN, PREFETCH_MAX);
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let tag = format!("mayfly.{}", self.trigger.id);
        let consumer = channel.basic_consume(
            queue.as_str().into(),
            tag.into(),
            BasicConsumeOptions {
                // Two servers that take turns would not know whose message was first.
                exclusive: self.order_path().is_some(),
                ..BasicConsumeOptions::default()
            },
            FieldTable::default(),
        );
        Ok(consumer.await?)
    }

    /// Makes events of messages, then acknowledges them; `false` at `stop`, with none of it done.
    async fn take(&self, batch: Vec<Delivery>, from: &str, stop: &CancellationToken) -> Result<bool, Trouble> {
        let now_ms = self.shared.clock.unix_ms();
        let mut filters = Filters::new();
        if let Taken::Messages(Subscription {
            filter: Some(pattern), ..
        }) = &self.taken
        {
            filters.add(0, pattern).map_err(Trouble)?;
        }
        let max_age_ms = self.max_age_ms().await?;
        let (mut events, mut refused, mut last) = (Vec::with_capacity(batch.len()), Vec::new(), None);
        for mut delivery in batch {
            let bytes = delivery.data.len();
            if bytes > AMQP_MESSAGE_BYTES_MAX {
                // It is not kept while the others wait for the disk.
                delivery.data = Vec::new();
                refused.push((
                    delivery,
                    format!("it has {bytes} bytes; at most {AMQP_MESSAGE_BYTES_MAX} may be"),
                ));
                continue;
            }
            let body = Bytes::from(std::mem::take(&mut delivery.data));
            let made = match &self.taken {
                Taken::Messages(subscription) => self
                    .event((subscription, &filters), &delivery, body, from, (now_ms, max_age_ms))
                    .map(|event| event.into_iter().collect()),
                Taken::Notifications(watch) => {
                    notification_events((&self.trigger, watch), &body, (now_ms, max_age_ms), &self.shared.ids)
                        .and_then(|events| self.shared.intake.can_ever_accept(&events).map(|()| events))
                }
            };
            match made {
                // None of it, if nobody wants it.
                Ok(made) => {
                    for event in made.iter().filter(|_| delivery.redelivered) {
                        tracing::info!(event = %event.id, trigger = self.trigger.name,
                            "the broker has delivered this message before: if it was accepted then, this event is a duplicate");
                    }
                    events.extend(made);
                }
                Err(reason) => {
                    refused.push((delivery, reason));
                    continue;
                }
            }
            last = Some(delivery);
        }
        let arrival = Arrival {
            events,
            messages: Vec::new(),
        };
        if !self.accept(arrival, stop).await? {
            return Ok(false);
        }
        for (delivery, reason) in refused {
            tracing::warn!(trigger = self.trigger.name, reason, "a message of RabbitMQ is rejected");
            delivery.reject(BasicRejectOptions { requeue: false }).await?;
        }
        if let Some(last) = last {
            // All before it, too: they come in order, and each was dealt with.
            last.ack(BasicAckOptions { multiple: true }).await?;
        }
        Ok(true)
    }

    /// Until they are accepted: the broker keeps the messages meanwhile.
    async fn accept(&self, arrival: Arrival, stop: &CancellationToken) -> Result<bool, Trouble> {
        loop {
            match self
                .shared
                .intake
                .accept(&self.trigger.namespace, arrival.clone())
                .await
            {
                Ok(()) => {
                    self.is(Condition::Connected);
                    return Ok(true);
                }
                Err(problem) if problem.code == Code::ShuttingDown => return Ok(false),
                Err(problem) => self.is(Condition::Failing(problem.detail)),
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(RETRY_PAUSE))
                .await
                .is_none()
            {
                return Ok(false);
            }
        }
    }

    /// The event that a message becomes; `None` if the trigger does not want it.
    fn event(
        &self,
        (subscription, filters): (&Subscription, &Filters),
        delivery: &Delivery,
        body: Bytes,
        from: &str,
        (now_ms, max_age_ms): (i64, i64),
    ) -> Result<Option<NewEvent>, String> {
        let mut shape = AmqpShape::of(delivery, from);
        shape.properties.body_size = body.len() as u64;
        let (attributes, text) = (shape.attributes(), String::from_utf8_lossy(&body));
        if !filters.is_empty() && filters.matching(&document(&attributes, &text))?.is_empty() {
            return Ok(None);
        }
        let order_key = self.order_path().and_then(|path| path.of(&attributes, &text));
        Ok(Some(NewEvent {
            id: self.shared.ids.event(now_ms),
            namespace: self.trigger.namespace.clone(),
            function: self.trigger.function.clone(),
            pinned_version: None,
            source: Trigger::Queue,
            trigger: Some(self.trigger.name.clone()),
            created_ms: now_ms,
            due_ms: now_ms,
            expires_ms: now_ms.saturating_add(max_age_ms),
            depth: shape.depth(),
            order_key,
            envelope: Envelope::of_amqp(shape, subscription.retry).to_text(),
            payload: body,
        }))
    }

    fn order_path(&self) -> Option<OrderPath> {
        let Taken::Messages(subscription) = &self.taken else {
            return None;
        };
        OrderPath::parse(subscription.order_key.as_deref()?).ok()
    }

    /// How old an event may become.
    async fn max_age_ms(&self) -> Result<i64, Trouble> {
        match &self.taken {
            Taken::Messages(_) => Ok(i64::from(RETENTION_SECONDS_MAX) * 1_000),
            Taken::Notifications(_) => {
                let max_age_ms = max_age_ms(&self.shared.store, &self.trigger).await;
                max_age_ms.map_err(|error| Trouble(error.to_string()))
            }
        }
    }

    /// Messages that become events in one transaction.
    fn at_once_max(&self) -> usize {
        match self.taken {
            Taken::Messages(_) => self.outstanding_max().div_ceil(2).min(PREFETCH_MAX.into()) as usize,
            Taken::Notifications(_) => NOTIFICATIONS_AT_ONCE_MAX,
        }
    }

    fn outstanding_max(&self) -> u32 {
        let Taken::Messages(Subscription { batch, concurrency, .. }) = self.taken else {
            return OUTSTANDING_MAX;
        };
        let wanted = batch.saturating_mul(concurrency).saturating_mul(2);
        wanted.clamp(batch, OUTSTANDING_MAX.max(batch.saturating_mul(2)))
    }

    /// Waits until there is room for more, but not for ever; `false` at `stop`.
    async fn has_room(&self, stop: &CancellationToken) -> Result<bool, Trouble> {
        // Events of notifications wait with all others of the function; the namespace's backlog is their bound.
        if matches!(self.taken, Taken::Notifications(_)) {
            return Ok(!stop.is_cancelled());
        }
        let lane = Lane::of(
            &self.trigger.namespace,
            &self.trigger.function,
            Trigger::Queue,
            Some(&self.trigger.name),
        );
        let (most, began) = (self.outstanding_max(), Instant::now());
        loop {
            if began.elapsed() > ROOM_WAIT_MAX {
                return Err(Trouble(format!("{most} messages wait or run, as many as may at once")));
            }
            let now_ms = self.shared.clock.unix_ms();
            match self.shared.store.count_live(&lane, most, now_ms).await {
                Ok(live) if live < u64::from(most) => return Ok(true),
                Ok(_) => {}
                Err(error) => self.is(Condition::Failing(error.to_string())),
            }
            if stop.run_until_cancelled(tokio::time::sleep(ROOM_PAUSE)).await.is_none() {
                return Ok(false);
            }
        }
    }
}

async fn answered<T>(asked: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    match timeout(ANSWER_TIME_MAX, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Trouble(format!(
            "the broker has not answered within {} s",
            ANSWER_TIME_MAX.as_secs()
        ))),
    }
}
