//! Events: everything that is not a call. What the platform has accepted, it owes an ending.
//!
//! `intake` makes an event durable; `delivery` claims it when it is due and has `attempt` run it on the same road as every
//! call, or has `webhook` tell somebody outside; `settling` ends the attempt in the database, together with its entry in the ledger. `housekeeping` takes over
//! what a dead process held, and `cron` turns ticks into events. Whose turn it is and what follows a failure is decided in
//! the crate `mayfly-delivery`, which has no clock and no store.

mod attempt;
mod backlog;
mod cron;
mod delivery;
mod destination;
mod envelope;
mod housekeeping;
mod intake;
mod metrics;
mod settling;
mod signing;
mod wakeups;
mod webhook;

use std::sync::Arc;

use mayfly_invoker_api::{EventId, Namespace};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Parts;
use crate::clock::Ids;
use crate::events::attempt::Runner;
use crate::events::backlog::Backlog;
use crate::events::delivery::{Delivery, Running, lock};
use crate::events::housekeeping::{Housekeeping, alive_until_ms};
use crate::events::settling::Settling;
use crate::events::signing::Secrets;
use crate::events::webhook::Teller;
use crate::ingress::Ingress;
use crate::problem::Problem;
use crate::store::{NewEvent, StoreError};

pub use cron::Scheduler;
pub(crate) use cron::Timing;
pub use destination::Destination;
pub(crate) use envelope::{CloudEvent, Envelope};
pub(crate) use intake::Intake;
pub(crate) use metrics::Metrics;
pub use signing::{SigningSecret, SigningSecrets};
pub(crate) use wakeups::Wakeups;

/// What accepts events. Made before what delivers them, because calls hand in events, too.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) intake: Intake,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) wakeups: Arc<Wakeups>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) secrets: Secrets,
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
        Self {
            intake,
            scheduler: Arc::new(Scheduler::new(
                parts.store.clone(),
                Arc::clone(&ids),
                Arc::clone(&wakeups),
                Arc::clone(&metrics),
            )),
            ids,
            wakeups,
            metrics,
            secrets: Secrets::new(parts),
            backlog,
            running: Running::default(),
            intake_work: tokio::spawn(work),
        }
    }

    /// Accepts an event: it is durable when this returns.
    pub(crate) async fn accept(&self, event: NewEvent) -> Result<(), Problem> {
        self.intake.accept(event).await
    }

    /// Counts an event that is accepted on another road, or says that there are too many.
    pub(crate) fn reserve(&self, namespace: &Namespace, bytes: usize) -> Result<(), Problem> {
        self.backlog.enter(namespace, bytes)
    }

    /// It was not accepted after all.
    pub(crate) fn release(&self, namespace: &Namespace, bytes: usize) {
        self.backlog.leave(namespace, bytes);
    }

    /// Stops an event that runs here; one that runs elsewhere is stopped by the controller that runs it.
    pub(crate) fn stop_running(&self, id: EventId) {
        if let Some(token) = lock(&self.running).get(&id) {
            token.cancel();
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
        let delivering = async {
            delivery.run(stop).await;
            drained.cancel();
        };
        // The heart beats until the last attempt has ended.
        tokio::join!(scheduler, delivering, housekeeping.run(drained.clone()));
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
