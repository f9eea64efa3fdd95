//! Objects of a bucket. Their bytes go through piece by piece, so that no object has to fit in memory.

use std::io;

use futures_util::Stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue};
use reqwest::{Body, Method, RequestBuilder, Response, Url};
use serde::Deserialize;

use super::{Client, failure};
use crate::api::{Object, Objects};
use crate::error::CliError;

/// Objects and folders that are asked for at once.
const PAGE_OBJECTS_MAX: u32 = 1_000;

/// Which objects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectQuery<'a> {
    /// What their keys begin with.
    pub(crate) prefix: &'a str,
    /// What ends the name of a folder; without it, there are none.
    pub(crate) delimiter: Option<&'a str>,
}

/// A part of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct ObjectPage {
    #[serde(flatten)]
    pub(crate) found: Objects,
    /// Where the next part begins.
    pub(crate) next: Option<String>,
}

/// An object whose bytes are still coming.
#[derive(Debug)]
pub(crate) struct Download {
    /// How many there will be.
    pub(crate) bytes: Option<u64>,
    pub(crate) etag: Option<String>,
    server: Url,
    response: Response,
}

impl Download {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// When they break off.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        let chunk = self.response.chunk().await;
        let chunk = chunk.map_err(|cause| failure::of_transport(&self.server, &cause))?;
        Ok(chunk.map(Into::into))
    }
}

impl Client {
    /// Whether there is such a bucket, and whether we may work in it.
    ///
    /// # Errors
    /// When not.
    pub(crate) async fn check_bucket(&self, bucket: &str) -> Result<(), CliError> {
        let request = self
            .request(Method::GET, &["buckets", bucket, "objects"])
            .query(&[("limit", 1)]);
        self.transport.document::<ObjectPage>(request).await.map(drop)
    }

    /// Some objects: the first ones, or those that follow `after`.
    pub(crate) async fn object_page(
        &self,
        bucket: &str,
        query: ObjectQuery<'_>,
        after: Option<&str>,
    ) -> Result<ObjectPage, CliError> {
        let request = self
            .request(Method::GET, &["buckets", bucket, "objects"])
            .query(&[("limit", PAGE_OBJECTS_MAX)])
            .query(&[
                ("prefix", Some(query.prefix)),
                ("delimiter", query.delimiter),
                ("after", after),
            ]);
        self.transport.document(request).await
    }

    /// All objects.
    pub(crate) async fn objects(&self, bucket: &str, query: ObjectQuery<'_>) -> Result<Objects, CliError> {
        let mut all = Objects::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.object_page(bucket, query, after.as_deref()).await?;
            all.objects.extend(page.found.objects);
            all.folders.extend(page.found.folders);
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(all),
            }
        }
    }

    /// Writes an object. The size is none when nobody knows it yet.
    pub(crate) async fn put_object<S>(
        &self,
        bucket: &str,
        key: &str,
        content_type: HeaderValue,
        size_bytes: Option<u64>,
        content: S,
    ) -> Result<Object, CliError>
    where
        S: Stream<Item = io::Result<Vec<u8>>> + Send + 'static,
    {
        let mut request = self
            .object(Method::PUT, bucket, key)
            .header(CONTENT_TYPE, content_type)
            .body(Body::wrap_stream(content));
        if let Some(size_bytes) = size_bytes {
            request = request.header(CONTENT_LENGTH, size_bytes);
        }
        self.transport.document(request).await
    }

    /// Asks for an object; gives the head of the answer.
    pub(crate) async fn object_bytes(&self, bucket: &str, key: &str) -> Result<Download, CliError> {
        let response = self.transport.accepted(self.object(Method::GET, bucket, key)).await?;
        let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
        Ok(Download {
            bytes: response.content_length(),
            etag: etag.map(|etag| etag.trim_matches('"').to_owned()),
            server: self.transport.base().clone(),
            response,
        })
    }

    /// Deletes an object; false when there was none.
    pub(crate) async fn delete_object(&self, bucket: &str, key: &str) -> Result<bool, CliError> {
        let request = self.object(Method::DELETE, bucket, key).timeout(super::REQUEST_TIMEOUT);
        match self.transport.accepted(request).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == "object_not_found" => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Without a limit of time: nobody knows how large the object is and how slow the line.
    fn object(&self, method: Method, bucket: &str, key: &str) -> RequestBuilder {
        self.unlimited(method, &["buckets", bucket, "object"])
            .query(&[("key", key)])
    }
}
