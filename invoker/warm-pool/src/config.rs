//! Every bound of the pool, named with its unit.

use std::time::Duration;

/// How much the pool may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Memory of all instances, running and idle, in bytes.
    pub memory_bytes: u64,
    /// Instances that are idle at once.
    pub idle_instances_max: usize,
    /// Versions whose arrivals are remembered while they have no instance.
    pub remembered_max: usize,
}

/// What an instance of a version that never had one is taken for, in bytes, until it can be measured.
pub(crate) const UNKNOWN_INSTANCE_BYTES: u64 = 2 << 20;

/// Shorter pauses than this say nothing about when to give up: an instance is kept for so long in any case.
pub(crate) const IDLE_TIME_MIN: Duration = Duration::from_secs(60);
/// Longest time for which an idle instance is kept.
pub(crate) const IDLE_TIME_MAX: Duration = Duration::from_secs(4 * 3600);
/// Pauses that must have been seen before they decide.
pub(crate) const PAUSES_MIN: u32 = 8;
/// Pauses after which the older ones count half.
pub(crate) const PAUSES_MAX: u32 = 512;
/// Of a hundred pauses, how many an instance is to outlive.
pub(crate) const PAUSES_COVERED_PERCENT: u32 = 99;
/// How many times the pause that covers so many is waited for: who is later than ever is mostly a little late.
pub(crate) const PAUSE_MARGIN_TIMES: u32 = 2;
/// How many calls at once are followed, each with its own last end.
pub(crate) const LEVELS_MAX: usize = 32;
/// The pause that is assumed before the first call of a version.
pub(crate) const PAUSE_UNKNOWN: Duration = Duration::from_secs(30 * 60);
