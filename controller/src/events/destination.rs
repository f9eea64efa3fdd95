//! Where the outcome of an event goes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aws_lambda_events::rabbitmq::RabbitMqBasicProperties;
use bytes::Bytes;
use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{EventId, FunctionName, QueueName, WebhookUrl};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, Value};

use crate::admin::time;
use crate::config::{RESULT_BYTES_MAX, RETENTION_SECONDS_MAX};
use crate::events::amqp::{AmqpDestination, AmqpShape, DEPTH_HEADER, Publication};
use crate::events::envelope::{CloudEvent, Envelope, MessageShape};
use crate::events::subscriptions::Message;
use crate::ledger::Trigger;
use crate::store::{ClaimedEvent, NewEvent, Outcome};

/// Where the outcome of an event goes: `function:NAME` or `queue:NAME`, of the same namespace, the URL of a webhook, or that
/// of a RabbitMQ broker with an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// As an event for that function.
    Function(FunctionName),
    /// As a message of that queue.
    Queue(QueueName),
    /// As a signed POST.
    Webhook(WebhookUrl),
    /// As a message for RabbitMQ.
    Amqp(AmqpDestination),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("function", name)) => name.parse().map(Self::Function).map_err(|error| format!("{error}")),
            Some(("queue", name)) => name.parse().map(Self::Queue).map_err(|error| format!("{error}")),
            Some(("amqp" | "amqps", _)) => text.parse().map(Self::Amqp),
            Some(_) if text.contains("://") => text.parse().map(Self::Webhook).map_err(|error| format!("{error}")),
            // It is not repeated: who has forgotten `amqp://` has written a password all the same.
            _ => Err(
                "this is no destination; write function:NAME, queue:NAME, the URL of a webhook, as https://example.com/hook, \
                 or that of RabbitMQ, as amqp://USER:PASSWORD@HOST/VHOST?exchange=NAME&routing_key=KEY"
                    .to_owned(),
            ),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(name) => write!(f, "function:{name}"),
            Self::Queue(name) => write!(f, "queue:{name}"),
            Self::Webhook(url) => url.fmt(f),
            // Without the password, which is kept apart (`FunctionConfig::secrets`).
            Self::Amqp(destination) => destination.fmt(f),
        }
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

/// What is known when an event has ended.
pub(super) struct Ended<'a> {
    pub(super) event: &'a ClaimedEvent,
    /// `None` if it could not be read.
    pub(super) payload: Option<&'a Bytes>,
    pub(super) outcome: &'a Outcome,
    pub(super) error: Option<(&'a str, &'a str)>,
    pub(super) now_ms: i64,
}

impl Ended<'_> {
    /// The event that tells a function about it; the document has the fields of an AWS Lambda destination record.
    pub(super) fn event_for(&self, function: &FunctionName, id: EventId, max_age_ms: i64) -> NewEvent {
        self.event(
            function,
            Envelope::of_document(self.cloud_event(), None),
            id,
            max_age_ms,
        )
    }

    /// The event that tells a webhook about it. It waits its turn among the events of the function that it is about.
    pub(super) fn webhook_for(&self, url: &WebhookUrl, id: EventId, max_age_ms: i64) -> NewEvent {
        let envelope = Envelope::of_webhook(url.clone(), self.cloud_event());
        self.event(&self.event.function, envelope, id, max_age_ms)
    }

    /// The message that tells a queue about it.
    pub(super) fn message(&self) -> Message {
        let CloudEvent { r#type, source, .. } = self.cloud_event();
        Message {
            attributes: BTreeMap::from([("type".to_owned(), r#type), ("source".to_owned(), source)]),
            body: self.record(),
            delay_ms: None,
            depth: self.event.depth.saturating_add(1),
        }
    }

    /// The message of a queue that could not be delivered, for its dead-letter queue: as it was, with the reason.
    pub(super) fn dead_letter(&self, shape: &MessageShape) -> Message {
        let mut attributes = shape.attributes.clone();
        let (code, message) = self.error.unwrap_or_default();
        for (name, value) in [
            ("mayfly-error-code", code.to_owned()),
            ("mayfly-error-message", message.to_owned()),
            ("mayfly-attempts", self.event.attempt.to_string()),
            ("mayfly-queue", shape.queue.to_string()),
            ("mayfly-message-id", shape.message.to_string()),
            ("mayfly-event-id", self.event.id.to_string()),
            ("mayfly-function", self.event.function.to_string()),
        ] {
            attributes.insert(name.to_owned(), value);
        }
        let body = self.payload.map(|body| String::from_utf8_lossy(body).into_owned());
        Message {
            attributes,
            body: body.unwrap_or_default(),
            delay_ms: None,
            depth: self.event.depth.saturating_add(1),
        }
    }

    /// What a message of RabbitMQ that could not be delivered is beside its body: as it came, with the reason.
    pub(super) fn dead_properties(&self, shape: &AmqpShape) -> Box<RabbitMqBasicProperties> {
        let mut properties = shape.properties.clone();
        self.one_further(&mut properties);
        let (code, message) = self.error.unwrap_or_default();
        for (name, value) in [
            ("mayfly-error-code", code.to_owned()),
            ("mayfly-error-message", message.to_owned()),
            ("mayfly-attempts", self.event.attempt.to_string()),
            ("mayfly-queue", shape.from.clone()),
            ("mayfly-event-id", self.event.id.to_string()),
            ("mayfly-function", self.event.function.to_string()),
        ] {
            properties.headers.insert(name.to_owned(), Value::from(value));
        }
        properties
    }

    /// What the message of RabbitMQ that tells of the outcome is beside its body, the record.
    pub(super) fn properties(&self, id: EventId) -> Box<RabbitMqBasicProperties> {
        let CloudEvent { r#type, source, .. } = self.cloud_event();
        let mut properties = RabbitMqBasicProperties::default();
        properties.content_type = Some("application/json".to_owned());
        properties.type_ = Some(r#type);
        properties.app_id = Some("mayfly".to_owned());
        // The same in all attempts, so that a receiver can tell a repetition.
        properties.message_id = Some(id.to_string());
        properties.timestamp = Some((self.now_ms / 1_000).to_string());
        for (name, value) in [
            ("mayfly-source", source),
            ("mayfly-event-id", self.event.id.to_string()),
        ] {
            properties.headers.insert(name.to_owned(), Value::from(value));
        }
        self.one_further(&mut properties);
        Box::new(properties)
    }

    /// A circle through a broker comes to an end, too.
    fn one_further(&self, properties: &mut RabbitMqBasicProperties) {
        let depth = self.event.depth.saturating_add(1);
        properties.headers.insert(DEPTH_HEADER.to_owned(), Value::from(depth));
    }

    /// The event that publishes a message of which `body` is the body; it is tried for as long as dead letters are kept, as
    /// the broker may be away.
    pub(super) fn publication(&self, publication: Publication, body: Bytes, id: EventId) -> NewEvent {
        let retry = RetryPolicy {
            // As many as there is time for.
            max_attempts: 400,
            backoff_seconds: 1,
            max_backoff_seconds: 3_600,
            max_age_seconds: RETENTION_SECONDS_MAX,
        };
        let envelope = Envelope::of_publication(publication, retry);
        NewEvent {
            payload: body,
            ..self.event(&self.event.function, envelope, id, retry.max_age_ms())
        }
    }

    fn cloud_event(&self) -> CloudEvent {
        let succeeded = matches!(self.outcome, Outcome::Succeeded(_));
        CloudEvent {
            r#type: if succeeded {
                "mayfly.event.succeeded"
            } else {
                "mayfly.event.failed"
            }
            .to_owned(),
            source: format!("/ns/{}/functions/{}", self.event.namespace, self.event.function),
            time: time(self.now_ms),
        }
    }

    fn event(&self, function: &FunctionName, envelope: Envelope, id: EventId, max_age_ms: i64) -> NewEvent {
        NewEvent {
            id,
            namespace: self.event.namespace.clone(),
            function: function.clone(),
            pinned_version: None,
            source: Trigger::Direct,
            trigger: None,
            created_ms: self.now_ms,
            due_ms: self.now_ms,
            expires_ms: self.now_ms.saturating_add(max_age_ms),
            depth: self.event.depth.saturating_add(1),
            order_key: None,
            envelope: envelope.to_text(),
            payload: Bytes::from(self.record()),
        }
    }

    pub(super) fn record(&self) -> String {
        let condition = match self.outcome {
            Outcome::Succeeded(_) => "Success",
            Outcome::Expired => "EventAgeExceeded",
            Outcome::Dead | Outcome::Retry { .. } | Outcome::Cancelled => "RetriesExhausted",
        };
        let error = self
            .error
            .map(|(code, message)| json!({"code": code, "message": message}).to_string());
        let (status, response) = match self.outcome {
            Outcome::Succeeded(result) => (result.http_status.unwrap_or(200), Kept::of(result.body.as_ref())),
            _ => (
                500,
                error
                    .as_ref()
                    .map_or(Kept::Nothing, |error| Kept::of_bytes(error.as_bytes())),
            ),
        };
        // Left out when it is large: written as JSON it may be six times as long.
        let small = self.payload.filter(|payload| payload.len() <= RESULT_BYTES_MAX);
        let version = self.event.version.map(|version| version.to_string());
        let record = Record {
            version: "1.0",
            timestamp: time(self.now_ms),
            request_context: json!({
                "requestId": self.event.id.to_string(),
                "functionArn": format!("mayfly:{}:{}", self.event.namespace, self.event.function),
                "condition": condition,
                "approximateInvokeCount": self.event.attempt,
            }),
            request_payload: Kept::of(small),
            request_payload_bytes: self.payload.map(Bytes::len),
            response_context: json!({
                "statusCode": status,
                "executedVersion": version.unwrap_or_else(|| "$LATEST".to_owned()),
                "functionError": self.error.map(|(code, _)| code),
            }),
            response_payload: response,
        };
        serde_json::to_string(&record).expect("text, numbers and JSON always have a JSON form")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    version: &'static str,
    timestamp: String,
    request_context: Value,
    request_payload: Kept<'a>,
    request_payload_bytes: Option<usize>,
    response_context: Value,
    response_payload: Kept<'a>,
}

/// What went in or came out. JSON stays as it was written, byte for byte: numbers of any length, fields in their order.
#[derive(Serialize)]
#[serde(untagged)]
enum Kept<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
    Nothing,
}

impl<'a> Kept<'a> {
    fn of(bytes: Option<&'a Bytes>) -> Self {
        bytes.map_or(Self::Nothing, |bytes| Self::of_bytes(bytes))
    }

    fn of_bytes(bytes: &'a [u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Ok(json) => Self::Json(json),
            Err(_) => Self::Text(String::from_utf8_lossy(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        text.parse()
            .ok()
            .map(|destination: Destination| destination.to_string())
    }

    #[test]
    fn json_stays_as_it_was_written() {
        let written = |bytes: &[u8]| serde_json::to_string(&Kept::of_bytes(bytes)).unwrap();
        for json in [
            r#"{"id":12345678901234567890123,"z":1,"a":1.10,"a":2,"n":9007199254740993.0}"#,
            "1e400",
            "[]",
            r#""\ud800""#,
        ] {
            assert_eq!(written(json.as_bytes()), json);
        }
        for (bytes, text) in [
            (&b""[..], r#""""#),
            (b"to be", r#""to be""#),
            (b"\xff{", "\"\u{fffd}{\""),
        ] {
            assert_eq!(written(bytes), text);
        }
        assert_eq!(serde_json::to_string(&Kept::of(None)).unwrap(), "null");
    }

    #[test]
    fn a_destination_is_a_function_a_queue_or_a_url() {
        for (text, spelling) in [
            ("function:next", Some("function:next")),
            ("https://Example.com", Some("https://example.com/")),
            ("http://127.0.0.1:9000/hook?a=b", Some("http://127.0.0.1:9000/hook?a=b")),
            ("", None),
            ("next", None),
            ("function:", None),
            ("function:Not A Name", None),
            ("queue:orders", Some("queue:orders")),
            ("queue:", None),
            ("queue:Not A Name", None),
            (
                "amqp://a:b@rabbit/%2f?exchange=out&routing_key=done",
                Some("amqp://a:***@rabbit:5672/%2F?exchange=out&routing_key=done"),
            ),
            ("amqp://a:b@rabbit/%2f", None),
            ("topic:orders", None),
            ("https:example.com", None),
            ("ftp://example.com/", None),
            ("https://user@example.com/", None),
            ("https://example.com/#a", None),
        ] {
            assert_eq!(read(text).as_deref(), spelling, "{text}");
        }
    }
}
