//! How records move from the spool into the database.
//!
//! A drain can be cancelled at any `await`: a record is forgotten only after the database has it.

use std::path::Path;

use super::frame::{self, Chunk, Reader};
use super::{InvocationRecord, Ledger, LedgerError};

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
                self.move_file(&segment.path).await?
            };
            self.inner.spool.remove_first_sealed(damaged)?;
        }
        Ok(())
    }

    /// Moves all records of a file and returns how many lines were damaged.
    async fn move_file(&self, path: &Path) -> Result<u64, LedgerError> {
        let failed = |source| LedgerError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let mut reader = match Reader::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::error!(file = %path.display(), "a file of the usage spool was deleted by somebody else");
                return Ok(0);
            }
            opened => opened.map_err(failed)?,
        };
        let mut damaged = 0;
        loop {
            let (back, chunk) = self.read_chunk(reader).await.map_err(failed)?;
            reader = back;
            self.insert(&chunk.records).await?;
            for line in &chunk.foreign {
                self.inner
                    .spool
                    .reject(line, "it is not a record of this version of the program")?;
            }
            for line in &chunk.damaged {
                self.inner.spool.set_aside(line, "it was cut short or changed")?;
            }
            damaged += chunk.damaged.len() as u64;
            if chunk.last {
                return Ok(damaged);
            }
        }
    }

    /// Reads on another thread: megabytes of JSON would keep this one from its other tasks.
    async fn read_chunk(&self, mut reader: Reader) -> std::io::Result<(Reader, Chunk)> {
        let records_max = self.inner.limits.chunk_records_max;
        let read = move || reader.next_chunk(records_max).map(|chunk| (reader, chunk));
        tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?
    }

    async fn drain_queue(&self) -> Result<(), LedgerError> {
        loop {
            let records = self.inner.spool.first_queued(self.inner.limits.chunk_records_max);
            if records.is_empty() {
                return Ok(());
            }
            self.insert(&records).await?;
            self.inner.spool.remove_first_queued(records.len());
        }
    }

    /// Inserts records. One that the database can never take is set aside, or it would block all others for ever.
    async fn insert(&self, records: &[InvocationRecord]) -> Result<(), LedgerError> {
        let store = &self.inner.store;
        match store.insert_records(records).await {
            Err(error) if error.is_about_values() => {}
            done => return Ok(done?),
        }
        for record in records {
            match store.insert_records(std::slice::from_ref(record)).await {
                Err(error) if error.is_about_values() => {
                    self.inner.spool.reject(&frame::encode(record), &error.to_string())?;
                }
                done => done?,
            }
        }
        Ok(())
    }
}
