//! Messages that functions send without leaving the platform: with `mayfly:function/queue`, or over HTTP to
//! `queue.mayfly.internal`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use mayfly_invoker_api::{Body, Caller, EventId, OutgoingMessage, QueueName, SentMessage};
use serde_json::json;

use crate::clock::Clock;
use crate::code::Code;
use crate::config::MESSAGE_BYTES_MAX;
use crate::events::Events;
use crate::events::outgoing::checked_messages;
use crate::problem::Problem;

/// What a header of a message's attribute begins with.
const ATTRIBUTE_PREFIX: &str = "mayfly-attribute-";
const DELAY: &str = "mayfly-delay-seconds";
/// Characters of a name that is none which are repeated in an answer.
const SHOWN_CHARS_MAX: usize = 63;

/// Takes messages of functions.
pub(crate) struct QueueService {
    pub(crate) events: Arc<Events>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl QueueService {
    /// Sends all messages or none; they are durable when this returns.
    pub(crate) async fn send(
        &self,
        caller: &Caller,
        queue: &str,
        messages: Vec<OutgoingMessage>,
    ) -> Result<Vec<SentMessage>, Problem> {
        let queue: QueueName = queue.parse().map_err(|_| {
            let shown: String = queue.chars().take(SHOWN_CHARS_MAX).collect();
            Problem::new(
                Code::QueueNotFound,
                format!("there is no queue named {shown} in this namespace"),
            )
        })?;
        let messages = checked_messages(messages, caller.depth.saturating_add(1))?;
        let namespace = &caller.target.namespace;
        let sent = self
            .events
            .send(namespace, &queue, messages, self.clock.unix_ms())
            .await?;
        Ok(sent
            .into_iter()
            .map(|(id, events)| SentMessage { id, events })
            .collect())
    }

    /// `POST /QUEUE`: the body is the message.
    pub(crate) async fn answer(&self, caller: &Caller, request: Request<Body>) -> Result<Response<Bytes>, Problem> {
        if request.method() != Method::POST {
            return Err(Problem::new(Code::MethodNotAllowed, "a message is sent with POST"));
        }
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MESSAGE_BYTES_MAX).collect().await.map_err(|_| {
            Problem::new(
                Code::PayloadTooLarge,
                format!("a message has at most {MESSAGE_BYTES_MAX} bytes, or its body was cut off"),
            )
        })?;
        let message = message(&head.headers, &body.to_bytes())?;
        let queue = head.uri.path().trim_matches('/');
        let sent = self.send(caller, queue, vec![message]).await?.into_iter().next();
        let (id, events) = sent.map(|sent| (sent.id, sent.events)).unzip();
        let events: Vec<String> = events.unwrap_or_default().iter().map(EventId::to_string).collect();
        let answer = json!({ "id": id.as_ref().map(EventId::to_string), "events": events });
        let mut response = Response::new(Bytes::from(answer.to_string()));
        *response.status_mut() = StatusCode::ACCEPTED;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(response)
    }
}

fn message(headers: &HeaderMap, body: &[u8]) -> Result<OutgoingMessage, Problem> {
    let body = std::str::from_utf8(body).map_err(|_| {
        Problem::new(
            Code::InvalidParameter,
            "the body of a message is text: encode it as base64 first",
        )
    })?;
    Ok(OutgoingMessage {
        attributes: attributes(headers)?,
        body: body.to_owned(),
        delay_seconds: delay_seconds(headers)?,
    })
}

fn attributes(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name
            .as_str()
            .strip_prefix(ATTRIBUTE_PREFIX)
            .filter(|name| !name.is_empty())
        else {
            continue;
        };
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Problem::new(Code::InvalidParameter, format!("the attribute {name} is no text")))?;
        attributes.insert(name.to_owned(), value.to_owned());
    }
    Ok(attributes)
}

fn delay_seconds(headers: &HeaderMap) -> Result<Option<u32>, Problem> {
    let Some(value) = headers.get(DELAY) else {
        return Ok(None);
    };
    let seconds = value.to_str().ok().and_then(|text| text.parse().ok());
    let no_number = || Problem::new(Code::InvalidParameter, format!("{DELAY} must be a number"));
    seconds.map(Some).ok_or_else(no_number)
}
