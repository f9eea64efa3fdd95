//! Objects in buckets, for clients of S3, for functions and for the API.
//!
//! One write, read downward: `s3` (what the client says) → `objects` or `uploads` → `blobs` (the bytes are on disk) →
//! `changes` (which triggers want to know) → one transaction with the object's row and the events. So a crash leaves the
//! object and its events, or neither; a file that belongs to nothing is found by `cleaning`.

mod blobs;
mod changes;
mod cleaning;
mod error;
mod inside;
mod list;
mod notifications;
mod objects;
mod order;
mod s3;
mod uploads;

use std::net::IpAddr;
use std::sync::Arc;

use mayfly_invoker_api::{BucketName, Namespace};

use self::order::Order;
use crate::Parts;
use crate::clock::{Clock, Ids};
use crate::events::Events;
use crate::problem::Problem;
use crate::store::{NewEvent, Store, StoreError};

pub use blobs::BlobFolder;
pub(crate) use changes::{Watchers, max_age_ms};
pub(crate) use error::StorageError;
pub(crate) use inside::Inside;
pub(crate) use list::{Listed, Page};
pub(crate) use notifications::{OTHER_BUCKET_BYTES_MAX, events_of as notification_events};
pub(crate) use objects::{Content, NewObject};
pub(crate) use s3::{Keys, ShownKey, StorageDoor};

/// In which bucket somebody works, and who that is.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) namespace: Namespace,
    pub(crate) bucket: BucketName,
    /// How many events led to this.
    pub(crate) depth: u32,
    /// Who changes something, as events say it.
    pub(crate) principal: String,
    /// From where; functions are nowhere.
    pub(crate) peer: Option<IpAddr>,
}

/// All that works with objects shares this. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Storage {
    store: Store,
    blobs: Arc<BlobFolder>,
    events: Arc<Events>,
    ids: Arc<Ids>,
    clock: Arc<dyn Clock>,
    order: Arc<Order>,
    pub(crate) watchers: Arc<Watchers>,
}

impl Storage {
    pub(crate) fn new(parts: &Parts, events: Arc<Events>) -> Self {
        let ids = Arc::clone(&events.ids);
        Self {
            store: parts.store.clone(),
            blobs: Arc::clone(&parts.blobs),
            watchers: Arc::new(Watchers::new(parts.store.clone(), Arc::clone(&ids))),
            events,
            ids,
            clock: Arc::clone(&parts.clock),
            order: Arc::new(Order::new()),
        }
    }

    /// Waits until no object is written or read any more.
    pub(crate) async fn quiet(&self) {
        self.blobs.quiet().await;
    }

    /// Counts the events that follow from a change, or says that there are too many.
    pub(crate) fn reserve(&self, namespace: &Namespace, events: Vec<NewEvent>) -> Result<Reserved, Problem> {
        self.events.reserve_all(namespace, &events)?;
        Ok(Reserved {
            all: Arc::clone(&self.events),
            namespace: namespace.clone(),
            events,
        })
    }

    /// Makes a change with the events that follow from it; `made` says of each whether it has come into the table. It goes on
    /// when whoever asked for it has gone away: else it could be made, and nobody would know that there is an event to be
    /// delivered. `turn` is held until it has ended.
    pub(crate) async fn change<T: Send + 'static, M: FnMut(&NewEvent) -> bool>(
        &self,
        mut reserved: Reserved,
        turn: impl Send + 'static,
        transaction: impl Future<Output = Result<T, StoreError>> + Send + 'static,
        made: impl FnOnce(&T) -> M + Send + 'static,
    ) -> Result<T, StorageError> {
        let changing = tokio::spawn(async move {
            let ended = transaction.await;
            if let Ok(ended) = &ended {
                reserved.have_arrived(made(ended));
            }
            drop((reserved, turn));
            ended
        });
        let ended = changing.await.map_err(|error| {
            tracing::error!(%error, "a change of an object did not end well");
            StorageError::Problem(Problem::new(crate::code::Code::Internal, "the change was not made"))
        })?;
        Ok(ended?)
    }
}

/// Events that are counted as waiting, although they are not there yet. Those that do not come are counted no longer when
/// this is dropped.
pub(crate) struct Reserved {
    all: Arc<Events>,
    namespace: Namespace,
    events: Vec<NewEvent>,
}

impl Reserved {
    fn have_arrived(&mut self, mut made: impl FnMut(&NewEvent) -> bool) {
        let (arrived, not): (Vec<_>, Vec<_>) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|event| made(event));
        self.events = not;
        self.all.have_arrived(&arrived);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.all.release_all(&self.namespace, &self.events);
    }
}
