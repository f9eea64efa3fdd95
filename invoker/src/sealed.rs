//! Bytes that nobody can change any more: a file in memory, without a name, whose seals even its owner cannot take off.
//!
//! Native code is mapped from such a file instead of copied. A file on disk would not do: what is written to it after its
//! check shows through the mapping.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::config::CODE_PIECE_BYTES;

/// The file while it is being written.
#[derive(Debug)]
pub(crate) struct Unsealed(File);

/// The file after that.
#[derive(Debug)]
pub(crate) struct Sealed {
    file: File,
    bytes: u64,
}

impl Unsealed {
    pub(crate) fn create() -> io::Result<Self> {
        let file = memfd_create("mayfly-code", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        Ok(Self(file.into()))
    }

    /// From now on the content and the length stay.
    pub(crate) fn seal(self) -> io::Result<Sealed> {
        fcntl_add_seals(
            &self.0,
            SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        let bytes = self.0.metadata()?.len();
        Ok(Sealed { file: self.0, bytes })
    }

    /// Takes over the rest of `source`; where both are files, the kernel copies.
    pub(crate) fn fill(&mut self, source: &mut File, bytes_max: u64) -> io::Result<u64> {
        io::copy(&mut source.take(bytes_max), &mut self.0)
    }
}

impl Write for Unsealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sealed {
    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.bytes
    }

    /// Where this process, and only as long as it holds this value, can open the file.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Gives all bytes to `take`, piece by piece.
    pub(crate) fn read(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut piece = vec![0; CODE_PIECE_BYTES];
        let mut offset = 0;
        loop {
            match self.file.read_at(&mut piece, offset)? {
                0 => return Ok(()),
                length => {
                    take(&piece[..length])?;
                    offset += length as u64;
                }
            }
        }
    }

    /// The hash of all bytes.
    pub(crate) fn hash(&self) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        self.read(|piece| {
            hasher.update(piece);
            Ok(())
        })?;
        Ok(hasher.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_write_to_it_cut_it_or_let_it_grow() {
        let mut file = Unsealed::create().unwrap();
        file.write_all(b"native code").unwrap();
        let sealed = file.seal().unwrap();
        // Whoever can open it could be anyone: this process is the most mighty of them.
        let again = File::options().read(true).write(true).open(sealed.path()).unwrap();
        assert!(again.write_at(b"evil", 0).is_err());
        assert!(again.write_at(b"more", 11).is_err());
        assert!(again.set_len(3).is_err());
        assert!(again.set_len(100).is_err());
        assert!(fcntl_add_seals(&again, SealFlags::empty()).is_err());
        let mut content = Vec::new();
        sealed
            .read(|piece| {
                content.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        assert_eq!(content, b"native code");
    }
}
