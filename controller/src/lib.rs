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
mod inside;
pub mod ledger;
mod prefetch;
mod problem;
pub mod sealing;
mod server;
mod storage;
pub mod store;
mod warm;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mayfly_invoker_api::{Digest, Invoke, InvokeError, InvokeErrorKind, Namespace};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::{Clock, Random};
use crate::config::NOTIFICATIONS_AT_ONCE_MAX;
use crate::events::{Events, QueueService};
use crate::ingress::{Ingress, ResponseBody};
use crate::inside::Inside;
use crate::ledger::Ledger;
use crate::sealing::Seal;
use crate::server::Answer;
use crate::storage::{Keys, Storage, StorageDoor};
use crate::store::{Artifact, Store, StoreError};

pub use admin::token::{AdminToken, knows_token, make_admin_token};
pub use artifacts::ArtifactFolder;
pub use code::Code;
pub use config::{Bounds, INSTANCES_MAX, MEMORY_MIB_MAX, TIMEOUT_MS_MAX};
pub use storage::BlobFolder;

/// What a controller is made of.
#[derive(Clone)]
pub struct Parts {
    /// State that outlives the process.
    pub store: Store,
    /// Where usage is recorded.
    pub ledger: Ledger,
    /// Where uploaded files are kept.
    pub artifacts: Arc<ArtifactFolder>,
    /// Where objects are kept.
    pub blobs: Arc<BlobFolder>,
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
    /// The same of the storage listener, for clients of S3.
    pub storage_url: String,
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
    storage: Storage,
}

/// What a controller listens on.
#[derive(Debug)]
pub struct Listeners {
    /// Callers of functions.
    pub functions: TcpListener,
    /// Clients of the API.
    pub admin: TcpListener,
    /// Clients of S3.
    pub storage: TcpListener,
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
        let storage = Storage::new(&parts, Arc::clone(&events));
        let services = Arc::new(Inside {
            queue: QueueService {
                events: Arc::clone(&events),
                clock: Arc::clone(&parts.clock),
            },
            storage: storage::Inside::new(storage.clone()),
        });
        let ingress = Arc::new(Ingress::new(&parts, Arc::clone(&events), services));
        Self {
            parts,
            ingress,
            events,
            storage,
        }
    }

    /// Serves all listeners until `stop`, then drains: what was accepted is answered, and its usage recorded.
    pub async fn run(self, listeners: Listeners, stop: CancellationToken) {
        let bounds = &self.parts.bounds;
        let ledger_stop = CancellationToken::new();
        let ledger = tokio::spawn(self.parts.ledger.clone().run(ledger_stop.clone()));
        let warm = AbortOnDropHandle::new(tokio::spawn(warm::restore(self.parts.clone())));
        let prefetch = tokio::spawn(prefetch::prefetch_recent(
            self.parts.store.clone(),
            Arc::clone(&self.parts.invoker),
            stop.clone(),
        ));
        let cleaning = AbortOnDropHandle::new(tokio::spawn({
            let (storage, stop) = (self.storage.clone(), stop.clone());
            async move { storage.clean(stop).await }
        }));
        let keys = Keys::new(&self.parts);
        let storage_door = StorageDoor::new(self.storage.clone(), keys.clone(), &self.parts.storage_url);
        let api = Arc::new(admin::Api::new(admin::Admin {
            parts: self.parts.clone(),
            ingress: Arc::clone(&self.ingress),
            events: Arc::clone(&self.events),
            storage: self.storage,
            keys,
            notifications: Arc::new(Semaphore::new(NOTIFICATIONS_AT_ONCE_MAX)),
            stop: stop.clone(),
        }));
        let events = self.events.run(&self.parts, Arc::clone(&self.ingress), stop.clone());
        let functions_door = Arc::new(FunctionsDoor {
            ingress: Arc::clone(&self.ingress),
        });
        tokio::join!(
            server::serve(listeners.functions, functions_door, bounds, stop.clone()),
            server::serve(listeners.storage, Arc::new(storage_door), bounds, stop.clone()),
            server::serve(listeners.admin, api, bounds, stop),
            events,
        );
        self.events.close();
        drop((warm, cleaning));
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
