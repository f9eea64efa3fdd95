//! Sending messages to queues of the function's namespace.
//!
//! They do not leave the platform, and the function must be deployed with `--allow-host queue.mayfly.internal`. In languages
//! without this crate it is `mayfly:function/queue` of `wit`, or a POST to `http://queue.mayfly.internal/QUEUE`.
//!
//! A message that is sent while the function handles an event is one step further in that event's row, so that a circle of
//! functions comes to an end. Nothing else of the function runs while it sends: what belongs together is sent together.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::Error;
use crate::bindings::imports::mayfly::function::queue as imports;

/// A message that was accepted: it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// Says something of itself that filters can find.
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
    /// As [`send_all`].
    pub async fn send(self, queue: &str) -> Result<Sent, Error> {
        let sent = send_all(queue, [self]).await?;
        let nothing = || Error::new("not_sent", "the platform has sent nothing");
        sent.into_iter().next().ok_or_else(nothing)
    }
}

impl From<Message> for imports::Message {
    fn from(message: Message) -> Self {
        let seconds = |delay: Duration| u32::try_from(delay.as_secs()).unwrap_or(u32::MAX);
        Self {
            body: message.body,
            attributes: message.attributes.into_iter().collect(),
            delay_seconds: message.delay.map(seconds),
        }
    }
}

/// Sends up to 100 messages with together up to 1 MiB, all of them or none; they are durable when this returns.
///
/// # Errors
/// With the platform's code, such as `queue_not_found` or `payload_too_large`; `not_sent` when the function may not send now,
/// and `not_known` when its time ended meanwhile.
#[expect(clippy::unused_async, reason = "the platform may be asked without blocking one day")]
pub async fn send_all(queue: &str, messages: impl IntoIterator<Item = Message>) -> Result<Vec<Sent>, Error> {
    let messages: Vec<imports::Message> = messages.into_iter().map(Into::into).collect();
    match imports::send(queue, &messages) {
        Ok(sent) => Ok(sent
            .into_iter()
            .map(|imports::Sent { id, events }| Sent { id, events })
            .collect()),
        Err(imports::Error { code, message }) => Err(Error::new(code, message)),
    }
}
