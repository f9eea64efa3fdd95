//! Usage of invocations: taken off the hot path at once, brought into the database soon, lost or doubled never.
//!
//! [`Ledger::record`] copies one frame into a mapped file of the spool (`spool.rs`), which survives the death of this
//! process. The drain (`drain.rs`) moves whole files into the database and deletes them afterwards. The database takes
//! each file once, by its name, so a file that was moved but not deleted when the process died is simply moved again.

mod drain;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod property;
mod record;
mod segment;
mod spool;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use record::{InvocationRecord, RecordedError, Trigger};

use crate::store::{Store, StoreError};
use spool::Spool;

/// Bounds of the ledger.
#[derive(Debug, Clone)]
pub struct LedgerLimits {
    /// Bytes of all spool files together, beyond which no more invocations should be admitted.
    pub spool_bytes_max: u64,
    /// Records that are brought from memory into the database in one transaction.
    pub queue_batch_records_max: usize,
    /// Records kept in memory while the spool cannot be written.
    pub queue_records_max: usize,
    /// Pause between two drains.
    pub drain_interval: Duration,
    /// Longest pause between two drains while the database is away.
    pub retry_interval_max: Duration,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self {
            spool_bytes_max: 1 << 30,
            queue_batch_records_max: 1_000,
            queue_records_max: 10_000,
            drain_interval: Duration::from_millis(200),
            retry_interval_max: Duration::from_secs(5),
        }
    }
}

/// Why the ledger could not do its work. Nothing recorded is lost by it: the next drain tries again.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file of the spool could not be used.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process works with this spool.
    #[error("{path} is used by another running server; stop it or use another data directory", path = path.display())]
    InUse {
        /// The spool's folder.
        path: PathBuf,
    },
    /// The database did not take the records.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What went wrong since the ledger was opened, in records. All 0 in good health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Lines of the spool that were cut short or changed; set aside in the file `rejected` of the spool.
    pub damaged: u64,
    /// Records that the database can never take; set aside in the file `rejected` of the spool.
    pub rejected: u64,
    /// Records that neither the disk nor the memory had room for.
    pub lost: u64,
}

/// Where every invocation is recorded. A clone is cheap and means the same ledger.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
    /// Whether records are thrown away.
    discards: bool,
}

struct Inner {
    spool: Spool,
    store: Store,
    limits: LedgerLimits,
    /// Held while files are moved into the database, so that two drains never work on the same file.
    draining: tokio::sync::Mutex<()>,
}

impl Ledger {
    /// Opens the spool in `dir`, with all that an earlier process left there.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or is used by another process.
    pub fn open(dir: &Path, store: Store, limits: LedgerLimits) -> Result<Self, LedgerError> {
        let spool = Spool::open(dir, limits.queue_records_max)?;
        Ok(Self {
            inner: Arc::new(Inner {
                spool,
                store,
                limits,
                draining: tokio::sync::Mutex::new(()),
            }),
            discards: false,
        })
    }

    /// The same ledger, but what is recorded through it is thrown away. Shows what recording costs; nothing can be billed.
    #[must_use]
    pub fn discarding(self) -> Self {
        Self { discards: true, ..self }
    }

    /// Whether what is recorded is thrown away.
    pub(crate) fn discards(&self) -> bool {
        self.discards
    }

    /// Whether new invocations may be admitted: `false` while their records could not be kept safe.
    #[must_use]
    pub fn accepting(&self) -> bool {
        let spool = &self.inner.spool;
        spool.is_writable() && spool.bytes() < self.inner.limits.spool_bytes_max
    }

    /// Keeps a record. When this returns, the record survives `kill -9` of this process (not a power failure: files are
    /// not synced). Never waits for the database.
    pub fn record(&self, record: &InvocationRecord) {
        self.inner.spool.append(record);
    }

    /// Brings everything that was recorded before this call into the database.
    ///
    /// # Errors
    /// When the database is away or a file cannot be read; the records are still kept.
    pub async fn flush(&self) -> Result<(), LedgerError> {
        self.drain().await
    }

    /// Brings records into the database until `stop` is cancelled, and once more then.
    pub async fn run(self, stop: CancellationToken) {
        let limits = &self.inner.limits;
        let mut pause = limits.drain_interval;
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            pause = match self.drain().await {
                Ok(()) => limits.drain_interval,
                Err(error) => {
                    tracing::warn!(%error, spool_bytes = self.inner.spool.bytes(), "usage waits in the spool");
                    (pause * 2).min(limits.retry_interval_max)
                }
            };
        }
        if let Err(error) = self.drain().await {
            self.inner.spool.keep_queued();
            let spool_bytes = self.inner.spool.bytes();
            tracing::error!(%error, spool_bytes, "usage stays in the spool until the next start");
        }
    }

    /// What went wrong since the ledger was opened.
    #[must_use]
    pub fn counts(&self) -> LedgerCounts {
        self.inner.spool.counts()
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("limits", &self.inner.limits)
            .field("counts", &self.counts())
            .finish()
    }
}
