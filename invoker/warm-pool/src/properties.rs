//! What holds after every step, whatever is done in whatever order.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::config::IDLE_TIME_MAX;
use crate::{Bounds, Policy, Seat, Taken, Wanted, WarmPool};

const MIB: u64 = 1 << 20;
const BUDGET: u64 = 64 * MIB;
const IDLE_INSTANCES_MAX: usize = 24;
const FIXED: Duration = Duration::from_secs(600);
const POLICIES: [Policy; 5] = [
    Policy::FixedTime(FIXED),
    Policy::LeastRecentlyUsed,
    Policy::GreedyDual,
    Policy::Histogram(FIXED),
    Policy::Learned,
];
const STEPS: u32 = 20_000;
const VERSIONS: u64 = 12;

/// SplitMix64: looks random, and is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// An instance that is used by somebody.
struct Running {
    seat: Seat<u64>,
    version: u64,
    part: Option<u64>,
    fresh: bool,
    instance: u64,
    bytes: u64,
}

/// The pool beside a plain account of where every instance is.
struct Model {
    policy: Policy,
    pool: WarmPool<u64, u64, u64>,
    numbers: Numbers,
    now: Duration,
    running: Vec<Running>,
    /// Version, part and bytes of what waits; the last end of each.
    idle: HashMap<u64, (u64, Option<u64>, u64, Duration)>,
    min_warm: HashMap<u64, u32>,
    given_up: HashSet<u64>,
    next_instance: u64,
}

fn max_instances(version: u64) -> u32 {
    if version.is_multiple_of(3) { 3 } else { u32::MAX }
}

impl Model {
    fn new(policy: Policy, seed: u64) -> Self {
        let bounds = Bounds {
            memory_bytes: BUDGET,
            idle_instances_max: IDLE_INSTANCES_MAX,
            remembered_max: 8,
        };
        Self {
            policy,
            pool: WarmPool::new(policy, bounds),
            numbers: Numbers(seed),
            now: Duration::ZERO,
            running: Vec::new(),
            idle: HashMap::new(),
            min_warm: HashMap::new(),
            given_up: HashSet::new(),
            next_instance: 0,
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.numbers.below(60_000));
        let mut given_up = Vec::new();
        match self.numbers.below(20) {
            0..8 => self.call(&mut given_up),
            8..15 => self.end(&mut given_up),
            15 => self.trap(),
            16 => {
                self.pool.expire(self.now, &mut given_up);
                self.check_expired(&given_up);
            }
            17 => {
                let version = self.numbers.below(VERSIONS);
                let count = u32::try_from(self.numbers.below(3)).unwrap();
                self.pool.keep_warm(&version, count);
                self.min_warm.insert(version, count);
            }
            18 => self.make_missing(&mut given_up),
            _ => {
                let version = self.numbers.below(VERSIONS);
                self.pool.let_go(|key| *key == version, &mut given_up);
                self.min_warm.remove(&version);
            }
        }
        for instance in given_up {
            assert!(self.idle.remove(&instance).is_some(), "only what waits can be given up");
            assert!(self.given_up.insert(instance), "given up twice");
        }
        self.check();
    }

    fn new_instance(&mut self) -> u64 {
        self.next_instance += 1;
        self.next_instance
    }

    fn call(&mut self, given_up: &mut Vec<u64>) {
        let version = self.numbers.below(VERSIONS);
        let part = version.is_multiple_of(4).then(|| self.numbers.below(3));
        let wanted = if self.numbers.below(10) == 0 {
            Wanted::Fresh
        } else {
            Wanted::Shared(part)
        };
        let alive = self.pool.counts(&version);
        match self
            .pool
            .take(&version, max_instances(version), wanted, self.now, given_up)
        {
            Taken::Warm(seat, instance) => {
                let (owner, its_part, bytes, _) = self.idle.remove(&instance).expect("handed out twice");
                assert_eq!(owner, version, "an instance of somebody else");
                assert!(its_part.is_none() || its_part == part, "an instance of other callers");
                assert_ne!(wanted, Wanted::Fresh);
                self.running.push(Running {
                    seat,
                    version,
                    part,
                    fresh: wanted == Wanted::Fresh,
                    instance,
                    bytes,
                });
            }
            Taken::Cold(mut seat) => {
                let (bytes, cost) = (self.numbers.below(6 * MIB), self.numbers.below(2_000));
                self.pool.measured(&mut seat, bytes, cost, self.now, given_up);
                let instance = self.new_instance();
                self.running.push(Running {
                    seat,
                    version,
                    part,
                    fresh: wanted == Wanted::Fresh,
                    instance,
                    bytes,
                });
            }
            Taken::Full => assert_eq!(alive.running, max_instances(version), "refused without need"),
            Taken::NoRoom => assert!(!self.running.is_empty(), "the only call was refused"),
        }
    }

    fn some_running(&mut self) -> Option<Running> {
        let count = self.running.len() as u64;
        let picked = (count > 0).then(|| self.numbers.below(count))?;
        Some(self.running.swap_remove(usize::try_from(picked).unwrap()))
    }

    fn end(&mut self, given_up: &mut Vec<u64>) {
        let Some(run) = self.some_running() else { return };
        let bytes = run.bytes + self.numbers.below(MIB);
        // One that was to be fresh serves nobody else: it is given up at once.
        self.idle.insert(run.instance, (run.version, run.part, bytes, self.now));
        self.pool.put(run.seat, run.instance, bytes, self.now, given_up);
        assert!(!run.fresh || given_up.contains(&run.instance));
    }

    fn trap(&mut self) {
        if let Some(run) = self.some_running() {
            self.pool.leave(run.seat, self.now);
        }
    }

    fn make_missing(&mut self, given_up: &mut Vec<u64>) {
        for version in self.pool.missing() {
            let Some(mut seat) = self.pool.take_missing(&version) else {
                continue;
            };
            if self.numbers.below(4) == 0 {
                self.pool.leave_unmade(seat);
                continue;
            }
            let bytes = self.numbers.below(6 * MIB);
            self.pool.measured(&mut seat, bytes, 100, self.now, given_up);
            let instance = self.new_instance();
            self.idle.insert(instance, (version, None, bytes, self.now));
            self.pool.put_unused(seat, instance, self.now, given_up);
        }
    }

    fn alive(&self, version: u64) -> u32 {
        let idle = self.idle.values().filter(|idle| idle.0 == version).count();
        let running = self.running.iter().filter(|run| run.version == version).count();
        u32::try_from(idle + running).unwrap()
    }

    /// Idle times are honoured: nothing goes too early, and nothing but what its owner wants stays too long.
    fn check_expired(&self, given_up: &[u64]) {
        let (earliest, latest) = match self.policy {
            Policy::FixedTime(time) => (time, time),
            Policy::LeastRecentlyUsed | Policy::GreedyDual => (Duration::MAX, Duration::MAX),
            Policy::Histogram(_) | Policy::Learned => (Duration::from_secs(60), IDLE_TIME_MAX),
        };
        for instance in given_up {
            assert!(self.now - self.idle[instance].3 >= earliest, "given up too early");
        }
        let stayed = self.idle.iter().filter(|(instance, _)| !given_up.contains(instance));
        for (_, (version, _, _, since)) in stayed {
            let gone = given_up.iter().filter(|gone| self.idle[gone].0 == *version).count();
            let alive = self.alive(*version) - u32::try_from(gone).unwrap();
            let wanted = self.min_warm.get(version).copied().unwrap_or(0);
            assert!(self.now - *since < latest || alive <= wanted, "kept too long");
            assert!(gone == 0 || alive >= wanted, "what its owner wants was given up");
        }
    }

    fn check(&self) {
        let bytes = |version: u64| -> u64 {
            let idle = self.idle.values().filter(|idle| idle.0 == version).map(|idle| idle.2);
            let running = self
                .running
                .iter()
                .filter(|run| run.version == version)
                .map(|run| run.bytes);
            idle.sum::<u64>() + running.sum::<u64>()
        };
        for version in 0..VERSIONS {
            let counts = self.pool.counts(&version);
            assert_eq!(counts.idle + counts.running, self.alive(version));
            assert_eq!(counts.bytes, bytes(version));
            assert!(
                self.alive(version) <= max_instances(version).max(self.min_warm.get(&version).copied().unwrap_or(0))
            );
        }
        let running: u64 = self.running.iter().map(|run| run.bytes).sum();
        assert_eq!(self.pool.used_bytes(), (0..VERSIONS).map(bytes).sum::<u64>());
        // Instances that run may have grown past the budget; then nothing else is kept.
        assert!(self.pool.used_bytes() <= BUDGET.max(running), "past the budget");
        assert_eq!(self.pool.idle_count(), self.idle.len());
        assert_eq!(self.pool.running_count(), self.running.len());
        assert!(self.pool.idle_count() <= IDLE_INSTANCES_MAX);
    }
}

#[test]
fn whatever_happens_the_rules_hold() {
    for policy in POLICIES {
        for seed in 0..4 {
            let mut model = Model::new(policy, seed);
            for _ in 0..STEPS {
                model.step();
            }
            assert!(model.given_up.len() > 100, "{policy:?}: it was never tight");
            let mut rest = Vec::new();
            while let Some(run) = model.running.pop() {
                model.pool.leave(run.seat, model.now);
            }
            model.pool.let_go(|_| true, &mut rest);
            assert_eq!((model.pool.used_bytes(), model.pool.running_count()), (0, 0));
        }
    }
}
