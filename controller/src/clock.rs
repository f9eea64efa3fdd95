//! Time and randomness, passed in so that tests can drive them.

use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use mayfly_invoker_api::{EventId, InvocationId};

/// Wall-clock time.
pub trait Clock: Debug + Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> i64;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else is given")]
    fn unix_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Bytes that nobody can guess.
pub trait Random: Debug + Send + Sync {
    /// New ones, enough for a secret.
    ///
    /// # Errors
    /// When the system has none.
    fn secret(&self) -> io::Result<[u8; 32]>;
}

/// The random numbers of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn secret(&self) -> io::Result<[u8; 32]> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

/// Makes ids of invocations and events: unique, and in the order of time, without a call into the kernel for each.
#[derive(Debug)]
pub(crate) struct Ids {
    /// Tells this process from all others.
    process: [u8; 6],
    counter: AtomicU32,
}

impl Ids {
    pub(crate) fn new(process: [u8; 6]) -> Self {
        Self {
            process,
            counter: AtomicU32::new(0),
        }
    }

    /// The id of an invocation that begins now.
    pub(crate) fn invocation(&self, unix_ms: i64) -> InvocationId {
        InvocationId::new(u64::try_from(unix_ms).unwrap_or(0), self.random())
    }

    /// The id of an event that is accepted now.
    pub(crate) fn event(&self, unix_ms: i64) -> EventId {
        EventId::new(u64::try_from(unix_ms).unwrap_or(0), self.random())
    }

    fn random(&self) -> [u8; 10] {
        let mut random = [0; 10];
        // The counter last, where a UUID has no bits of its own: ids of one process and millisecond stay in order, and
        // people can tell two of them apart by their end.
        random[..6].copy_from_slice(&self.process);
        random[6..].copy_from_slice(&self.counter.fetch_add(1, Relaxed).to_be_bytes());
        random
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_one_millisecond_differ() {
        let ids = Ids::new([7; 6]);
        let made: HashSet<_> = (0..100_000).map(|_| ids.invocation(1_700_000_000_000)).collect();
        assert_eq!(made.len(), 100_000);
    }
}
