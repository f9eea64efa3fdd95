//! Artifact bytes, one file per digest in the data directory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use bytes::Bytes;
use mayfly_invoker_api::{ArtifactSource, Digest, InvokeError, InvokeErrorKind};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;

/// The folder of all artifacts of an installation. Which namespace may use which is the store's knowledge.
#[derive(Debug)]
pub struct ArtifactFolder {
    dir: PathBuf,
    writes: AtomicU64,
}

/// The name of `bytes`.
#[must_use]
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// The name of bytes that may be many: hashing them on this thread would keep it from its other tasks.
pub(crate) async fn digest_of_large(bytes: Bytes) -> Result<Digest, tokio::task::JoinError> {
    tokio::task::spawn_blocking(move || digest_of(&bytes)).await
}

impl ArtifactFolder {
    /// Opens `dir` and makes it if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(dir: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            writes: AtomicU64::new(0),
        })
    }

    /// Keeps `bytes`; they are on disk, whole, before this returns.
    pub(crate) async fn keep(&self, digest: Digest, bytes: &[u8]) -> std::io::Result<()> {
        let path = self.path(digest);
        let unfinished = path.with_extension(format!("part{}", self.writes.fetch_add(1, Relaxed)));
        let mut file = tokio::fs::File::create(&unfinished).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        tokio::fs::rename(&unfinished, &path).await?;
        // The name must survive a power cut too: a version will be recorded that needs it.
        tokio::fs::File::open(&self.dir).await?.sync_all().await
    }

    /// Whether the file is there. What is in it is looked at when it is used.
    pub(crate) async fn has(&self, digest: Digest) -> bool {
        tokio::fs::try_exists(self.path(digest)).await.unwrap_or(false)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{}.wasm", digest.hex()))
    }
}

#[async_trait]
impl ArtifactSource for ArtifactFolder {
    async fn fetch(&self, digest: Digest) -> Result<Bytes, InvokeError> {
        let unavailable = |message: &str| InvokeError::new(InvokeErrorKind::ArtifactUnavailable, message);
        let bytes = tokio::fs::read(self.path(digest)).await.map_err(|error| {
            tracing::error!(%digest, %error, "artifact cannot be read");
            match error.kind() {
                ErrorKind::NotFound => unavailable("the function's artifact is missing from the data directory"),
                _ => unavailable("the function's artifact cannot be read"),
            }
        })?;
        if digest_of(&bytes) != digest {
            tracing::error!(%digest, "artifact is not what its name says: it is set aside, so that it can be uploaded again");
            let path = self.path(digest);
            if let Err(error) = tokio::fs::rename(&path, path.with_extension("damaged")).await {
                tracing::error!(%error, %digest, "it stays");
            }
            return Err(unavailable("the function's artifact was changed on disk"));
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_changed_artifact_is_never_handed_out() {
        let dir = tempfile::tempdir().unwrap();
        let folder = ArtifactFolder::open(dir.path()).unwrap();
        let digest = digest_of(b"wasm");
        folder.keep(digest, b"wasm").await.unwrap();
        assert_eq!(folder.fetch(digest).await.unwrap(), "wasm");
        std::fs::write(folder.path(digest), b"wash").unwrap();
        assert_eq!(
            folder.fetch(digest).await.unwrap_err().kind(),
            InvokeErrorKind::ArtifactUnavailable
        );
    }
}
