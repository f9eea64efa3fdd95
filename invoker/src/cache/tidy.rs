//! Keeps the folder of native code small: what no longer runs here goes at once, what was not used for long goes when
//! there is too much.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::CACHE_FILES_SEEN_MAX;

/// What a look at the folder led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tidied {
    /// Files of other builds or processors that were removed.
    pub(super) foreign: usize,
    /// Entries that were removed for want of room.
    pub(super) too_many: usize,
}

struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// Removes every file whose name does not end with `suffix`, then, as long as the rest has more than `bytes_max`, the
/// entry that was used longest ago. What `is_needed` stays.
pub(super) fn tidy(dir: &Path, suffix: &str, bytes_max: u64, is_needed: impl Fn(&Path) -> bool) -> io::Result<Tidied> {
    let mut tidied = Tidied::default();
    let mut entries = Vec::new();
    for file in fs::read_dir(dir)?.take(CACHE_FILES_SEEN_MAX) {
        let file = file?;
        // Whatever vanishes meanwhile was removed by somebody else, which is as good.
        let Ok(metadata) = file.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        if !file.file_name().to_string_lossy().ends_with(suffix) {
            tidied.foreign += usize::from(remove(&file.path()));
            continue;
        }
        entries.push(Entry {
            path: file.path(),
            bytes: metadata.len(),
            used: metadata.modified()?,
        });
    }
    entries.sort_by_key(|entry| entry.used);
    let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    for entry in entries {
        if bytes <= bytes_max {
            break;
        }
        if !is_needed(&entry.path) && remove(&entry.path) {
            tidied.too_many += 1;
            bytes -= entry.bytes;
        }
    }
    Ok(tidied)
}

fn remove(path: &Path) -> bool {
    fs::remove_file(path)
        .inspect_err(|error| tracing::warn!(%error, path = %path.display(), "a cache file cannot be removed"))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    /// Writes `a`, `b`, ... of 10 bytes each, used one second after the other.
    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (number, name) in (0..).zip(names) {
            let path = dir.path().join(name);
            fs::write(&path, [0; 10]).unwrap();
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(number);
            File::open(path).unwrap().set_modified(used).unwrap();
        }
        dir
    }

    fn left(dir: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn entries_of_other_builds_go_and_ours_stay() {
        let dir = folder(&["a.ours", "b.theirs", "c.ours", "d"]);
        fs::create_dir(dir.path().join("folder")).unwrap();
        let tidied = tidy(dir.path(), ".ours", 1_000, |_| false).unwrap();
        assert_eq!((tidied.foreign, tidied.too_many), (2, 0));
        assert_eq!(left(&dir), ["a.ours", "c.ours", "folder"]);
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_unless_it_is_needed() {
        let dir = folder(&["d.ours", "a.ours", "c.ours", "b.ours"]);
        let needed = |path: &Path| path.ends_with("d.ours");
        let tidied = tidy(dir.path(), ".ours", 25, needed).unwrap();
        assert_eq!((tidied.foreign, tidied.too_many), (0, 2));
        assert_eq!(left(&dir), ["b.ours", "d.ours"]);
    }
}
