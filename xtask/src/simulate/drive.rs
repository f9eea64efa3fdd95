//! One policy over one trace at one budget.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use mayfly_warm_pool::{Bounds, Policy, Seat, Taken, Wanted, WarmPool};

use crate::simulate::traces::Trace;

/// How often instances that were idle for too long are looked for, as in the invoker.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// What a function's instances need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// Memory of one.
    pub(crate) bytes: u64,
    /// Time to make one.
    pub(crate) cost: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) calls: u64,
    pub(crate) cold: u64,
    /// Calls for which there was no memory, because all of it was running.
    pub(crate) refused: u64,
    /// Time that calls waited for an instance to be made.
    pub(crate) waited: Duration,
    /// Memory held, on average over time.
    pub(crate) mean_bytes: f64,
}

type Pool = WarmPool<u32, (), ()>;

/// A call that will end: when, and which entry of `running` it is.
type End = Reverse<(Duration, usize)>;

/// Drives `trace` through a pool. `needs` has one entry for each function.
pub(crate) fn drive(trace: &Trace, needs: &[Need], policy: Policy, memory_bytes: u64) -> Outcome {
    let bounds = Bounds {
        memory_bytes,
        idle_instances_max: usize::MAX,
        remembered_max: usize::MAX,
    };
    let mut run = Run {
        pool: WarmPool::new(policy, bounds),
        ends: BinaryHeap::new(),
        running: Vec::new(),
        free: Vec::new(),
        given_up: Vec::new(),
        next_expiry: EXPIRE_EVERY,
        seen_until: Duration::ZERO,
        byte_seconds: 0.0,
        outcome: Outcome::default(),
    };
    for call in &trace.calls {
        run.advance(call.at, needs);
        run.call(call.function, call.at, call.duration, needs);
    }
    run.advance(trace.length, needs);
    run.outcome.mean_bytes = run.byte_seconds / trace.length.as_secs_f64();
    run.outcome
}

struct Run {
    pool: Pool,
    ends: BinaryHeap<End>,
    running: Vec<Option<(u32, Seat<()>)>>,
    free: Vec<usize>,
    given_up: Vec<()>,
    next_expiry: Duration,
    seen_until: Duration,
    byte_seconds: f64,
    outcome: Outcome,
}

impl Run {
    fn call(&mut self, function: u32, now: Duration, duration: Duration, needs: &[Need]) {
        let need = needs[function as usize];
        self.outcome.calls += 1;
        let taken = self
            .pool
            .take(&function, u32::MAX, Wanted::Shared(None), now, &mut self.given_up);
        let (seat, ends_at) = match taken {
            Taken::Warm(seat, ()) => (seat, now + duration),
            Taken::Cold(mut seat) => {
                self.outcome.cold += 1;
                self.outcome.waited += need.cost;
                let cost_us = u64::try_from(need.cost.as_micros()).unwrap_or(u64::MAX);
                self.pool
                    .measured(&mut seat, need.bytes, cost_us, now, &mut self.given_up);
                (seat, now + need.cost + duration)
            }
            Taken::Full | Taken::NoRoom => {
                self.outcome.refused += 1;
                return;
            }
        };
        let entry = self.free.pop().unwrap_or_else(|| {
            self.running.push(None);
            self.running.len() - 1
        });
        self.running[entry] = Some((function, seat));
        self.ends.push(Reverse((ends_at, entry)));
    }

    /// Lets all happen that happens before `until`.
    fn advance(&mut self, until: Duration, needs: &[Need]) {
        loop {
            let next_end = self.ends.peek().map_or(Duration::MAX, |Reverse((at, _))| *at);
            let now = next_end.min(self.next_expiry);
            if now > until {
                break;
            }
            self.hold_until(now);
            if next_end > self.next_expiry {
                self.next_expiry += EXPIRE_EVERY;
                self.pool.expire(now, &mut self.given_up);
            } else if let Some(Reverse((_, entry))) = self.ends.pop()
                && let Some((function, seat)) = self.running[entry].take()
            {
                self.free.push(entry);
                let bytes = needs[function as usize].bytes;
                self.pool.put(seat, (), bytes, now, &mut self.given_up);
            }
            self.given_up.clear();
        }
        self.hold_until(until);
    }

    fn hold_until(&mut self, now: Duration) {
        let span = now.saturating_sub(self.seen_until).as_secs_f64();
        self.byte_seconds += self.pool.used_bytes() as f64 * span;
        self.seen_until = now;
    }
}
