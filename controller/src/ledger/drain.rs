//! How records move from the spool into the database.
//!
//! A drain can be cancelled at any `await`: a record is forgotten only after the database has it. What was moved but not
//! forgotten is moved again under the same name, and the database takes each name once.

use std::path::Path;

use rustix::process::setpriority_process;
use tokio::sync::oneshot;

use super::frame;
use super::segment::Sealed;
use super::{InvocationRecord, Ledger, LedgerError};
use crate::store::{PackedRecords, StoreError, storable};

/// How much the threads that serve calls go before.
const NICENESS: i32 = 10;

impl Ledger {
    /// Moves everything that was recorded before this call.
    pub(super) async fn drain(&self) -> Result<(), LedgerError> {
        let _alone = self.inner.draining.lock().await;
        // What waits already goes first: while the database is away, the active file grows instead of many small ones.
        self.drain_sealed().await?;
        let rotated = self.inner.spool.rotate();
        self.drain_sealed().await?;
        self.drain_queue().await?;
        // Moving files away is what makes room, so a rotation that failed is of interest only now.
        rotated.and_then(|()| self.inner.spool.recover())
    }

    async fn drain_sealed(&self) -> Result<(), LedgerError> {
        while let Some(segment) = self.inner.spool.first_sealed() {
            let damaged = if segment.bytes == 0 {
                0
            } else {
                self.move_segment(segment).await?
            };
            self.inner.spool.remove_first_sealed(damaged)?;
        }
        Ok(())
    }

    /// Moves all records of a file and returns how many of its parts were damaged.
    async fn move_segment(&self, segment: Sealed) -> Result<u64, LedgerError> {
        let spool = &self.inner.spool;
        let Some(sorted) = read(&segment.path).await? else {
            return Ok(0);
        };
        match self.inner.store.insert_packed(&segment.name(), &sorted.packed).await {
            // Whatever it is, it would block all others for ever.
            Err(error) if error.is_about_values() => {
                let file = std::fs::read(&segment.path).map_err(|source| unreadable(&segment.path, source))?;
                let (records, _refused) = storable_of(frame::parse(&file).records);
                self.reject_all(&records, &error)?;
            }
            done => done?,
        }
        for (record, reason) in &sorted.refused {
            spool.reject(record, reason)?;
        }
        for frame in &sorted.foreign {
            spool.reject_foreign(frame)?;
        }
        for part in &sorted.damaged {
            spool.set_aside(part, "it was cut short or changed")?;
        }
        Ok(sorted.damaged.len() as u64)
    }

    async fn drain_queue(&self) -> Result<(), LedgerError> {
        let spool = &self.inner.spool;
        while let Some(batch) = spool.first_queued(self.inner.limits.queue_batch_records_max) {
            let (records, refused) = storable_of(batch.records);
            match self.inner.store.insert_records(&batch.name, &records).await {
                Err(error) if error.is_about_values() => self.reject_all(&records, &error)?,
                done => done?,
            }
            for (record, reason) in &refused {
                spool.reject(record, reason)?;
            }
            spool.remove_first_queued();
        }
        Ok(())
    }

    fn reject_all(&self, records: &[InvocationRecord], error: &StoreError) -> Result<(), LedgerError> {
        let reason = error.to_string();
        records
            .iter()
            .try_for_each(|record| self.inner.spool.reject(record, &reason))
    }
}

/// A file of the spool, taken apart.
struct Sorted {
    packed: PackedRecords,
    /// What the database can never take, and why.
    refused: Vec<(InvocationRecord, String)>,
    foreign: Vec<Vec<u8>>,
    damaged: Vec<Vec<u8>>,
}

/// Reads on a thread of its own, which gives way to those that serve calls: thousands of records take milliseconds.
async fn read(path: &Path) -> Result<Option<Sorted>, LedgerError> {
    let file = path.to_owned();
    let (sender, read) = oneshot::channel();
    let work = move || {
        // On Linux this is about the thread alone. Without it the work is done all the same.
        let _ = setpriority_process(None, NICENESS);
        // The drain may have been cancelled: then nobody waits.
        let _ = sender.send(std::fs::read(file).map(|bytes| sorted(&bytes)));
    };
    let started = std::thread::Builder::new().name("mayfly-ledger".to_owned()).spawn(work);
    let read = match started {
        Ok(_) => read.await.map_err(std::io::Error::other).flatten(),
        Err(error) => Err(error),
    };
    match read {
        Ok(sorted) => Ok(Some(sorted?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::error!(file = %path.display(), "a file of the usage spool was deleted by somebody else");
            Ok(None)
        }
        Err(source) => Err(unreadable(path, source)),
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> LedgerError {
    LedgerError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    }
}

fn sorted(bytes: &[u8]) -> Result<Sorted, StoreError> {
    let parsed = frame::parse(bytes);
    let (records, refused) = storable_of(parsed.records);
    Ok(Sorted {
        packed: PackedRecords::of(&records)?,
        refused,
        foreign: parsed.foreign,
        damaged: parsed.damaged,
    })
}

/// Tells what the database can take from what would block all others for ever.
fn storable_of(records: Vec<InvocationRecord>) -> (Vec<InvocationRecord>, Vec<(InvocationRecord, String)>) {
    let (mut good, mut refused) = (Vec::with_capacity(records.len()), Vec::new());
    for record in records {
        match storable(&record) {
            Ok(()) => good.push(record),
            Err(error) => refused.push((record, error.to_string())),
        }
    }
    (good, refused)
}
