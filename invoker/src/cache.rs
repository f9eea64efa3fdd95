//! Native code on disk, kept between runs.
//!
//! Loading native code is running it: an entry is only ever used after its keyed MAC has proven that this installation
//! wrote it, for this very artifact, and what is proven is a sealed copy that nobody can change any more.

mod entry;
mod tidy;

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mayfly_invoker_api::{CodeKey, Prepared};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};

use self::entry::{Facts, Seal};
use crate::compile::Compiled;
use crate::config::{COMPILE_OUTPUT_BYTES_MAX, Config};
use crate::sealed::Unsealed;

/// The folder of native code of one installation.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    /// Entries that are being written; in a folder of their own, so that leftovers can be told from work.
    unfinished: PathBuf,
    bytes_max: u64,
    secret: [u8; 32],
    /// Other builds and other processors have entries of their own.
    compatibility: u64,
    writes: AtomicU64,
    rejected: AtomicU64,
}

impl Cache {
    pub(crate) fn open(config: &Config, compatibility: u64) -> io::Result<Self> {
        let unfinished = config.cache_dir.join("unfinished");
        match std::fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(&unfinished)?;
        Ok(Self {
            dir: config.cache_dir.clone(),
            unfinished,
            bytes_max: config.bounds.cache_bytes_max,
            secret: config.cache_key,
            compatibility,
            writes: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        })
    }

    /// Entries that were not authentic, so far.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    /// The code of `key`, if there is an entry and it is authentic. A bad entry is removed.
    pub(crate) async fn load(self: &Arc<Self>, key: CodeKey) -> Option<Compiled> {
        self.reading(move |cache| cache.load_here(key)).await
    }

    /// What is known of the code of `key`, if there is an entry.
    pub(crate) async fn prepared(self: &Arc<Self>, key: CodeKey) -> Option<Prepared> {
        let facts = self.reading(move |cache| cache.look_at(key, |_, facts| Ok(Some(facts))));
        let facts = facts.await?;
        Some(Prepared {
            kind: facts.kind,
            code_bytes: facts.code_bytes,
            init: facts.init,
        })
    }

    /// Runs `read` where waiting for a disk and proving megabytes keeps no other task from its thread.
    async fn reading<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let cache = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || read(&cache)).await;
        done.unwrap_or_else(|error| {
            tracing::error!(%error, "reading a cache entry failed");
            None
        })
    }

    fn load_here(&self, key: CodeKey) -> Option<Compiled> {
        self.look_at(key, |file, facts| {
            let code = read_code(file, facts)?;
            if code.is_some() {
                mark_used(file);
            }
            Ok(code)
        })
    }

    /// Opens the entry of `key`, proves its facts, and goes on with `read`, which says `None` to code that is not theirs.
    fn look_at<T>(&self, key: CodeKey, read: impl FnOnce(&mut File, Facts) -> io::Result<Option<T>>) -> Option<T> {
        let digest = key.artifact;
        let path = self.path(key);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, %digest, "cache entry cannot be opened");
                return None;
            }
        };
        let seal = self.seal(key);
        match seal.open(&mut file).and_then(|facts| match facts {
            Some(facts) => read(&mut file, facts),
            None => Ok(None),
        }) {
            Ok(Some(found)) => Some(found),
            Ok(None) => {
                tracing::error!(%digest, "cache entry is not authentic; it is removed and made again");
                self.rejected.fetch_add(1, Relaxed);
                std::fs::remove_file(&path).unwrap_or_else(|error| tracing::warn!(%error, "it stays"));
                None
            }
            Err(error) => {
                tracing::warn!(%error, %digest, "cache entry cannot be read");
                None
            }
        }
    }

    /// Writes the entry of `key` in one step: a reader sees all of it or nothing.
    pub(crate) async fn store(self: &Arc<Self>, key: CodeKey, compiled: Arc<Compiled>) -> io::Result<()> {
        let cache = Arc::clone(self);
        let stored = tokio::task::spawn_blocking(move || cache.store_here(key, &compiled)).await;
        stored.map_err(io::Error::other)?
    }

    fn store_here(&self, key: CodeKey, compiled: &Compiled) -> io::Result<()> {
        // Two who compile the same artifact at once must not write into one file.
        let unfinished = self.unfinished.join(self.writes.fetch_add(1, Relaxed).to_string());
        let mut file = File::create(&unfinished)?;
        write_entry(self.seal(key), compiled, &mut file)?;
        std::fs::rename(&unfinished, self.path(key))
    }

    /// Removes what this build cannot use and, beyond the bound, what was not used for long. What is in memory stays: a
    /// restart would miss it.
    pub(crate) async fn tidy(self: &Arc<Self>, is_in_memory: impl Fn(CodeKey) -> bool + Send + 'static) {
        let cache = Arc::clone(self);
        let tidied = tokio::task::spawn_blocking(move || {
            let is_needed = |path: &Path| cache.key_of(path).is_some_and(&is_in_memory);
            tidy::tidy(&cache.dir, &cache.suffix(), cache.bytes_max, is_needed)
        });
        match tidied.await.map_err(io::Error::other).flatten() {
            Ok(tidied) if tidied.foreign + tidied.too_many > 0 => {
                tracing::info!(?tidied, "native code that is not needed was removed from the cache");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the cache of native code could not be tidied"),
        }
    }

    fn seal(&self, key: CodeKey) -> Seal<'_> {
        Seal {
            secret: &self.secret,
            key,
            compatibility: self.compatibility,
        }
    }

    fn path(&self, key: CodeKey) -> PathBuf {
        let made_of = if key.snapshot { "-snapshot" } else { "" };
        self.dir
            .join(format!("{}{made_of}{}", key.artifact.hex(), self.suffix()))
    }

    /// The other direction of `path`.
    fn key_of(&self, path: &Path) -> Option<CodeKey> {
        let name = path.file_name()?.to_str()?.strip_suffix(&self.suffix())?;
        let (digits, snapshot) = match name.strip_suffix("-snapshot") {
            Some(digits) => (digits, true),
            None => (name, false),
        };
        let artifact = format!("sha256:{digits}").parse().ok()?;
        Some(CodeKey { artifact, snapshot })
    }

    /// What the names of all entries of this build, and of no other, end with.
    fn suffix(&self) -> String {
        format!("-{:016x}.code", self.compatibility)
    }
}

fn write_entry(seal: Seal<'_>, compiled: &Compiled, file: &mut File) -> io::Result<()> {
    let facts = Facts {
        kind: compiled.kind,
        init: compiled.init.clone(),
        code_bytes: compiled.code.len(),
        code_hash: compiled.code.hash()?.to_hex().to_string(),
    };
    file.write_all(&seal.header(&facts)?)?;
    compiled.code.read(|piece| file.write_all(piece))
}

/// The code behind proven facts, if it is theirs.
fn read_code(file: &mut File, facts: Facts) -> io::Result<Option<Compiled>> {
    let mut copy = Unsealed::create()?;
    copy.fill(file, COMPILE_OUTPUT_BYTES_MAX)?;
    let code = copy.seal()?;
    // Proven is the sealed copy: what happens to the file from here on is of no importance.
    if code.len() != facts.code_bytes || code.hash()?.to_hex().as_str() != facts.code_hash {
        return Ok(None);
    }
    Ok(Some(Compiled {
        kind: facts.kind,
        init: facts.init,
        code,
    }))
}

/// The time of the last change is the time of the last use, because many systems do not write down when a file is read.
fn mark_used(file: &File) {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
    };
    if let Err(error) = futimens(file, &times) {
        tracing::warn!(%error, "the use of a cache entry could not be noted; it may be removed early");
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod property;
#[cfg(test)]
mod tests;
