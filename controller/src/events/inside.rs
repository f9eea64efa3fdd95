//! Messages that functions send over HTTP, without leaving the platform: `queue.mayfly.internal`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use mayfly_invoker_api::{Body, Caller, EventId, QueueName};
use serde_json::json;

use crate::clock::Clock;
use crate::code::Code;
use crate::config::{ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, MESSAGE_BYTES_MAX, MESSAGE_DELAY_SECONDS_MAX};
use crate::events::{Events, Message};
use crate::problem::Problem;

/// What a header of a message's attribute begins with.
const ATTRIBUTE_PREFIX: &str = "mayfly-attribute-";
const DELAY: &str = "mayfly-delay-seconds";

/// Takes messages of functions.
pub(crate) struct QueueService {
    pub(crate) events: Arc<Events>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl QueueService {
    /// `POST /QUEUE`: the body is the message.
    pub(crate) async fn send(&self, caller: &Caller, request: Request<Body>) -> Result<Response<Bytes>, Problem> {
        if request.method() != Method::POST {
            return Err(Problem::new(Code::MethodNotAllowed, "a message is sent with POST"));
        }
        let path = request.uri().path().trim_matches('/');
        let queue: QueueName = path.parse().map_err(|_| {
            let shown: String = path.chars().take(63).collect();
            Problem::new(
                Code::QueueNotFound,
                format!("there is no queue named {shown} in this namespace"),
            )
        })?;
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MESSAGE_BYTES_MAX).collect().await.map_err(|_| {
            Problem::new(
                Code::PayloadTooLarge,
                format!("a message has at most {MESSAGE_BYTES_MAX} bytes, or its body was cut off"),
            )
        })?;
        let message = message(&head.headers, &body.to_bytes(), caller.depth.saturating_add(1))?;
        let namespace = &caller.target.namespace;
        let sent = self
            .events
            .send(namespace, &queue, vec![message], self.clock.unix_ms())
            .await?;
        let (id, events) = sent.into_iter().next().unzip();
        let events: Vec<String> = events.unwrap_or_default().iter().map(EventId::to_string).collect();
        let answer = json!({ "id": id.as_ref().map(EventId::to_string), "events": events });
        let mut response = Response::new(Bytes::from(answer.to_string()));
        *response.status_mut() = StatusCode::ACCEPTED;
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        Ok(response)
    }
}

fn message(headers: &HeaderMap, body: &[u8], depth: u32) -> Result<Message, Problem> {
    let body = std::str::from_utf8(body).map_err(|_| {
        Problem::new(
            Code::InvalidParameter,
            "the body of a message is text: encode it as base64 first",
        )
    })?;
    Ok(Message {
        attributes: attributes(headers)?,
        body: body.to_owned(),
        delay_ms: delay_ms(headers)?,
        depth,
    })
}

fn attributes(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let (mut attributes, mut bytes) = (BTreeMap::new(), 0);
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
        bytes += name.len() + value.len();
        attributes.insert(name.to_owned(), value.to_owned());
    }
    if attributes.len() > ATTRIBUTES_MAX || bytes > ATTRIBUTES_BYTES_MAX {
        return Err(Problem::new(
            Code::PayloadTooLarge,
            format!("a message may have {ATTRIBUTES_MAX} attributes with {ATTRIBUTES_BYTES_MAX} bytes"),
        ));
    }
    Ok(attributes)
}

fn delay_ms(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(DELAY) else {
        return Ok(None);
    };
    let seconds: Option<u32> = value.to_str().ok().and_then(|text| text.parse().ok());
    match seconds.filter(|seconds| *seconds <= MESSAGE_DELAY_SECONDS_MAX) {
        Some(seconds) => Ok(Some(i64::from(seconds) * 1_000)),
        None => Err(Problem::new(
            Code::InvalidParameter,
            format!("{DELAY} must be from 0 to {MESSAGE_DELAY_SECONDS_MAX}"),
        )),
    }
}
