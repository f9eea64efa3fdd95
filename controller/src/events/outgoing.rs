//! What a message must be to be sent, on whichever road it comes.

use std::collections::BTreeMap;

use mayfly_invoker_api::OutgoingMessage;

use crate::code::Code;
use crate::config::{
    ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, EVENTS_AT_ONCE_BYTES_MAX, EVENTS_AT_ONCE_MAX, MESSAGE_BYTES_MAX,
    MESSAGE_DELAY_SECONDS_MAX, MESSAGES_AT_ONCE_MAX,
};
use crate::events::Message;
use crate::problem::Problem;

/// The messages, if all of them can be sent at once; `depth` events have led to them.
pub(crate) fn checked_messages(messages: Vec<OutgoingMessage>, depth: u32) -> Result<Vec<Message>, Problem> {
    if !(1..=MESSAGES_AT_ONCE_MAX).contains(&messages.len()) {
        return Err(Problem::new(
            Code::InvalidParameter,
            format!(
                "1 to {MESSAGES_AT_ONCE_MAX} messages can be sent at once, not {}",
                messages.len()
            ),
        ));
    }
    messages
        .into_iter()
        .map(|message| checked_one(message, depth))
        .collect()
}

/// Whether so many events can be made of messages in one transaction.
pub(super) fn check_at_once(events: usize, bytes: usize) -> Result<(), Problem> {
    if events <= EVENTS_AT_ONCE_MAX && bytes <= EVENTS_AT_ONCE_BYTES_MAX {
        return Ok(());
    }
    Err(Problem::new(
        Code::PayloadTooLarge,
        format!(
            "the messages would become more than {EVENTS_AT_ONCE_MAX} events with {EVENTS_AT_ONCE_BYTES_MAX} bytes for the \
             triggers that want them; send fewer at once"
        ),
    ))
}

/// As they are kept with each event, written as JSON.
fn attributes_bytes(attributes: &BTreeMap<String, String>) -> usize {
    serde_json::to_string(attributes).map_or(usize::MAX, |text| text.len())
}

fn checked_one(message: OutgoingMessage, depth: u32) -> Result<Message, Problem> {
    let too_large = |what: String| Err(Problem::new(Code::PayloadTooLarge, what));
    let invalid = |what: String| Err(Problem::new(Code::InvalidParameter, what));
    let OutgoingMessage {
        body,
        attributes,
        delay_seconds,
    } = message;
    if body.len() > MESSAGE_BYTES_MAX {
        return too_large(format!(
            "a message has {} bytes; at most {MESSAGE_BYTES_MAX} may be",
            body.len()
        ));
    }
    let bytes = attributes_bytes(&attributes);
    if attributes.len() > ATTRIBUTES_MAX || bytes > ATTRIBUTES_BYTES_MAX {
        return too_large(format!(
            "a message has {} attributes with {bytes} bytes; at most {ATTRIBUTES_MAX} with {ATTRIBUTES_BYTES_MAX} bytes \
             may be",
            attributes.len()
        ));
    }
    if attributes.keys().any(String::is_empty) {
        return invalid("an attribute of a message has no name".to_owned());
    }
    if let Some(delay) = delay_seconds.filter(|delay| *delay > MESSAGE_DELAY_SECONDS_MAX) {
        return invalid(format!(
            "the delay must be at most {MESSAGE_DELAY_SECONDS_MAX} seconds, not {delay}"
        ));
    }
    Ok(Message {
        attributes,
        body,
        delay_ms: delay_seconds.map(|seconds| i64::from(seconds) * 1_000),
        depth,
    })
}
