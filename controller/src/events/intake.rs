//! Accepting events: many that come at once share one transaction, and so one wait for the disk.

use std::sync::Arc;

use mayfly_invoker_api::Namespace;
use tokio::sync::{mpsc, oneshot};

use crate::code::Code;
use crate::events::Metrics;
use crate::events::backlog::Backlog;
use crate::events::wakeups::Wakeups;
use crate::problem::Problem;
use crate::store::{Arrival, NewEvent, Store, StoreError};

/// Events and messages of one transaction; the last ones may go beyond it.
const BATCH_EVENTS_MAX: usize = 512;
/// Payloads of one transaction, in bytes; the last one may go beyond it.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Events that wait for a transaction.
const WAITING_MAX: usize = 1_024;

/// Where events are handed in. A clone is cheap and means the same intake.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    sender: mpsc::Sender<Accepting>,
    backlog: Arc<Backlog>,
}

/// Who wants to know of accepted events.
pub(super) struct Told {
    pub(super) backlog: Arc<Backlog>,
    pub(super) wakeups: Arc<Wakeups>,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Accepting {
    namespace: Namespace,
    arrival: Arrival,
    accepted: oneshot::Sender<Result<(), Arc<StoreError>>>,
}

impl Intake {
    /// The intake, and the work that has to run for it.
    pub(super) fn new(store: Store, told: Told) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let intake = Self {
            sender,
            backlog: Arc::clone(&told.backlog),
        };
        (intake, work(receiver, store, told))
    }

    /// Whether there is room for so many events at once when nothing else waits.
    ///
    /// # Errors
    /// Says why not, for people.
    pub(crate) fn can_ever_accept(&self, events: &[NewEvent]) -> Result<(), String> {
        let bytes = events.iter().map(|event| event.payload.len()).sum();
        self.backlog.can_ever_hold(events.len(), bytes)
    }

    /// Accepts what has come to a namespace: it is durable when this returns.
    pub(crate) async fn accept(&self, namespace: &Namespace, arrival: Arrival) -> Result<(), Problem> {
        let (accepted, outcome) = oneshot::channel();
        let closed = || Problem::new(Code::ShuttingDown, "this server is shutting down");
        let permit = self.sender.reserve().await.map_err(|_| closed())?;
        // From here on nobody can go away: what is counted is accepted, or counted off again.
        self.backlog.enter(namespace, count_of(&arrival), bytes_of(&arrival))?;
        permit.send(Accepting {
            namespace: namespace.clone(),
            arrival,
            accepted,
        });
        match outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Problem::from(&*error)),
            Err(_) => Err(closed()),
        }
    }
}

/// Events and messages.
fn count_of(arrival: &Arrival) -> usize {
    arrival.events.len() + arrival.messages.len()
}

/// Their payloads and bodies, in bytes.
fn bytes_of(arrival: &Arrival) -> usize {
    let payloads: usize = arrival.events.iter().map(|event| event.payload.len()).sum();
    let bodies: usize = arrival.messages.iter().map(|message| message.body.len()).sum();
    payloads + bodies
}

async fn work(mut receiver: mpsc::Receiver<Accepting>, store: Store, told: Told) {
    while let Some(first) = receiver.recv().await {
        let (mut count, mut bytes) = (count_of(&first.arrival), bytes_of(&first.arrival));
        let mut batch = vec![first];
        while count < BATCH_EVENTS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = receiver.try_recv() else { break };
            count += count_of(&next.arrival);
            bytes += bytes_of(&next.arrival);
            batch.push(next);
        }
        let (mut events, mut messages) = (Vec::with_capacity(count), Vec::new());
        let mut waiting = Vec::with_capacity(batch.len());
        for accepting in batch {
            let (count, bytes) = (count_of(&accepting.arrival), bytes_of(&accepting.arrival));
            waiting.push((accepting.accepted, accepting.namespace, count, bytes));
            events.extend(accepting.arrival.events);
            messages.extend(accepting.arrival.messages);
        }
        let outcome = store.accept(&events, &messages).await.map_err(Arc::new);
        if outcome.is_ok() {
            told.metrics.accepted(&events);
            for event in &events {
                told.wakeups.wake(event.lane(), event.due_ms);
            }
        }
        for (accepted, namespace, count, bytes) in waiting {
            if outcome.is_err() {
                told.backlog.leave(&namespace, count, bytes);
            }
            // Whoever asked may have gone away; it is accepted all the same.
            let _ = accepted.send(outcome.clone());
        }
    }
}
