//! The hot path: one request, one direction.
//!
//! Request → `route` → Routed → `receive` → Routed → `admit` → Admitted → `dispatch` → Answered → `respond` →
//! Response. The order is in the types: only `admit` makes an `Admitted`, and only `dispatch` consumes one.

mod admit;
mod dispatch;
mod forward;
mod gateway;
mod idempotent;
mod input;
mod meter;
mod metered_body;
#[cfg(any(test, fuzzing))]
pub(crate) mod property;
mod receive;
mod respond;
mod respond_async;
mod route;
mod timing;
mod unread;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Version};
use mayfly_invoker_api::{Body, Services};
use tokio::sync::OwnedSemaphorePermit;

use crate::Parts;
use crate::clock::Clock;
use crate::code::Code;
use crate::events::Events;
use crate::problem::Problem;
use crate::store::Store;

pub(crate) use admit::Gate;
pub(crate) use dispatch::{Answered, Failure};
pub(crate) use input::set_occurrence;
pub(crate) use meter::{Ending as MeterEnding, RecordSlot};
pub(crate) use respond::{ResponseBody, payload_answer as answer_of_payload};
pub(crate) use respond_async::preferred as async_preferred;
pub(crate) use route::{Occurrence, Route, Routed, Routes, target_of};
pub(crate) use timing::wanted as timing_wanted;

use dispatch::Dispatcher;
use idempotent::WorkingKeys;
use receive::Receiver;

/// Serves functions. One per controller; the admin API's invoke uses the same one.
pub(crate) struct Ingress {
    pub(crate) routes: Routes,
    receiver: Receiver,
    gate: Gate,
    dispatcher: Dispatcher,
    clock: Arc<dyn Clock>,
    events: Arc<Events>,
    store: Store,
    process: [u8; 6],
    working: WorkingKeys,
    unread_time_max: Duration,
}

impl Ingress {
    /// `services` answer what functions ask the platform.
    pub(crate) fn new(parts: &Parts, events: Arc<Events>, services: Arc<dyn Services>) -> Self {
        let (bounds, clock) = (&parts.bounds, Arc::clone(&parts.clock));
        Self {
            routes: Routes::new(bounds, parts.store.clone()),
            receiver: Receiver::new(bounds),
            gate: Gate::new(
                bounds,
                parts.ledger.clone(),
                Arc::clone(&clock),
                Arc::clone(&events.ids),
            ),
            dispatcher: Dispatcher::new(bounds, Arc::clone(&parts.invoker), services),
            store: parts.store.clone(),
            process: parts.process,
            working: WorkingKeys::default(),
            clock,
            events,
            unread_time_max: bounds.write_time_max,
        }
    }

    /// Answers a request to a function's endpoint.
    pub(crate) async fn handle(&self, request: Request<Body>, peer: SocketAddr) -> Response<ResponseBody> {
        let head_only = request.method() == Method::HEAD;
        let version = request.version();
        let (request, unread) = unread::watch(request);
        let mut response = match self.routes.find(request, peer).await {
            Ok(routed) if respond_async::preferred(routed.request.headers()) => self.accept(routed).await,
            Ok(routed) => self.invoke(routed).await,
            Err(problem) if version <= Version::HTTP_11 && is_unclear(problem.code) => {
                respond::refuse_and_close(&problem)
            }
            Err(problem) => respond::refuse(&problem),
        };
        if unread.is_so() {
            respond::close_after(&mut response);
        }
        if head_only {
            respond::head_of(response)
        } else {
            response
        }
    }

    /// Runs a function for a request whose target is known.
    pub(crate) async fn invoke(&self, routed: Routed) -> Response<ResponseBody> {
        match self.admit_and_dispatch(routed).await {
            Ok(answered) => respond::with(answered, self.unread_time_max).await,
            Err(problem) => respond::refuse(&problem),
        }
    }

    /// Permits for up to `count` attempts to deliver events; there may be none at the moment.
    pub(crate) fn reserve(&self, count: u32) -> Vec<OwnedSemaphorePermit> {
        self.gate.reserve(count)
    }

    /// A permit for one more attempt, as soon as there is one.
    pub(crate) async fn wait_for_permit(&self) -> OwnedSemaphorePermit {
        self.gate.wait_for_permit().await
    }

    /// Runs a function for an event. Its record is in `slot` once the meter is settled or dropped.
    pub(crate) async fn run_event(&self, routed: Routed, permit: OwnedSemaphorePermit, slot: RecordSlot) -> Answered {
        let admitted = self.gate.admit_event(routed, permit, slot);
        self.dispatcher.dispatch(admitted).await
    }

    async fn admit_and_dispatch(&self, routed: Routed) -> Result<dispatch::Answered, Problem> {
        let received = self.receiver.receive(routed).await?;
        let admitted = self.gate.admit(received).await?;
        Ok(self.dispatcher.dispatch(admitted).await)
    }

    /// Waits until no invocation is under way and all answers have been taken.
    pub(crate) async fn quiet(&self) {
        self.gate.quiet().await;
    }

    /// New invocations are refused from now on.
    pub(crate) fn close(&self) {
        self.gate.close();
    }
}

/// Whether a request was of a sort that says nothing good about what follows it on its connection: another reader may
/// have taken what follows for a part of it.
fn is_unclear(code: Code) -> bool {
    matches!(code, Code::InvalidParameter | Code::MethodNotAllowed)
}
