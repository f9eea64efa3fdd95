//! Lanes beside a plain model: queues that are counted, and nothing clever.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::{Lanes, Turn};

type Key = (u8, u8);

#[derive(Debug, Clone)]
enum Step {
    /// So many events come, of a function whose limit is now that.
    Come(Key, u32, u32),
    /// Turns are taken until there is none.
    Deliver,
    /// So many of those under way end, the oldest first.
    End(usize),
}

fn key() -> impl Strategy<Value = Key> {
    (0..3_u8, 0..3_u8)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (key(), 1..40_u32, 1..12_u32).prop_map(|(key, count, limit)| Step::Come(key, count, limit)),
        Just(Step::Deliver),
        (1..20_usize).prop_map(Step::End),
    ]
}

/// What the store would know.
#[derive(Default)]
struct World {
    queued: BTreeMap<Key, u32>,
    /// Of each function, what it may have under way at once.
    limits: BTreeMap<Key, u32>,
    under_way: Vec<Key>,
}

impl World {
    fn deliver(&mut self, lanes: &mut Lanes<u8, u8>) {
        while let Some(turn) = lanes.turn() {
            self.take(lanes, &turn);
        }
    }

    fn take(&mut self, lanes: &mut Lanes<u8, u8>, turn: &Turn<u8, u8>) -> u32 {
        assert!(turn.count > 0, "a turn for nothing would go on for ever");
        let key = (turn.namespace, turn.function);
        let queued = self.queued.entry(key).or_default();
        let taken = turn.count.min(*queued);
        *queued -= taken;
        self.under_way.extend((0..taken).map(|_| key));
        lanes.took(turn, taken, taken == turn.count);
        let most = self.limits.get(&key).copied().unwrap_or(u32::MAX);
        assert!(
            taken == 0 || self.count(|running| *running == key) <= most,
            "more than its limit"
        );
        taken
    }

    fn count(&self, of: impl Fn(&Key) -> bool) -> u32 {
        u32::try_from(self.under_way.iter().filter(|key| of(key)).count()).unwrap()
    }

    fn end_oldest(&mut self, lanes: &mut Lanes<u8, u8>) {
        let (namespace, function) = self.under_way.remove(0);
        lanes.done(&namespace, &function);
    }
}

proptest! {
    #[test]
    fn limits_hold_and_nothing_is_left_behind(slots in 1..24_u32, steps in vec(step(), 1..60)) {
        let mut lanes = Lanes::new(slots);
        let mut world = World::default();
        for step in steps {
            match step {
                Step::Come(key, count, limit) => {
                    *world.queued.entry(key).or_default() += count;
                    world.limits.insert(key, limit);
                    lanes.offer(&key.0, &key.1, limit);
                }
                Step::Deliver => world.deliver(&mut lanes),
                Step::End(count) => {
                    for _ in 0..count.min(world.under_way.len()) {
                        world.end_oldest(&mut lanes);
                    }
                }
            }
            prop_assert_eq!(lanes.in_flight(), world.count(|_| true));
            prop_assert!(lanes.in_flight() <= slots);
            for namespace in 0..3 {
                let most = (slots - slots / 4).max(1);
                prop_assert!(world.count(|key| key.0 == namespace) <= most);
                for function in 0..3 {
                    prop_assert!(world.count(|key| *key == (namespace, function)) <= (most - most / 4).max(1));
                }
            }
        }
        // Whatever came is delivered, if only what runs ends.
        let left = world.queued.values().sum::<u32>() + world.count(|_| true);
        for _ in 0..left {
            world.deliver(&mut lanes);
            prop_assert!(!world.under_way.is_empty(), "{:?} is left behind", world.queued);
            world.end_oldest(&mut lanes);
        }
        prop_assert_eq!(world.queued.values().sum::<u32>(), 0);
    }

    /// A namespace with a hundred times the work gets no more than the others while they have any.
    #[test]
    fn who_has_work_gets_as_much_as_the_others(slots in 100..400_u32, ends in vec(1..50_usize, 50..200)) {
        let mut lanes = Lanes::new(slots);
        let mut world = World::default();
        for (key, count) in [((0, 1), 100_000), ((0, 2), 100_000), ((1, 1), 2_000), ((2, 1), 2_000)] {
            world.queued.insert(key, count);
            lanes.offer(&key.0, &key.1, 1_000);
        }
        let mut taken = [0_u32; 3];
        for count in ends {
            while let Some(turn) = lanes.turn() {
                taken[usize::from(turn.namespace)] += world.take(&mut lanes, &turn);
            }
            for _ in 0..count.min(world.under_way.len()) {
                world.end_oldest(&mut lanes);
            }
        }
        let (least, most) = (taken.iter().min().unwrap(), taken.iter().max().unwrap());
        // Some rounds apart: who holds as many slots as it may is passed over.
        prop_assert!(most - least <= 64 + most / 50, "{:?}", taken);
    }
}
