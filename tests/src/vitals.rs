//! What a process holds of the machine, as the kernel counts it.

use std::fmt;
use std::fs;

/// Memory, descriptors and threads of one process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// Memory that is there, in bytes.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Vitals {
    /// Reads them.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    pub fn of(process: u32) -> Self {
        let entries = |folder: &str| {
            let entries =
                fs::read_dir(format!("/proc/{process}/{folder}")).expect("a process that runs has this folder");
            entries.count()
        };
        let pages = fs::read_to_string(format!("/proc/{process}/statm")).expect("a process that runs has this file");
        let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Self {
            resident_bytes: pages.expect("the second number") * rustix::param::page_size() as u64,
            descriptors: entries("fd"),
            threads: entries("task"),
        }
    }
}

/// Forgets how much memory the process has held at most.
///
/// # Panics
/// When there is no such process.
pub fn forget_peak(process: u32) {
    fs::write(format!("/proc/{process}/clear_refs"), "5").expect("a process that runs has this file");
}

/// The most memory that the process has held since its start or since [`forget_peak`], in bytes.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn peak_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process that runs has this file");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a number of KiB") << 10
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} MiB, {} descriptors, {} threads",
            self.resident_bytes >> 20,
            self.descriptors,
            self.threads
        )
    }
}
