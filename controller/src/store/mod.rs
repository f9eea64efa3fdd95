//! All state that outlives the process, in SQLite or in Postgres. The only place with SQL.
//!
//! Each method is written once and compiled for both databases (see `pool.rs`). What keeps that honest is
//! `tests/store_contract`, which runs every method on both. SQL here is portable: `$1` placeholders, `ON CONFLICT`,
//! `RETURNING`, whole numbers as BIGINT, times as milliseconds since 1970, no function of one database only.

mod artifacts;
mod blocks;
mod columns;
mod error;
mod functions;
mod invocations;
mod logs;
mod pool;
mod postgres;
mod sqlite;
mod tokens;
mod usage;

pub use artifacts::Artifact;
pub(crate) use blocks::storable;
pub use error::StoreError;
pub use functions::{Deployed, FunctionConfig, Version};
pub(crate) use invocations::PackedRecords;
pub use logs::{InvalidCursor, LogCursor, LogLine, LogPage};
pub use pool::{Database, Store};
pub use usage::{UsageBy, UsageRow};
