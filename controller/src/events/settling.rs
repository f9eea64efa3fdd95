//! Ending attempts in the database: many that end at once share one transaction.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::events::wakeups::Wakeups;
use crate::store::{Outcome, Settlement, Store, StoreError};

/// Attempts that are ended in one transaction.
const BATCH_MAX: usize = 512;
/// Ended attempts that wait for a transaction.
const WAITING_MAX: usize = 1_024;
/// Pause after the database did not take a batch.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Takes ended attempts. A clone is cheap and means the same work.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    sender: mpsc::Sender<Settlement>,
}

impl Settling {
    /// Where ended attempts are handed in, and the work that has to run for it; it ends when no clone is left.
    pub(super) fn new(store: Store, wakeups: Arc<Wakeups>) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { sender }, work(receiver, store, wakeups))
    }

    /// Hands in an ended attempt. Waits while too many wait already.
    pub(super) async fn settle(&self, settlement: Settlement) {
        if self.sender.send(settlement).await.is_err() {
            tracing::error!("an attempt ended after the server; it will be repeated");
        }
    }
}

async fn work(mut receiver: mpsc::Receiver<Settlement>, store: Store, wakeups: Arc<Wakeups>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
        write(&store, &mut batch).await;
        for settlement in batch.drain(..) {
            for event in &settlement.follow_ups {
                wakeups.wake(&event.namespace, &event.function, event.due_ms);
            }
            if let Outcome::Retry { due_ms } = settlement.outcome {
                wakeups.wake(&settlement.lane.0, &settlement.lane.1, due_ms);
            }
        }
    }
}

/// Tries until the database has taken it: until then, the events are this process's.
async fn write(store: &Store, batch: &mut [Settlement]) {
    loop {
        match store.settle_events(batch).await {
            Ok(stale) => {
                for id in stale {
                    tracing::warn!(event = %id, "an attempt ended that had been taken for lost, or was ended already: it is not counted");
                }
                return;
            }
            Err(error) if error.is_about_values() => {
                tracing::error!(%error, "the database refuses what attempts have used: they are ended without it");
                without_values(batch, &error);
            }
            Err(error) => {
                tracing::warn!(%error, attempts = batch.len(), "ended attempts wait for the database");
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Leaves out what can be refused.
fn without_values(batch: &mut [Settlement], error: &StoreError) {
    for settlement in batch {
        settlement.record = None;
        if let Outcome::Succeeded(result) = &mut settlement.outcome {
            result.body = None;
            result.content_type = None;
        }
        if let Some(failed) = &mut settlement.failed {
            failed.error_message = format!("its message cannot be stored: {error}");
        }
    }
}
