//! What this machine has.

use std::fs;

/// Memory that this process may use, in bytes: the machine's, or less where a control group limits it. `None` where the
/// system does not tell.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = meminfo_total(&fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(group_limits().fold(machine, u64::min))
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The limits of this process's control group and of those around it.
fn group_limits() -> impl Iterator<Item = u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let folder = std::path::Path::new("/sys/fs/cgroup").join(group.unwrap_or_default());
    let folders: Vec<_> = folder.ancestors().map(|folder| folder.join("memory.max")).collect();
    // The older hierarchy, with one tree for memory alone.
    let older = std::path::PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    let files = folders.into_iter().chain([older]);
    // No limit is written as "max", or as a number that no machine has.
    files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        let text = "MemTotal:       24731648 kB\nMemFree:        18000000 kB\n";
        assert_eq!(meminfo_total(text), Some(24_731_648 << 10));
        assert_eq!(meminfo_total("MemFree: 1 kB\n"), None);
        assert_eq!(meminfo_total("MemTotal: lots\n"), None);
    }

    #[test]
    fn there_is_some_memory() {
        assert!(memory_bytes().is_none_or(|bytes| bytes > 16 << 20));
    }
}
