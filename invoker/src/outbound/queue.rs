//! Messages that a function sends with `mayfly:function/queue`: by the same rules as requests to `queue.mayfly.internal`.

use std::sync::Arc;

use http::Request;
use mayfly_invoker_api::{Caller, OutgoingMessage, Refusal, SentMessage};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::Hooks;
use super::allowance::Allowance;
use crate::bindings::queue::{Error, Host, Message, Sent};
use crate::config::{SENT_BYTES_MAX, SENT_MESSAGES_MAX};
use crate::state::State;

/// The place that the allow list has to name.
const URL: &str = "http://queue.mayfly.internal/";

impl Host for State {
    async fn send(&mut self, queue: String, messages: Vec<Message>) -> Result<Vec<Sent>, Error> {
        let sent = async {
            // First, so that nobody makes work who may not send.
            let allowance = self.hooks.admit_messages()?;
            let messages = outgoing(messages)?;
            send(&allowance, queue, messages).await
        };
        match sent.await {
            Ok(sent) => Ok(sent.into_iter().map(told).collect()),
            Err(Refusal { code, message }) => Err(Error {
                code: code.to_owned(),
                message,
            }),
        }
    }
}

impl Hooks {
    fn admit_messages(&mut self) -> Result<Arc<Allowance>, Refusal> {
        if self.running.is_none() {
            return Err(not_sent("a function sends while it is called, not before"));
        }
        let refused = "it has to be deployed with --allow-host queue.mayfly.internal, and an invocation sends only so often; \
                       the log says which of the two it is";
        let request = Request::post(URL)
            .body(())
            .map_err(|error| not_sent(&error.to_string()))?;
        let (allowance, admitted) = self.admit(&request).map_err(|_| not_sent(refused))?;
        if allowance.admits_inside(&admitted) {
            Ok(allowance)
        } else {
            Err(not_sent(refused))
        }
    }
}

/// Has them sent by the platform. Not by the guest's own thread: others wait for what is held on the way.
async fn send(
    allowance: &Allowance,
    queue: String,
    messages: Vec<OutgoingMessage>,
) -> Result<Vec<SentMessage>, Refusal> {
    let remaining = allowance.remaining();
    if remaining.is_zero() {
        return Err(not_sent("there is no time left"));
    }
    let running = allowance.running();
    let caller = Caller {
        target: Arc::clone(&running.target),
        depth: running.depth,
    };
    let services = Arc::clone(&running.services);
    let sending = tokio::spawn(async move { services.send(&caller, &queue, messages).await });
    match timeout(remaining, AbortOnDropHandle::new(sending)).await {
        Ok(Ok(sent)) => sent,
        Ok(Err(_)) => Err(not_sent("the platform has failed")),
        Err(_elapsed) => Err(Refusal {
            code: "not_known",
            message: "there was no time left to see whether the messages were sent".to_owned(),
        }),
    }
}

fn not_sent(why: &str) -> Refusal {
    Refusal {
        code: "not_sent",
        message: format!("nothing was sent: {why}"),
    }
}

/// No more than are looked at: what is held while they wait for the disk is in no budget of memory.
fn outgoing(messages: Vec<Message>) -> Result<Vec<OutgoingMessage>, Refusal> {
    let refused = |code, message| Refusal { code, message };
    if messages.len() > SENT_MESSAGES_MAX {
        let message = format!(
            "1 to {SENT_MESSAGES_MAX} messages can be sent at once, not {}",
            messages.len()
        );
        return Err(refused("invalid_parameter", message));
    }
    let bytes: usize = messages.iter().map(size).sum();
    if bytes > SENT_BYTES_MAX {
        let message = format!("the messages have {bytes} bytes; at most {SENT_BYTES_MAX} can be sent at once");
        return Err(refused("payload_too_large", message));
    }
    let outgoing = messages.into_iter().map(|message| OutgoingMessage {
        body: message.body,
        attributes: message.attributes.into_iter().collect(),
        delay_seconds: message.delay_seconds,
    });
    Ok(outgoing.collect())
}

/// Of a message in bytes; an attribute counts more than its text, because it may be empty.
fn size(message: &Message) -> usize {
    let attributes = message.attributes.iter();
    let attributes: usize = attributes.map(|(name, value)| 64 + name.len() + value.len()).sum();
    message.body.len() + attributes
}

fn told(sent: SentMessage) -> Sent {
    Sent {
        id: sent.id.to_string(),
        events: sent.events.iter().map(ToString::to_string).collect(),
    }
}
