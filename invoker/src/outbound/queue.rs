//! Messages that a function sends with `mayfly:function/queue`: by the same rules as requests to `queue.mayfly.internal`.

use http::Request;
use mayfly_invoker_api::{Caller, OutgoingMessage, Refusal, SentMessage};
use tokio::time::timeout;

use super::Hooks;
use crate::bindings::queue::{Error, Host, Message, Sent};
use crate::state::State;

/// The place that the allow list has to name.
const URL: &str = "http://queue.mayfly.internal/";

impl Host for State {
    async fn send(&mut self, queue: String, messages: Vec<Message>) -> Result<Vec<Sent>, Error> {
        let messages = messages.into_iter().map(outgoing).collect();
        match self.hooks.send_messages(&queue, messages).await {
            Ok(sent) => Ok(sent.into_iter().map(told).collect()),
            Err(Refusal { code, message }) => Err(Error {
                code: code.to_owned(),
                message,
            }),
        }
    }
}

impl Hooks {
    async fn send_messages(
        &mut self,
        queue: &str,
        messages: Vec<OutgoingMessage>,
    ) -> Result<Vec<SentMessage>, Refusal> {
        let request = Request::post(URL)
            .body(())
            .map_err(|error| not_sent(&error.to_string()))?;
        let refused = "deploy the function with --allow-host queue.mayfly.internal; the log says more";
        let (allowance, admitted) = self.admit(&request).map_err(|_| not_sent(refused))?;
        if !allowance.admits_inside(&admitted) {
            return Err(not_sent(refused));
        }
        let running = allowance.running();
        let caller = Caller {
            target: running.target.clone(),
            depth: running.depth,
        };
        let sending = running.services.send(&caller, queue, messages);
        match timeout(allowance.remaining(), sending).await {
            Ok(sent) => sent,
            Err(_elapsed) => Err(not_sent("there was no time left")),
        }
    }
}

fn not_sent(why: &str) -> Refusal {
    Refusal {
        code: "not_sent",
        message: format!("nothing was sent: {why}"),
    }
}

fn outgoing(message: Message) -> OutgoingMessage {
    OutgoingMessage {
        body: message.body,
        attributes: message.attributes.into_iter().collect(),
        delay_seconds: message.delay_seconds,
    }
}

fn told(sent: SentMessage) -> Sent {
    Sent {
        id: sent.id.to_string(),
        events: sent.events.iter().map(ToString::to_string).collect(),
    }
}
