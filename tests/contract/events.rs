//! Events: accepted, claimed, ended, taken over.

use std::sync::Arc;

use bytes::Bytes;
use mayfly_controller::ledger::Trigger;
use mayfly_controller::store::{
    Arrival, ClaimedEvent, EventState, FailedAttempt, Lane, NewEvent, Outcome, Redrive, Settlement, StoredResult,
    UsageBy,
};
use mayfly_invoker_api::{EventId, FunctionName};

use crate::bed::{Bed, DAY_MS, default, function, record};

pub(crate) const ONE: [u8; 6] = [1; 6];
pub(crate) const TWO: [u8; 6] = [2; 6];
const HOUR_MS: i64 = 3_600_000;

/// Ids in the order of `number`.
pub(crate) fn event_id(number: u64) -> EventId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    EventId::new(DAY_MS.unsigned_abs(), random)
}

/// Due at once, for `function`.
pub(crate) fn event(number: u64, of: &FunctionName) -> NewEvent {
    NewEvent {
        id: event_id(number),
        namespace: default(),
        function: of.clone(),
        pinned_version: None,
        source: Trigger::Direct,
        trigger: None,
        created_ms: DAY_MS,
        due_ms: DAY_MS,
        expires_ms: DAY_MS + HOUR_MS,
        depth: 0,
        order_key: None,
        envelope: r#"{"shape":"payload"}"#.to_owned(),
        payload: Bytes::from(format!("{{\"n\":{number}}}")),
    }
}

/// Where the events of a function wait.
pub(crate) fn lane(of: &FunctionName) -> Lane {
    Lane::of(&default(), of, Trigger::Direct, None)
}

/// The end of an attempt, with an entry for the ledger.
pub(crate) fn ended(event: &ClaimedEvent, outcome: Outcome, now_ms: i64) -> Settlement {
    let failed = !matches!(outcome, Outcome::Succeeded(_));
    let mut entry = record(u64::from(event.attempt));
    let [.., last] = *event.id.as_bytes();
    entry.id = mayfly_invoker_api::InvocationId::new(
        u64::try_from(now_ms).unwrap(),
        [0, 0, 0, 0, 0, 0, 0, 0, last, u8::try_from(event.attempt).unwrap()],
    );
    entry.function = event.function.clone();
    entry.event_id = Some(event.id.to_string());
    entry.attempt = event.attempt;
    Settlement {
        id: event.id,
        lane: event.lane(),
        order_key: event.order_key.clone(),
        batch_max: event.batch_max,
        attempt: event.attempt,
        outcome,
        burned: event.burned + u32::from(failed),
        interrupted: event.interrupted,
        ended_ms: now_ms,
        payload_apart: event.payload.is_none(),
        failed: failed.then(|| FailedAttempt {
            attempt: event.attempt,
            invocation_id: Some(entry.id),
            version: event.version,
            started_ms: event.leased_ms,
            ended_ms: now_ms,
            error_code: "function_failed".to_owned(),
            error_message: "it said no".to_owned(),
        }),
        record: Some(Arc::new(entry)),
        follow_ups: Arrival::default(),
    }
}

fn result(text: &str) -> Outcome {
    Outcome::Succeeded(StoredResult {
        http_status: Some(200),
        content_type: Some("application/json".to_owned()),
        bytes: text.len() as u64,
        body: Some(Bytes::from(text.to_owned())),
    })
}

async fn claim(bed: &Bed, of: &FunctionName, count: u32, now_ms: i64, owner: [u8; 6]) -> Vec<ClaimedEvent> {
    let claimed = bed.store.claim_events(&lane(of), count, now_ms, owner, Some(1)).await;
    claimed.unwrap()
}

async fn invocations(bed: &Bed) -> u64 {
    let rows = bed
        .store
        .usage(&default(), UsageBy::Function, None, None)
        .await
        .unwrap();
    rows.iter().map(|row| row.invocations).sum()
}

pub(crate) async fn an_event_lives_from_its_acceptance_to_its_result(bed: Bed) {
    let hello = function("hello");
    bed.store.accept(&[event(1, &hello)], &[]).await.unwrap();
    let queued = bed.store.event(&default(), event_id(1)).await.unwrap().unwrap();
    assert_eq!(
        (queued.state, queued.attempts, queued.payload_bytes),
        (EventState::Queued, 0, 7)
    );

    let claimed = claim(&bed, &hello, 10, DAY_MS, ONE).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].attempt, claimed[0].version), (1, Some(1)));
    assert_eq!(claimed[0].payload.as_deref(), Some(&b"{\"n\":1}"[..]));
    assert!(
        claim(&bed, &hello, 10, DAY_MS, TWO).await.is_empty(),
        "nobody gets it twice"
    );

    let stale = bed
        .store
        .settle_events(&[ended(&claimed[0], result("[1]"), DAY_MS + 5)])
        .await
        .unwrap();
    assert_eq!(stale, []);
    let done = bed.store.event(&default(), event_id(1)).await.unwrap().unwrap();
    assert_eq!((done.state, done.ended_ms), (EventState::Succeeded, Some(DAY_MS + 5)));
    assert_eq!(done.result.unwrap().body.as_deref(), Some(&b"[1]"[..]));
    assert_eq!(invocations(&bed).await, 1, "its entry in the ledger came with it");
}

pub(crate) async fn an_attempt_that_is_not_the_current_one_changes_nothing(bed: Bed) {
    let hello = function("hello");
    bed.store.accept(&[event(1, &hello)], &[]).await.unwrap();
    let first = claim(&bed, &hello, 1, DAY_MS, ONE).await.remove(0);
    let retry = Outcome::Retry { due_ms: DAY_MS + 10 };
    assert_eq!(
        bed.store.settle_events(&[ended(&first, retry, DAY_MS)]).await.unwrap(),
        []
    );
    assert!(
        claim(&bed, &hello, 1, DAY_MS + 9, TWO).await.is_empty(),
        "it is not due yet"
    );
    let second = claim(&bed, &hello, 1, DAY_MS + 10, TWO).await.remove(0);
    assert_eq!((second.attempt, second.burned), (2, 1));

    // Two others are ended in the same transaction, and they count.
    bed.store
        .accept(&[event(2, &hello), event(3, &hello)], &[])
        .await
        .unwrap();
    let others = claim(&bed, &hello, 2, DAY_MS + 10, ONE).await;
    let batch = [
        ended(&others[0], result("2"), DAY_MS + 20),
        ended(&first, result("late"), DAY_MS + 20),
        ended(&others[1], result("3"), DAY_MS + 20),
    ];
    assert_eq!(bed.store.settle_events(&batch).await.unwrap(), [event_id(1)]);
    assert_eq!(
        bed.store.settle_events(&batch).await.unwrap().len(),
        3,
        "said twice, it changes nothing"
    );
    assert_eq!(invocations(&bed).await, 3);
    let running = bed.store.event(&default(), event_id(1)).await.unwrap().unwrap();
    assert_eq!((running.state, running.attempts), (EventState::Leased, 2));
    assert_eq!(bed.store.failed_attempts(event_id(1)).await.unwrap().len(), 1);
}

pub(crate) async fn what_a_dead_process_held_is_anybodys(bed: Bed) {
    let hello = function("hello");
    let events: Vec<_> = (0..3).map(|number| event(number, &hello)).collect();
    bed.store.accept(&events, &[]).await.unwrap();
    bed.store.stay_alive(ONE, DAY_MS + 100).await.unwrap();
    bed.store.stay_alive(TWO, DAY_MS + 1_000).await.unwrap();
    claim(&bed, &hello, 2, DAY_MS, ONE).await;
    claim(&bed, &hello, 1, DAY_MS, TWO).await;
    assert_eq!(bed.store.orphans(DAY_MS + 100, 10).await.unwrap().len(), 0);
    assert_eq!(bed.store.orphans(DAY_MS + 101, 10).await.unwrap().len(), 2);
    bed.store.has_ended(TWO).await.unwrap();
    let orphans = bed.store.orphans(DAY_MS, 10).await.unwrap();
    assert_eq!(orphans.len(), 1);
    assert_eq!((orphans[0].attempt, orphans[0].version), (1, Some(1)));
}

pub(crate) async fn lanes_are_found_whatever_their_number(bed: Bed) {
    let names: Vec<_> = (0..40).map(|number| function(&format!("f-{number:02}"))).collect();
    for (number, name) in (0..).zip(&names) {
        let mut event = event(number, name);
        event.due_ms += i64::try_from(number).unwrap();
        let later = NewEvent {
            id: event_id(1_000 + number),
            due_ms: DAY_MS + HOUR_MS,
            ..event.clone()
        };
        bed.store.accept(&[later, event], &[]).await.unwrap();
    }
    claim(&bed, &names[7], 1, DAY_MS + 7, ONE).await;
    let lanes = bed.store.lanes().await.unwrap();
    assert_eq!(
        lanes.iter().map(|due| due.lane.function.clone()).collect::<Vec<_>>(),
        names
    );
    assert_eq!(lanes[3].due_ms, DAY_MS + 3);
    assert_eq!(lanes[7].due_ms, DAY_MS + HOUR_MS);
}

pub(crate) async fn a_large_payload_comes_back_and_goes_with_its_event(bed: Bed) {
    let hello = function("hello");
    let payload = Bytes::from(vec![7; 100_000]);
    let large = NewEvent {
        payload: payload.clone(),
        ..event(1, &hello)
    };
    bed.store.accept(&[large], &[]).await.unwrap();
    let claimed = claim(&bed, &hello, 1, DAY_MS, ONE).await.remove(0);
    assert_eq!(claimed.payload, None);
    assert_eq!(bed.store.event_payload(event_id(1)).await.unwrap(), payload);
    bed.store
        .settle_events(&[ended(&claimed, result("1"), DAY_MS)])
        .await
        .unwrap();
    assert!(bed.store.event_payload(event_id(1)).await.is_err());
}

pub(crate) async fn an_event_is_cancelled_wherever_it_is(bed: Bed) {
    let hello = function("hello");
    bed.store
        .accept(&[event(1, &hello), event(2, &hello)], &[])
        .await
        .unwrap();
    let cancel = async |number| {
        bed.store
            .cancel_event(&default(), event_id(number), DAY_MS + 1)
            .await
            .unwrap()
    };
    let running = claim(&bed, &hello, 1, DAY_MS, ONE).await.remove(0);
    let waiting = if running.id == event_id(1) { 2 } else { 1 };
    assert_eq!(cancel(waiting).await, Some(EventState::Cancelled));
    assert!(claim(&bed, &hello, 5, DAY_MS, ONE).await.is_empty());
    assert_eq!(cancel(3 - waiting).await, Some(EventState::Leased));
    assert_eq!(bed.store.cancellations(ONE).await.unwrap(), [running.id]);
    assert_eq!(bed.store.cancellations(TWO).await.unwrap(), []);
    // Its attempt failed before it could be stopped: it is not tried again.
    let retry = Outcome::Retry { due_ms: DAY_MS };
    bed.store
        .settle_events(&[ended(&running, retry, DAY_MS + 2)])
        .await
        .unwrap();
    let stopped = bed.store.event(&default(), running.id).await.unwrap().unwrap();
    assert_eq!(
        (stopped.state, stopped.ended_ms),
        (EventState::Cancelled, Some(DAY_MS + 2))
    );
    assert_eq!(cancel(9).await, None);
}

pub(crate) async fn dead_letters_are_run_again_or_thrown_away(bed: Bed) {
    let hello = function("hello");
    let events: Vec<_> = (0..3).map(|number| event(number, &hello)).collect();
    bed.store.accept(&events, &[]).await.unwrap();
    let outcomes = [Outcome::Dead, Outcome::Expired, result("1")];
    let claimed = claim(&bed, &hello, 3, DAY_MS, ONE).await;
    let batch: Vec<_> = claimed
        .iter()
        .zip(outcomes)
        .map(|(event, outcome)| ended(event, outcome, DAY_MS))
        .collect();
    bed.store.settle_events(&batch).await.unwrap();
    let letters = bed.store.undelivered(&default(), &hello, None, 10).await.unwrap();
    assert_eq!(letters.len(), 2);
    let redrive = Redrive {
        version: Some(7),
        due_ms: DAY_MS + 5,
        expires_ms: DAY_MS + HOUR_MS,
    };
    let all: Vec<_> = claimed.iter().map(|event| event.id).collect();
    assert_eq!(
        bed.store.redrive_events(&default(), &all, redrive).await.unwrap().len(),
        2,
        "what succeeded is left alone"
    );
    let again = claim(&bed, &hello, 3, DAY_MS + 5, ONE).await;
    assert_eq!(again.len(), 2);
    assert!(
        again
            .iter()
            .all(|event| (event.attempt, event.burned, event.version) == (2, 0, Some(7)))
    );
    let batch: Vec<_> = again
        .iter()
        .map(|event| ended(event, Outcome::Dead, DAY_MS + 6))
        .collect();
    bed.store.settle_events(&batch).await.unwrap();
    assert_eq!(bed.store.purge_events(&default(), &all).await.unwrap(), 2);
    assert_eq!(bed.store.failed_attempts(again[0].id).await.unwrap(), []);
    assert_eq!(
        bed.store
            .events(&default(), Some(&hello), None, None, 10)
            .await
            .unwrap()
            .len(),
        1
    );
}

pub(crate) async fn what_is_over_is_forgotten_in_its_time(bed: Bed) {
    let hello = function("hello");
    let events: Vec<_> = (0..4).map(|number| event(number, &hello)).collect();
    bed.store.accept(&events, &[]).await.unwrap();
    let claimed = claim(&bed, &hello, 3, DAY_MS, ONE).await;
    let outcomes = [result("0"), Outcome::Dead, Outcome::Cancelled];
    let batch: Vec<_> = claimed
        .iter()
        .zip(outcomes)
        .map(|(event, outcome)| ended(event, outcome, DAY_MS))
        .collect();
    bed.store.settle_events(&batch).await.unwrap();
    assert_eq!(bed.store.forget_events(DAY_MS, DAY_MS, 10).await.unwrap(), 0);
    assert_eq!(bed.store.forget_events(DAY_MS + 1, DAY_MS, 1).await.unwrap(), 1);
    assert_eq!(bed.store.forget_events(DAY_MS + 1, DAY_MS, 10).await.unwrap(), 1);
    assert_eq!(bed.store.forget_events(DAY_MS + 1, DAY_MS + 1, 10).await.unwrap(), 1);
    let left = bed.store.events(&default(), None, None, None, 10).await.unwrap();
    assert_eq!(left.len(), 1, "what waits is never forgotten");
    let counts = bed.store.event_counts().await.unwrap();
    assert_eq!((counts[0].queued, counts[0].running, counts[0].undelivered), (1, 0, 0));
}

pub(crate) async fn follow_ups_come_with_the_end_or_not_at_all(bed: Bed) {
    let (hello, next) = (function("hello"), function("next"));
    bed.store.accept(&[event(1, &hello)], &[]).await.unwrap();
    let claimed = claim(&bed, &hello, 1, DAY_MS, ONE).await.remove(0);
    let mut with_next = ended(&claimed, result("1"), DAY_MS);
    with_next.follow_ups = event(2, &next).into();
    let mut late = with_next.clone();
    late.follow_ups = event(3, &next).into();
    bed.store.settle_events(&[with_next]).await.unwrap();
    assert_eq!(bed.store.settle_events(&[late]).await.unwrap(), [event_id(1)]);
    let following = claim(&bed, &next, 9, DAY_MS, ONE).await;
    assert_eq!(
        following.iter().map(|event| event.id).collect::<Vec<_>>(),
        [event_id(2)]
    );
}

pub(crate) async fn two_controllers_share_the_work(bed: Bed) {
    let hello = function("hello");
    let events: Vec<_> = (0..300).map(|number| event(number, &hello)).collect();
    bed.store.accept(&events, &[]).await.unwrap();
    let other = bed.another_store().await;
    let all = async |store: mayfly_controller::store::Store, owner| {
        let mut ids = Vec::new();
        loop {
            let claimed = store
                .claim_events(&lane(&function("hello")), 7, DAY_MS, owner, None)
                .await
                .unwrap();
            if claimed.is_empty() {
                return ids;
            }
            ids.extend(claimed.iter().map(|event| event.id));
        }
    };
    let (one, two) = tokio::join!(all(bed.store.clone(), ONE), all(other, TWO));
    let mut ids = [one, two].concat();
    ids.sort_unstable();
    assert_eq!(
        ids,
        events.iter().map(|event| event.id).collect::<Vec<_>>(),
        "each once"
    );
}
