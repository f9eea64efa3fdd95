//! Sending messages to queues of the function's namespace.
//!
//! They do not leave the platform: the request goes to `queue.mayfly.internal`, which the function is deployed with
//! (`fn deploy --allow-host queue.mayfly.internal`). A message that is sent while the function handles an event is one step
//! further in that event's row, so that a circle of functions comes to an end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wstd::http::{Body, Client, Request};

use crate::Error;

/// A message that was accepted: it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sent {
    /// Names it.
    pub id: String,
    /// Its events, one for each trigger that wants it; without any it waits to be received.
    pub events: Vec<String>,
}

/// A message before it is sent.
///
/// ```no_run
/// use mayfly_sdk::{Error, queue};
///
/// async fn tell(order: u64) -> Result<(), Error> {
///     let message = queue::Message::json(&order)?.attribute("region", "eu-1");
///     message.send("orders").await?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    body: String,
    attributes: BTreeMap<String, String>,
    delay: Option<Duration>,
}

impl Message {
    /// One that is text of any sort.
    #[must_use]
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            attributes: BTreeMap::new(),
            delay: None,
        }
    }

    /// One that is JSON.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        Ok(Self::text(serde_json::to_string(value)?))
    }

    /// Says something of itself that filters can find. Names are in lower case, with letters, digits, `-`, `_` and `.`.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// Keeps it from everybody for so many whole seconds, at most 15 minutes, in place of the queue's own time.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Sends it; it is durable when this returns.
    ///
    /// # Errors
    /// With the platform's code, such as `queue_not_found`, or `not_sent` when the platform could not be asked.
    pub async fn send(self, queue: &str) -> Result<Sent, Error> {
        let mut request = Request::post(format!("http://queue.mayfly.internal/{queue}"));
        for (name, value) in &self.attributes {
            request = request.header(format!("mayfly-attribute-{name}"), value);
        }
        if let Some(delay) = self.delay {
            request = request.header("mayfly-delay-seconds", delay.as_secs().to_string());
        }
        let not_sent = |why: &dyn std::fmt::Display| {
            let hint = "deploy the function with --allow-host queue.mayfly.internal";
            Error::new("not_sent", format!("the message was not sent: {why}; {hint}"))
        };
        let request = request.body(Body::from(self.body)).map_err(|error| not_sent(&error))?;
        let answer = Client::new().send(request).await.map_err(|error| not_sent(&error))?;
        let is_success = answer.status().is_success();
        let mut body = answer.into_body();
        let contents = body.contents().await.map_err(|error| not_sent(&error))?;
        if is_success {
            return Ok(serde_json::from_slice(contents)?);
        }
        let problem: Problem = serde_json::from_slice(contents)?;
        Err(Error::new(problem.code, problem.detail))
    }
}

/// What the platform says when it refuses.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
}
