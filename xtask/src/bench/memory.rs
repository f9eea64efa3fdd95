//! Resident memory of a process, and what of it is its guests' linear memory.

use std::fs;

use anyhow::{Context, Result};

/// Neighbouring mappings that cover more than this, in bytes, are the slots of linear memories: each is gigabytes of
/// address space, and nothing else in the server reserves as much.
const MEMORY_SLOTS_BYTES_MIN: u64 = 100 << 30;

/// Of one process, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    pub(crate) all_kib: u64,
    /// Pages of linear memories: what the guests themselves have touched.
    pub(crate) guests_kib: u64,
}

impl Resident {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
        Ok(Self {
            all_kib: field(&status, "VmRSS").context("no VmRSS")?,
            guests_kib: in_memory_slots_kib(&smaps),
        })
    }

    pub(crate) fn host_kib(self) -> u64 {
        self.all_kib.saturating_sub(self.guests_kib)
    }
}

/// The number after `NAME:` in a file of /proc.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn in_memory_slots_kib(smaps: &str) -> u64 {
    let mut sum = 0;
    let (mut from, mut to, mut resident) = (0, 0, 0);
    for line in smaps.lines() {
        if let Some((begin, end)) = bounds(line) {
            if begin != to {
                sum += if to - from >= MEMORY_SLOTS_BYTES_MIN {
                    resident
                } else {
                    0
                };
                (from, resident) = (begin, 0);
            }
            to = end;
        } else if let Some(kib) = field(line, "Rss") {
            resident += kib;
        }
    }
    sum + if to - from >= MEMORY_SLOTS_BYTES_MIN {
        resident
    } else {
        0
    }
}

/// Of a line such as `7f00-7fff rw-p 00000000 00:00 0`.
fn bounds(line: &str) -> Option<(u64, u64)> {
    let (begin, end) = line.split(' ').next()?.split_once('-')?;
    Some((u64::from_str_radix(begin, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 rw-p 00000000 00:00 0 [heap]\nSize: 8 kB\nRss:                8 kB\n\
100000000000-110000000000 ---p 00000000 00:00 0\nRss:                0 kB\n\
110000000000-110000010000 rw-p 00000000 00:01 7 /memfd:image\nRss:               64 kB\n\
110000010000-120000000000 rw-p 00000000 00:00 0\nRss:               16 kB\n\
7f0000000000-7f0000010000 rw-p 00000000 00:00 0\nRss:               32 kB\n";

    #[test]
    fn guests_pages_are_those_in_the_large_reservation() {
        assert_eq!(in_memory_slots_kib(SMAPS), 80);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        assert_eq!(field("VmRSSx:\t1 kB\nVmRSS:\t  4321 kB\n", "VmRSS"), Some(4321));
        assert_eq!(field("VmHWM:\t1 kB\n", "VmRSS"), None);
    }
}
