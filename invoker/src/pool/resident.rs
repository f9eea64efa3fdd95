//! How much of their memory the instances have really touched.
//!
//! A guest's memory is counted by its size, but only the pages that were written take up room: of a Rust guest's 1.1 MiB,
//! some 40 KiB. What one instance has touched cannot be asked for cheaply. What all of them have touched can: it is the
//! process's own memory without what else is in it. From both sums comes the share that is really there, and with it
//! the budget is stretched. It shrinks at once when more turns out to be there, and grows slowly.

/// Of a thousand bytes of memory, how many are taken to be really there at least.
const SHARE_MIN_PERMILLE: u64 = 20;
/// A look at the memory counts for one in so many.
const LOOKS_AVERAGED: u64 = 8;

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Resident {
    memory_bytes: u64,
    /// Of a thousand bytes of memory, how many are really there.
    share_permille: u64,
}

impl Resident {
    pub(super) fn new(memory_bytes: u64) -> Self {
        Self {
            memory_bytes,
            share_permille: 1_000,
        }
    }

    /// So much of `bytes` is really there.
    pub(super) fn of(&self, bytes: u64) -> u64 {
        let share = u128::from(bytes) * u128::from(self.share_permille) / 1_000;
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// The budget for sizes of memory, now that instances of `used_bytes` together are seen to hold `resident_bytes`.
    pub(super) fn budget(&mut self, used_bytes: u64, resident_bytes: Option<u64>) -> u64 {
        if let Some(resident_bytes) = resident_bytes
            && used_bytes > 0
        {
            let seen = u128::from(resident_bytes) * 1_000 / u128::from(used_bytes);
            let seen = u64::try_from(seen).unwrap_or(u64::MAX).clamp(SHARE_MIN_PERMILLE, 1_000);
            self.share_permille = if seen >= self.share_permille {
                seen
            } else {
                (self.share_permille * (LOOKS_AVERAGED - 1) + seen) / LOOKS_AVERAGED
            };
        }
        let budget = u128::from(self.memory_bytes) * 1_000 / u128::from(self.share_permille);
        u64::try_from(budget).unwrap_or(u64::MAX)
    }
}

/// Memory of this process that no file is behind, in bytes: what its instances have written is in it. `None` where the
/// system does not tell.
pub(crate) fn anonymous_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_for_what_is_really_there() {
        let mut resident = Resident::new(1_000);
        assert_eq!(resident.budget(0, Some(5)), 1_000, "nothing is known yet");
        for _ in 0..100 {
            resident.budget(800, Some(80));
        }
        let budget = resident.budget(800, Some(80));
        assert!((9_000..=10_000).contains(&budget), "{budget}");
        assert!((80..=90).contains(&resident.of(800)), "{}", resident.of(800));
        // At once, when they begin to write.
        assert_eq!(resident.budget(800, Some(800)), 1_000);
        assert_eq!(
            resident.budget(800, Some(8_000)),
            1_000,
            "no more than everything is there"
        );
    }

    #[test]
    fn a_system_that_does_not_tell_is_taken_at_the_worst() {
        assert_eq!(Resident::new(1_000).budget(800, None), 1_000);
    }

    #[test]
    fn what_is_written_is_seen() {
        let before = anonymous_bytes().expect("Linux tells");
        let written = vec![1_u8; 64 << 20];
        let after = anonymous_bytes().expect("Linux tells");
        assert!(std::hint::black_box(&written).len() == 64 << 20 && after >= before + (48 << 20));
    }
}
