//! Files that belong to nothing any more, and uploads that nobody completes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Storage;
use super::error::StorageError;
use crate::config::{CONTENT_KEPT, UPLOAD_KEPT};
use crate::store::BlobId;

/// Between two looks.
const PAUSE: Duration = Duration::from_mins(1);
/// Rows that are looked at in one go.
const AT_ONCE: u32 = 1_000;
/// A file that is younger may belong to a write that has not ended: an upload takes up to half a day.
const UNKNOWN_KEPT: Duration = Duration::from_hours(24);
/// One that is older was looked at on another day, or is the work of somebody who looks after it.
const UNKNOWN_AGE_MAX: Duration = Duration::from_hours(8 * 24);

impl Storage {
    /// Cleans up until `stop`.
    pub(crate) async fn clean(&self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.clean_once().await {
                let problem = crate::problem::Problem::from(error);
                tracing::warn!(reason = problem.detail, "files of deleted objects stay for a while");
            }
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }

    async fn clean_once(&self) -> Result<(), StorageError> {
        let now_ms = self.store.shared_time_ms(self.clock.unix_ms()).await?;
        for upload in self.store.old_uploads(before(now_ms, UPLOAD_KEPT), AT_ONCE).await? {
            if let Err(error) = self.store.abort_upload(&upload.path, upload.id, now_ms).await {
                tracing::warn!(%error, upload = %upload.id, "an upload that nobody completes stays for a while");
            }
        }
        loop {
            let gone = self.store.gone_blobs(before(now_ms, CONTENT_KEPT), AT_ONCE).await?;
            let removed = self.remove_all(&gone).await;
            self.store.forget_blobs(&removed).await?;
            // What could not be removed is found again: not at once.
            if gone.len() < AT_ONCE as usize || removed.len() < gone.len() {
                break;
            }
        }
        // All folders within four hours and a bit, whenever a server was started.
        let minute = now_ms.div_euclid(60_000).rem_euclid(256);
        self.remove_unknown(u8::try_from(minute).unwrap_or(0), now_ms).await
    }

    /// Removes files; gives those that are gone.
    async fn remove_all(&self, blobs: &[BlobId]) -> Vec<BlobId> {
        let mut removed = Vec::with_capacity(blobs.len());
        for blob in blobs {
            match self.blobs.remove(*blob).await {
                Ok(()) => removed.push(*blob),
                Err(error) => tracing::warn!(%error, %blob, "a file stays for a while"),
            }
        }
        removed
    }

    /// Removes what writes have left that were cut off.
    async fn remove_unknown(&self, folder: u8, now_ms: i64) -> Result<(), StorageError> {
        let made_ms = before(now_ms, UNKNOWN_AGE_MAX)..before(now_ms, UNKNOWN_KEPT);
        let found = self.blobs.files(folder, made_ms).await?;
        for files in found.chunks(AT_ONCE as usize) {
            let known = self.store.known_blobs(files).await?;
            let unknown: Vec<BlobId> = files.iter().filter(|file| !known.contains(file)).copied().collect();
            for blob in self.remove_all(&unknown).await {
                tracing::info!(%blob, "a file that belongs to no object is removed");
            }
        }
        Ok(())
    }
}

fn before(now_ms: i64, kept: Duration) -> i64 {
    now_ms.saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX))
}
