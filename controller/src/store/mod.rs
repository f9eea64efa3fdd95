//! All state that outlives the process, in SQLite or in Postgres. The only place with SQL.
//!
//! Each method is written once and compiled for both databases (see `pool.rs`). What keeps that honest is
//! `tests/store_contract`, which runs every method on both. SQL here is portable: `$1` placeholders, `ON CONFLICT`,
//! `RETURNING`, whole numbers as BIGINT, times as milliseconds since 1970, no function of one database only.

mod artifacts;
mod batch;
mod blocks;
mod columns;
mod error;
mod events;
mod functions;
mod idempotency;
mod invocations;
mod logs;
mod messages;
mod pool;
mod postgres;
mod queues;
mod sqlite;
mod tokens;
mod triggers;
mod usage;
mod webhook_secrets;

pub use artifacts::Artifact;
pub(crate) use blocks::storable;
pub use error::StoreError;
pub use events::{
    Arrival, ClaimedEvent, Event, EventCounts, EventState, FailedAttempt, FirstDue, Lane, LaneDue, NewEvent, Outcome,
    Redrive, Settlement, StoredResult,
};
pub use functions::{Deployed, FunctionConfig, Version};
pub use idempotency::{Begun, KeptAnswer, KeyedRequest};
pub(crate) use invocations::PackedRecords;
pub use logs::{InvalidCursor, LogCursor, LogLine, LogPage};
pub use messages::{MessageCounts, NewMessage, StoredMessage};
pub use pool::{Database, Store};
pub use queues::{Queue, QueueConfig};
pub use triggers::{
    AmqpSource, AmqpTarget, CronConfig, EventTrigger, Firing, MessageSource, Missed, Subscription, TriggerConfig,
};
pub use usage::{UsageBy, UsageRow};
