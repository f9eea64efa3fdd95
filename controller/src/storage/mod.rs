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
use crate::store::Store;

pub use blobs::BlobFolder;
pub(crate) use changes::{Watchers, max_age_ms};
pub(crate) use error::StorageError;
pub(crate) use inside::Inside;
pub(crate) use list::{Listed, Page};
pub(crate) use notifications::{OTHER_BUCKET_BYTES_MAX, notification_events};
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
}
