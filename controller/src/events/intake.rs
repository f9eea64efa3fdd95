//! Accepting events: many that come at once share one transaction, and so one wait for the disk.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::code::Code;
use crate::events::Metrics;
use crate::events::backlog::Backlog;
use crate::events::wakeups::Wakeups;
use crate::problem::Problem;
use crate::store::{NewEvent, Store, StoreError};

/// Events of one transaction.
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
    event: NewEvent,
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

    /// Accepts an event: it is durable when this returns.
    pub(crate) async fn accept(&self, event: NewEvent) -> Result<(), Problem> {
        self.backlog.enter(&event.namespace, event.payload.len())?;
        let (accepted, outcome) = oneshot::channel();
        let closed = || Problem::new(Code::ShuttingDown, "this server is shutting down");
        let permit = self.sender.reserve().await.map_err(|_| closed())?;
        permit.send(Accepting { event, accepted });
        match outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Problem::from(&*error)),
            Err(_) => Err(closed()),
        }
    }
}

async fn work(mut receiver: mpsc::Receiver<Accepting>, store: Store, told: Told) {
    while let Some(first) = receiver.recv().await {
        let mut bytes = first.event.payload.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_EVENTS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = receiver.try_recv() else { break };
            bytes += next.event.payload.len();
            batch.push(next);
        }
        let (events, waiting): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|accepting| (accepting.event, accepting.accepted))
            .unzip();
        let outcome = store.accept_events(&events).await.map_err(Arc::new);
        if outcome.is_ok() {
            told.metrics.accepted(&events);
        }
        for (event, accepted) in events.iter().zip(waiting) {
            if outcome.is_ok() {
                told.wakeups.wake(&event.namespace, &event.function, event.due_ms);
            } else {
                told.backlog.leave(&event.namespace, event.payload.len());
            }
            // Whoever asked may have gone away; the event is accepted all the same.
            let _ = accepted.send(outcome.clone());
        }
    }
}
