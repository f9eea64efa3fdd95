//! The files that hold records until the database has them.
//!
//! One file at a time, the active one, is appended to. Rotation seals it and starts the next; only sealed files are read.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use mayfly_invoker_api::Logs;

use super::{InvocationRecord, LedgerCounts, LedgerError, frame};

const EXTENSION: &str = "spool";
/// Space that is set aside for the records of invocations that are running when the disk becomes full. None is admitted
/// while it is not there, so these records have a place on disk, too.
const RESERVE_BYTES: usize = 8 << 20;
/// Records are set aside only after a mistake in this program, so a file of this size wants a person to look at it.
const REJECTED_BYTES_MAX: u64 = 256 << 20;

pub(super) struct Spool {
    dir: PathBuf,
    /// Held open, and with it the lock of the folder.
    _lock: File,
    /// `None` when the last rotation could not make a file and the one before is gone.
    ///
    /// Those who append hold the lock as readers: the kernel keeps their writes apart, because the file is open for
    /// appending. Rotation holds it as the writer, so when it has swapped the file nobody is about to write to the old
    /// one, and every record whose `append` has returned is in a sealed file or in the queue.
    active: RwLock<Option<Active>>,
    sealed: Mutex<VecDeque<Segment>>,
    /// Records that the disk did not take. New ones join at the end; the drain takes them from the front.
    queue: Mutex<VecDeque<InvocationRecord>>,
    queue_records_max: usize,
    next_number: AtomicU64,
    /// Of all spool files together.
    bytes: AtomicU64,
    /// `false` from the first failed write until a test write goes well.
    writable: AtomicBool,
    damaged: AtomicU64,
    rejected: AtomicU64,
    lost: AtomicU64,
}

struct Active {
    path: PathBuf,
    file: File,
    bytes: AtomicU64,
}

/// A file that is no longer written to.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl Spool {
    pub(super) fn open(dir: &Path, queue_records_max: usize) -> Result<Self, LedgerError> {
        let failed = |action| {
            move |source| LedgerError::Io {
                action,
                path: dir.to_owned(),
                source,
            }
        };
        fs::create_dir_all(dir).map_err(failed("make the folder"))?;
        let lock = lock(dir)?;
        let left = segments_in(dir).map_err(failed("read the folder"))?;
        let next_number = left.last().map_or(1, |(number, _)| number + 1);
        let sealed: VecDeque<_> = left.into_iter().map(|(_, segment)| segment).collect();
        let bytes = sealed.iter().map(|segment| segment.bytes).sum();
        if bytes > 0 {
            tracing::info!(
                files = sealed.len(),
                bytes,
                "an earlier process left usage in the spool"
            );
        }
        let spool = Self {
            dir: dir.to_owned(),
            _lock: lock,
            active: RwLock::new(None),
            sealed: Mutex::new(sealed),
            queue: Mutex::default(),
            queue_records_max,
            next_number: AtomicU64::new(next_number),
            bytes: AtomicU64::new(bytes),
            writable: AtomicBool::new(true),
            damaged: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        };
        spool.rotate()?;
        spool.make_reserve()?;
        Ok(spool)
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn counts(&self) -> LedgerCounts {
        LedgerCounts {
            damaged: self.damaged.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Keeps a record: in the active file, else in memory.
    pub(super) fn append(&self, record: &InvocationRecord) {
        // Outside the lock, because it is the longer part of the work.
        let line = frame::encode(record);
        let Err(error) = self.write(&line) else { return };
        if self.writable.swap(false, Ordering::AcqRel) {
            tracing::error!(%error, dir = %self.dir.display(), "the usage spool cannot be written; free some disk space");
        }
        // Whoever comes first frees the reserve; what the function printed has no place in it.
        let _ = fs::remove_file(self.reserve());
        if self.write(&line).is_ok() || self.write(&frame::encode(&without_logs(record))).is_ok() {
            return;
        }
        let mut queue = locked(&self.queue);
        if queue.len() < self.queue_records_max {
            queue.push_back(record.clone());
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            // Enough to enter it by hand; what the function printed has no place in the server's log.
            let line = frame::encode(&without_logs(record));
            let record = String::from_utf8_lossy(&line);
            tracing::error!(
                record = record.trim(),
                "usage record lost: neither disk nor memory has room"
            );
        }
    }

    /// One `write`, so that lines of several threads never mix. A line that was cut short stays as a damaged one.
    fn write(&self, line: &[u8]) -> io::Result<()> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let active = active
            .as_ref()
            .ok_or_else(|| io::Error::other("there is no file to write to"))?;
        let written = (&active.file).write(line)?;
        active.bytes.fetch_add(written as u64, Ordering::Relaxed);
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        if written < line.len() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    /// Seals the active file and starts another one; does nothing when there is nothing to seal. To be called by the
    /// drain only, never twice at once.
    pub(super) fn rotate(&self) -> Result<(), LedgerError> {
        let unused = |active: &Active| active.bytes.load(Ordering::Relaxed) == 0;
        let keep = self.is_writable() && {
            // As the writer: no write may be under way while the bytes are counted.
            self.active
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .is_some_and(unused)
        };
        if keep {
            return Ok(());
        }
        let (fresh, result) = match self.new_file() {
            Ok(fresh) => (Some(fresh), Ok(())),
            // The old one stays in use, as when there are no more file descriptors.
            Err(error) if self.active_is_in_place() => return Err(error),
            Err(error) => {
                self.writable.store(false, Ordering::Release);
                (None, Err(error))
            }
        };
        let old = std::mem::replace(&mut *self.active.write().unwrap_or_else(PoisonError::into_inner), fresh);
        if let Some(old) = old {
            locked(&self.sealed).push_back(Segment {
                path: old.path,
                bytes: old.bytes.into_inner(),
            });
        }
        result
    }

    /// What is written to a file that somebody has deleted or moved would never be found again.
    fn active_is_in_place(&self) -> bool {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.as_ref().is_some_and(|active| active.path.exists())
    }

    fn new_file(&self) -> Result<Active, LedgerError> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{number:010}.{EXTENSION}"));
        match OpenOptions::new().create(true).append(true).open(&path) {
            Ok(file) => Ok(Active {
                path,
                file,
                bytes: AtomicU64::new(0),
            }),
            Err(source) => Err(LedgerError::Io {
                action: "make the usage spool file",
                path,
                source,
            }),
        }
    }

    /// After a failed write: finds out whether there is room again.
    pub(super) fn recover(&self) -> Result<(), LedgerError> {
        if self.is_writable() {
            return Ok(());
        }
        self.make_reserve()?;
        self.writable.store(true, Ordering::Release);
        tracing::info!(dir = %self.dir.display(), "the usage spool can be written again");
        Ok(())
    }

    fn make_reserve(&self) -> Result<(), LedgerError> {
        let path = self.reserve();
        // Written anew each time: only bytes that were written are known to have a place.
        fs::write(&path, vec![b'\n'; RESERVE_BYTES]).map_err(|source| LedgerError::Io {
            action: "set space aside in",
            path,
            source,
        })
    }

    fn reserve(&self) -> PathBuf {
        self.dir.join("reserve")
    }

    /// At the end of the process: what is only in memory goes to disk, if that is possible by now.
    pub(super) fn keep_queued(&self) {
        let mut queue = locked(&self.queue);
        while let Some(record) = queue.front() {
            if let Err(error) = self.write(&frame::encode(record)) {
                tracing::error!(%error, records = queue.len(), "usage records are lost with this process");
                self.lost.fetch_add(queue.len() as u64, Ordering::Relaxed);
                return;
            }
            queue.pop_front();
        }
    }

    /// The oldest sealed file.
    pub(super) fn first_sealed(&self) -> Option<Segment> {
        locked(&self.sealed).front().cloned()
    }

    /// Forgets the oldest sealed file, whose records are in the database.
    pub(super) fn remove_first_sealed(&self, damaged: u64) -> Result<(), LedgerError> {
        let Some(segment) = self.first_sealed() else {
            return Ok(());
        };
        match fs::remove_file(&segment.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(LedgerError::Io {
                    action: "delete",
                    path: segment.path,
                    source,
                });
            }
            _ => {}
        }
        locked(&self.sealed).pop_front();
        self.bytes.fetch_sub(segment.bytes, Ordering::Relaxed);
        if damaged > 0 {
            self.damaged.fetch_add(damaged, Ordering::Relaxed);
            tracing::error!(file = %segment.path.display(), damaged, "damaged lines of the usage spool were set aside");
        }
        Ok(())
    }

    /// Copies of the oldest records in memory.
    pub(super) fn first_queued(&self, records_max: usize) -> Vec<InvocationRecord> {
        locked(&self.queue).iter().take(records_max).cloned().collect()
    }

    /// Forgets the oldest records in memory, which are in the database.
    pub(super) fn remove_first_queued(&self, count: usize) {
        locked(&self.queue).drain(..count);
    }

    /// Sets a record aside that can never be brought into the database.
    pub(super) fn reject(&self, line: &[u8], reason: &str) -> Result<(), LedgerError> {
        self.set_aside(line, reason)?;
        self.rejected.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps a line that is no use to this program: a person may still read it.
    pub(super) fn set_aside(&self, line: &[u8], reason: &str) -> Result<(), LedgerError> {
        let path = self.dir.join("rejected");
        self.append_rejected(&path, line).map_err(|source| LedgerError::Io {
            action: "write",
            path,
            source,
        })?;
        tracing::error!(dir = %self.dir.display(), reason, "usage record set aside in the file 'rejected'");
        Ok(())
    }

    fn append_rejected(&self, path: &Path, line: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() > REJECTED_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        file.write_all(line)?;
        file.write_all(b"\n")
    }
}

fn lock(dir: &Path) -> Result<File, LedgerError> {
    let path = dir.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(|source| LedgerError::Io {
        action: "write",
        path: path.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(LedgerError::Io {
            action: "lock",
            path,
            source,
        }),
    }
}

/// The spool files of a folder with their numbers, oldest first.
fn segments_in(dir: &Path) -> io::Result<Vec<(u64, Segment)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let number = path
            .file_stem()
            .and_then(OsStr::to_str)
            .and_then(|stem| stem.parse().ok());
        if let (Some(number), Some(true)) = (number, path.extension().map(|extension| extension == EXTENSION)) {
            found.push((
                number,
                Segment {
                    bytes: entry.metadata()?.len(),
                    path,
                },
            ));
        }
    }
    found.sort_by_key(|(number, _)| *number);
    Ok(found)
}

fn without_logs(record: &InvocationRecord) -> InvocationRecord {
    InvocationRecord {
        logs: Logs::default(),
        ..record.clone()
    }
}

/// A panic elsewhere leaves these collections whole, so poison is no reason to stop.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
