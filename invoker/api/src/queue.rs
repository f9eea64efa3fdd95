//! Messages that functions send to queues.

use std::collections::BTreeMap;

use crate::EventId;

/// A message before it is sent, as its sender says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// Text, mostly JSON.
    pub body: String,
    /// What it says of itself, for filters.
    pub attributes: BTreeMap<String, String>,
    /// For how long nobody gets it, in place of the queue's own time.
    pub delay_seconds: Option<u32>,
}

/// A message that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMessage {
    /// Names it.
    pub id: EventId,
    /// Its events, one for each trigger that wants it; without any it waits to be received.
    pub events: Vec<EventId>,
}

/// Why the platform does not do what a function asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A short name that programs can compare.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}
