//! To another database belong other objects: whoever cleaned up after its ones would delete these.

use std::io;
use std::path::Path;

/// The file that says to which database the folder belongs.
const OWNER: &str = "owner";

/// The folder belongs to this installation, or from now on does.
///
/// # Errors
/// When it holds the objects of another one, or of nobody knows whom.
pub(super) fn check(dir: &Path, installation: &str) -> io::Result<()> {
    let path = dir.join(OWNER);
    match std::fs::read_to_string(&path) {
        Ok(owner) if owner.trim() == installation => Ok(()),
        Ok(_) => Err(foreign()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            for first in 0..=u8::MAX {
                if std::fs::read_dir(dir.join(format!("{first:02x}")))?.next().is_some() {
                    return Err(foreign());
                }
            }
            // Whole or not there, also if another server does the same at this moment: with the same words.
            let new = dir.join(format!("{OWNER}.{}", std::process::id()));
            std::fs::write(&new, installation)?;
            std::fs::File::open(&new)?.sync_all()?;
            std::fs::rename(&new, &path)
        }
        Err(error) => Err(error),
    }
}

fn foreign() -> io::Error {
    io::Error::other(
        "it holds the objects of another database; give each database a folder of its own with --objects-dir",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::blobs::BlobFolder;

    fn open(dir: &Path) -> io::Result<BlobFolder> {
        BlobFolder::open(dir, "this one", 2)
    }

    #[test]
    fn the_objects_of_another_database_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap();
        open(dir.path()).unwrap();
        let other = BlobFolder::open(dir.path(), "other", 2).unwrap_err().to_string();
        assert!(other.contains("--objects-dir"), "{other}");
        // Nor if nobody knows whose they are.
        std::fs::remove_file(dir.path().join(OWNER)).unwrap();
        open(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join(OWNER)).unwrap();
        std::fs::write(dir.path().join("07").join("x"), "").unwrap();
        assert!(open(dir.path()).is_err());
    }
}
