//! One attempt to deliver one event: run the function or tell the webhook, judge how it ended.

use std::sync::Arc;

use bytes::Bytes;
use mayfly_delivery::Fault;
use mayfly_invoker_api::Target;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Ids};
use crate::code::Code;
use crate::config::EVENT_DEPTH_MAX;
use crate::events::amqp::Publisher;
use crate::events::answer::result_of;
use crate::events::envelope::Envelope;
use crate::events::judgement::{Attempted, Rules, Went};
use crate::events::subscriptions::Subscriptions;
use crate::events::webhook::Teller;
use crate::ingress::{Ingress, RecordSlot, Route};
use crate::problem::Problem;
use crate::sealing::Seal;
use crate::store::{ClaimedEvent, Settlement, Store};

/// What every attempt needs.
#[derive(Clone)]
pub(super) struct Runner {
    pub(super) store: Store,
    pub(super) ingress: Arc<Ingress>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<Ids>,
    pub(super) teller: Teller,
    pub(super) publisher: Publisher,
    /// Opens the URLs of brokers.
    pub(super) seal: Seal,
    pub(super) subscriptions: Arc<Subscriptions>,
    /// What a function can be given at once, in bytes.
    pub(super) payload_bytes_max: usize,
    /// Whether usage is recorded.
    pub(super) records: bool,
}

impl Runner {
    /// Runs `event` on the function that was found for it, and says what it is now.
    pub(super) async fn run(
        &self,
        event: &ClaimedEvent,
        route: Option<Arc<Route>>,
        permit: OwnedSemaphorePermit,
        cancel: &CancellationToken,
    ) -> Settlement {
        let slot = RecordSlot::default();
        let envelope = Envelope::of_text(&event.envelope);
        let rules = Rules::of(envelope.as_ref().ok(), route.as_deref());
        let mut payload = None;
        let went = if event.cancel_asked {
            Went::Cancelled
        } else if self.clock.unix_ms() >= event.expires_ms {
            payload = self.payload(event).await.ok();
            Went::TooLate
        } else {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Went::Cancelled,
                went = self.attempt(event, envelope, route.as_deref(), (permit, slot.clone()), &mut payload) => went,
            }
        };
        let attempted = Attempted {
            event,
            payload: payload.as_ref(),
            went,
            record: slot.take().map(Arc::new),
        };
        self.judged(&rules, attempted).await
    }

    async fn attempt(
        &self,
        event: &ClaimedEvent,
        envelope: Result<Envelope, Problem>,
        route: Option<&Route>,
        (permit, slot): (OwnedSemaphorePermit, RecordSlot),
        kept_payload: &mut Option<Bytes>,
    ) -> Went {
        let envelope = match envelope {
            Ok(envelope) => envelope,
            Err(problem) => return Went::Badly(Fault::Permanent, problem),
        };
        // First, because whoever is told of the event's end is told what it was about.
        let payload = match self.payload(event).await {
            Ok(found) => kept_payload.insert(found).clone(),
            Err(problem) => return Went::Badly(Fault::Platform, problem),
        };
        // What is told to somebody outside is the end of every row of events, whatever its length.
        if !envelope.tells_outside() && event.depth > EVENT_DEPTH_MAX {
            let message = format!(
                "{} events in a row led to this one; at most {EVENT_DEPTH_MAX} may",
                event.depth
            );
            return Went::Badly(Fault::Permanent, Problem::new(Code::RecursionDetected, message));
        }
        // The permit is held until it is told.
        if let Some((url, about)) = envelope.webhook() {
            return self.teller.tell(event, url, about.clone(), payload).await;
        }
        if let Some(publication) = envelope.publication() {
            return self.publish(event, publication, route, &payload).await;
        }
        let target = match self.target(event, route).await {
            Ok(target) => target,
            Err((fault, problem)) => return Went::Badly(fault, problem),
        };
        match envelope.routed(event, target, payload) {
            Ok(routed) => result_of(self.ingress.run_event(routed, permit, slot).await).await,
            Err(problem) => Went::Badly(Fault::Permanent, problem),
        }
    }

    pub(super) async fn payload(&self, event: &ClaimedEvent) -> Result<Bytes, Problem> {
        match &event.payload {
            Some(payload) => Ok(payload.clone()),
            None => self.store.event_payload(event.id).await.map_err(Problem::from),
        }
    }

    pub(super) async fn target(
        &self,
        event: &ClaimedEvent,
        route: Option<&Route>,
    ) -> Result<Arc<Target>, (Fault, Problem)> {
        let gone = |what: String| (Fault::Permanent, Problem::new(Code::FunctionNotFound, what));
        match (event.pinned_version, route) {
            (None, Some(route)) => Ok(Arc::clone(&route.target)),
            (None, None) => Err(gone(format!("there is no function named {}", event.function))),
            (Some(number), _) => {
                let found = self.store.version(&event.namespace, &event.function, number).await;
                match found.map_err(|error| (Fault::Platform, Problem::from(error)))? {
                    Some(version) => Ok(Route::of(version).target),
                    None => Err(gone(format!("there is no version {number} of {}", event.function))),
                }
            }
        }
    }
}
