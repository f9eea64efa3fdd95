//! The files that hold records until the database has them.
//!
//! One file at a time, the active one, is added to. Rotation seals it and starts the next; only sealed files are read.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use mayfly_invoker_api::Logs;

use super::segment::{Sealed, Segment};
use super::{InvocationRecord, LedgerCounts, LedgerError, frame};

const EXTENSION: &str = "usage";
/// Size of a spool file, in bytes: about as many records as one transaction should have.
const SEGMENT_BYTES: usize = 4 << 20;
/// Space that is set aside for the records of invocations that are running when the disk becomes full. None is admitted
/// while it is not there, so these records have a place on disk, too.
const RESERVE_BYTES: usize = 8 << 20;
/// Records are set aside only after a mistake in this program, so a file of this size wants a person to look at it.
const REJECTED_BYTES_MAX: u64 = 256 << 20;

pub(super) struct Spool {
    dir: PathBuf,
    /// Held open, and with it the lock of the folder.
    _lock: File,
    /// Tells the files of this process from those of all others.
    run: String,
    /// `None` when the last rotation could not make a file and the one before is gone.
    ///
    /// Those who append hold the lock as readers. Rotation holds it as the writer, so when it has swapped the file
    /// nobody is about to write to the old one, and every record whose `append` has returned is in a sealed file or in
    /// the queue.
    active: RwLock<Option<Segment>>,
    sealed: Mutex<VecDeque<Sealed>>,
    queue: Mutex<Queue>,
    queue_records_max: usize,
    next_number: AtomicU64,
    /// Of all spool files together.
    bytes: AtomicU64,
    /// `false` from the first file that could not be made until one can be made again.
    writable: AtomicBool,
    damaged: AtomicU64,
    rejected: AtomicU64,
    lost: AtomicU64,
}

/// Records that the disk did not take.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<InvocationRecord>,
    /// On its way to the database. It stays as it is until it has arrived, so that it arrives once.
    leaving: Option<Batch>,
}

/// Records that go to the database under one name.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) name: String,
    pub(super) records: Vec<InvocationRecord>,
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
        let sealed = segments_in(dir).map_err(failed("read the folder"))?;
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
            run: random_name().map_err(failed("name the files of"))?,
            active: RwLock::new(None),
            sealed: Mutex::new(sealed),
            queue: Mutex::default(),
            queue_records_max,
            next_number: AtomicU64::new(1),
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

    /// Keeps a record: in the active file, else in a new one, else in memory.
    pub(super) fn append(&self, record: &InvocationRecord) {
        // Outside the lock, because it is the longer part of the work. What the function printed has no place in the
        // space that was set aside.
        let frame = if self.is_writable() {
            frame::encode(record)
        } else {
            frame::encode(&without_logs(record))
        };
        if self.put(&frame) || self.put_in_new(&frame) {
            return;
        }
        let mut queue = locked(&self.queue);
        if queue.len() < self.queue_records_max {
            queue.waiting.push_back(record.clone());
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            // Enough to enter it by hand; what the function printed has no place in the server's log.
            let record = json(&without_logs(record));
            tracing::error!(
                record = %String::from_utf8_lossy(&record),
                "usage record lost: neither disk nor memory has room"
            );
        }
    }

    fn put(&self, frame: &[u8]) -> bool {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let put = active.as_ref().is_some_and(|active| active.append(frame));
        if put {
            self.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        }
        put
    }

    /// For a frame that the active file has no room for.
    fn put_in_new(&self, frame: &[u8]) -> bool {
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        if active.as_ref().is_none_or(|active| !active.append(frame)) {
            // Only one thread comes here for a full file; the others find the new one.
            let fresh = self.new_segment(frame.len()).or_else(|error| {
                self.note_unwritable(&error);
                // Whoever comes first frees the reserve.
                let _ = fs::remove_file(self.reserve());
                self.new_segment(frame.len())
            });
            let Ok(fresh) = fresh else { return false };
            if !fresh.append(frame) {
                return false;
            }
            if let Some(full) = active.replace(fresh) {
                locked(&self.sealed).push_back(full.seal());
            }
        }
        self.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        true
    }

    fn note_unwritable(&self, error: &LedgerError) {
        if self.writable.swap(false, Ordering::AcqRel) {
            tracing::error!(%error, "the usage spool cannot be written; free some disk space");
        }
    }

    /// Seals the active file and starts another one; does nothing when there is nothing to seal. To be called by the
    /// drain only, never twice at once.
    pub(super) fn rotate(&self) -> Result<(), LedgerError> {
        let keep = self.is_writable() && {
            // As the writer: no record may be under way while the bytes are counted.
            let active = self.active.write().unwrap_or_else(PoisonError::into_inner);
            active.as_ref().is_some_and(|active| active.bytes() == 0)
        };
        if keep {
            return Ok(());
        }
        let (fresh, result) = match self.new_segment(0) {
            Ok(fresh) => (Some(fresh), Ok(())),
            // The old one stays in use, as when there are no more file descriptors.
            Err(error) if self.active_is_in_place() => return Err(error),
            Err(error) => {
                self.note_unwritable(&error);
                (None, Err(error))
            }
        };
        let old = std::mem::replace(&mut *self.active.write().unwrap_or_else(PoisonError::into_inner), fresh);
        if let Some(old) = old {
            locked(&self.sealed).push_back(old.seal());
        }
        result
    }

    /// What is written to a file that somebody has deleted or moved would never be found again.
    fn active_is_in_place(&self) -> bool {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.as_ref().is_some_and(|active| active.path().exists())
    }

    /// A file with room for a frame of this size.
    fn new_segment(&self, frame_bytes: usize) -> Result<Segment, LedgerError> {
        let path = self.path_of(&self.new_name());
        Segment::create(path.clone(), SEGMENT_BYTES.max(frame_bytes)).map_err(|source| LedgerError::Io {
            action: "make the usage spool file",
            path,
            source,
        })
    }

    fn new_name(&self) -> String {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:010}", self.run)
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.{EXTENSION}"))
    }

    /// After a file could not be made: finds out whether there is room again.
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
        while let Some(batch) = self.first_queued(usize::MAX) {
            if let Err(error) = self.keep(&batch) {
                let records = locked(&self.queue).len();
                tracing::error!(%error, records, "usage records are lost with this process");
                self.lost.fetch_add(records as u64, Ordering::Relaxed);
                return;
            }
            self.remove_first_queued();
        }
    }

    /// Under its own name, because the database may have it already.
    fn keep(&self, batch: &Batch) -> io::Result<()> {
        let frames: Vec<u8> = batch.records.iter().flat_map(frame::encode).collect();
        let segment = Segment::create(self.path_of(&batch.name), frames.len())?;
        segment.append(&frames);
        self.bytes.fetch_add(segment.bytes(), Ordering::Relaxed);
        locked(&self.sealed).push_back(segment.seal());
        Ok(())
    }

    /// The oldest sealed file.
    pub(super) fn first_sealed(&self) -> Option<Sealed> {
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
            tracing::error!(file = %segment.path.display(), damaged, "damaged parts of the usage spool were set aside");
        }
        Ok(())
    }

    /// The oldest records in memory; the same ones until they are removed.
    pub(super) fn first_queued(&self, records_max: usize) -> Option<Batch> {
        let mut queue = locked(&self.queue);
        if queue.leaving.is_none() && !queue.waiting.is_empty() {
            let count = queue.waiting.len().min(records_max);
            queue.leaving = Some(Batch {
                name: self.new_name(),
                records: queue.waiting.drain(..count).collect(),
            });
        }
        queue.leaving.clone()
    }

    /// Forgets the oldest records in memory, which are in the database.
    pub(super) fn remove_first_queued(&self) {
        locked(&self.queue).leaving = None;
    }

    /// Sets a record aside that can never be brought into the database.
    pub(super) fn reject(&self, record: &InvocationRecord, reason: &str) -> Result<(), LedgerError> {
        self.set_aside(&json(record), reason)?;
        self.rejected.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Sets a frame aside that another version of the program has written.
    pub(super) fn reject_foreign(&self, frame: &[u8]) -> Result<(), LedgerError> {
        self.set_aside(frame, "it is not a record of this version of the program")?;
        self.rejected.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps bytes that are no use to this program: a person may still read them.
    pub(super) fn set_aside(&self, bytes: &[u8], reason: &str) -> Result<(), LedgerError> {
        let path = self.dir.join("rejected");
        self.append_rejected(&path, bytes).map_err(|source| LedgerError::Io {
            action: "write",
            path,
            source,
        })?;
        tracing::error!(dir = %self.dir.display(), reason, "usage record set aside in the file 'rejected'");
        Ok(())
    }

    fn append_rejected(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() > REJECTED_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        file.write_all(bytes)?;
        file.write_all(b"\n")
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.waiting.len() + self.leaving.as_ref().map_or(0, |batch| batch.records.len())
    }
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// For people.
fn json(record: &InvocationRecord) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
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

/// The spool files of a folder, oldest first.
fn segments_in(dir: &Path) -> io::Result<VecDeque<Sealed>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension() == Some(OsStr::new(EXTENSION)) {
            let metadata = entry.metadata()?;
            let bytes = metadata.len();
            found.push((metadata.modified()?, Sealed { path, bytes }));
        }
    }
    found.sort_by(|(a, first), (b, second)| (a, &first.path).cmp(&(b, &second.path)));
    Ok(found.into_iter().map(|(_, segment)| segment).collect())
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
