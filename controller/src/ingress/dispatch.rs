//! From an admitted request to what the function answered.

use std::sync::Arc;

use http::{HeaderMap, Method};
use mayfly_invoker_api::{Digest, Invocation, Invoke, InvokeError, Isolation, Kind, Output, Services};

use crate::artifacts::digest_of;
use crate::config::Bounds;
use crate::ingress::admit::Admitted;
use crate::ingress::input::InputLimits;
use crate::ingress::meter::Meter;
use crate::ledger::Trigger;
use crate::problem::Problem;

/// Hands invocations to the invoker.
pub(crate) struct Dispatcher {
    invoker: Arc<dyn Invoke>,
    services: Arc<dyn Services>,
    limits: InputLimits,
}

/// What came of an invocation, with its meter still open.
pub(crate) struct Answered {
    pub(crate) result: Result<Output, Failure>,
    pub(crate) meter: Meter,
    pub(crate) kind: Kind,
    pub(crate) trigger: Trigger,
    /// The client asked for the head only.
    pub(crate) head_only: bool,
}

/// Why there is no answer.
pub(crate) enum Failure {
    /// The request could not be given to the function; it was not started.
    Input(Problem),
    /// The function was started, or could not be.
    Invoke(InvokeError),
}

impl Dispatcher {
    pub(crate) fn new(bounds: &Bounds, invoker: Arc<dyn Invoke>, services: Arc<dyn Services>) -> Self {
        Self {
            invoker,
            services,
            limits: InputLimits::new(bounds),
        }
    }

    pub(crate) async fn dispatch(&self, admitted: Admitted) -> Answered {
        let Admitted {
            routed,
            meter,
            trace_parent,
            ..
        } = admitted;
        let (target, trigger) = (Arc::clone(&routed.target), routed.trigger);
        let head_only = trigger == Trigger::Http && routed.request.method() == Method::HEAD;
        let kind = target.kind;
        let partition = partition(&target.isolation, routed.request.headers());
        let event = routed.occurrence.as_ref();
        let (event_id, depth) = event.map(|of| (of.event.to_string(), of.depth)).unzip();
        let attempt = event.map(|of| of.attempt);
        let result = match self.limits.take(routed, &meter).await {
            Err(problem) => Err(Failure::Input(problem)),
            Ok(input) => {
                let invocation = Invocation {
                    id: meter.id(),
                    event_id,
                    attempt: attempt.unwrap_or(1),
                    depth: depth.unwrap_or(0),
                    target,
                    trace_parent,
                    partition,
                    input,
                    gauge: Arc::clone(meter.gauge()),
                    services: Arc::clone(&self.services),
                };
                self.invoker.invoke(invocation).await.map_err(Failure::Invoke)
            }
        };
        Answered {
            result,
            meter,
            kind,
            trigger,
            head_only,
        }
    }
}

/// Which part of the function's callers this one belongs to. A digest, because the value may be a secret.
fn partition(isolation: &Isolation, headers: &HeaderMap) -> Option<Digest> {
    match isolation {
        Isolation::Key(header) => headers.get(header).map(|value| digest_of(value.as_bytes())),
        Isolation::Auto | Isolation::Function | Isolation::Invocation => None,
    }
}
