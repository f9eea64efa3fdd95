//! What becomes of an event after an attempt.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mayfly_delivery::{Ending, Fault, History, Next, RetryPolicy};
use mayfly_invoker_api::{InvocationId, Logs, QueueName};

use crate::code::Code;
use crate::config::EVENT_DEPTH_MAX;
use crate::events::amqp::{AmqpDestination, AmqpShape, Publication, UrlOwner};
use crate::events::attempt::Runner;
use crate::events::destination::{Destination, Ended};
use crate::events::envelope::{Envelope, MessageShape};
use crate::events::subscriptions::{Message, subscription_of};
use crate::ingress::Route;
use crate::ledger::{InvocationRecord, RecordedError};
use crate::problem::Problem;
use crate::store::{
    AmqpSource, AmqpTarget, Arrival, ClaimedEvent, FailedAttempt, MessageSource, NewEvent, Outcome, Settlement,
    StoredResult,
};

/// Pause after the database failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How an attempt went, before it is judged.
pub(super) enum Went {
    Well(StoredResult),
    Badly(Fault, Problem),
    Cancelled,
    /// It was too old before it began.
    TooLate,
    /// A batch failed as a whole: nobody knows because of which event.
    Split {
        problem: Problem,
        /// With how many others it may be in a batch from now on, itself included.
        batch_max: u32,
    },
}

/// What the ends of all attempts of an event are judged by.
pub(super) struct Rules<'a> {
    route: Option<&'a Route>,
    /// The event's own policy, else its function's.
    policy: RetryPolicy,
    tells_outside: bool,
    message: Option<MessageShape>,
    amqp: Option<AmqpShape>,
}

/// What is known of an attempt when it has ended.
pub(super) struct Attempted<'a> {
    pub(super) event: &'a ClaimedEvent,
    /// `None` if it could not be read.
    pub(super) payload: Option<&'a Bytes>,
    pub(super) went: Went,
    /// Its entry in the ledger, which it may share with others.
    pub(super) record: Option<Arc<InvocationRecord>>,
}

/// How an attempt went, in the words of the policy.
struct Verdict {
    next: Next,
    result: Option<StoredResult>,
    problem: Option<Problem>,
    batch_max: Option<u32>,
}

impl<'a> Rules<'a> {
    pub(super) fn of(envelope: Option<&Envelope>, route: Option<&'a Route>) -> Self {
        let own = envelope.and_then(|envelope| envelope.retry);
        Self {
            route,
            policy: own.or(route.map(|route| route.retry)).unwrap_or_default(),
            tells_outside: envelope.is_some_and(Envelope::tells_outside),
            message: envelope.and_then(Envelope::message).cloned(),
            amqp: envelope.and_then(Envelope::amqp).cloned(),
        }
    }

    fn verdict(&self, event: &ClaimedEvent, went: Went, now_ms: i64) -> Verdict {
        // One of a batch may be why servers end: twice in a row, each is tried alone.
        let suspected = matches!(went, Went::Badly(Fault::Interrupted, _)) && event.interrupted > 0;
        let batch_max = if suspected { Some(1) } else { event.batch_max };
        let (next, result, problem) = match went {
            Went::Well(result) => (Next::Succeeded, Some(result), None),
            Went::Badly(fault, problem) => {
                let next = self
                    .policy
                    .next(Ending::Failed(fault), history_of(event), now_ms, spread(event));
                (next, None, Some(problem))
            }
            Went::Cancelled => (
                Next::Cancelled,
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
            Went::Split { problem, batch_max } => {
                let next = Next::Retry {
                    due_ms: now_ms,
                    burned: event.burned,
                };
                return Verdict {
                    next,
                    result: None,
                    problem: Some(problem),
                    batch_max: Some(batch_max),
                };
            }
        };
        Verdict {
            next,
            result,
            problem,
            batch_max,
        }
    }
}

impl Runner {
    /// An attempt that ended with its process.
    pub(super) async fn interrupted(&self, event: &ClaimedEvent, route: Option<&Route>) -> Settlement {
        let rules = Rules::of(Envelope::of_text(&event.envelope).ok().as_ref(), route);
        let what = if rules.tells_outside {
            "message was on its way"
        } else {
            "function ran"
        };
        let problem = Problem::new(Code::Interrupted, format!("the server ended while the {what}"));
        let record = (!rules.tells_outside)
            .then(|| record_of_interrupted(event, self.ids.invocation(event.leased_ms), &problem));
        // Whoever is told of its end is told what it was about.
        let payload = loop {
            match self.payload(event).await {
                Ok(payload) => break Some(payload),
                Err(problem) if problem.code == Code::DatabaseUnavailable => tokio::time::sleep(RETRY_PAUSE).await,
                Err(_) => break None,
            }
        };
        let attempted = Attempted {
            event,
            payload: payload.as_ref(),
            went: Went::Badly(Fault::Interrupted, problem),
            record: record.map(Arc::new),
        };
        self.judged(&rules, attempted).await
    }

    /// The end of an attempt that has not begun: it counts for nothing.
    pub(super) fn given_back(&self, event: &ClaimedEvent) -> Settlement {
        let now_ms = self.clock.unix_ms();
        Settlement {
            id: event.id,
            attempt: event.attempt,
            lane: event.lane(),
            order_key: event.order_key.clone(),
            outcome: Outcome::Retry { due_ms: now_ms },
            burned: event.burned,
            interrupted: event.interrupted,
            ended_ms: now_ms,
            batch_max: event.batch_max,
            payload_apart: event.payload.is_none(),
            failed: None,
            record: None,
            follow_ups: Arrival::default(),
        }
    }

    pub(super) async fn judged(&self, rules: &Rules<'_>, attempted: Attempted<'_>) -> Settlement {
        let Attempted {
            event,
            payload,
            went,
            record,
        } = attempted;
        let now_ms = self.clock.unix_ms();
        let Verdict {
            next,
            result,
            problem,
            batch_max,
        } = rules.verdict(event, went, now_ms);
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
            version: event.version.filter(|_| !rules.tells_outside),
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
        let follow_ups = self.follow_ups(&ended, rules).await;
        Settlement {
            id: event.id,
            attempt: event.attempt,
            lane: event.lane(),
            order_key: event.order_key.clone(),
            burned: event.burned + u32::from(counts),
            interrupted: event.interrupted + u32::from(was_interrupted),
            outcome,
            ended_ms: now_ms,
            batch_max,
            payload_apart: event.payload.is_none(),
            failed,
            record: record.filter(|_| self.records),
            follow_ups,
        }
    }

    /// What tells others of the end of an event.
    async fn follow_ups(&self, ended: &Ended<'_>, rules: &Rules<'_>) -> Arrival {
        let mut all = Arrival::default();
        // What became of telling about an event is told nobody.
        if let Some(route) = rules.route.filter(|_| !rules.tells_outside) {
            let destination = match ended.outcome {
                Outcome::Succeeded(_) => route.on_success.as_ref(),
                Outcome::Dead | Outcome::Expired => route.on_failure.as_ref(),
                Outcome::Retry { .. } | Outcome::Cancelled => None,
            };
            match destination {
                // Or a circle of failures would go on.
                Some(Destination::Function(_)) if ended.event.depth > EVENT_DEPTH_MAX => {}
                Some(Destination::Function(function)) => {
                    let (id, max_age_ms) = (self.ids.event(ended.now_ms), route.retry.max_age_ms());
                    all.events.push(ended.event_for(function, id, max_age_ms));
                }
                Some(Destination::Webhook(url)) => {
                    let (id, max_age_ms) = (self.ids.event(ended.now_ms), route.retry.max_age_ms());
                    all.events.push(ended.webhook_for(url, id, max_age_ms));
                }
                Some(Destination::Queue(queue)) => {
                    all = self.send(ended, queue, ended.message()).await;
                }
                Some(Destination::Amqp(destination)) => {
                    all.events.extend(self.message_for(ended, route, destination));
                }
                None => {}
            }
        }
        if let (Some(message), Outcome::Dead | Outcome::Expired) = (&rules.message, ended.outcome)
            && let Some(queue) = self.dead_letter_queue(ended, message).await
        {
            let letter = self.send(ended, &queue, ended.dead_letter(message)).await;
            all.events.extend(letter.events);
            all.messages.extend(letter.messages);
        }
        if let (Some(message), Outcome::Dead | Outcome::Expired) = (&rules.amqp, ended.outcome)
            // Or a circle of dead letters would go on.
            && ended.event.depth <= EVENT_DEPTH_MAX
            && let Some((source, target)) = self.dead_letter_target(ended.event).await
        {
            let publication = Publication {
                broker: source.shown,
                url: source.url,
                owner: UrlOwner::Trigger(ended.event.trigger.clone().unwrap_or_default()),
                exchange: target.exchange,
                routing_key: target.routing_key,
                properties: ended.dead_properties(message),
            };
            let body = ended.payload.cloned().unwrap_or_default();
            all.events
                .push(ended.publication(publication, body, self.ids.event(ended.now_ms)));
        }
        all
    }

    /// The event that tells RabbitMQ of an outcome.
    fn message_for(&self, ended: &Ended<'_>, route: &Route, destination: &AmqpDestination) -> Option<NewEvent> {
        // Or a circle of failures would go on.
        if ended.event.depth > EVENT_DEPTH_MAX {
            return None;
        }
        let secrets = &route.secrets;
        let (url, owner) = match ended.outcome {
            Outcome::Succeeded(_) => (&secrets.on_success, UrlOwner::OnSuccess),
            _ => (&secrets.on_failure, UrlOwner::OnFailure),
        };
        let id = self.ids.event(ended.now_ms);
        let publication = Publication {
            broker: destination.broker.to_string(),
            url: url.clone()?,
            owner,
            exchange: destination.target.exchange.clone(),
            routing_key: destination.target.routing_key.clone(),
            properties: ended.properties(id),
        };
        Some(ended.publication(publication, Bytes::from(ended.record()), id))
    }

    /// Where the trigger of a message of RabbitMQ wants those that could not be delivered.
    async fn dead_letter_target(&self, event: &ClaimedEvent) -> Option<(AmqpSource, AmqpTarget)> {
        let name = event.trigger.as_deref()?;
        let trigger = loop {
            match self.subscriptions.trigger(&event.namespace, name).await {
                Ok(trigger) => break trigger?,
                // Without the database nothing can end anyway.
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        };
        match &subscription_of(&trigger)?.source {
            MessageSource::Amqp(source) => Some((source.clone(), source.dead_letter.clone()?)),
            MessageSource::Queue(_) => None,
        }
    }

    /// Where the queue of a message wants those that could not be delivered.
    async fn dead_letter_queue(&self, ended: &Ended<'_>, message: &MessageShape) -> Option<QueueName> {
        loop {
            match self.subscriptions.topic(&ended.event.namespace, &message.queue).await {
                Ok(topic) => return topic.queue().config.dead_letter.clone(),
                Err(problem) if problem.code == Code::QueueNotFound => return None,
                // Without the database nothing can end anyway.
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    async fn send(&self, ended: &Ended<'_>, queue: &QueueName, message: Message) -> Arrival {
        let namespace = &ended.event.namespace;
        loop {
            match self
                .subscriptions
                .arrival_in_any_case(namespace, queue, message.clone(), ended.now_ms)
                .await
            {
                Ok(arrival) => return arrival,
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
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
