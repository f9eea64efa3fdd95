//! The admin API as a client sees it: one method per operation, every failure a [`CliError`].

mod buckets;
mod events;
mod failure;
mod objects;
mod queues;
mod reply;
mod transport;
mod triggers;

use std::io;
use std::time::Duration;

use futures_util::Stream;
use mayfly_invoker_api::{Digest, FunctionName, Namespace};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, RequestBuilder, StatusCode};
use serde::Deserialize;

use self::transport::Transport;
use crate::api::{
    ConfigRequest, DeployRequest, Deployed, Function, FunctionDetail, Invocation, Invoker, LogPage, UsageRow,
};
use crate::error::CliError;

pub(crate) use events::{EventQuery, Later};
pub(crate) use objects::{Download, ObjectQuery};
pub(crate) use queues::Receive;
pub(crate) use reply::Reply;

/// For everything but uploads and invocations.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Sending a large file over a slow line, then compiling it.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Entries asked for in one request where a list has pages.
const PAGE_ENTRIES_MAX: usize = 100;

/// Which server, and as whom.
#[derive(Debug)]
pub(crate) struct Connection {
    /// As the user wrote it.
    pub(crate) url: String,
    /// None when no token is known for that server.
    pub(crate) token: Option<String>,
}

/// A namespace of a server.
#[derive(Debug)]
pub(crate) struct Client {
    transport: Transport,
    namespace: Namespace,
}

/// Which invocations to list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InvocationQuery {
    /// How many at most.
    pub(crate) limit: usize,
    /// Only those that failed.
    pub(crate) failed: bool,
}

/// Which usage to add up; times as RFC 3339 or as a day.
#[derive(Debug)]
pub(crate) struct UsageQuery<'a> {
    pub(crate) by: &'a str,
    /// Inclusive.
    pub(crate) from: Option<&'a str>,
    /// Exclusive.
    pub(crate) to: Option<&'a str>,
}

#[derive(Deserialize)]
struct FunctionPage {
    functions: Vec<Function>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct InvocationPage {
    invocations: Vec<Invocation>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct UsageAnswer {
    rows: Vec<UsageRow>,
}

impl Client {
    /// Prepares to talk to a server; nothing is sent yet.
    ///
    /// # Errors
    /// When the URL or the token cannot be one.
    pub(crate) fn new(connection: &Connection, namespace: Namespace) -> Result<Self, CliError> {
        Ok(Self {
            transport: Transport::new(connection)?,
            namespace,
        })
    }

    /// The namespace that all names are in.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The whole address of a path that the server has said.
    pub(crate) fn address_of(&self, path: &str) -> String {
        format!("{}{path}", self.transport.base().as_str().trim_end_matches('/'))
    }

    /// All functions, by name.
    pub(crate) async fn functions(&self) -> Result<Vec<Function>, CliError> {
        let mut functions = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let limit = PAGE_ENTRIES_MAX.to_string();
            let request = self
                .request(Method::GET, &["functions"])
                .query(&[("limit", limit)])
                .query(&[("after", &after)]);
            let page: FunctionPage = self.transport.document(request).await?;
            functions.extend(page.functions);
            // A page that leads to itself would be read for ever.
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(functions),
            }
        }
    }

    /// One function with its versions.
    pub(crate) async fn function(&self, name: &FunctionName) -> Result<FunctionDetail, CliError> {
        self.transport
            .document(self.request(Method::GET, &["functions", name.as_str()]))
            .await
    }

    /// Makes `artifact` with `config` the latest version of a function.
    pub(crate) async fn deploy(
        &self,
        name: &FunctionName,
        artifact: Digest,
        config: &ConfigRequest,
    ) -> Result<Deployed, CliError> {
        // The code may have to be compiled once more, with what the init function leaves.
        let request = self
            .request(Method::PUT, &["functions", name.as_str()])
            .timeout(UPLOAD_TIMEOUT);
        self.transport
            .document(request.json(&DeployRequest { artifact, config }))
            .await
    }

    /// Deletes a function with its versions.
    pub(crate) async fn delete(&self, name: &FunctionName) -> Result<(), CliError> {
        self.transport
            .accepted(self.request(Method::DELETE, &["functions", name.as_str()]))
            .await
            .map(drop)
    }

    /// Whether the server has an artifact of this digest.
    pub(crate) async fn has_artifact(&self, digest: Digest) -> Result<bool, CliError> {
        let request = self.request(Method::HEAD, &["artifacts", &digest.to_string()]);
        let response = self.transport.send(request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        self.transport.accept(response).await.map(|_| true)
    }

    /// Uploads an artifact; answers after it was checked and compiled.
    pub(crate) async fn upload<S>(&self, digest: Digest, size_bytes: u64, content: S) -> Result<(), CliError>
    where
        S: Stream<Item = io::Result<Vec<u8>>> + Send + 'static,
    {
        let request = self
            .request(Method::PUT, &["artifacts", &digest.to_string()])
            .timeout(UPLOAD_TIMEOUT)
            .header(CONTENT_TYPE, "application/wasm")
            // Says the size before the content, so that the server can refuse it at once.
            .header(CONTENT_LENGTH, size_bytes)
            .body(Body::wrap_stream(content));
        self.transport.accepted(request).await.map(drop)
    }

    /// Calls a function; gives the head of its answer.
    pub(crate) async fn invoke(
        &self,
        name: &FunctionName,
        content_type: &'static str,
        payload: Vec<u8>,
        idempotency_key: Option<&str>,
    ) -> Result<Reply, CliError> {
        // The function has its own limit of time.
        let request = self.unlimited(Method::POST, &["functions", name.as_str(), "invoke"]);
        let mut request = request.header(CONTENT_TYPE, content_type).body(payload);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let response = self.transport.send(request).await?;
        Reply::receive(self.transport.base(), response)
            .await
            .map_err(|error| self.transport.with_token_hint(error))
    }

    /// The record of one invocation.
    pub(crate) async fn invocation(&self, id: &str) -> Result<Invocation, CliError> {
        self.transport
            .document(self.request(Method::GET, &["invocations", id]))
            .await
    }

    /// The last invocations of a function, newest first.
    pub(crate) async fn invocations(
        &self,
        name: &FunctionName,
        query: InvocationQuery,
    ) -> Result<Vec<Invocation>, CliError> {
        let mut invocations: Vec<Invocation> = Vec::new();
        let mut before: Option<String> = None;
        loop {
            let limit = (query.limit - invocations.len()).min(PAGE_ENTRIES_MAX).to_string();
            let request = self
                .request(Method::GET, &["functions", name.as_str(), "invocations"])
                .query(&[("limit", limit)])
                .query(&[
                    ("before", &before),
                    ("status", &query.failed.then(|| "error".to_owned())),
                ]);
            let page: InvocationPage = self.transport.document(request).await?;
            invocations.extend(page.invocations);
            match page.next {
                Some(next) if invocations.len() < query.limit && before.as_ref() != Some(&next) => before = Some(next),
                _ => return Ok(invocations),
            }
        }
    }

    /// What a function printed: after a cursor, or without one the newest entries.
    pub(crate) async fn logs(
        &self,
        name: &FunctionName,
        limit: usize,
        after: Option<&str>,
    ) -> Result<LogPage, CliError> {
        let request = self.request(Method::GET, &["functions", name.as_str(), "logs"]);
        self.transport
            .document(request.query(&[("limit", limit)]).query(&[("after", after)]))
            .await
    }

    /// What was consumed.
    pub(crate) async fn usage(&self, query: &UsageQuery<'_>) -> Result<Vec<UsageRow>, CliError> {
        let parameters = [("by", Some(query.by)), ("from", query.from), ("to", query.to)];
        let request = self.request(Method::GET, &["usage"]).query(&parameters);
        let answer: UsageAnswer = self.transport.document(request).await?;
        Ok(answer.rows)
    }

    /// What the server's invoker has done since it started.
    pub(crate) async fn invoker(&self) -> Result<Invoker, CliError> {
        let request = self.transport.request(Method::GET, ["v1", "invoker"]);
        self.transport.document(request.timeout(REQUEST_TIMEOUT)).await
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.unlimited(method, path).timeout(REQUEST_TIMEOUT)
    }

    /// A request for something in the namespace, without a limit of time.
    fn unlimited(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let namespace = ["v1", "ns", self.namespace.as_str()];
        self.transport
            .request(method, namespace.into_iter().chain(path.iter().copied()))
    }
}
