//! Requests of functions to the platform itself: they never leave it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response};

use crate::{Body, Destination, Host, OutgoingMessage, Refusal, SentMessage, Target};

/// Below this domain are the services of the platform. No name server is ever asked for a name in it.
const DOMAIN: &str = "mayfly.internal";

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The function that runs.
    pub target: Arc<Target>,
    /// How many events led to this run.
    pub depth: u32,
}

/// Answers what functions ask the platform.
#[async_trait]
pub trait Services: Send + Sync {
    /// Answers a request to `SERVICE.mayfly.internal`, which the function's allow list names. Both bodies are streamed.
    async fn answer(&self, caller: &Caller, service: &str, request: Request<Body>) -> Response<Body>;

    /// Sends messages to a queue of the function's namespace, all or none. They are durable when this returns.
    async fn send(
        &self,
        caller: &Caller,
        queue: &str,
        messages: Vec<OutgoingMessage>,
    ) -> Result<Vec<SentMessage>, Refusal>;
}

impl fmt::Debug for dyn Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Services")
    }
}

/// The service that `destination` names, if it is one of the platform's.
#[must_use]
pub fn service_of(destination: &Destination) -> Option<&str> {
    match &destination.host {
        Host::Name(name) if name == DOMAIN => Some(""),
        Host::Name(name) => name.strip_suffix(DOMAIN)?.strip_suffix('.'),
        Host::Ip(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_below_one_domain() {
        let service = |text: &str| {
            let destination = Destination::parse(text, 80).unwrap();
            service_of(&destination).map(str::to_owned)
        };
        assert_eq!(service("queue.mayfly.internal:80").as_deref(), Some("queue"));
        assert_eq!(service("QUEUE.Mayfly.Internal:80").as_deref(), Some("queue"));
        assert_eq!(service("a.b.mayfly.internal:80").as_deref(), Some("a.b"));
        assert_eq!(service("mayfly.internal:80").as_deref(), Some(""));
        for other in [
            "notmayfly.internal:80",
            "queue.mayfly.internal.example.com:80",
            "example.com:80",
            "192.0.2.1:80",
        ] {
            assert_eq!(service(other), None, "{other}");
        }
    }
}
