//! Where the outcome of an event goes.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use mayfly_invoker_api::{FunctionName, WebhookUrl};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::admin::time;
use crate::config::RESULT_BYTES_MAX;
use crate::events::envelope::{CloudEvent, Envelope};
use crate::ledger::Trigger;
use crate::store::{ClaimedEvent, NewEvent, Outcome, StoredResult};

/// Where the outcome of an event goes: `function:NAME`, of the same namespace, or the URL of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// As an event for that function.
    Function(FunctionName),
    /// As a signed POST.
    Webhook(WebhookUrl),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("function", name)) => name.parse().map(Self::Function).map_err(|error| format!("{error}")),
            Some(_) if text.contains("://") => text.parse().map(Self::Webhook).map_err(|error| format!("{error}")),
            _ => Err(format!(
                "'{text}' is no destination; write function:NAME, or the URL of a webhook, as https://example.com/hook"
            )),
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
            Self::Webhook(url) => url.fmt(f),
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
    pub(super) payload: &'a Bytes,
    pub(super) outcome: &'a Outcome,
    pub(super) error: Option<(&'a str, &'a str)>,
    pub(super) now_ms: i64,
}

impl Ended<'_> {
    /// The event that tells `destination` about it; the document has the fields of an AWS Lambda destination record.
    pub(super) fn event_for(
        &self,
        destination: &Destination,
        id: mayfly_invoker_api::EventId,
        max_age_ms: i64,
    ) -> NewEvent {
        let succeeded = matches!(self.outcome, Outcome::Succeeded(_));
        let cloud_event = CloudEvent {
            r#type: if succeeded {
                "mayfly.event.succeeded"
            } else {
                "mayfly.event.failed"
            }
            .to_owned(),
            source: format!("/ns/{}/functions/{}", self.event.namespace, self.event.function),
            time: time(self.now_ms),
        };
        let (function, envelope) = match destination {
            Destination::Function(function) => (function, Envelope::of_document(cloud_event, None)),
            // It waits its turn among the events of the function that it is about.
            Destination::Webhook(url) => (&self.event.function, Envelope::of_webhook(url.clone(), cloud_event)),
        };
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
            envelope: envelope.to_text(),
            payload: Bytes::from(self.record().to_string()),
        }
    }

    /// Left out when it is large: written as JSON it may be six times as long.
    fn request_payload(&self) -> Value {
        if self.payload.len() > RESULT_BYTES_MAX {
            return Value::Null;
        }
        document(self.payload)
    }

    fn record(&self) -> Value {
        let condition = match self.outcome {
            Outcome::Succeeded(_) => "Success",
            Outcome::Expired => "EventAgeExceeded",
            Outcome::Dead | Outcome::Retry { .. } | Outcome::Cancelled => "RetriesExhausted",
        };
        let (status, response) = match self.outcome {
            Outcome::Succeeded(result) => (result.http_status.unwrap_or(200), answer_of(result)),
            _ => (
                500,
                self.error
                    .map_or(Value::Null, |(code, message)| json!({"code": code, "message": message})),
            ),
        };
        json!({
            "version": "1.0",
            "timestamp": time(self.now_ms),
            "requestContext": {
                "requestId": self.event.id.to_string(),
                "functionArn": format!("mayfly:{}:{}", self.event.namespace, self.event.function),
                "condition": condition,
                "approximateInvokeCount": self.event.attempt,
            },
            "requestPayload": self.request_payload(),
            "requestPayloadBytes": self.payload.len(),
            "responseContext": {
                "statusCode": status,
                "executedVersion": self.event.version.map_or_else(|| "$LATEST".to_owned(), |version| version.to_string()),
                "functionError": self.error.map(|(code, _)| code),
            },
            "responsePayload": response,
        })
    }
}

fn answer_of(result: &StoredResult) -> Value {
    result.body.as_ref().map_or(Value::Null, document)
}

/// JSON as it is, anything else as text.
fn document(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
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
    fn a_destination_is_a_function_or_a_url() {
        for (text, spelling) in [
            ("function:next", Some("function:next")),
            ("https://Example.com", Some("https://example.com/")),
            ("http://127.0.0.1:9000/hook?a=b", Some("http://127.0.0.1:9000/hook?a=b")),
            ("", None),
            ("next", None),
            ("function:", None),
            ("function:Not A Name", None),
            ("queue:orders", None),
            ("https:example.com", None),
            ("ftp://example.com/", None),
            ("https://user@example.com/", None),
            ("https://example.com/#a", None),
        ] {
            assert_eq!(read(text).as_deref(), spelling, "{text}");
        }
    }
}
