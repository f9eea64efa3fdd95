//! Requests that functions send: `wasi:http/outgoing-handler`; and those of the platform about them, `webhook`.
//!
//! One request, read downward: `allowance` (is the host on the function's list, and has the invocation requests left?) →
//! `request` (what goes out) → `resolve` (the host's addresses, once) → `address` (which of them are open) → `connect`
//! (one of these) → `exchange` (request and response) → `body`. What goes to the platform itself ends at `inside`, or at
//! `queue`. Nothing here follows redirects, unpacks bodies, or keeps a connection for another request.

mod address;
mod allowance;
mod body;
mod connect;
mod exchange;
mod failure;
mod inside;
mod queue;
mod request;
mod resolve;
mod webhook;

use std::fmt;
use std::sync::Arc;

use http::uri::Scheme;
use mayfly_invoker_api::{Webhook, WebhookAnswer, WebhookError, service_of};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody, WasiHttpHooks};

use self::allowance::{Admitted, Allowance, Running};
use self::resolve::{Resolve, SystemResolver};
use crate::call::Call;
use crate::config::BODY_CHUNK_BYTES;
use crate::console::Console;

pub use self::address::{NetworkError, PrivateNetwork};

/// What all invocations of one process share.
pub(crate) struct Outbound {
    resolver: Box<dyn Resolve>,
    private_networks: Vec<PrivateNetwork>,
    tls: TlsConnector,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("private_networks", &self.private_networks)
            .finish_non_exhaustive()
    }
}

impl Outbound {
    pub(crate) fn new(private_networks: Vec<PrivateNetwork>) -> wasmtime::Result<Self> {
        Ok(Self {
            resolver: Box::new(SystemResolver::new()),
            private_networks,
            tls: connect::tls()?,
        })
    }

    /// Posts a message of the platform's own.
    pub(crate) async fn send_webhook(&self, webhook: Webhook) -> Result<WebhookAnswer, WebhookError> {
        webhook::send(self, webhook).await
    }
}

/// A response whose body follows, and what moves it along.
type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), HttpError>> + Send>,
);

/// How HTTP behaves for the guests of one store.
pub(crate) struct Hooks {
    console: Arc<Console>,
    running: Option<Running>,
    /// Of the invocation that is running; made when it sends something, which most do not.
    allowance: Option<Arc<Allowance>>,
}

impl Hooks {
    pub(crate) fn new(console: &Arc<Console>) -> Self {
        Self {
            console: Arc::clone(console),
            running: None,
            allowance: None,
        }
    }

    /// What the guest sends from now on is this invocation's.
    pub(crate) fn begin(&mut self, call: &Call) {
        // An instance is made and called in the same invocation.
        if self.running.as_ref().is_some_and(|running| running.is_of(call)) {
            return;
        }
        self.end();
        self.running = Some(Running::of(call));
    }

    /// Nothing is sent any more, and what is under way is cut off.
    pub(crate) fn end(&mut self) {
        self.running = None;
        if let Some(allowance) = self.allowance.take() {
            allowance.end();
        }
    }

    fn admit<B>(&mut self, request: &http::Request<B>) -> Result<(Arc<Allowance>, Admitted), HttpError> {
        let running = self.running.as_ref().ok_or(HttpError::HttpRequestDenied)?;
        let begin = || Arc::new(Allowance::begin(running.clone(), &self.console));
        let allowance = self.allowance.get_or_insert_with(begin);
        let admitted = allowance.admit(request)?;
        Ok((Arc::clone(allowance), admitted))
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.end();
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, HttpError>> + Send> {
        match self.admit(&request) {
            Ok((allowance, admitted)) if service_of(&admitted.route.destination).is_some() => Box::new(async move {
                let ended = allowance.ended();
                let answered = ended
                    .run_until_cancelled_owned(inside::answer(allowance, admitted, request))
                    .await;
                answered.unwrap_or(Err(HttpError::ConnectionTerminated))
            }),
            Ok((allowance, admitted)) => Box::new(async move {
                let ended = allowance.ended();
                let sending = exchange::send(allowance, admitted, request, options.unwrap_or_default());
                let sent = ended.run_until_cancelled_owned(sending).await;
                sent.unwrap_or(Err(HttpError::ConnectionTerminated))
            }),
            Err(error) => Box::new(async move { Err(error) }),
        }
    }

    /// It is set where the host was checked.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn is_supported_scheme(&mut self, scheme: &Scheme) -> bool {
        *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod property;
#[cfg(test)]
mod tests;
