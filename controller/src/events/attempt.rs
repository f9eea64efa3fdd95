//! One attempt to deliver one event: run the function or tell the webhook, judge how it ended.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use mayfly_delivery::{Ending, Fault, History, Next, RetryPolicy};
use mayfly_invoker_api::{Body, InvocationId, InvokeError, InvokeErrorKind, Logs, Output, Target};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Ids};
use crate::code::Code;
use crate::config::{EVENT_DEPTH_MAX, RESULT_BYTES_MAX};
use crate::events::destination::{Destination, Ended};
use crate::events::envelope::Envelope;
use crate::events::webhook::Teller;
use crate::ingress::{Answered, Failure, Ingress, MeterEnding, RecordSlot, Route, answer_of_payload};
use crate::ledger::{InvocationRecord, RecordedError, Trigger};
use crate::problem::{Problem, code_of};
use crate::store::{ClaimedEvent, FailedAttempt, NewEvent, Outcome, Settlement, Store, StoredResult};

/// What every attempt needs.
#[derive(Clone)]
pub(super) struct Runner {
    pub(super) store: Store,
    pub(super) ingress: Arc<Ingress>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<Ids>,
    pub(super) teller: Teller,
    /// Whether usage is recorded.
    pub(super) records: bool,
}

/// How an attempt went, before it is judged.
pub(super) enum Went {
    Well(StoredResult),
    Badly(Fault, Problem),
    Cancelled,
    /// It was too old before it began.
    TooLate,
}

/// What the ends of all attempts of an event are judged by.
struct Rules<'a> {
    route: Option<&'a Route>,
    /// The event's own policy, else its function's.
    policy: RetryPolicy,
    is_webhook: bool,
}

impl<'a> Rules<'a> {
    fn of(envelope: Option<&Envelope>, route: Option<&'a Route>) -> Self {
        let own = envelope.and_then(|envelope| envelope.retry);
        Self {
            route,
            policy: own.or(route.map(|route| route.retry)).unwrap_or_default(),
            is_webhook: envelope.is_some_and(|envelope| envelope.webhook().is_some()),
        }
    }
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
        self.judged(event, &rules, payload.as_ref(), went, slot.take())
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
        let webhook = envelope.webhook();
        // A webhook is the end of every row of events, whatever its length.
        if webhook.is_none() && event.depth > EVENT_DEPTH_MAX {
            let message = format!(
                "{} events in a row led to this one; at most {EVENT_DEPTH_MAX} may",
                event.depth
            );
            return Went::Badly(Fault::Permanent, Problem::new(Code::RecursionDetected, message));
        }
        if let Some((url, about)) = webhook {
            // The permit is held until it is told.
            return self.teller.tell(event, url, about.clone(), payload).await;
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

    async fn payload(&self, event: &ClaimedEvent) -> Result<Bytes, Problem> {
        match &event.payload {
            Some(payload) => Ok(payload.clone()),
            None => self.store.event_payload(event.id).await.map_err(Problem::from),
        }
    }

    async fn target(&self, event: &ClaimedEvent, route: Option<&Route>) -> Result<Arc<Target>, (Fault, Problem)> {
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

    /// An attempt that ended with its process.
    pub(super) async fn interrupted(&self, event: &ClaimedEvent, route: Option<&Route>) -> Settlement {
        let rules = Rules::of(Envelope::of_text(&event.envelope).ok().as_ref(), route);
        let what = if rules.is_webhook {
            "webhook was told"
        } else {
            "function ran"
        };
        let problem = Problem::new(Code::Interrupted, format!("the server ended while the {what}"));
        let record =
            (!rules.is_webhook).then(|| record_of_interrupted(event, self.ids.invocation(event.leased_ms), &problem));
        let payload = self.payload(event).await.ok();
        let went = Went::Badly(Fault::Interrupted, problem);
        self.judged(event, &rules, payload.as_ref(), went, record)
    }

    fn judged(
        &self,
        event: &ClaimedEvent,
        rules: &Rules<'_>,
        payload: Option<&Bytes>,
        went: Went,
        record: Option<InvocationRecord>,
    ) -> Settlement {
        let (now_ms, history) = (self.clock.unix_ms(), history_of(event));
        let (next, result, problem) = match went {
            Went::Well(result) => (Next::Succeeded, Some(result), None),
            Went::Badly(fault, problem) => {
                let next = rules.policy.next(Ending::Failed(fault), history, now_ms, spread(event));
                (next, None, Some(problem))
            }
            Went::Cancelled => (
                rules.policy.next(Ending::Cancelled, history, now_ms, 0),
                None,
                Some(Problem::new(Code::Cancelled, "somebody cancelled the event")),
            ),
            Went::TooLate => (
                Next::Expired,
                None,
                Some(Problem::new(
                    Code::EventExpired,
                    "the event was too old before it was its turn",
                )),
            ),
        };
        let counts = matches!(next, Next::Retry { burned, .. } if burned > event.burned) || next == Next::Dead;
        let was_interrupted = problem
            .as_ref()
            .is_some_and(|problem| problem.code == Code::Interrupted);
        let outcome = match next {
            Next::Succeeded => Outcome::Succeeded(result.unwrap_or_else(StoredResult::empty)),
            Next::Retry { due_ms, .. } => Outcome::Retry { due_ms },
            Next::Dead => Outcome::Dead,
            Next::Expired => Outcome::Expired,
            Next::Cancelled => Outcome::Cancelled,
        };
        let failed = problem.map(|problem| FailedAttempt {
            attempt: event.attempt,
            invocation_id: record.as_ref().map(|record| record.id),
            version: event.version.filter(|_| !rules.is_webhook),
            started_ms: event.leased_ms,
            ended_ms: now_ms,
            error_code: problem.code.as_str().to_owned(),
            error_message: RecordedError::of(problem.code, &problem.detail).message,
        });
        let ended = Ended {
            event,
            payload,
            outcome: &outcome,
            error: failed
                .as_ref()
                .map(|failed| (failed.error_code.as_str(), failed.error_message.as_str())),
            now_ms,
        };
        // What became of telling about an event is told nobody.
        let follow_up = rules
            .route
            .filter(|_| !rules.is_webhook)
            .and_then(|route| self.follow_up(&ended, route));
        Settlement {
            id: event.id,
            attempt: event.attempt,
            lane: (event.namespace.clone(), event.function.clone()),
            burned: event.burned + u32::from(counts),
            interrupted: event.interrupted + u32::from(was_interrupted),
            outcome,
            ended_ms: now_ms,
            payload_apart: event.payload.is_none(),
            failed,
            record: record.filter(|_| self.records),
            follow_ups: follow_up.into_iter().collect(),
        }
    }

    /// The event that tells the function's destination.
    fn follow_up(&self, ended: &Ended<'_>, route: &Route) -> Option<NewEvent> {
        let destination = match ended.outcome {
            Outcome::Succeeded(_) => route.on_success.as_ref(),
            Outcome::Dead | Outcome::Expired => route.on_failure.as_ref(),
            Outcome::Retry { .. } | Outcome::Cancelled => None,
        }?;
        if matches!(destination, Destination::Function(_)) && ended.event.depth > EVENT_DEPTH_MAX {
            // Or a circle of failures would go on.
            return None;
        }
        Some(ended.event_for(destination, self.ids.event(ended.now_ms), route.retry.max_age_ms()))
    }
}

fn history_of(event: &ClaimedEvent) -> History {
    History {
        attempts: event.attempt,
        burned: event.burned,
        interrupted: event.interrupted,
        expires_ms: event.expires_ms,
    }
}

/// Spreads the pauses of events that failed together; different for each of them, and the same when it is asked again.
fn spread(event: &ClaimedEvent) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *event.id.as_bytes();
    let id = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    (id ^ u64::from(event.attempt)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

/// The entry of an attempt of which nothing is known but that it had begun: nobody pays for it.
fn record_of_interrupted(event: &ClaimedEvent, id: InvocationId, problem: &Problem) -> InvocationRecord {
    InvocationRecord {
        id,
        namespace: event.namespace.clone(),
        function: event.function.clone(),
        version: event.version.unwrap_or(0),
        trigger: event.source,
        event_id: Some(event.id.to_string()),
        attempt: event.attempt,
        error: Some(RecordedError::of(problem.code, &problem.detail)),
        http_status: None,
        started_at_ms: event.leased_ms,
        trace_id: None,
        start: None,
        duration_us: 0,
        billed_ms: 0,
        queue_us: 0,
        code_us: 0,
        init_us: 0,
        cpu_us: 0,
        memory_mib: 0,
        memory_peak_bytes: 0,
        bytes_in: 0,
        bytes_out: 0,
        logs: Logs::default(),
    }
}

/// What came of a run, and its meter settled.
async fn result_of(answered: Answered) -> Went {
    let Answered {
        result,
        mut meter,
        kind,
        trigger,
        ..
    } = answered;
    let (went, status) = match result {
        Ok(Output::Http(response)) => {
            let (parts, body) = response.into_parts();
            match collect(body).await {
                Ok((body, bytes)) => {
                    meter.gauge().add_bytes_out(bytes);
                    (
                        judge_answer(parts.status, &parts.headers, body, bytes),
                        Some(parts.status),
                    )
                }
                Err(error) => (failed(&error), Some(parts.status)),
            }
        }
        Ok(Output::Payload(answer)) => match answer_of_payload(answer, kind, trigger) {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let bytes = body.len() as u64;
                meter.gauge().add_bytes_out(bytes);
                let kept = (body.len() <= RESULT_BYTES_MAX).then_some(body);
                let mut went = judge_answer(parts.status, &parts.headers, kept, bytes);
                if let (Went::Well(result), Trigger::Direct | Trigger::Cron) = (&mut went, trigger) {
                    // Nobody spoke HTTP.
                    result.http_status = None;
                }
                (went, None)
            }
            Err(problem) => (Went::Badly(Fault::Function, problem), None),
        },
        Err(Failure::Input(problem)) => (Went::Badly(Fault::Permanent, problem), None),
        Err(Failure::Invoke(error)) => (failed(&error), None),
    };
    let http_status = status.map(|status| status.as_u16());
    match &went {
        Went::Badly(fault, problem) => meter.settle(MeterEnding::Failed {
            problem,
            billed: *fault == Fault::Function,
            http_status,
        }),
        Went::Well(_) | Went::Cancelled | Went::TooLate => meter.settle(MeterEnding::Answered { http_status }),
    }
    went
}

/// All of an answer's body, if it is not too large to be kept; and its size.
async fn collect(mut body: Body) -> Result<(Option<Bytes>, u64), InvokeError> {
    let (mut kept, mut bytes) = (Some(BytesMut::new()), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        bytes += data.len() as u64;
        match &mut kept {
            Some(so_far) if so_far.len() + data.len() <= RESULT_BYTES_MAX => so_far.extend_from_slice(&data),
            _ => kept = None,
        }
    }
    Ok((kept.map(BytesMut::freeze), bytes))
}

/// A function says with the status of its answer whether it has handled the event.
fn judge_answer(status: StatusCode, headers: &HeaderMap, body: Option<Bytes>, bytes: u64) -> Went {
    if !(status.is_success() || status.is_redirection()) {
        let problem = Problem::new(
            Code::FunctionFailed,
            format!("the function answered HTTP {}", status.as_u16()),
        );
        return Went::Badly(Fault::Function, problem);
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Went::Well(StoredResult {
        http_status: Some(status.as_u16()),
        content_type: content_type.map(str::to_owned),
        bytes,
        body,
    })
}

fn failed(error: &InvokeError) -> Went {
    let fault = match error.kind() {
        InvokeErrorKind::Overloaded | InvokeErrorKind::ConcurrencyLimit => Fault::Throttled,
        InvokeErrorKind::ArtifactUnavailable | InvokeErrorKind::Internal | InvokeErrorKind::Cancelled => {
            Fault::Platform
        }
        InvokeErrorKind::Trapped
        | InvokeErrorKind::Failed
        | InvokeErrorKind::BadResponse
        | InvokeErrorKind::MemoryExceeded
        | InvokeErrorKind::DeadlineExceeded => Fault::Function,
    };
    Went::Badly(fault, Problem::new(code_of(error.kind()), error.to_string()))
}
