//! Queues and their messages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A queue to be made; what is left out, the server decides.
#[derive(Debug, Serialize)]
pub(crate) struct NewQueue<'a> {
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retention_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_receives: Option<u32>,
}

/// A queue.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) delay_seconds: u32,
    pub(crate) retention_seconds: u32,
    pub(crate) dead_letter: Option<String>,
    pub(crate) max_receives: u32,
    pub(crate) created_at: String,
    pub(crate) messages: u64,
    pub(crate) received: u64,
    pub(crate) oldest_message_at: Option<String>,
    pub(crate) triggers: Vec<Subscriber>,
}

/// A trigger that takes its messages.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Subscriber {
    pub(crate) name: String,
    pub(crate) function: String,
    pub(crate) enabled: bool,
    pub(crate) waiting: u64,
}

/// A message to be sent.
#[derive(Debug, Serialize)]
pub(crate) struct NewMessage {
    pub(crate) body: String,
    pub(crate) attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay_seconds: Option<u32>,
}

/// A message that was accepted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SentMessage {
    pub(crate) id: String,
    /// One for each trigger that wants it.
    pub(crate) events: Vec<String>,
}

/// A message that was received.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReceivedMessage {
    pub(crate) id: String,
    pub(crate) receipt: String,
    pub(crate) body: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) sent_at: String,
    pub(crate) receives: u32,
}

/// What was thrown away.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PurgedQueue {
    pub(crate) messages: u64,
    pub(crate) events: u64,
}
