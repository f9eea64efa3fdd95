//! The queue beside a model of it: arbitrary lives of events, processes that die, attempts that come back from the dead.

use std::collections::{BTreeMap, BTreeSet};

use mayfly_controller::store::{ClaimedEvent, EventState, Outcome, StoredResult, UsageBy};
use mayfly_invoker_api::{EventId, FunctionName};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::{Bed, DAY_MS, default, function};
use crate::events::{ended, event, event_id, lane};

/// Lives that are played, and steps of each.
const LIVES: u32 = 24;
const STEPS: usize = 60;

#[derive(Debug, Clone)]
enum Step {
    Accept {
        delay_ms: i64,
    },
    Claim {
        owner: u8,
        count: u32,
    },
    /// Ends attempts that were claimed, perhaps long ago, in one transaction; perhaps one of them twice.
    End {
        which: Vec<usize>,
        how: How,
    },
    Die {
        owner: u8,
    },
    TakeOver,
    Cancel {
        which: usize,
    },
    Pass {
        ms: i64,
    },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Well,
    Again,
    Dead,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..50_i64).prop_map(|delay_ms| Step::Accept { delay_ms }),
        3 => (1..3_u8, 1..4_u32).prop_map(|(owner, count)| Step::Claim { owner, count }),
        4 => (vec(0..1_000_usize, 1..4), prop_oneof![Just(How::Well), Just(How::Again), Just(How::Dead)])
            .prop_map(|(which, how)| Step::End { which, how }),
        1 => (1..3_u8).prop_map(|owner| Step::Die { owner }),
        1 => Just(Step::TakeOver),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Cancel { which: which.index(1_000) }),
        2 => (1..30_i64).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// What an event is, as the model sees it.
#[derive(Debug)]
struct Life {
    state: EventState,
    attempts: u32,
    due_ms: i64,
    owner: Option<u8>,
    cancel_asked: bool,
}

struct Model {
    of: FunctionName,
    now_ms: i64,
    lives: BTreeMap<EventId, Life>,
    /// Every attempt that ever began.
    claims: Vec<ClaimedEvent>,
    alive: [bool; 3],
    /// Entries that the ledger must have.
    entries: u64,
}

pub(crate) async fn the_queue_does_as_its_model(bed: Bed) {
    let mut runner = TestRunner::new(Config::default());
    let mut number = 0;
    for life in 0..LIVES {
        let steps = vec(step(), STEPS).new_tree(&mut runner).unwrap().current();
        let mut model = Model {
            of: function(&format!("life-{life}")),
            now_ms: DAY_MS,
            lives: BTreeMap::new(),
            claims: Vec::new(),
            alive: [true; 3],
            entries: 0,
        };
        for owner in 1..3 {
            bed.store.stay_alive([owner; 6], i64::MAX).await.unwrap();
        }
        for (at, step) in steps.iter().enumerate() {
            number += 1;
            model.play(&bed, step, number).await;
            model.compare(&bed, &steps[..=at]).await;
        }
        // The next life begins with an empty queue, or its own would take over what this one has left.
        model.end_all(&bed).await;
    }
}

impl Model {
    async fn play(&mut self, bed: &Bed, step: &Step, number: u64) {
        match step {
            &Step::Accept { delay_ms } => {
                let mut new = event(number, &self.of);
                new.due_ms = self.now_ms + delay_ms;
                bed.store.accept(&[new.clone()], &[]).await.unwrap();
                let life = Life {
                    state: EventState::Queued,
                    attempts: 0,
                    due_ms: new.due_ms,
                    owner: None,
                    cancel_asked: false,
                };
                self.lives.insert(event_id(number), life);
            }
            &Step::Claim { owner, count } if self.alive[usize::from(owner)] => self.claim(bed, owner, count).await,
            Step::End { which, how } if !self.claims.is_empty() => {
                let claims = which.iter().map(|which| self.claims[which % self.claims.len()].clone());
                self.end(bed, &claims.collect::<Vec<_>>(), *how).await;
            }
            &Step::Die { owner } => {
                bed.store.has_ended([owner; 6]).await.unwrap();
                self.alive[usize::from(owner)] = false;
            }
            Step::TakeOver => self.take_over(bed).await,
            &Step::Cancel { which } if !self.lives.is_empty() => {
                let id = *self.lives.keys().nth(which % self.lives.len()).unwrap();
                bed.store.cancel_event(&default(), id, self.now_ms).await.unwrap();
                let life = self.lives.get_mut(&id).unwrap();
                match life.state {
                    EventState::Queued => life.state = EventState::Cancelled,
                    EventState::Leased => life.cancel_asked = true,
                    _ => {}
                }
            }
            &Step::Pass { ms } => self.now_ms += ms,
            Step::Claim { .. } | Step::End { .. } | Step::Cancel { .. } => {}
        }
    }

    async fn claim(&mut self, bed: &Bed, owner: u8, count: u32) {
        let claimed = bed
            .store
            .claim_events(&lane(&self.of), count, self.now_ms, [owner; 6], Some(1))
            .await
            .unwrap();
        let mut due: Vec<i64> = self
            .lives
            .values()
            .filter(|life| life.state == EventState::Queued && life.due_ms <= self.now_ms)
            .map(|life| life.due_ms)
            .collect();
        due.sort_unstable();
        due.truncate(count as usize);
        let got: Vec<i64> = claimed.iter().map(|event| event.due_ms).collect();
        assert_eq!(got, due, "those that were due first, and as many as may be");
        for event in &claimed {
            let life = self.lives.get_mut(&event.id).unwrap();
            assert_eq!(life.state, EventState::Queued);
            life.state = EventState::Leased;
            life.attempts += 1;
            life.owner = Some(owner);
            assert_eq!(event.attempt, life.attempts);
        }
        self.claims.extend(claimed);
    }

    async fn end(&mut self, bed: &Bed, claims: &[ClaimedEvent], how: How) {
        let due_ms = self.now_ms + 10;
        let outcome = match how {
            How::Well => Outcome::Succeeded(StoredResult::empty()),
            How::Again => Outcome::Retry { due_ms },
            How::Dead => Outcome::Dead,
        };
        let batch: Vec<_> = claims
            .iter()
            .map(|claim| ended(claim, outcome.clone(), self.now_ms))
            .collect();
        let mut stale = bed.store.settle_events(&batch).await.unwrap();
        let mut expected = Vec::new();
        let mut seen = BTreeSet::new();
        for claim in claims.iter().filter(|claim| seen.insert((claim.id, claim.attempt))) {
            let life = self.lives.get_mut(&claim.id).unwrap();
            if life.state != EventState::Leased || life.attempts != claim.attempt {
                expected.push(claim.id);
                continue;
            }
            self.entries += 1;
            life.owner = None;
            life.state = match how {
                How::Well => EventState::Succeeded,
                How::Again if life.cancel_asked => EventState::Cancelled,
                How::Again => EventState::Queued,
                How::Dead => EventState::Dead,
            };
            life.due_ms = due_ms;
        }
        stale.sort_unstable();
        expected.sort_unstable();
        assert_eq!(stale, expected, "only the current attempt of an event counts");
    }

    /// Whoever finds the orphans ends their attempts.
    async fn take_over(&mut self, bed: &Bed) {
        let orphans = bed.store.orphans(self.now_ms, 1_000).await.unwrap();
        let mut found: Vec<_> = orphans.iter().map(|event| event.id).collect();
        found.sort_unstable();
        let dead = |life: &Life| life.owner.is_some_and(|owner| !self.alive[usize::from(owner)]);
        let expected: Vec<_> = self
            .lives
            .iter()
            .filter(|(_, life)| dead(life))
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(found, expected, "what the dead held, and nothing else");
        self.end(bed, &orphans, How::Again).await;
        for owner in 1..3 {
            self.alive[usize::from(owner)] = true;
            bed.store.stay_alive([owner; 6], i64::MAX).await.unwrap();
        }
    }

    async fn compare(&self, bed: &Bed, steps: &[Step]) {
        let found = bed
            .store
            .events(&default(), Some(&self.of), None, None, 1_000)
            .await
            .unwrap();
        assert_eq!(found.len(), self.lives.len(), "{steps:?}");
        for event in found {
            let life = &self.lives[&event.id];
            assert_eq!((event.state, event.attempts), (life.state, life.attempts), "{steps:?}");
        }
        let rows = bed
            .store
            .usage(&default(), UsageBy::Function, None, None)
            .await
            .unwrap();
        let mine = rows
            .iter()
            .find(|row| row.function.as_deref() == Some(self.of.as_str()));
        assert_eq!(mine.map_or(0, |row| row.invocations), self.entries, "{steps:?}");
    }

    async fn end_all(&mut self, bed: &Bed) {
        self.end(bed, &self.claims.clone(), How::Dead).await;
    }
}
