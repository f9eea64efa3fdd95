//! Requests with an Idempotency-Key, beside a model of what a client may see.

use std::collections::BTreeMap;

use mayfly_controller::store::{Begun, KeptAnswer, KeyedRequest};
use mayfly_invoker_api::Namespace;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::{Bed, DAY_MS, default, function};
use crate::events::{ONE, TWO, event};

const KEPT_MS: i64 = 1_000;

fn request<'a>(namespace: &'a Namespace, key: &'a str, hash: u8, now_ms: i64) -> KeyedRequest<'a> {
    KeyedRequest {
        namespace,
        key,
        hash: [hash; 32],
        expires_ms: now_ms + KEPT_MS,
    }
}

fn answer(number: u16) -> KeptAnswer {
    KeptAnswer {
        status: 200,
        head: "[]".to_owned(),
        body: number.to_be_bytes().to_vec(),
    }
}

pub(crate) async fn events_and_their_key_are_accepted_together(bed: Bed) {
    let namespace = default();
    let hello = function("hello");
    let accept = async |number: u64, hash, now_ms| {
        let request = request(&namespace, "key", hash, now_ms);
        bed.store
            .accept_keyed(
                request,
                &[event(2 * number, &hello), event(2 * number + 1, &hello)],
                &answer(u16::try_from(number).unwrap()),
                now_ms,
            )
            .await
            .unwrap()
    };
    assert_eq!(accept(1, 1, DAY_MS).await, Begun::First);
    assert_eq!(accept(2, 1, DAY_MS + 1).await, Begun::Answered(answer(1)));
    assert_eq!(accept(3, 2, DAY_MS + 2).await, Begun::Other);
    assert_eq!(
        bed.store.events(&namespace, None, None, None, 10).await.unwrap().len(),
        2
    );
    assert_eq!(accept(4, 2, DAY_MS + KEPT_MS).await, Begun::First, "its time is over");
    assert_eq!(
        bed.store.events(&namespace, None, None, None, 10).await.unwrap().len(),
        4
    );
    assert_eq!(bed.store.forget_keys(DAY_MS + KEPT_MS, 10).await.unwrap(), 0);
    assert_eq!(bed.store.forget_keys(DAY_MS + 2 * KEPT_MS, 10).await.unwrap(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    Begin { key: u8, hash: u8, owner: u8 },
    Finish { which: usize },
    GiveUp { which: usize },
    Die { owner: u8 },
    Pass { ms: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let index = || any::<prop::sample::Index>().prop_map(|index| index.index(1_000));
    prop_oneof![
        6 => (0..3_u8, 0..2_u8, 1..3_u8).prop_map(|(key, hash, owner)| Step::Begin { key, hash, owner }),
        3 => index().prop_map(|which| Step::Finish { which }),
        1 => index().prop_map(|which| Step::GiveUp { which }),
        1 => (1..3_u8).prop_map(|owner| Step::Die { owner }),
        2 => (1..700_i64).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// A key as the model sees it.
struct Known {
    hash: u8,
    owner: Option<u8>,
    answer: Option<KeptAnswer>,
    expires_ms: i64,
}

pub(crate) async fn keys_do_as_their_model(bed: Bed) {
    let mut runner = TestRunner::new(Config::default());
    for life in 0..16 {
        let steps = vec(step(), 50).new_tree(&mut runner).unwrap().current();
        play(&bed, life, &steps).await;
    }
}

async fn play(bed: &Bed, life: u16, steps: &[Step]) {
    let namespace = default();
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let mut running: Vec<(String, u8)> = Vec::new();
    let mut alive = [true; 3];
    let mut now_ms = DAY_MS;
    for owner in [ONE, TWO] {
        bed.store.stay_alive(owner, i64::MAX).await.unwrap();
    }
    for (number, step) in (0_u16..).zip(steps) {
        match *step {
            Step::Begin { key, hash, owner } if alive[usize::from(owner)] => {
                let key = format!("{life}-{key}");
                let begun = bed
                    .store
                    .begin_keyed(request(&namespace, &key, hash, now_ms), ([owner; 6], true), now_ms)
                    .await
                    .unwrap();
                let expected = match known.get(&key).filter(|known| known.expires_ms > now_ms) {
                    None => Begun::First,
                    Some(known) if known.hash != hash => Begun::Other,
                    Some(Known {
                        answer: Some(answer), ..
                    }) => Begun::Answered(answer.clone()),
                    Some(known) if known.owner.is_some_and(|owner| alive[usize::from(owner)]) => Begun::UnderWay,
                    Some(_) => Begun::First,
                };
                assert_eq!(begun, expected, "{:?}", &steps[..=usize::from(number)]);
                if begun == Begun::First {
                    running.retain(|(other, _)| *other != key);
                    running.push((key.clone(), owner));
                    let fresh = Known {
                        hash,
                        owner: Some(owner),
                        answer: None,
                        expires_ms: now_ms + KEPT_MS,
                    };
                    known.insert(key, fresh);
                }
            }
            Step::Finish { which } if !running.is_empty() => {
                let (key, owner) = running.remove(which % running.len());
                bed.store
                    .finish_keyed(&namespace, &key, [owner; 6], &answer(number))
                    .await
                    .unwrap();
                let known = known.get_mut(&key).unwrap();
                known.answer = Some(answer(number));
                known.owner = None;
            }
            Step::GiveUp { which } if !running.is_empty() => {
                let (key, owner) = running.remove(which % running.len());
                bed.store.give_up_keyed(&namespace, &key, [owner; 6]).await.unwrap();
                known.remove(&key);
            }
            Step::Die { owner } => {
                alive[usize::from(owner)] = false;
                running.retain(|(_, of)| *of != owner);
                bed.store.has_ended([owner; 6]).await.unwrap();
            }
            Step::Pass { ms } => now_ms += ms,
            Step::Begin { .. } | Step::Finish { .. } | Step::GiveUp { .. } => {}
        }
    }
}
