//! The bytes of objects: files with names of their own, written once and never changed. What a client calls its object
//! never becomes a path.

mod owner;
mod reading;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::Checksum;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufWriter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::store::{Blob, BlobId};

pub(super) use reading::{read, slices};

/// Bytes that are collected before they are written, and that are read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// How long nothing of an object may come: of bytes in signed chunks, for as long as a chunk takes.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// How long an object may come altogether. Whoever looks for files that belong to nothing waits for longer than that.
const TIME_MAX: Duration = Duration::from_hours(12);
/// What is left free on the disk for the database and whoever else writes there, in bytes.
const FREE_BYTES_MIN: u64 = 128 << 20;
/// Bytes between two looks at that.
const LOOK_BYTES: u64 = 64 << 20;

/// The folder of all objects of an installation. Which file belongs to which object is the store's knowledge.
#[derive(Debug)]
pub struct BlobFolder {
    dir: PathBuf,
    /// Each file that is open has one.
    open_files: Arc<Semaphore>,
    open_files_max: u32,
}

/// Why bytes were not received.
#[derive(Debug)]
pub(super) enum ReceiveError {
    /// There are more of them than may be.
    TooLarge,
    /// The client paused for too long, or took too long altogether.
    TooSlow,
    /// They were cut off, or are not what was signed.
    Broken(s3s::StdError),
    /// The disk.
    Io(io::Error),
}

impl From<io::Error> for ReceiveError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A file that is whole and durable, and that belongs to nothing yet: it goes when this does, unless it is kept.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) blob: Blob,
    pub(super) md5: [u8; 16],
    pub(super) checksums: Checksum,
    file: Unclaimed,
}

#[derive(Debug)]
struct Unclaimed {
    path: Option<PathBuf>,
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(%error, path = %path.display(), "what was received in part stays for a while");
        }
    }
}

impl Received {
    /// As S3 tells an object or a part that came in one piece from others: the MD5 of its bytes, in hex digits.
    pub(super) fn etag(&self) -> String {
        self.md5.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// It belongs to an object, or will: whoever looks for files without one finds it if not.
    pub(super) fn keep(&mut self) {
        self.file.path = None;
    }
}

impl BlobFolder {
    /// Opens `dir` and makes what is missing. At most `open_files_max` of its files are open at once.
    ///
    /// # Errors
    /// When the folder cannot be made, or holds the objects of another `installation` than this one.
    pub fn open(dir: &Path, installation: &str, open_files_max: u32) -> io::Result<Self> {
        for first in 0..=u8::MAX {
            std::fs::create_dir_all(dir.join(format!("{first:02x}")))?;
        }
        owner::check(dir, installation)?;
        std::fs::File::open(dir)?.sync_all()?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::File::open(parent)?.sync_all()?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            open_files: Arc::new(Semaphore::new(open_files_max as usize)),
            open_files_max,
        })
    }

    /// Waits until no file is open.
    pub(super) async fn quiet(&self) {
        // It is never closed.
        let _ = self.open_files.acquire_many(self.open_files_max).await;
    }

    /// Leave to open a file; the error is `ResourceBusy` when as many are open as may be.
    fn leave(&self) -> io::Result<OwnedSemaphorePermit> {
        let leave = Arc::clone(&self.open_files).try_acquire_owned();
        leave.map_err(|_| io::ErrorKind::ResourceBusy.into())
    }

    fn check_room(&self) -> io::Result<()> {
        let disk = rustix::fs::statvfs(&self.dir)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_BYTES_MIN {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Ids are made of time, so it is their end that differs.
    fn folder(&self, id: BlobId) -> PathBuf {
        self.dir.join(format!("{:02x}", id.as_bytes()[15]))
    }

    fn path(&self, id: BlobId) -> PathBuf {
        self.folder(id).join(id.to_string())
    }

    /// Keeps the bytes that come, at most so many of them.
    pub(super) async fn receive(
        &self,
        id: BlobId,
        body: impl Stream<Item = Result<Bytes, s3s::StdError>>,
        bytes_max: u64,
        mut checksums: ChecksumHasher,
    ) -> Result<Received, ReceiveError> {
        let _leave = self.leave()?;
        self.check_room()?;
        let path = self.path(id);
        let file = File::options().write(true).create_new(true).open(&path).await?;
        let unclaimed = Unclaimed { path: Some(path) };
        let mut file = BufWriter::with_capacity(CHUNK_BYTES, file);
        let (mut bytes, mut looked_at, mut md5) = (0_u64, 0, Md5::new());
        let (mut body, end) = (std::pin::pin!(body), Instant::now() + TIME_MAX);
        while let Some(piece) = timeout_at(end.min(Instant::now() + PAUSE_MAX), body.next())
            .await
            .map_err(|_elapsed| ReceiveError::TooSlow)?
        {
            let piece = piece.map_err(ReceiveError::Broken)?;
            bytes = bytes.saturating_add(piece.len() as u64);
            if bytes > bytes_max {
                return Err(ReceiveError::TooLarge);
            }
            md5.update(&piece);
            checksums.update(&piece);
            file.write_all(&piece).await?;
            if bytes - looked_at > LOOK_BYTES {
                looked_at = bytes;
                self.check_room()?;
            }
        }
        file.flush().await?;
        let file = file.into_inner();
        file.sync_all().await?;
        self.sync_folder(id).await?;
        if file.metadata().await?.nlink() == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "somebody has deleted the file meanwhile").into());
        }
        Ok(Received {
            blob: Blob { id, bytes },
            md5: md5.finalize(),
            checksums: checksums.finalize(),
            file: unclaimed,
        })
    }

    /// The name must survive a power cut too: a row will say that it is there.
    async fn sync_folder(&self, id: BlobId) -> io::Result<()> {
        File::open(self.folder(id)).await?.sync_all().await
    }

    /// Makes second files of the same bytes: `copies` are ids from and to. Nobody changes the bytes, so both can share what
    /// is on disk.
    pub(super) async fn copy(&self, copies: &[(BlobId, BlobId)]) -> io::Result<Copied> {
        let mut copied = Copied(Vec::with_capacity(copies.len()));
        for (from, to) in copies {
            let (from, path) = (self.path(*from), self.path(*to));
            copied.0.push(Unclaimed {
                path: Some(path.clone()),
            });
            match tokio::fs::hard_link(&from, &path).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                // Not every file system can, and a file has only so many names.
                Err(_) => {
                    self.check_room()?;
                    tokio::fs::copy(&from, &path).await?;
                    File::open(&path).await?.sync_all().await?;
                }
            }
        }
        // There are 256 folders and up to 10,000 files.
        let folders: BTreeMap<u8, BlobId> = copies.iter().map(|(_, to)| (to.as_bytes()[15], *to)).collect();
        for id in folders.into_values() {
            self.sync_folder(id).await?;
        }
        Ok(copied)
    }

    /// Opens a file. It can be read to its end, also if it is removed meanwhile.
    pub(super) async fn open_blob(&self, id: BlobId) -> io::Result<OpenBlob> {
        let leave = self.leave()?;
        let file = File::open(self.path(id)).await?;
        Ok(OpenBlob { file, _leave: leave })
    }

    /// Removes a file, if it is there.
    pub(super) async fn remove(&self, id: BlobId) -> io::Result<()> {
        match tokio::fs::remove_file(self.path(id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The files of one of the 256 folders that were made within these milliseconds since 1970, as their ids say.
    pub(super) async fn files(&self, folder: u8, made_ms: std::ops::Range<i64>) -> io::Result<Vec<BlobId>> {
        let dir = self.dir.join(format!("{folder:02x}"));
        let looking = move || {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(dir)? {
                let id: Option<BlobId> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
                found.extend(id.filter(|id| made_ms.contains(&id.made_ms())));
            }
            Ok(found)
        };
        tokio::task::spawn_blocking(looking).await.map_err(io::Error::other)?
    }
}

/// A file that is read.
#[derive(Debug)]
pub(super) struct OpenBlob {
    file: File,
    _leave: OwnedSemaphorePermit,
}

/// Second files of some bytes, which belong to nothing yet: they go when this does, unless they are kept.
#[derive(Debug)]
pub(super) struct Copied(Vec<Unclaimed>);

impl Copied {
    /// They belong to an object, or will.
    pub(super) fn keep(mut self) {
        self.0.iter_mut().for_each(|file| file.path = None);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    pub(super) fn open(dir: &Path) -> io::Result<BlobFolder> {
        BlobFolder::open(dir, "this one", 2)
    }

    pub(super) fn id(number: u8) -> BlobId {
        BlobId::from_bytes([number; 16])
    }

    fn pieces(pieces: &[&'static str]) -> impl Stream<Item = Result<Bytes, s3s::StdError>> {
        stream::iter(
            pieces
                .iter()
                .map(|piece| Ok(Bytes::from_static(piece.as_bytes())))
                .collect::<Vec<_>>(),
        )
    }

    pub(super) async fn receive(
        folder: &BlobFolder,
        number: u8,
        text: &[&'static str],
    ) -> Result<Received, ReceiveError> {
        folder
            .receive(id(number), pieces(text), 10, ChecksumHasher::default())
            .await
    }

    #[tokio::test]
    async fn what_is_not_kept_goes_and_a_copy_outlives_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path()).unwrap();
        let received = receive(&folder, 1, &["hello ", "you"]).await.unwrap();
        assert_eq!(received.blob.bytes, 9);
        folder.copy(&[(id(1), id(2))]).await.unwrap().keep();
        drop(folder.copy(&[(id(1), id(4))]).await.unwrap());
        assert!(folder.open_blob(id(4)).await.is_err(), "it was not kept");
        drop(received);
        assert!(folder.open_blob(id(1)).await.is_err());
        let mut text = String::new();
        folder
            .open_blob(id(2))
            .await
            .unwrap()
            .file
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "hello you");
        let too_long = receive(&folder, 3, &["hello ", "yourself"]).await;
        assert!(matches!(too_long, Err(ReceiveError::TooLarge)));
        assert!(folder.open_blob(id(3)).await.is_err(), "what came of it is gone");
    }

    #[tokio::test]
    async fn files_are_found_by_when_they_were_made() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path()).unwrap();
        receive(&folder, 7, &["x"]).await.unwrap().keep();
        std::fs::write(dir.path().join("07").join("README"), "not one of ours").unwrap();
        let made_ms = 0x0707_0707_0707;
        assert_eq!(folder.files(7, 0..made_ms).await.unwrap(), []);
        assert_eq!(folder.files(7, made_ms..made_ms + 1).await.unwrap(), [id(7)]);
        assert_eq!(folder.files(8, 0..i64::MAX).await.unwrap(), []);
    }

    #[tokio::test]
    async fn only_so_many_files_are_open_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path()).unwrap();
        receive(&folder, 1, &["x"]).await.unwrap().keep();
        let (first, second) = (
            folder.open_blob(id(1)).await.unwrap(),
            folder.open_blob(id(1)).await.unwrap(),
        );
        let busy = folder.open_blob(id(1)).await.unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        let refused = receive(&folder, 2, &["x"]).await;
        assert!(matches!(refused, Err(ReceiveError::Io(error)) if error.kind() == io::ErrorKind::ResourceBusy));
        drop(first);
        drop(second);
        receive(&folder, 2, &["x"]).await.unwrap();
    }
}
