//! Native code on disk, kept between runs.
//!
//! Loading native code is running it: an entry is only ever used after its keyed MAC has proven that this installation
//! wrote it, for this very artifact. An entry is `magic | kind | MAC | code`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mayfly_invoker_api::{Digest, Kind};

use crate::compile::Compiled;
use crate::config::Config;

const MAGIC: &[u8; 8] = b"mayfly\x00\x01";
const MAC_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + 1 + MAC_BYTES;

/// The folder of native code of one installation.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    /// Other builds and other processors have entries of their own.
    compatibility: u64,
    writes: AtomicU64,
}

impl Cache {
    pub(crate) fn open(config: &Config, compatibility: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(&config.cache_dir)?;
        Ok(Self {
            dir: config.cache_dir.clone(),
            key: config.cache_key,
            compatibility,
            writes: AtomicU64::new(0),
        })
    }

    /// The code of `digest`, if there is an entry and it is authentic. A bad entry is removed.
    pub(crate) async fn load(self: &Arc<Self>, digest: Digest) -> Option<Compiled> {
        let cache = Arc::clone(self);
        // Reading and proving megabytes would keep this thread from its other tasks.
        let loaded = tokio::task::spawn_blocking(move || cache.load_here(digest)).await;
        loaded.unwrap_or_else(|error| {
            tracing::error!(%digest, %error, "loading a cache entry failed");
            None
        })
    }

    fn load_here(&self, digest: Digest) -> Option<Compiled> {
        let path = self.path(digest);
        let entry = match std::fs::read(&path) {
            Ok(entry) => entry,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, %digest, "cache entry cannot be read");
                return None;
            }
        };
        let compiled = self.open_entry(digest, entry);
        if compiled.is_none() {
            tracing::error!(%digest, "cache entry is not authentic; it is removed and made again");
            std::fs::remove_file(&path).unwrap_or_else(|error| tracing::warn!(%error, "it stays"));
        }
        compiled
    }

    /// Writes the entry of `digest` in one step: a reader sees all of it or nothing.
    pub(crate) async fn store(self: &Arc<Self>, digest: Digest, compiled: Arc<Compiled>) -> std::io::Result<()> {
        let cache = Arc::clone(self);
        let stored = tokio::task::spawn_blocking(move || cache.store_here(digest, &compiled)).await;
        stored.map_err(std::io::Error::other)?
    }

    fn store_here(&self, digest: Digest, compiled: &Compiled) -> std::io::Result<()> {
        let mut entry = Vec::with_capacity(HEADER_BYTES + compiled.code.len());
        entry.extend_from_slice(MAGIC);
        entry.push(kind_byte(compiled.kind));
        entry.extend_from_slice(self.mac(digest, compiled.kind, &compiled.code).as_bytes());
        entry.extend_from_slice(&compiled.code);
        let path = self.path(digest);
        // Two who compile the same artifact at once must not write into one file.
        let unfinished = path.with_extension(format!("part{}", self.writes.fetch_add(1, Relaxed)));
        std::fs::write(&unfinished, entry)?;
        std::fs::rename(&unfinished, &path)
    }

    fn open_entry(&self, digest: Digest, mut entry: Vec<u8>) -> Option<Compiled> {
        let header: [u8; HEADER_BYTES] = entry.get(..HEADER_BYTES)?.try_into().ok()?;
        let (magic, rest) = header.split_at(MAGIC.len());
        let kind = kind_from_byte(rest[0])?;
        let claimed: [u8; MAC_BYTES] = rest[1..].try_into().ok()?;
        // `blake3::Hash` compares in constant time.
        let authentic =
            magic == MAGIC && self.mac(digest, kind, &entry[HEADER_BYTES..]) == blake3::Hash::from_bytes(claimed);
        if !authentic {
            return None;
        }
        entry.drain(..HEADER_BYTES);
        Some(Compiled { kind, code: entry })
    }

    /// Covers everything that gives the code its meaning, so that valid entries cannot be swapped either.
    fn mac(&self, digest: Digest, kind: Kind, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(MAGIC);
        hasher.update(digest.as_bytes());
        hasher.update(&self.compatibility.to_le_bytes());
        hasher.update(&[kind_byte(kind)]);
        hasher.update(code);
        hasher.finalize()
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir
            .join(format!("{}-{:016x}.native", digest.hex(), self.compatibility))
    }
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Http => 1,
        Kind::Event => 2,
        Kind::Command => 3,
    }
}

fn kind_from_byte(byte: u8) -> Option<Kind> {
    [Kind::Http, Kind::Event, Kind::Command]
        .into_iter()
        .find(|kind| kind_byte(*kind) == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(key: u8) -> Cache {
        Cache {
            dir: PathBuf::new(),
            key: [key; 32],
            compatibility: 7,
            writes: AtomicU64::new(0),
        }
    }

    fn entry(cache: &Cache, digest: Digest, code: &[u8]) -> Vec<u8> {
        let mac = cache.mac(digest, Kind::Http, code);
        [MAGIC.as_slice(), &[kind_byte(Kind::Http)], mac.as_bytes(), code].concat()
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_swap_is_refused() {
        let (cache, digest) = (cache(1), Digest::from_bytes([3; 32]));
        let good = entry(&cache, digest, b"native code");
        assert_eq!(cache.open_entry(digest, good.clone()).unwrap().code, b"native code");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(cache.open_entry(digest, bad).is_none(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(
                cache.open_entry(digest, good[..length].to_vec()).is_none(),
                "cut to {length}"
            );
        }
        assert!(
            cache.open_entry(Digest::from_bytes([4; 32]), good.clone()).is_none(),
            "another artifact's entry"
        );
        assert!(
            super::tests::cache(2).open_entry(digest, good).is_none(),
            "another installation's entry"
        );
    }
}
