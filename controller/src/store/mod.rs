//! All state that outlives the process, in SQLite or in Postgres. The only place with SQL.
//!
//! Each method is written once and compiled for both databases (see `pool.rs`). What keeps that honest is
//! `tests/contract`, which runs every method on both. SQL here is portable: `$1` placeholders, `ON CONFLICT`,
//! `RETURNING`, whole numbers as BIGINT, times as milliseconds since 1970, no function of one database only.

mod artifacts;
mod batch;
mod blobs;
mod blocks;
mod buckets;
mod columns;
mod error;
mod events;
mod functions;
mod idempotency;
mod installation;
mod invocations;
mod logs;
mod messages;
mod objects;
mod pool;
mod postgres;
mod queues;
mod sqlite;
mod tokens;
mod trigger_config;
mod triggers;
mod uploads;
mod usage;
mod webhook_secrets;

pub use artifacts::Artifact;
pub use blobs::{Blob, BlobId, ContentId};
pub(crate) use blocks::storable;
pub use buckets::{Bucket, BucketDeletion, BucketKey};
pub use error::StoreError;
pub use events::{
    Arrival, ClaimedEvent, Event, EventCounts, EventState, FailedAttempt, FirstDue, Lane, LaneDue, NewEvent, Outcome,
    Redrive, Settlement, StoredResult,
};
pub use functions::{Deployed, DestinationSecrets, FunctionConfig, Version};
pub use idempotency::{Begun, KeptAnswer, KeyedRequest};
pub(crate) use invocations::PackedRecords;
pub use logs::{InvalidCursor, LogCursor, LogLine, LogPage};
pub use messages::{MessageCounts, NewMessage, StoredMessage};
pub use objects::{Changed, Condition, ListedObject, ObjectMeta, ObjectPath, Removal, StoredObject};
pub use pool::{Database, Store};
pub use queues::{Queue, QueueConfig};
pub use trigger_config::{
    AmqpSource, AmqpTarget, CronConfig, MessageSource, Missed, ObjectChange, StorageSource, StorageWatch, Subscription,
    TriggerConfig,
};
pub use triggers::{EventTrigger, Firing};
pub use uploads::{Completion, ListedUpload, StoredPart, Upload};
pub use usage::{UsageBy, UsageRow};
