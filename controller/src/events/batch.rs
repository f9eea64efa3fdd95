//! Messages of a queue, given to a function several at once: which of them go together, the event that stands for them, and
//! which of them the function has not done.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage, SqsMessageAttribute};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use mayfly_delivery::Fault;
use mayfly_invoker_api::Target;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use crate::admin::time;
use crate::code::Code;
use crate::config::{BATCH_BYTES_MAX, EVENT_DEPTH_MAX, RESULT_BYTES_MAX};
use crate::events::amqp::{self, AmqpShape};
use crate::events::answer::result_of;
use crate::events::attempt::Runner;
use crate::events::envelope::{CloudEvent, Envelope, MessageShape, Shape};
use crate::events::judgement::{Attempted, Rules, Went};
use crate::ingress::{Occurrence, RecordSlot, Route, Routed};
use crate::problem::Problem;
use crate::store::{ClaimedEvent, Settlement, StoredResult};

/// Puts events that were claimed together into batches of up to `batch`.
pub(super) fn batches(events: Vec<ClaimedEvent>, batch: u32) -> Vec<Vec<ClaimedEvent>> {
    let mut batches: Vec<Vec<ClaimedEvent>> = Vec::new();
    let (mut bytes, mut most) = (0_u64, 0_usize);
    for event in events {
        let own = usize::try_from(event.batch_max.unwrap_or(batch).min(batch)).unwrap_or(usize::MAX);
        let with_it = bytes.saturating_add(event.payload_bytes);
        match batches.last_mut() {
            Some(last)
                if last.len() < most.min(own)
                    && with_it <= BATCH_BYTES_MAX
                    && last.iter().all(|other| is_like(other, &event)) =>
            {
                last.push(event);
                bytes = with_it;
                most = most.min(own);
            }
            _ => {
                bytes = event.payload_bytes;
                most = own;
                batches.push(vec![event]);
            }
        }
    }
    batches
}

/// Whether two events can be in one batch. A trigger may have been made anew under the name of one that took messages of
/// another kind.
fn is_like(one: &ClaimedEvent, other: &ClaimedEvent) -> bool {
    let kind = |event: &ClaimedEvent| event.envelope.split(',').next().map(str::to_owned);
    one.pinned_version == other.pinned_version && kind(one) == kind(other)
}

/// A message of a batch.
struct Member<'a> {
    event: &'a ClaimedEvent,
    of: Of,
    body: Bytes,
}

/// Where a message comes from.
enum Of {
    Queue(MessageShape),
    Amqp(AmqpShape),
}

impl Member<'_> {
    /// What the function calls it when it has not done it.
    fn identifier(&self) -> String {
        match &self.of {
            Of::Queue(shape) => shape.message.to_string(),
            Of::Amqp(_) => self.event.id.to_string(),
        }
    }
}

impl Runner {
    /// Runs `events`, which are messages of one queue, on the function that was found for them, and says what they are now.
    pub(super) async fn run_batch(
        &self,
        events: &[ClaimedEvent],
        route: Option<Arc<Route>>,
        permit: OwnedSemaphorePermit,
        bisect: bool,
    ) -> Vec<Settlement> {
        let mut settlements = Vec::with_capacity(events.len());
        let mut members = Vec::with_capacity(events.len());
        for event in events {
            match self.member(event).await {
                Ok(member) => members.push(member),
                Err((went, payload)) => {
                    let envelope = Envelope::of_text(&event.envelope).ok();
                    let rules = Rules::of(envelope.as_ref(), route.as_deref());
                    let attempted = Attempted {
                        event,
                        payload: payload.as_ref(),
                        went,
                        record: None,
                    };
                    settlements.push(self.judged(&rules, attempted).await);
                }
            }
        }
        if let Some(first) = members.first() {
            let slot = RecordSlot::default();
            let went = match self.target(first.event, route.as_deref()).await {
                Ok(target) => self.call(&members, target, (permit, slot.clone())).await,
                Err((fault, problem)) => Went::Badly(fault, problem),
            };
            let record = slot.take().map(Arc::new);
            for (member, went) in members.iter().zip(shared_out(went, &members, bisect)) {
                let envelope = Envelope::of_text(&member.event.envelope).ok();
                let rules = Rules::of(envelope.as_ref(), route.as_deref());
                let attempted = Attempted {
                    event: member.event,
                    payload: Some(&member.body),
                    went,
                    record: record.clone(),
                };
                settlements.push(self.judged(&rules, attempted).await);
            }
        }
        settlements
    }

    /// What is given to the function of an event; else how it ends without the function.
    async fn member<'a>(&self, event: &'a ClaimedEvent) -> Result<Member<'a>, (Went, Option<Bytes>)> {
        if event.cancel_asked {
            return Err((Went::Cancelled, None));
        }
        let body = match self.payload(event).await {
            Ok(body) => body,
            Err(problem) => return Err((Went::Badly(Fault::Platform, problem), None)),
        };
        if self.clock.unix_ms() >= event.expires_ms {
            return Err((Went::TooLate, Some(body)));
        }
        if event.depth > EVENT_DEPTH_MAX {
            let message = format!(
                "{} events in a row led to this one; at most {EVENT_DEPTH_MAX} may",
                event.depth
            );
            let problem = Problem::new(Code::RecursionDetected, message);
            return Err((Went::Badly(Fault::Permanent, problem), Some(body)));
        }
        let of = match Envelope::of_text(&event.envelope).map(Envelope::into_shape) {
            Ok(Shape::Message(shape)) => Ok(Of::Queue(shape)),
            Ok(Shape::Amqp(shape)) => Ok(Of::Amqp(shape)),
            Ok(_) => Err(Problem::new(Code::Internal, "the kept event is no message of a queue")),
            Err(problem) => Err(problem),
        };
        match of {
            Ok(of) => Ok(Member { event, of, body }),
            Err(problem) => Err((Went::Badly(Fault::Permanent, problem), Some(body))),
        }
    }

    async fn call(
        &self,
        members: &[Member<'_>],
        target: Arc<Target>,
        (permit, slot): (OwnedSemaphorePermit, RecordSlot),
    ) -> Went {
        let document = match document(members) {
            Ok(document) if document.len() <= self.payload_bytes_max => document,
            Ok(document) => {
                let message = format!(
                    "{} messages make an event of {} bytes; a function takes at most {}",
                    members.len(),
                    document.len(),
                    self.payload_bytes_max
                );
                let problem = Problem::new(Code::PayloadTooLarge, message);
                return if members.len() == 1 {
                    Went::Badly(Fault::Permanent, problem)
                } else {
                    split(problem, members.len())
                };
            }
            Err(error) => return Went::Badly(Fault::Permanent, Problem::new(Code::Internal, error.to_string())),
        };
        let routed = routed(members, target, document);
        result_of(self.ingress.run_event(routed, permit, slot).await).await
    }
}

fn split(problem: Problem, members: usize) -> Went {
    let half = u32::try_from(members.div_ceil(2)).unwrap_or(u32::MAX);
    Went::Split {
        problem,
        batch_max: half,
    }
}

/// The event as AWS sends it for SQS or Amazon MQ.
fn document(members: &[Member<'_>]) -> Result<Bytes, serde_json::Error> {
    let mut event = SqsEvent::default();
    event.records = members
        .iter()
        .filter_map(|member| match &member.of {
            Of::Queue(shape) => Some(message(member.event, shape, &member.body)),
            Of::Amqp(_) => None,
        })
        .collect();
    if !event.records.is_empty() {
        return serde_json::to_vec(&event).map(Bytes::from);
    }
    amqp::document(members.iter().filter_map(|member| match &member.of {
        Of::Amqp(shape) => Some((member.event, shape, &member.body)),
        Of::Queue(_) => None,
    }))
}

fn message(event: &ClaimedEvent, shape: &MessageShape, body: &[u8]) -> SqsMessage {
    let mut message = SqsMessage::default();
    message.message_id = Some(shape.message.to_string());
    message.receipt_handle = Some(format!("{}.{}", event.id, event.attempt));
    message.body = Some(String::from_utf8_lossy(body).into_owned());
    let mut set = |name: &str, value: String| message.attributes.insert(name.to_owned(), value);
    set("ApproximateReceiveCount", event.attempt.to_string());
    set("SentTimestamp", shape.sent_ms.to_string());
    set("SenderId", event.namespace.to_string());
    set("ApproximateFirstReceiveTimestamp", event.leased_ms.to_string());
    if let Some(key) = &event.order_key {
        set("MessageGroupId", key.clone());
    }
    for (name, value) in &shape.attributes {
        let mut attribute = SqsMessageAttribute::default();
        attribute.string_value = Some(value.clone());
        attribute.data_type = Some("String".to_owned());
        message.message_attributes.insert(name.clone(), attribute);
    }
    // As many parts as an ARN has, because handlers take the last one for the name.
    message.event_source_arn = Some(format!("arn:mayfly:sqs:local:{}:{}", event.namespace, shape.queue));
    message.event_source = Some("aws:sqs".to_owned());
    message.aws_region = Some("local".to_owned());
    message
}

fn routed(members: &[Member<'_>], target: Arc<Target>, document: Bytes) -> Routed {
    let first = &members[0];
    let (r#type, source, sent_ms) = match &first.of {
        Of::Queue(shape) => (
            "mayfly.queue.messages",
            format!("/ns/{}/queues/{}", first.event.namespace, shape.queue),
            shape.sent_ms,
        ),
        Of::Amqp(_) => (
            "mayfly.rabbitmq.messages",
            format!(
                "/ns/{}/triggers/{}",
                first.event.namespace,
                first.event.trigger.as_deref().unwrap_or_default()
            ),
            first.event.created_ms,
        ),
    };
    let length = HeaderValue::from(document.len());
    let mut request = Request::new(Full::new(document).map_err(|never| match never {}).boxed_unsync());
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, length);
    Routed {
        target,
        trigger: first.event.source,
        request,
        peer: SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0),
        timing_wanted: false,
        occurrence: Some(Occurrence {
            event: first.event.id,
            attempt: first.event.attempt,
            depth: members.iter().map(|member| member.event.depth).max().unwrap_or(0),
            cloud_event: Some(CloudEvent {
                r#type: r#type.to_owned(),
                source,
                time: time(sent_ms),
            }),
        }),
    }
}

/// How each message went, in their order.
fn shared_out(went: Went, members: &[Member<'_>], bisect: bool) -> Vec<Went> {
    match went {
        Went::Well(result) => match failures(&result, members) {
            Ok(failed) => outcomes(&result, members, &failed),
            Err(problem) => for_all(
                &|| as_a_whole(Fault::Function, problem.clone(), members.len(), bisect),
                members,
            ),
        },
        Went::Badly(fault, problem) => for_all(&|| as_a_whole(fault, problem.clone(), members.len(), bisect), members),
        Went::Split { problem, batch_max } => for_all(
            &|| Went::Split {
                problem: problem.clone(),
                batch_max,
            },
            members,
        ),
        Went::Cancelled => for_all(&|| Went::Cancelled, members),
        Went::TooLate => for_all(&|| Went::TooLate, members),
    }
}

fn for_all(went: &dyn Fn() -> Went, members: &[Member<'_>]) -> Vec<Went> {
    members.iter().map(|_| went()).collect()
}

/// One message of a batch may have failed all others: they come again in halves, until it is alone.
fn as_a_whole(fault: Fault, problem: Problem, members: usize, bisect: bool) -> Went {
    if bisect && fault == Fault::Function && members > 1 {
        split(problem, members)
    } else {
        Went::Badly(fault, problem)
    }
}

fn outcomes(result: &StoredResult, members: &[Member<'_>], failed: &HashSet<String>) -> Vec<Went> {
    // One answer for all of them is kept with each.
    let together = result.bytes.saturating_mul(members.len() as u64);
    let small = together <= RESULT_BYTES_MAX as u64;
    let kept = StoredResult {
        body: result.body.clone().filter(|_| small),
        ..result.clone()
    };
    let outcome = |member: &Member<'_>| {
        if failed.contains(&member.identifier()) {
            let problem = Problem::new(
                Code::FunctionFailed,
                "the function named this message among its batchItemFailures",
            );
            Went::Badly(Fault::Function, problem)
        } else {
            Went::Well(kept.clone())
        }
    };
    members.iter().map(outcome).collect()
}

/// What AWS calls a partial batch response.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartialResponse<'a> {
    #[serde(borrow)]
    batch_item_failures: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: String,
}

/// The messages that the function says it has not done. An answer that does not speak of `batchItemFailures` says nothing
/// bad; one that does so in a way that cannot be understood, or names a message that was not in the batch, says that it has
/// done none.
fn failures(result: &StoredResult, members: &[Member<'_>]) -> Result<HashSet<String>, Problem> {
    let unclear = |what: String| Problem::new(Code::BadResponse, format!("the function's batchItemFailures {what}"));
    let Some(body) = &result.body else {
        return match result.bytes {
            0 => Ok(HashSet::new()),
            bytes => Err(unclear(format!("cannot be looked for in an answer of {bytes} bytes"))),
        };
    };
    let ids = members.iter().map(Member::identifier).collect();
    named_failures(body, &ids).map_err(unclear)
}

/// Those of `ids` that an answer names; or what is wrong with its `batchItemFailures`. What else is in the answer is read as
/// little as possible: it may be what one reader takes and another one does not.
pub(super) fn named_failures(body: &[u8], ids: &HashSet<String>) -> Result<HashSet<String>, String> {
    const FIELD: &[u8] = b"\"batchItemFailures\"";
    if !body.trim_ascii_start().starts_with(b"{") {
        return Ok(HashSet::new());
    }
    let unread = |error: serde_json::Error| format!("cannot be read: {error}");
    let said = match serde_json::from_slice::<PartialResponse<'_>>(body) {
        Ok(response) => response.batch_item_failures,
        Err(error) if body.windows(FIELD.len()).any(|part| part == FIELD) => return Err(unread(error)),
        Err(_) => None,
    };
    let Some(said) = said else {
        return Ok(HashSet::new());
    };
    let items: Vec<&RawValue> = serde_json::from_str(said.get()).map_err(unread)?;
    let mut failed = HashSet::new();
    for item in items {
        // A reader of fields would take a list of their values, too.
        if !item.get().starts_with('{') {
            return Err("cannot be read: write {\"itemIdentifier\": ID} for each message".to_owned());
        }
        let ItemFailure { item_identifier } = serde_json::from_str(item.get()).map_err(unread)?;
        if !ids.contains(&item_identifier) {
            let shown: String = item_identifier.chars().take(64).collect();
            return Err(format!("name a message that was not in the batch: '{shown}'"));
        }
        failed.insert(item_identifier);
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_names_failures_is_never_taken_for_one_that_does_not() {
        let ids: HashSet<String> = ["a", "b"].map(str::to_owned).into();
        let named = |body: &str| {
            let failed = named_failures(body.as_bytes(), &ids)?;
            let mut failed: Vec<_> = failed.into_iter().collect();
            failed.sort();
            Ok::<_, String>(failed.concat())
        };
        for (body, failed) in [
            ("", Some("")),
            ("done", Some("")),
            ("[]", Some("")),
            ("{}", Some("")),
            (r#"{"batchItemFailures": []}"#, Some("")),
            (r#"{"batchItemFailures": null}"#, Some("")),
            (
                r#"{"batchItemFailures": [{"itemIdentifier": "b", "more": 1}]}"#,
                Some("b"),
            ),
            (
                r#" {"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "a"}]}"#,
                Some("ab"),
            ),
            // What a cut emoji, a large number and a deep list come to in other languages.
            (
                r#"{"batchItemFailures": [{"itemIdentifier": "a"}], "error": "\ud83d"}"#,
                Some("a"),
            ),
            (
                r#"{"batchItemFailures": [{"itemIdentifier": "a"}], "error": 1e400}"#,
                Some("a"),
            ),
            (
                &format!(
                    r#"{{"error": {}{}, "batchItemFailures": [{{"itemIdentifier": "a"}}]}}"#,
                    "[".repeat(200),
                    "]".repeat(200)
                ),
                Some("a"),
            ),
            (r#"{"batchItemFailures": [{"itemIdentifier": "c"}]}"#, None),
            (r#"{"batchItemFailures": [{"itemIdentifier": 7}]}"#, None),
            (r#"{"batchItemFailures": [["a"]]}"#, None),
            (r#"{"batchItemFailures": ["a"]}"#, None),
            (r#"{"batchItemFailures": {"itemIdentifier": "a"}}"#, None),
            (
                r#"{"batchItemFailures": [], "batchItemFailures": [{"itemIdentifier": "a"}]}"#,
                None,
            ),
            (r#"{"batchItemFailures": [{"itemIdentifier": "a"}]"#, None),
        ] {
            assert_eq!(named(body).ok().as_deref(), failed, "{body}: {:?}", named(body));
        }
    }
}
