//! Triggers.

use reqwest::Method;
use serde::Deserialize;

use super::{Client, PAGE_ENTRIES_MAX};
use crate::api::{Accepted, NewTrigger, Trigger};
use crate::error::CliError;

#[derive(Deserialize)]
struct TriggerPage {
    triggers: Vec<Trigger>,
    next: Option<String>,
}

impl Client {
    /// Makes a trigger.
    pub(crate) async fn create_trigger(&self, new: &NewTrigger<'_>) -> Result<Trigger, CliError> {
        self.transport
            .document(self.request(Method::POST, &["triggers"]).json(new))
            .await
    }

    /// All triggers, by name.
    pub(crate) async fn triggers(&self) -> Result<Vec<Trigger>, CliError> {
        let mut triggers = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let limit = PAGE_ENTRIES_MAX.to_string();
            let request = self
                .request(Method::GET, &["triggers"])
                .query(&[("limit", Some(limit.as_str())), ("after", after.as_deref())]);
            let page: TriggerPage = self.transport.document(request).await?;
            triggers.extend(page.triggers);
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(triggers),
            }
        }
    }

    /// One trigger.
    pub(crate) async fn trigger(&self, name: &str) -> Result<Trigger, CliError> {
        self.transport
            .document(self.request(Method::GET, &["triggers", name]))
            .await
    }

    /// Turns a trigger on or off.
    pub(crate) async fn switch_trigger(&self, name: &str, what: &'static str) -> Result<Trigger, CliError> {
        self.transport
            .document(self.request(Method::POST, &["triggers", name, what]))
            .await
    }

    /// Fires a trigger now.
    pub(crate) async fn fire_trigger(&self, name: &str) -> Result<Accepted, CliError> {
        self.transport
            .document(self.request(Method::POST, &["triggers", name, "fire"]))
            .await
    }

    /// Deletes a trigger.
    pub(crate) async fn delete_trigger(&self, name: &str) -> Result<(), CliError> {
        self.transport
            .accepted(self.request(Method::DELETE, &["triggers", name]))
            .await
            .map(drop)
    }
}
