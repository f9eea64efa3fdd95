//! Queues and their messages.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Client, PAGE_ENTRIES_MAX};
use crate::api::{NewMessage, NewQueue, PurgedQueue, Queue, ReceivedMessage, SentMessage};
use crate::error::CliError;

#[derive(Deserialize)]
struct QueuePage {
    queues: Vec<Queue>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Messages<T> {
    messages: Vec<T>,
}

/// How messages are received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receive {
    pub(crate) max: u32,
    pub(crate) visibility_seconds: u32,
    pub(crate) wait_seconds: u32,
}

impl Client {
    /// Makes a queue.
    pub(crate) async fn create_queue(&self, new: &NewQueue<'_>) -> Result<Queue, CliError> {
        self.transport
            .document(self.request(Method::POST, &["queues"]).json(new))
            .await
    }

    /// All queues, by name.
    pub(crate) async fn queues(&self) -> Result<Vec<Queue>, CliError> {
        let mut queues = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let limit = PAGE_ENTRIES_MAX.to_string();
            let request = self
                .request(Method::GET, &["queues"])
                .query(&[("limit", Some(limit.as_str())), ("after", after.as_deref())]);
            let page: QueuePage = self.transport.document(request).await?;
            queues.extend(page.queues);
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(queues),
            }
        }
    }

    /// One queue.
    pub(crate) async fn queue(&self, name: &str) -> Result<Queue, CliError> {
        self.transport
            .document(self.request(Method::GET, &["queues", name]))
            .await
    }

    /// Deletes a queue.
    pub(crate) async fn delete_queue(&self, name: &str, force: bool) -> Result<(), CliError> {
        let request = self
            .request(Method::DELETE, &["queues", name])
            .query(&[("force", force)]);
        self.transport.accepted(request).await.map(drop)
    }

    /// Throws the messages of a queue away.
    pub(crate) async fn purge_queue(&self, name: &str) -> Result<PurgedQueue, CliError> {
        self.transport
            .document(self.request(Method::POST, &["queues", name, "purge"]))
            .await
    }

    /// Sends messages, all or none.
    pub(crate) async fn send_messages(
        &self,
        queue: &str,
        messages: &[NewMessage],
    ) -> Result<Vec<SentMessage>, CliError> {
        let request = self
            .request(Method::POST, &["queues", queue, "messages"])
            .json(&json!({ "messages": messages }));
        let sent: Messages<SentMessage> = self.transport.document(request).await?;
        Ok(sent.messages)
    }

    /// Receives messages that no trigger has taken.
    pub(crate) async fn receive_messages(&self, queue: &str, how: Receive) -> Result<Vec<ReceivedMessage>, CliError> {
        let request = self.request(Method::POST, &["queues", queue, "receive"]).json(&json!({
            "max": how.max,
            "visibility_seconds": how.visibility_seconds,
            "wait_seconds": how.wait_seconds,
        }));
        let received: Messages<ReceivedMessage> = self.transport.document(request).await?;
        Ok(received.messages)
    }

    /// Deletes a message that was received.
    pub(crate) async fn delete_message(&self, queue: &str, receipt: &str) -> Result<(), CliError> {
        self.transport
            .accepted(self.request(Method::DELETE, &["queues", queue, "messages", receipt]))
            .await
            .map(drop)
    }
}
