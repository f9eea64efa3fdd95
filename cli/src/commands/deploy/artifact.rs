//! The wasm file on this machine: its digest, and its bytes piece by piece, so that no file has to fit in memory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use futures_util::{Stream, stream};
use mayfly_invoker_api::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::CliError;
use crate::output::Progress;

/// Bytes that are read, hashed and sent at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A file that was read once.
#[derive(Debug)]
pub(super) struct LocalArtifact {
    path: PathBuf,
    digest: Digest,
    size_bytes: u64,
}

impl LocalArtifact {
    /// Reads the file for its digest and its size.
    ///
    /// # Errors
    /// `file_not_found` when it cannot be read.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let unreadable = |cause: io::Error| CliError::unreadable(path.display(), &cause);
        let mut file = File::open(path).map_err(unreadable)?;
        let mut hasher = Sha256::new();
        let mut size_bytes = 0;
        loop {
            let chunk = next_chunk(&mut file).map_err(unreadable)?;
            if chunk.is_empty() {
                break;
            }
            size_bytes += chunk.len() as u64;
            hasher.update(&chunk);
        }
        let digest = Digest::from_bytes(hasher.finalize().into());
        Ok(Self {
            path: path.to_owned(),
            digest,
            size_bytes,
        })
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The bytes once more; each piece is counted by `progress`.
    ///
    /// # Errors
    /// `file_not_found` when the file has gone since.
    pub(super) fn content(
        &self,
        progress: Progress,
    ) -> Result<impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static, CliError> {
        let file = File::open(&self.path).map_err(|cause| CliError::unreadable(self.path.display(), &cause))?;
        // Blocks for the moment of a read; the only other task waits for exactly these bytes.
        Ok(stream::try_unfold(
            (file, progress),
            |(mut file, progress)| async move {
                let chunk = next_chunk(&mut file)?;
                progress.advance(chunk.len() as u64);
                Ok((!chunk.is_empty()).then_some((chunk, (file, progress))))
            },
        ))
    }
}

/// The next bytes of the file; none at its end.
fn next_chunk(file: &mut File) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_sha256() {
        let path = std::env::temp_dir().join(format!("mayfly-artifact-{}", std::process::id()));
        std::fs::write(&path, b"abc").unwrap();
        let artifact = LocalArtifact::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((artifact.digest().hex().as_str(), artifact.size_bytes()), (expected, 3));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for path in ["/nonexistent/x.wasm", "/"] {
            let error = LocalArtifact::read(Path::new(path)).unwrap_err();
            assert_eq!((error.kind().exit_code(), error.code()), (2, "file_not_found"));
            assert!(error.message().contains(path));
        }
    }
}
