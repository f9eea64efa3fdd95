//! Everything that a client can reach: function endpoints, the admin API, and the ledger behind them.
//!
//! One request to a function reads downward in `ingress`; one API call is one file in `admin`; all SQL is in `store`.
//! This crate never links wasmtime: functions run behind `mayfly_invoker_api::Invoke`.

mod admin;
mod artifacts;
mod body;
pub mod clock;
mod code;
mod config;
pub mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod ingress;
pub mod ledger;
mod prefetch;
mod problem;
pub mod sealing;
mod server;
pub mod store;
mod warm;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mayfly_invoker_api::{Digest, Invoke, InvokeError, InvokeErrorKind, Namespace};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::{Clock, Random};
use crate::events::Events;
use crate::ingress::{Ingress, ResponseBody};
use crate::ledger::Ledger;
use crate::sealing::Seal;
use crate::server::Answer;
use crate::store::{Artifact, Store, StoreError};

pub use admin::token::{AdminToken, knows_token, make_admin_token};
pub use artifacts::ArtifactFolder;
pub use code::Code;
pub use config::{Bounds, INSTANCES_MAX, MEMORY_MIB_MAX, TIMEOUT_MS_MAX};

/// What a controller is made of.
#[derive(Clone)]
pub struct Parts {
    /// State that outlives the process.
    pub store: Store,
    /// Where usage is recorded.
    pub ledger: Ledger,
    /// Where uploaded files are kept.
    pub artifacts: Arc<ArtifactFolder>,
    /// Runs the functions.
    pub invoker: Arc<dyn Invoke>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes secrets.
    pub random: Arc<dyn Random>,
    /// Keeps those of others.
    pub seal: Seal,
    /// How clients reach the functions listener, without a slash at the end: `http://127.0.0.1:8080`.
    pub public_url: String,
    /// Six random bytes that tell this process from all others.
    pub process: [u8; 6],
    /// Those of the last process that worked with this data directory; it has ended.
    pub predecessor: Option<[u8; 6]>,
    /// How much of the machine may be used.
    pub bounds: Bounds,
}

impl Parts {
    /// An artifact of the namespace whose bytes are here. Without them it has to be uploaded again.
    async fn present_artifact(&self, namespace: &Namespace, digest: Digest) -> Result<Option<Artifact>, StoreError> {
        match self.store.artifact(namespace, digest).await? {
            Some(artifact) if self.artifacts.has(digest).await => Ok(Some(artifact)),
            _ => Ok(None),
        }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("public_url", &self.public_url)
            .finish_non_exhaustive()
    }
}

/// A controller, ready to serve.
pub struct Controller {
    parts: Parts,
    ingress: Arc<Ingress>,
    events: Arc<Events>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.fmt(f)
    }
}

impl Controller {
    /// Puts the parts together. Must be called inside a runtime.
    #[must_use]
    pub fn create(parts: Parts) -> Self {
        let events = Arc::new(Events::start(&parts));
        let ingress = Arc::new(Ingress::new(&parts, Arc::clone(&events)));
        Self { parts, ingress, events }
    }

    /// Serves both listeners until `stop`, then drains: what was accepted is answered, and its usage recorded.
    pub async fn run(self, functions: TcpListener, admin: TcpListener, stop: CancellationToken) {
        let bounds = &self.parts.bounds;
        let ledger_stop = CancellationToken::new();
        let ledger = tokio::spawn(self.parts.ledger.clone().run(ledger_stop.clone()));
        let warm = AbortOnDropHandle::new(tokio::spawn(warm::restore(self.parts.clone())));
        let prefetch = tokio::spawn(prefetch::prefetch_recent(
            self.parts.store.clone(),
            Arc::clone(&self.parts.invoker),
            stop.clone(),
        ));
        let api = Arc::new(admin::Api::new(
            self.parts.clone(),
            Arc::clone(&self.ingress),
            Arc::clone(&self.events),
            stop.clone(),
        ));
        let events = self.events.run(&self.parts, Arc::clone(&self.ingress), stop.clone());
        let functions_door = Arc::new(FunctionsDoor {
            ingress: Arc::clone(&self.ingress),
        });
        tokio::join!(
            server::serve(functions, functions_door, bounds, stop.clone()),
            server::serve(admin, api, bounds, stop),
            events,
        );
        self.events.close();
        drop(warm);
        // It may be waiting for a compiler, and nobody waits for it.
        prefetch.abort();
        self.ingress.close();
        ledger_stop.cancel();
        if let Err(error) = ledger.await {
            tracing::error!(%error, "the ledger did not end well");
        }
        self.parts.store.close().await;
    }
}

/// The functions listener.
struct FunctionsDoor {
    ingress: Arc<Ingress>,
}

impl Answer for FunctionsDoor {
    type Body = ResponseBody;

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<ResponseBody> {
        let request = request.map(|body| body.map_err(client_gone).boxed_unsync());
        self.ingress.handle(request, peer).await
    }

    async fn quiet(&self) {
        self.ingress.quiet().await;
    }
}

fn client_gone(error: impl std::fmt::Display) -> InvokeError {
    InvokeError::new(
        InvokeErrorKind::Cancelled,
        format!("the request's body was cut off: {error}"),
    )
}
