//! Events with an order key: of those with one key, one at a time is taken, the first of them first.

use std::collections::{BTreeMap, BTreeSet};

use mayfly_controller::ledger::Trigger;
use mayfly_controller::store::{ClaimedEvent, EventState, Lane, NewEvent, Outcome, Redrive, Store, StoredResult};
use mayfly_invoker_api::EventId;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::{Bed, DAY_MS, default, function};
use crate::events::{ended, event, event_id};

const OWNER: [u8; 6] = [1; 6];

fn ordered(number: u64, key: &str) -> NewEvent {
    NewEvent {
        source: Trigger::Queue,
        trigger: Some("on-order".to_owned()),
        order_key: Some(key.to_owned()),
        ..event(number, &function("hello"))
    }
}

fn lane() -> Lane {
    Lane::of(&default(), &function("hello"), Trigger::Queue, Some("on-order"))
}

async fn claim(store: &Store, count: u32) -> Vec<ClaimedEvent> {
    store
        .claim_events(&lane(), count, DAY_MS, OWNER, Some(1))
        .await
        .unwrap()
}

async fn state(store: &Store, number: u64) -> EventState {
    store.event(&default(), event_id(number)).await.unwrap().unwrap().state
}

fn done() -> Outcome {
    Outcome::Succeeded(StoredResult::empty())
}

pub(crate) async fn one_event_of_a_key_at_a_time(bed: Bed) {
    let store = &bed.store;
    let unordered = NewEvent {
        order_key: None,
        ..ordered(7, "")
    };
    let events = [
        ordered(1, "a"),
        ordered(2, "a"),
        ordered(3, "b"),
        ordered(4, "a"),
        unordered,
    ];
    store.accept(&events, &[]).await.unwrap();
    store.accept(&[ordered(5, "a")], &[]).await.unwrap();
    assert_eq!(state(store, 2).await, EventState::Held);
    let first = claim(store, 10).await;
    let mut ids: Vec<_> = first.iter().map(|event| event.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [event_id(1), event_id(3), event_id(7)]);
    assert_eq!(claim(store, 10).await.len(), 0, "the others wait for them");

    // One that is tried again keeps its place; one that has ended gives it up.
    let one = first.iter().find(|event| event.id == event_id(1)).unwrap();
    let again = Outcome::Retry { due_ms: DAY_MS };
    store.settle_events(&[ended(one, again, DAY_MS)]).await.unwrap();
    assert_eq!(state(store, 2).await, EventState::Held);
    let one = claim(store, 10).await;
    assert_eq!((one.len(), one[0].id), (1, event_id(1)));
    store
        .settle_events(&[ended(&one[0], Outcome::Dead, DAY_MS)])
        .await
        .unwrap();
    assert_eq!(state(store, 2).await, EventState::Queued);

    // One that is cancelled in its turn gives it up, too; one that was not at its turn changes nothing.
    store.cancel_event(&default(), event_id(4), DAY_MS).await.unwrap();
    assert_eq!(state(store, 5).await, EventState::Held);
    store.cancel_event(&default(), event_id(2), DAY_MS).await.unwrap();
    assert_eq!(state(store, 5).await, EventState::Queued);

    // One that is redriven waits for the one whose turn it is.
    let redrive = Redrive {
        version: None,
        due_ms: DAY_MS,
        expires_ms: DAY_MS + 1_000,
    };
    assert_eq!(
        store.redrive_events(&default(), &[event_id(1)], redrive).await.unwrap(),
        [lane()]
    );
    assert_eq!(state(store, 1).await, EventState::Held);
    let five = claim(store, 10).await;
    assert_eq!((five.len(), five[0].id), (1, event_id(5)));
    store.settle_events(&[ended(&five[0], done(), DAY_MS)]).await.unwrap();
    let one = claim(store, 10).await;
    assert_eq!((one.len(), one[0].id), (1, event_id(1)));
}

#[derive(Debug, Clone)]
enum Step {
    /// Accepts so many events of these keys in one transaction.
    Accept(Vec<u8>),
    Claim(u32),
    /// Ends some of those that run.
    End(Vec<(usize, u8)>),
    Cancel(usize),
    Redrive,
    /// Accepts and ends at the same moment, through two controllers.
    Both(Vec<u8>, Vec<(usize, u8)>),
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || prop::collection::vec(0..3_u8, 1..6);
    let ends = || prop::collection::vec((0..100_usize, 0..4_u8), 1..5);
    prop_oneof![
        3 => keys().prop_map(Step::Accept),
        3 => (1..5_u32).prop_map(Step::Claim),
        3 => ends().prop_map(Step::End),
        1 => (0..1_000_usize).prop_map(Step::Cancel),
        1 => Just(Step::Redrive),
        3 => (keys(), ends()).prop_map(|(keys, ends)| Step::Both(keys, ends)),
    ]
}

struct World {
    next: u64,
    keys: BTreeMap<EventId, u8>,
    running: Vec<ClaimedEvent>,
    /// Of each key, what was begun first, in order; what was redriven is not in it.
    begun: BTreeMap<u8, Vec<EventId>>,
    redriven: BTreeSet<EventId>,
}

impl World {
    fn events(&mut self, keys: &[u8]) -> Vec<NewEvent> {
        let make = |key: &u8| {
            self.next += 1;
            self.keys.insert(event_id(self.next), *key);
            ordered(self.next, &key.to_string())
        };
        keys.iter().map(make).collect()
    }

    fn ends(&mut self, ends: &[(usize, u8)]) -> Vec<mayfly_controller::store::Settlement> {
        let mut all = Vec::new();
        for (which, how) in ends {
            if self.running.is_empty() {
                break;
            }
            let event = self.running.remove(which % self.running.len());
            let outcome = match how {
                0 => Outcome::Retry { due_ms: DAY_MS },
                1 => Outcome::Dead,
                _ => done(),
            };
            all.push(ended(&event, outcome, DAY_MS + i64::try_from(self.next).unwrap()));
        }
        all
    }

    fn claimed(&mut self, claimed: Vec<ClaimedEvent>) {
        for event in claimed {
            let key = self.keys[&event.id];
            let others = self.running.iter().filter(|other| self.keys[&other.id] == key).count();
            assert_eq!(others, 0, "two of key {key} at once");
            let begun = self.begun.entry(key).or_default();
            if event.attempt == 1 && !self.redriven.contains(&event.id) {
                assert!(
                    begun.last().is_none_or(|last| *last < event.id),
                    "key {key} is out of order"
                );
                begun.push(event.id);
            }
            self.running.push(event);
        }
    }
}

/// Arbitrary lives of events with few keys: never two of one key at once, always in order, and none is left behind.
pub(crate) async fn order_holds_whatever_happens(bed: Bed) {
    let mut runner = TestRunner::new(Config::default());
    let other = bed.another_store().await;
    let mut world = World {
        next: 0,
        keys: BTreeMap::new(),
        running: Vec::new(),
        begun: BTreeMap::new(),
        redriven: BTreeSet::new(),
    };
    bed.store.stay_alive(OWNER, i64::MAX).await.unwrap();
    let steps = prop::collection::vec(step(), 150)
        .new_tree(&mut runner)
        .unwrap()
        .current();
    for step in &steps {
        play(&bed.store, &other, &mut world, step).await;
    }
    // Whatever was accepted is taken, if only what runs ends.
    for _ in 0..=world.keys.len() {
        let ends: Vec<_> = world.running.iter().map(|_| (0, 2)).collect();
        let ends = world.ends(&ends);
        bed.store.settle_events(&ends).await.unwrap();
        let claimed = claim(&bed.store, 10).await;
        world.claimed(claimed);
    }
    assert_eq!(world.running.len(), 0);
    assert_eq!(
        bed.store.count_waiting(&lane()).await.unwrap(),
        0,
        "somebody waits for ever: {steps:?}"
    );
}

async fn play(store: &Store, other: &Store, world: &mut World, step: &Step) {
    match step {
        Step::Accept(keys) => store.accept(&world.events(keys), &[]).await.unwrap(),
        Step::Claim(count) => {
            let claimed = claim(store, *count).await;
            world.claimed(claimed);
        }
        Step::End(ends) => {
            let ends = world.ends(ends);
            assert_eq!(store.settle_events(&ends).await.unwrap(), []);
        }
        Step::Cancel(which) => {
            if let Some(id) = world.keys.keys().nth(which % world.keys.len().max(1)).copied() {
                let running = world.running.iter().any(|event| event.id == id);
                if !running {
                    store.cancel_event(&default(), id, DAY_MS).await.unwrap();
                }
            }
        }
        Step::Redrive => {
            let dead = store
                .undelivered(&default(), &function("hello"), None, 100)
                .await
                .unwrap();
            world.redriven.extend(&dead);
            let redrive = Redrive {
                version: None,
                due_ms: DAY_MS,
                expires_ms: DAY_MS + 1_000,
            };
            store.redrive_events(&default(), &dead, redrive).await.unwrap();
        }
        Step::Both(keys, ends) => {
            let (events, ends) = (world.events(keys), world.ends(ends));
            let (accepted, settled) = tokio::join!(store.accept(&events, &[]), other.settle_events(&ends));
            accepted.unwrap();
            assert_eq!(settled.unwrap(), []);
        }
    }
}
