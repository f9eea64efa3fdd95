//! Events, dead letters, and the secret of webhooks.

use mayfly_invoker_api::FunctionName;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;

use super::{Client, PAGE_ENTRIES_MAX};
use crate::api::{Accepted, Choice, Event, EventDetail, EventSummary, Handled, WebhookSecret};
use crate::error::CliError;

/// Which events to list.
#[derive(Debug)]
pub(crate) struct EventQuery<'a> {
    pub(crate) function: Option<&'a FunctionName>,
    pub(crate) state: Option<&'a str>,
    /// How many at most.
    pub(crate) limit: usize,
}

/// When and how an event is to be delivered.
#[derive(Debug, Default)]
pub(crate) struct Later<'a> {
    pub(crate) delay: Option<&'a str>,
    pub(crate) at: Option<&'a str>,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) idempotency_key: Option<&'a str>,
}

#[derive(Deserialize)]
struct EventPage {
    events: Vec<Event>,
    next: Option<String>,
}

impl Client {
    /// Hands in an event for a function; it is durable when this returns.
    pub(crate) async fn invoke_later(
        &self,
        name: &FunctionName,
        content_type: &'static str,
        payload: Vec<u8>,
        later: &Later<'_>,
    ) -> Result<Accepted, CliError> {
        let mut request = self
            .request(Method::POST, &["functions", name.as_str(), "invoke"])
            .header(CONTENT_TYPE, content_type)
            .header("prefer", "respond-async");
        let attempts = later.max_attempts.map(|number| number.to_string());
        for (header, value) in [
            ("mayfly-delay", later.delay),
            ("mayfly-not-before", later.at),
            ("mayfly-max-attempts", attempts.as_deref()),
            ("idempotency-key", later.idempotency_key),
        ] {
            if let Some(value) = value {
                request = request.header(header, value);
            }
        }
        self.transport.document(request.body(payload)).await
    }

    /// Events, newest first.
    pub(crate) async fn events(&self, query: &EventQuery<'_>) -> Result<Vec<Event>, CliError> {
        let mut events: Vec<Event> = Vec::new();
        let mut before: Option<String> = None;
        loop {
            let limit = (query.limit - events.len()).min(PAGE_ENTRIES_MAX).to_string();
            let request = self.request(Method::GET, &["events"]).query(&[
                ("limit", Some(limit.as_str())),
                ("before", before.as_deref()),
                ("function", query.function.map(FunctionName::as_str)),
                ("state", query.state),
            ]);
            let page: EventPage = self.transport.document(request).await?;
            events.extend(page.events);
            match page.next {
                Some(next) if events.len() < query.limit && before.as_ref() != Some(&next) => before = Some(next),
                _ => return Ok(events),
            }
        }
    }

    /// One event with its attempts that failed.
    pub(crate) async fn event(&self, id: &str) -> Result<EventDetail, CliError> {
        self.transport
            .document(self.request(Method::GET, &["events", id]))
            .await
    }

    /// How much waits, runs and was given up.
    pub(crate) async fn event_summary(&self) -> Result<EventSummary, CliError> {
        self.transport
            .document(self.request(Method::GET, &["events", "summary"]))
            .await
    }

    /// Stops an event.
    pub(crate) async fn cancel_event(&self, id: &str) -> Result<Event, CliError> {
        self.transport
            .document(self.request(Method::POST, &["events", id, "cancel"]))
            .await
    }

    /// Does something with dead letters of a function: `redrive` or `purge`.
    pub(crate) async fn handle_dead_letters(
        &self,
        name: &FunctionName,
        what: &'static str,
        choice: &Choice,
    ) -> Result<Handled, CliError> {
        let request = self.request(Method::POST, &["functions", name.as_str(), "dead-letters", what]);
        self.transport.document(request.json(choice)).await
    }

    /// What webhooks are signed with.
    pub(crate) async fn webhook_secret(&self) -> Result<WebhookSecret, CliError> {
        self.transport
            .document(self.request(Method::GET, &["webhook-secret"]))
            .await
    }

    /// Signs webhooks with a new secret from now on.
    pub(crate) async fn rotate_webhook_secret(&self) -> Result<WebhookSecret, CliError> {
        self.transport
            .document(self.request(Method::POST, &["webhook-secret", "rotate"]))
            .await
    }
}
