//! What an event keeps of the way it came, so that every attempt gives the function the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{EventId, QueueName, Target, WebhookUrl};
use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::events::amqp::{AmqpShape, Publication};
use crate::ingress::{Occurrence, Routed};
use crate::problem::Problem;
use crate::store::ClaimedEvent;

/// How a payload is given to a function, and what holds for its event alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    #[serde(flatten)]
    shape: Shape,
    /// In place of the function's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) retry: Option<RetryPolicy>,
}

/// What the payload was when it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub(crate) enum Shape {
    /// A payload for the function, through the API.
    Payload {
        content_type: Option<String>,
        trace_parent: Option<String>,
    },
    /// A request to the function's endpoint; the path is the one that is left for the function.
    Request {
        method: String,
        uri: String,
        /// Values are bytes; here each is one character.
        headers: Vec<(String, String)>,
        peer: IpAddr,
    },
    /// A document that the platform made.
    Document(CloudEvent),
    /// The same, for somebody outside: no function is run.
    Webhook { url: WebhookUrl, about: CloudEvent },
    /// A message of a queue; it is given to the function in a batch (see `batch.rs`).
    Message(MessageShape),
    /// A message of a RabbitMQ queue; the same.
    Amqp(AmqpShape),
    /// A message for RabbitMQ: no function is run.
    Publication(Publication),
}

/// What a message of a queue is beside its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageShape {
    pub(crate) queue: QueueName,
    /// The same for all triggers that the message went to.
    pub(crate) message: EventId,
    pub(crate) attributes: BTreeMap<String, String>,
    /// In milliseconds since 1970.
    pub(crate) sent_ms: i64,
}

/// What CloudEvents calls an event, beside its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CloudEvent {
    pub(crate) r#type: String,
    pub(crate) source: String,
    /// RFC 3339.
    pub(crate) time: String,
}

impl Envelope {
    /// Of a payload that came with these headers through the API.
    pub(crate) fn of_payload(headers: &HeaderMap, retry: Option<RetryPolicy>) -> Self {
        let text = |name: &HeaderName| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        Self {
            shape: Shape::Payload {
                content_type: text(&header::CONTENT_TYPE),
                trace_parent: text(&HeaderName::from_static("traceparent")),
            },
            retry,
        }
    }

    /// Of a request as the function would see it.
    pub(crate) fn of_request<B>(request: &Request<B>, peer: SocketAddr) -> Self {
        let headers = request.headers().iter().map(|(name, value)| {
            let value = value.as_bytes().iter().copied().map(char::from).collect();
            (name.as_str().to_owned(), value)
        });
        Self {
            shape: Shape::Request {
                method: request.method().to_string(),
                uri: request.uri().to_string(),
                headers: headers.collect(),
                peer: peer.ip(),
            },
            retry: None,
        }
    }

    /// Of a document that the platform made.
    pub(crate) fn of_document(event: CloudEvent, retry: Option<RetryPolicy>) -> Self {
        Self {
            shape: Shape::Document(event),
            retry,
        }
    }

    /// Of a document that the platform made for somebody outside.
    pub(crate) fn of_webhook(url: WebhookUrl, about: CloudEvent) -> Self {
        Self {
            shape: Shape::Webhook { url, about },
            retry: None,
        }
    }

    /// Of a message of a queue.
    pub(crate) fn of_message(message: MessageShape, retry: Option<RetryPolicy>) -> Self {
        Self {
            shape: Shape::Message(message),
            retry,
        }
    }

    /// Of a message of a RabbitMQ queue.
    pub(crate) fn of_amqp(message: AmqpShape, retry: Option<RetryPolicy>) -> Self {
        Self {
            shape: Shape::Amqp(message),
            retry,
        }
    }

    /// Of a message for RabbitMQ.
    pub(crate) fn of_publication(publication: Publication, retry: RetryPolicy) -> Self {
        Self {
            shape: Shape::Publication(publication),
            retry: Some(retry),
        }
    }

    /// The message for RabbitMQ that it is.
    pub(crate) fn publication(&self) -> Option<&Publication> {
        match &self.shape {
            Shape::Publication(publication) => Some(publication),
            _ => None,
        }
    }

    /// The message of RabbitMQ that it is.
    pub(crate) fn amqp(&self) -> Option<&AmqpShape> {
        match &self.shape {
            Shape::Amqp(message) => Some(message),
            _ => None,
        }
    }

    /// The message of a queue that it is.
    pub(crate) fn message(&self) -> Option<&MessageShape> {
        match &self.shape {
            Shape::Message(message) => Some(message),
            _ => None,
        }
    }

    /// What it was when it came.
    pub(crate) fn into_shape(self) -> Shape {
        self.shape
    }

    /// Whether it is for somebody outside, so that no function is run.
    pub(crate) fn tells_outside(&self) -> bool {
        matches!(self.shape, Shape::Webhook { .. } | Shape::Publication(_))
    }

    /// Who outside is to be told, and about what.
    pub(crate) fn webhook(&self) -> Option<(&WebhookUrl, &CloudEvent)> {
        match &self.shape {
            Shape::Webhook { url, about } => Some((url, about)),
            _ => None,
        }
    }

    /// The same with a policy of its own.
    pub(crate) fn with_retry(self, retry: Option<RetryPolicy>) -> Self {
        Self { retry, ..self }
    }

    /// What two requests must have in common to be the same, beside their payload: headers such as a trace's are not in it.
    pub(crate) fn identity(&self) -> String {
        match &self.shape {
            Shape::Payload { content_type, .. } => content_type.clone().unwrap_or_default(),
            Shape::Request { method, uri, .. } => format!("{method} {uri}"),
            Shape::Document(event) => event.source.clone(),
            Shape::Webhook { url, .. } => url.to_string(),
            Shape::Message(message) => message.message.to_string(),
            Shape::Amqp(message) => message.from.clone(),
            Shape::Publication(publication) => publication.routing_key.clone(),
        }
    }

    /// As it is kept.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("text and numbers always have a JSON form")
    }

    /// As it was kept.
    pub(crate) fn of_text(text: &str) -> Result<Self, Problem> {
        serde_json::from_str(text)
            .map_err(|error| Problem::new(Code::Internal, format!("the kept event cannot be read: {error}")))
    }

    /// The run of `target` that this attempt is.
    pub(crate) fn routed(self, event: &ClaimedEvent, target: Arc<Target>, payload: Bytes) -> Result<Routed, Problem> {
        let mut occurrence = Occurrence {
            event: event.id,
            attempt: event.attempt,
            depth: event.depth,
            cloud_event: None,
        };
        let length = HeaderValue::from(payload.len());
        let body = Full::new(payload).map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::new(body);
        let mut peer = IpAddr::from([127, 0, 0, 1]);
        match self.shape {
            Shape::Payload {
                content_type,
                trace_parent,
            } => {
                *request.method_mut() = Method::POST;
                set(&mut request, "content-type", content_type);
                set(&mut request, "traceparent", trace_parent);
                request.headers_mut().insert(header::CONTENT_LENGTH, length);
            }
            Shape::Request {
                method,
                uri,
                headers,
                peer: from,
            } => {
                peer = from;
                *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(unreadable)?;
                *request.uri_mut() = uri.parse::<Uri>().map_err(unreadable)?;
                for (name, value) in headers {
                    let name = HeaderName::from_bytes(name.as_bytes()).map_err(unreadable)?;
                    request.headers_mut().append(name, header_value(&value)?);
                }
            }
            Shape::Document(cloud_event) => {
                *request.method_mut() = Method::POST;
                set(&mut request, "content-type", Some("application/json".to_owned()));
                request.headers_mut().insert(header::CONTENT_LENGTH, length);
                occurrence.cloud_event = Some(cloud_event);
            }
            Shape::Webhook { .. } | Shape::Publication(_) => {
                return Err(unreadable("what is for somebody outside is for no function"));
            }
            Shape::Message(_) | Shape::Amqp(_) => return Err(unreadable("messages come in batches")),
        }
        Ok(Routed {
            target,
            trigger: event.source,
            request,
            peer: SocketAddr::new(peer, 0),
            timing_wanted: false,
            occurrence: Some(occurrence),
        })
    }
}

fn set<B>(request: &mut Request<B>, name: &'static str, value: Option<String>) {
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        request.headers_mut().insert(name, value);
    }
}

fn header_value(text: &str) -> Result<HeaderValue, Problem> {
    let bytes: Option<Vec<u8>> = text.chars().map(|letter| u8::try_from(letter).ok()).collect();
    let bytes = bytes.ok_or_else(|| unreadable("a header value is not of bytes"))?;
    HeaderValue::try_from(bytes).map_err(unreadable)
}

fn unreadable(error: impl std::fmt::Display) -> Problem {
    Problem::new(Code::Internal, format!("the kept event cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_of_a_webhook_can_be_told_by_its_beginning() {
        let about = CloudEvent {
            r#type: "mayfly.event.failed".to_owned(),
            source: "/ns/default/functions/orders".to_owned(),
            time: "2026-12-01T00:00:00.000Z".to_owned(),
        };
        let url: WebhookUrl = "https://example.com/hook?a=b".parse().unwrap();
        let envelope = Envelope::of_webhook(url.clone(), about.clone());
        let text = envelope.to_text();
        // What `store/events/mod.rs` looks for.
        assert!(text.starts_with(r#"{"shape":"webhook""#), "{text}");
        let read = Envelope::of_text(&text).unwrap();
        assert_eq!(read.webhook(), Some((&url, &about)));
        assert_eq!(Envelope::of_document(about, None).webhook(), None);
    }
}
