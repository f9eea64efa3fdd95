//! What a function is told about its invocation.

use std::time::{Duration, SystemTime};

use crate::bindings::exports::mayfly::function::handler;

/// What is known about the invocation, beside the event itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// Names this attempt. Another attempt for the same event has another one.
    pub invocation_id: String,
    /// Names the event; stays the same over its attempts, so it can tell a repetition from a new event.
    pub event_id: String,
    /// Which attempt for the event this is, counted from 1.
    pub attempt: u32,
    /// When the function will be stopped.
    pub deadline: SystemTime,
    /// The namespace that owns the function.
    pub namespace: String,
    /// The function's name in its namespace.
    pub function: String,
    /// The number of the function's version, counted from 1.
    pub version: u32,
    /// The caller's W3C `traceparent`, to be sent along with calls to others.
    pub trace_parent: Option<String>,
}

impl Context {
    /// How long the function may still run; zero when the deadline has passed.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a function has its host's clock and no other")]
    pub fn remaining(&self) -> Duration {
        self.deadline.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

impl From<handler::Context> for Context {
    fn from(context: handler::Context) -> Self {
        Self {
            invocation_id: context.invocation_id,
            event_id: context.event_id,
            attempt: context.attempt,
            deadline: SystemTime::UNIX_EPOCH + Duration::from_millis(context.deadline_ms),
            namespace: context.namespace,
            function: context.function,
            version: context.version,
            trace_parent: context.trace_parent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_deadline(deadline: SystemTime) -> Context {
        let since_1970 = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Context::from(handler::Context {
            invocation_id: "i".to_owned(),
            event_id: "e".to_owned(),
            attempt: 2,
            deadline_ms: u64::try_from(since_1970.as_millis()).unwrap(),
            namespace: "default".to_owned(),
            function: "f".to_owned(),
            version: 3,
            trace_parent: None,
        })
    }

    #[test]
    fn a_deadline_ahead_leaves_time_and_one_behind_leaves_none() {
        let hour = Duration::from_secs(3600);
        #[expect(clippy::disallowed_methods, reason = "what `remaining` measures from")]
        let now = SystemTime::now();

        let left = with_deadline(now + hour).remaining();
        assert!(left <= hour && left > hour / 2, "{left:?}");
        assert_eq!(with_deadline(now - hour).remaining(), Duration::ZERO);
    }
}
