//! What one invocation may send: to whom, how often, how much at once, and until when.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use mayfly_invoker_api::{Destination, Gauge, Services, Target};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::Error as HttpError;

use super::Outbound;
use super::address::PrivateNetwork;
use super::request::Route;
use crate::call::Call;
use crate::config::{OUTBOUND_CONNECTIONS_MAX, OUTBOUND_NOTES_MAX, OUTBOUND_REQUESTS_MAX};
use crate::console::Console;

/// The invocation that is running.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(super) outbound: Arc<Outbound>,
    pub(super) services: Arc<dyn Services>,
    pub(super) depth: u32,
    pub(super) target: Arc<Target>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) deadline: Instant,
}

impl Running {
    pub(crate) fn of(call: &Call) -> Self {
        Self {
            outbound: Arc::clone(&call.outbound),
            services: Arc::clone(&call.services),
            depth: call.depth,
            target: Arc::clone(&call.target),
            gauge: Arc::clone(&call.gauge),
            deadline: call.deadline(),
        }
    }

    pub(crate) fn is_of(&self, call: &Call) -> bool {
        Arc::ptr_eq(&self.gauge, &call.gauge)
    }
}

/// The outbound side of one invocation. Ends with it, and everything that is still open ends then too.
#[derive(Debug)]
pub(crate) struct Allowance {
    running: Running,
    console: Arc<Console>,
    connections: Arc<Semaphore>,
    noted: Mutex<Vec<String>>,
    ended: CancellationToken,
}

/// A request to a host that is on the list, which has been counted.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) route: Route,
    /// Whether the list names the host. A function that may go anywhere does not come into private networks by that.
    names_its_host: bool,
}

impl Allowance {
    pub(crate) fn begin(running: Running, console: &Arc<Console>) -> Self {
        Self {
            running,
            console: Arc::clone(console),
            connections: Arc::new(Semaphore::new(OUTBOUND_CONNECTIONS_MAX)),
            noted: Mutex::default(),
            ended: CancellationToken::new(),
        }
    }

    /// The invocation has ended: what is still open is closed.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// Fires when the invocation has ended.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Whose it is.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// What all invocations share.
    pub(crate) fn outbound(&self) -> &Outbound {
        &self.running.outbound
    }

    /// Time that is left.
    pub(crate) fn remaining(&self) -> Duration {
        self.running.deadline.saturating_duration_since(Instant::now())
    }

    /// Lets a request through that goes to a host on the function's list.
    pub(crate) fn admit<B>(&self, request: &Request<B>) -> Result<Admitted, HttpError> {
        let route = Route::of(request)?;
        let mut allowing = self
            .running
            .target
            .allow_hosts
            .iter()
            .filter(|entry| entry.allows(&route.destination))
            .peekable();
        if allowing.peek().is_none() {
            self.note(&format!(
                "outbound request to {} refused: the host is not on the function's allow list; add it with \
                 `fn deploy --allow-host {}`",
                route.destination,
                entry_for(&route.destination)
            ));
            return Err(HttpError::HttpRequestDenied);
        }
        let names_its_host = allowing.any(|entry| entry.names_its_host());
        if self.running.gauge.outbound_requests() >= OUTBOUND_REQUESTS_MAX {
            self.note(&format!(
                "outbound requests refused: an invocation may send {OUTBOUND_REQUESTS_MAX}, and this one has"
            ));
            return Err(HttpError::HttpRequestDenied);
        }
        self.running.gauge.add_outbound_request();
        Ok(Admitted { route, names_its_host })
    }

    /// The private networks that are open for a request.
    pub(crate) fn networks(&self, admitted: &Admitted) -> &[PrivateNetwork] {
        if admitted.names_its_host {
            &self.running.outbound.private_networks
        } else {
            &[]
        }
    }

    /// Whether a request may go to the platform itself: only if the list names its host. A function that may go anywhere does
    /// not come in by that.
    pub(crate) fn admits_inside(&self, admitted: &Admitted) -> bool {
        if !admitted.names_its_host {
            self.note(&format!(
                "request to {} refused: the function's allow list must name it; add it with `fn deploy --allow-host {}`",
                admitted.route.destination,
                entry_for(&admitted.route.destination)
            ));
        }
        admitted.names_its_host
    }

    /// Says why a host that is on the list was not connected to.
    pub(crate) fn note_prohibited(&self, admitted: &Admitted) {
        self.note(&format!(
            "outbound request to {} refused: its address is not a public one; the operator can open a private network \
             with `fn serve --allow-private-network`, for functions that name the host with --allow-host",
            admitted.route.destination
        ));
    }

    /// One more connection. Waits while there are too many.
    pub(crate) async fn connection(&self, by: Instant) -> Result<OwnedSemaphorePermit, HttpError> {
        match timeout_at(by, Arc::clone(&self.connections).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(HttpError::ConnectionLimitReached),
        }
    }

    /// Adds a line to the function's log, unless it is there or there are enough of them.
    fn note(&self, text: &str) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < OUTBOUND_NOTES_MAX && !noted.iter().any(|there| there == text) {
            self.console.note_for(&self.running.gauge, &format!("{text}\n"));
            noted.push(text.to_owned());
        }
    }
}

/// The entry of an allow list that lets `destination` through and little else.
fn entry_for(destination: &Destination) -> String {
    match destination.port {
        80 | 443 => destination.host.to_string(),
        _ => destination.to_string(),
    }
}
