//! Ending attempts in the database: many that end at once share one transaction.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mayfly_invoker_api::EventId;
use tokio::sync::mpsc;

use crate::events::Metrics;
use crate::events::delivery::{Running, forget, lock};
use crate::events::wakeups::Wakeups;
use crate::store::{Arrival, Outcome, Settlement, Store, StoreError};

/// Attempts that are ended in one transaction; the last ones may go beyond it.
const BATCH_MAX: usize = 512;
/// Ended attempts that wait for a transaction.
const WAITING_MAX: usize = 1_024;
/// Pause after the database did not take a batch.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Takes ended attempts. A clone is cheap and means the same work.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    sender: mpsc::Sender<Vec<Settlement>>,
}

/// Who wants to know of ended attempts.
pub(super) struct Told {
    pub(super) wakeups: Arc<Wakeups>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) running: Running,
}

impl Settling {
    /// Where ended attempts are handed in, and the work that has to run for it; it ends when no clone is left.
    pub(super) fn new(store: Store, told: Told) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { sender }, work(receiver, store, told))
    }

    /// Hands in attempts that have ended together. Waits while too many wait already.
    pub(super) async fn settle(&self, settlements: Vec<Settlement>) {
        if self.sender.send(settlements).await.is_err() {
            tracing::error!("an attempt ended after the server; it will be repeated");
        }
    }
}

async fn work(mut receiver: mpsc::Receiver<Vec<Settlement>>, store: Store, told: Told) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while let Some(first) = receiver.recv().await {
        batch.extend(first);
        // Those that share an entry in the ledger stay together.
        while batch.len() < BATCH_MAX
            && let Ok(next) = receiver.try_recv()
        {
            batch.extend(next);
        }
        let stale = write(&store, &batch).await;
        told.metrics
            .ended(batch.iter().filter(|ended| !stale.contains(&ended.id)));
        for settlement in batch.drain(..) {
            forget(&mut lock(&told.running), settlement.id, settlement.attempt);
            for event in &settlement.follow_ups.events {
                told.wakeups.wake(event.lane(), event.due_ms);
            }
            match settlement.outcome {
                Outcome::Retry { due_ms } => told.wakeups.wake(settlement.lane, due_ms),
                // The next one with its key is not held any more.
                _ if settlement.order_key.is_some() => told.wakeups.wake(settlement.lane, settlement.ended_ms),
                _ => {}
            }
        }
    }
}

/// Tries until the database has taken it: until then, the events are this process's. Gives those that it does not count.
async fn write(store: &Store, batch: &[Settlement]) -> Vec<EventId> {
    loop {
        match store.settle_events(batch).await {
            Ok(stale) => {
                report(&stale);
                return stale;
            }
            Err(error) if error.is_about_values() => {
                // One of them would keep the others from ending, for ever.
                let (mut stale, mut entered) = (Vec::new(), HashSet::new());
                for settlement in batch {
                    let mut settlement = settlement.clone();
                    let entry = settlement.record.as_ref().map(|record| record.id);
                    if entry.is_some_and(|entry| !entered.insert(entry)) {
                        settlement.record = None;
                    }
                    stale.extend(write_one(store, settlement).await);
                }
                return stale;
            }
            Err(error) => {
                tracing::warn!(%error, attempts = batch.len(), "ended attempts wait for the database");
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn write_one(store: &Store, mut settlement: Settlement) -> Vec<EventId> {
    loop {
        match store.settle_events(std::slice::from_ref(&settlement)).await {
            Ok(stale) => {
                report(&stale);
                return stale;
            }
            Err(error) if error.is_about_values() => {
                tracing::error!(%error, event = %settlement.id, "the database refuses what an attempt has used or said: it is ended without it");
                without_values(&mut settlement, &error);
            }
            Err(error) => tracing::warn!(%error, "an ended attempt waits for the database"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

fn report(stale: &[EventId]) {
    for id in stale {
        tracing::warn!(event = %id, "an attempt ended that had been taken for lost, or was ended already: it is not counted");
    }
}

/// Leaves out what can be refused.
fn without_values(settlement: &mut Settlement, error: &StoreError) {
    settlement.record = None;
    settlement.follow_ups = Arrival::default();
    if let Outcome::Succeeded(result) = &mut settlement.outcome {
        result.body = None;
        result.content_type = None;
    }
    if let Some(failed) = &mut settlement.failed {
        failed.error_message = format!("its message cannot be stored: {error}");
    }
}
