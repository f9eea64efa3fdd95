//! Events: everything that is not a call. What the platform has accepted, it owes an ending.
//!
//! `intake` makes an event durable; `delivery` claims it when it is due and has `attempt` run it on the same road as every
//! call, or has `webhook` tell somebody outside; `settling` ends the attempt in the database, together with its entry in the ledger. `housekeeping` takes over
//! what a dead process held, and `cron` turns ticks into events. Whose turn it is and what follows a failure is decided in
//! the crate `mayfly-delivery`, which has no clock and no store.

mod amqp;
mod answer;
mod attempt;
mod backlog;
mod batch;
mod cron;
mod delivery;
mod destination;
mod envelope;
mod filter;
mod housekeeping;
mod inside;
mod intake;
mod judgement;
mod metrics;
mod outgoing;
#[cfg(any(test, fuzzing))]
pub(crate) mod property;
mod publishing;
mod reserved;
mod settling;
mod signing;
mod subscriptions;
mod wakeups;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use mayfly_invoker_api::{EventId, Namespace, QueueName};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Parts;
use crate::clock::{Clock, Ids};
use crate::events::amqp::{Publisher, Sources};
use crate::events::attempt::Runner;
use crate::events::backlog::Backlog;
use crate::events::delivery::{Delivery, Running, lock};
use crate::events::housekeeping::{Housekeeping, alive_until_ms};
use crate::events::settling::Settling;
use crate::events::signing::Secrets;
use crate::events::webhook::Teller;
use crate::ingress::Ingress;
use crate::problem::Problem;
use crate::store::{Arrival, NewEvent, StoreError};

pub use amqp::AmqpDestination;
pub(crate) use amqp::{BrokerUrl, Condition, check_name};
pub use cron::Scheduler;
pub(crate) use cron::Timing;
pub use destination::Destination;
pub(crate) use envelope::{CloudEvent, Envelope};
pub(crate) use filter::{Filters, OrderPath};
pub(crate) use inside::QueueService;
pub(crate) use intake::Intake;
pub(crate) use metrics::Metrics;
pub(crate) use outgoing::checked_messages;
pub(crate) use reserved::Reserved;
pub(crate) use signing::is_signed;
pub use signing::{SigningSecret, SigningSecrets};
pub(crate) use subscriptions::{Message, Subscriptions, no_queue};
pub(crate) use wakeups::Wakeups;

/// More than any controller goes by what it knew of a queue's triggers.
const LATE_MESSAGES_PAUSE: Duration = Duration::from_secs(2);

/// What accepts events. Made before what delivers them, because calls hand in events, too.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) intake: Intake,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) wakeups: Arc<Wakeups>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) secrets: Secrets,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) sources: Sources,
    backlog: Arc<Backlog>,
    running: Running,
    intake_work: JoinHandle<()>,
}

impl Events {
    /// Must be called inside a runtime.
    pub(crate) fn start(parts: &Parts) -> Self {
        let ids = Arc::new(Ids::new(parts.process));
        let wakeups = Arc::new(Wakeups::default());
        let backlog = Arc::new(Backlog::new(
            parts.bounds.backlog_events_max,
            parts.bounds.backlog_bytes_max,
        ));
        let metrics = Arc::new(Metrics::new());
        let told = intake::Told {
            backlog: Arc::clone(&backlog),
            wakeups: Arc::clone(&wakeups),
            metrics: Arc::clone(&metrics),
        };
        let (intake, work) = Intake::new(parts.store.clone(), told);
        let sources = Sources::new(parts, intake.clone(), Arc::clone(&ids));
        Self {
            intake,
            sources,
            scheduler: Arc::new(Scheduler::new(
                parts.store.clone(),
                Arc::clone(&ids),
                Arc::clone(&wakeups),
                Arc::clone(&metrics),
            )),
            secrets: Secrets::new(parts),
            subscriptions: Arc::new(Subscriptions::new(parts.store.clone(), Arc::clone(&ids))),
            ids,
            wakeups,
            metrics,
            backlog,
            running: Running::default(),
            intake_work: tokio::spawn(work),
        }
    }

    /// Accepts an event: it is durable when this returns.
    pub(crate) async fn accept(&self, event: NewEvent) -> Result<(), Problem> {
        let namespace = event.namespace.clone();
        self.intake.accept(&namespace, event.into()).await
    }

    /// Accepts messages of a queue, all or none: they are durable when this returns. Gives their ids, and those of the events
    /// that they became.
    pub(crate) async fn send(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        messages: Vec<Message>,
        now_ms: i64,
    ) -> Result<Vec<(EventId, Vec<EventId>)>, Problem> {
        let (mut all, mut bytes, mut sent) = (Arrival::default(), 0, Vec::with_capacity(messages.len()));
        for message in messages {
            // Filters may take their time, and others have this thread, too.
            tokio::task::yield_now().await;
            let (id, arrival) = self.subscriptions.arrival(namespace, queue, message, now_ms).await?;
            bytes += arrival.events.iter().map(NewEvent::bytes).sum::<usize>();
            // One alone always can.
            if !sent.is_empty() {
                outgoing::check_at_once(all.events.len() + arrival.events.len(), bytes)?;
            }
            sent.push((id, arrival.events.iter().map(|event| event.id).collect()));
            all.events.extend(arrival.events);
            all.messages.extend(arrival.messages);
        }
        let waits = !all.messages.is_empty();
        self.intake.accept(namespace, all).await?;
        if waits {
            self.subscriptions.has_arrived();
        }
        Ok(sent)
    }

    /// Gives messages that wait in a queue to the triggers that want them by now; once more a little later, because what
    /// was sent meanwhile may have gone by what was known before.
    pub(crate) async fn take_waiting(&self, namespace: &Namespace, queue: &QueueName, clock: &dyn Clock) {
        for pause in [Duration::ZERO, LATE_MESSAGES_PAUSE] {
            tokio::time::sleep(pause).await;
            let taken = self.subscriptions.take_waiting(namespace, queue, clock.unix_ms()).await;
            match taken {
                Ok(lanes) => {
                    for (lane, due_ms) in lanes {
                        self.wakeups.wake(lane, due_ms);
                    }
                }
                Err(problem) => {
                    tracing::warn!(%queue, reason = problem.detail, "messages wait although a trigger may want them");
                }
            }
        }
    }

    /// Counts an event that is accepted on another road, or says that there are too many.
    pub(crate) fn reserve(&self, namespace: &Namespace, bytes: usize) -> Result<(), Problem> {
        self.backlog.enter(namespace, 1, bytes)
    }

    /// It was not accepted after all.
    pub(crate) fn release(&self, namespace: &Namespace, bytes: usize) {
        self.backlog.leave(namespace, 1, bytes);
    }

    /// Stops an event that runs here; one that runs elsewhere is stopped by the controller that runs it.
    pub(crate) fn stop_running(&self, id: EventId) {
        if let Some(attempt) = lock(&self.running).get(&id) {
            attempt.cancel.cancel();
        }
    }

    /// Delivers until `stop`; then waits for what runs and is done when all of it is settled.
    pub(crate) async fn run(&self, parts: &Parts, ingress: Arc<Ingress>, stop: CancellationToken) {
        if let Err(error) = self.take_office(parts).await {
            tracing::warn!(%error, "what the last server left behind is taken over later");
        }
        let (settling, settling_work) = Settling::new(
            parts.store.clone(),
            settling::Told {
                wakeups: Arc::clone(&self.wakeups),
                metrics: Arc::clone(&self.metrics),
                running: Arc::clone(&self.running),
            },
        );
        let settled = tokio::spawn(settling_work);
        let runner = Runner {
            store: parts.store.clone(),
            ingress,
            clock: Arc::clone(&parts.clock),
            ids: Arc::clone(&self.ids),
            teller: Teller {
                invoker: Arc::clone(&parts.invoker),
                secrets: self.secrets.clone(),
                clock: Arc::clone(&parts.clock),
            },
            publisher: Publisher::default(),
            seal: parts.seal.clone(),
            subscriptions: Arc::clone(&self.subscriptions),
            payload_bytes_max: parts.bounds.payload_bytes_max,
            records: !parts.ledger.discards(),
        };
        let housekeeping = Housekeeping {
            runner: runner.clone(),
            settling: settling.clone(),
            wakeups: Arc::clone(&self.wakeups),
            backlog: Arc::clone(&self.backlog),
            metrics: Arc::clone(&self.metrics),
            running: Arc::clone(&self.running),
            owner: parts.process,
            result_kept: parts.bounds.result_kept,
        };
        let delivery = Delivery {
            runner,
            settling,
            wakeups: Arc::clone(&self.wakeups),
            backlog: Arc::clone(&self.backlog),
            running: Arc::clone(&self.running),
            owner: parts.process,
            slots: parts.bounds.events_in_flight_max,
        };
        let drained = CancellationToken::new();
        let scheduler = Arc::clone(&self.scheduler).run(Arc::clone(&parts.clock), stop.clone());
        let sources = self.sources.run(stop.clone());
        let delivering = async {
            delivery.run(stop).await;
            drained.cancel();
        };
        // The heart beats until the last attempt has ended.
        tokio::join!(scheduler, sources, delivering, housekeeping.run(drained.clone()));
        if let Err(error) = settled.await {
            tracing::error!(%error, "ended attempts were not all settled");
        }
        if let Err(error) = parts.store.has_ended(parts.process).await {
            tracing::warn!(%error, "the end of this server is not known to the others yet");
        }
    }

    /// Nothing more is accepted.
    pub(crate) fn close(&self) {
        self.intake_work.abort();
    }

    /// Nobody else may run what a dead process on this data held.
    async fn take_office(&self, parts: &Parts) -> Result<(), StoreError> {
        if !parts.store.is_shared() {
            parts.store.all_have_ended().await?;
        } else if let Some(predecessor) = parts.predecessor {
            parts.store.has_ended(predecessor).await?;
        }
        let now_ms = parts.store.shared_time_ms(parts.clock.unix_ms()).await?;
        parts
            .store
            .stay_alive(parts.process, alive_until_ms(&parts.store, now_ms))
            .await
    }
}
