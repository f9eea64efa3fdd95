//! One file of the spool, mapped into memory while records are added to it.
//!
//! Adding a record is a copy into the page cache, without a call into the kernel, and it survives the death of this
//! process like a `write` would. All of the file's space is taken when it is made, so a full disk shows there and never
//! in the middle of a record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// A file that records are added to.
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    map: MmapRaw,
    used: AtomicUsize,
}

/// A file that is no longer written to.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    /// Without its extension unique for ever: the database knows by it what it has.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl Sealed {
    /// What the database knows it by.
    pub(super) fn name(&self) -> String {
        let stem = self.path.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }
}

impl Segment {
    /// Makes a file that has room for `bytes`.
    pub(super) fn create(path: PathBuf, bytes: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let mapped = allocate(&file, bytes).and_then(|()| MmapOptions::new().len(bytes).map_raw(&file));
        match mapped {
            Ok(map) => Ok(Self {
                path,
                file,
                map,
                used: AtomicUsize::new(0),
            }),
            Err(error) => {
                // It holds nothing; left behind it would only take the space that is missing.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Adds a frame; false if there is no room for it.
    pub(super) fn append(&self, frame: &[u8]) -> bool {
        let most = self.map.len();
        let take = |used: usize| used.checked_add(frame.len()).filter(|end| *end <= most);
        match self.used.fetch_update(Relaxed, Relaxed, take) {
            Ok(start) => {
                self.copy(start, frame);
                true
            }
            Err(_full) => false,
        }
    }

    #[expect(unsafe_code, reason = "the one place that writes to mapped memory")]
    fn copy(&self, start: usize, frame: &[u8]) {
        // SAFETY: `append` has given `start..start + frame.len()` to this caller alone, and it lies inside of the map.
        // The map lives as long as `self`, and its pages are backed by space that the file owns since `create`.
        unsafe {
            let to = self.map.as_mut_ptr().add(start);
            std::ptr::copy_nonoverlapping(frame.as_ptr(), to, frame.len());
        }
    }

    /// Bytes that hold frames.
    pub(super) fn bytes(&self) -> u64 {
        self.used.load(Relaxed) as u64
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives back the space that was not used. Nobody may be adding to it.
    pub(super) fn seal(self) -> Sealed {
        let bytes = self.bytes();
        drop(self.map);
        if let Err(error) = self.file.set_len(bytes) {
            // The space behind the last frame is empty, which a reader passes over.
            tracing::warn!(%error, file = %self.path.display(), "unused space could not be given back");
        }
        Sealed { path: self.path, bytes }
    }
}

fn allocate(file: &File, bytes: usize) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes as u64) {
        // Some file systems cannot; what was written has its place on all of them.
        Err(Errno::OPNOTSUPP) => (&mut &*file).write_all(&vec![0; bytes]),
        done => Ok(done?),
    }
}
