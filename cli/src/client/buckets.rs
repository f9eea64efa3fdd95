//! Buckets and the keys to them.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Client, PAGE_ENTRIES_MAX};
use crate::api::{Bucket, BucketCredentials};
use crate::error::CliError;

#[derive(Deserialize)]
struct BucketPage {
    buckets: Vec<Bucket>,
    next: Option<String>,
}

impl Client {
    /// Makes a bucket.
    pub(crate) async fn create_bucket(&self, name: &str) -> Result<Bucket, CliError> {
        let request = self.request(Method::POST, &["buckets"]).json(&json!({ "name": name }));
        self.transport.document(request).await
    }

    /// All buckets, by name.
    pub(crate) async fn buckets(&self) -> Result<Vec<Bucket>, CliError> {
        let mut buckets = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let limit = PAGE_ENTRIES_MAX.to_string();
            let request = self
                .request(Method::GET, &["buckets"])
                .query(&[("limit", Some(limit.as_str())), ("after", after.as_deref())]);
            let page: BucketPage = self.transport.document(request).await?;
            buckets.extend(page.buckets);
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(buckets),
            }
        }
    }

    /// One bucket, and how much is in it.
    pub(crate) async fn bucket(&self, name: &str) -> Result<Bucket, CliError> {
        self.transport
            .document(self.request(Method::GET, &["buckets", name]))
            .await
    }

    /// Deletes a bucket.
    pub(crate) async fn delete_bucket(&self, name: &str) -> Result<(), CliError> {
        self.transport
            .accepted(self.request(Method::DELETE, &["buckets", name]))
            .await
            .map(drop)
    }

    /// What clients of S3 come in with.
    pub(crate) async fn bucket_credentials(&self, name: &str) -> Result<BucketCredentials, CliError> {
        self.transport
            .document(self.request(Method::GET, &["buckets", name, "credentials"]))
            .await
    }

    /// Makes new ones; those before them open nothing any more.
    pub(crate) async fn rotate_bucket_credentials(&self, name: &str) -> Result<BucketCredentials, CliError> {
        self.transport
            .document(self.request(Method::POST, &["buckets", name, "credentials", "rotate"]))
            .await
    }
}
