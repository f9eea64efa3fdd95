//! How one piece of native code lies in a file: `magic | MAC | length of the facts | facts | code`.
//!
//! The MAC covers the facts, and the facts hold a hash of the code: so they can be proven without reading megabytes.

use std::io::{self, Read};

use mayfly_invoker_api::{CodeKey, Init, Kind};
use serde::{Deserialize, Serialize};

use crate::config::CODE_FACTS_BYTES_MAX;

pub(super) const MAGIC: &[u8; 8] = b"mayfly\x00\x02";
const MAC_BYTES: usize = 32;

/// What is known of code without looking at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) init: Init,
    pub(super) code_bytes: u64,
    /// BLAKE3, in hex digits.
    pub(super) code_hash: String,
}

/// What gives code its meaning beside its bytes; covered by the MAC, so that valid entries cannot be swapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seal<'a> {
    pub(super) secret: &'a [u8; 32],
    pub(super) key: CodeKey,
    pub(super) compatibility: u64,
}

impl Seal<'_> {
    pub(super) fn mac(&self, facts: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(self.secret);
        hasher.update(MAGIC);
        hasher.update(self.key.artifact.as_bytes());
        hasher.update(&[u8::from(self.key.snapshot)]);
        hasher.update(&self.compatibility.to_le_bytes());
        hasher.update(facts);
        hasher.finalize()
    }

    /// All that stands before the code.
    pub(super) fn header(&self, facts: &Facts) -> io::Result<Vec<u8>> {
        let facts = serde_json::to_vec(facts)?;
        let length = u32::try_from(facts.len()).map_err(io::Error::other)?;
        let mac = self.mac(&facts);
        Ok([MAGIC.as_slice(), mac.as_bytes(), &length.to_le_bytes(), &facts].concat())
    }

    /// Reads up to where the code begins. `None`: this installation did not write it for this code.
    pub(super) fn open(&self, entry: &mut impl Read) -> io::Result<Option<Facts>> {
        let mut head = [0; MAGIC.len() + MAC_BYTES + size_of::<u32>()];
        if !read_whole(entry, &mut head)? {
            return Ok(None);
        }
        let (magic, rest) = head.split_at(MAGIC.len());
        let (mac, length) = rest.split_at(MAC_BYTES);
        let (Ok(mac), Ok(length)) = (<[u8; MAC_BYTES]>::try_from(mac), <[u8; 4]>::try_from(length)) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(length) as usize;
        if magic != MAGIC || length > CODE_FACTS_BYTES_MAX {
            return Ok(None);
        }
        let mut facts = vec![0; length];
        if !read_whole(entry, &mut facts)? {
            return Ok(None);
        }
        // `blake3::Hash` compares in constant time.
        if self.mac(&facts) != blake3::Hash::from_bytes(mac) {
            return Ok(None);
        }
        Ok(serde_json::from_slice(&facts).ok())
    }
}

/// `false` when there is less.
fn read_whole(entry: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match entry.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
