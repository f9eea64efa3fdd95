//! Queues, and messages that no trigger has taken.

use std::collections::BTreeMap;

use mayfly_controller::ledger::Trigger;
use mayfly_controller::store::{
    EventState, Lane, MessageCounts, NewEvent, NewMessage, Queue, QueueConfig, StoredMessage,
};
use mayfly_invoker_api::QueueName;

use crate::bed::{Bed, DAY_MS, default, function};
use crate::events::{event, event_id};

const HOUR_MS: i64 = 3_600_000;

fn name(text: &str) -> QueueName {
    text.parse().unwrap()
}

fn queue(text: &str) -> Queue {
    Queue {
        namespace: default(),
        name: name(text),
        config: QueueConfig {
            delay_seconds: 5,
            retention_seconds: 3_600,
            dead_letter: Some(name("failed")),
            max_receives: 3,
        },
        created_ms: DAY_MS,
    }
}

fn message(number: u64, queue: &str) -> NewMessage {
    NewMessage {
        id: event_id(number),
        namespace: default(),
        queue: name(queue),
        attributes: BTreeMap::from([("n\0".to_owned(), "\"'\u{1F642}".to_owned())]),
        body: format!("any text: \0 {number}"),
        depth: 2,
        created_ms: DAY_MS,
        visible_ms: DAY_MS,
        expires_ms: DAY_MS + HOUR_MS,
    }
}

async fn receive(
    bed: &Bed,
    queue: &QueueName,
    count: u32,
    (now_ms, until_ms): (i64, i64),
    receipt: u8,
) -> Vec<StoredMessage> {
    let of = (&default(), queue);
    let received = bed
        .store
        .receive_messages(of, count, now_ms, until_ms, [receipt; 16])
        .await;
    received.unwrap()
}

pub(crate) async fn a_queue_comes_back_as_it_was_made(bed: Bed) {
    let one = queue("orders");
    assert!(bed.store.insert_queue(&one).await.unwrap());
    assert!(!bed.store.insert_queue(&one).await.unwrap(), "a name is taken once");
    assert_eq!(bed.store.queue(&default(), &one.name).await.unwrap(), Some(one.clone()));
    assert!(bed.store.insert_queue(&queue("mail")).await.unwrap());
    assert_eq!(bed.store.count_queues(&default()).await.unwrap(), 2);
    let listed = bed.store.queues(&default(), "mail", 10).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&one));
    bed.store.accept(&[], &[message(1, "orders")]).await.unwrap();
    assert!(bed.store.delete_queue(&default(), &one.name).await.unwrap());
    assert!(!bed.store.delete_queue(&default(), &one.name).await.unwrap());
    let counts = bed.store.count_messages(&default(), &one.name, DAY_MS).await.unwrap();
    assert_eq!(counts, MessageCounts::default(), "its messages went along");
}

pub(crate) async fn a_message_is_received_by_one_until_its_time_is_over(bed: Bed) {
    let orders = name("orders");
    let of = (&default(), &orders);
    let later = NewMessage {
        visible_ms: DAY_MS + 50,
        ..message(3, "orders")
    };
    bed.store
        .accept(
            &[],
            &[message(1, "orders"), message(2, "orders"), later, message(4, "other")],
        )
        .await
        .unwrap();
    let first = receive(&bed, &orders, 10, (DAY_MS, DAY_MS + 100), 1).await;
    assert_eq!(
        first
            .iter()
            .map(|stored| (stored.message.id, stored.receives))
            .collect::<Vec<_>>(),
        [(event_id(1), 1), (event_id(2), 1)]
    );
    let expected = NewMessage {
        visible_ms: DAY_MS + 100,
        ..message(1, "orders")
    };
    assert_eq!(first[0].message, expected, "whatever text it is");
    let counts = bed.store.count_messages(&default(), &orders, DAY_MS).await.unwrap();
    assert_eq!(
        (counts.messages, counts.received, counts.oldest_ms),
        (3, 2, Some(DAY_MS))
    );
    let delayed = receive(&bed, &orders, 10, (DAY_MS + 60, DAY_MS + 100), 2).await;
    assert_eq!(delayed[0].message.id, event_id(3), "what was delayed, and nothing else");
    assert_eq!(delayed.len(), 1);

    assert!(bed.store.delete_message(of, event_id(1), [1; 16]).await.unwrap());
    assert!(!bed.store.delete_message(of, event_id(1), [1; 16]).await.unwrap());
    let again = receive(&bed, &orders, 10, (DAY_MS + 100, DAY_MS + 200), 3).await;
    assert_eq!(again.iter().map(|stored| stored.receives).collect::<Vec<_>>(), [2, 2]);
    assert!(
        !bed.store.delete_message(of, event_id(2), [1; 16]).await.unwrap(),
        "somebody else has it now"
    );
    assert!(bed.store.delete_message(of, event_id(2), [3; 16]).await.unwrap());
    let other = (&default(), &name("other"));
    assert!(!bed.store.delete_message(other, event_id(3), [3; 16]).await.unwrap());
}

pub(crate) async fn what_nobody_deletes_goes_to_the_dead_letters(bed: Bed) {
    let (orders, failed) = (name("orders"), name("failed"));
    bed.store
        .accept(&[], &[message(1, "orders"), message(2, "orders")])
        .await
        .unwrap();
    for time in 0..3 {
        let now_ms = DAY_MS + time * 10;
        assert_eq!(
            bed.store
                .move_undeliverable((&default(), &orders), &failed, 3, now_ms)
                .await
                .unwrap(),
            0
        );
        assert_eq!(receive(&bed, &orders, 10, (now_ms, now_ms + 10), 1).await.len(), 2);
    }
    assert!(
        bed.store
            .delete_message((&default(), &orders), event_id(1), [1; 16])
            .await
            .unwrap()
    );
    let of = (&default(), &orders);
    assert_eq!(
        bed.store.move_undeliverable(of, &failed, 3, DAY_MS + 30).await.unwrap(),
        1
    );
    let letters = receive(&bed, &failed, 10, (DAY_MS + 30, DAY_MS + 40), 2).await;
    assert_eq!((letters[0].message.id, letters[0].receives), (event_id(2), 1));
}

pub(crate) async fn messages_become_events_once(bed: Bed) {
    let orders = name("orders");
    let messages: Vec<_> = (1..=3).map(|number| message(number, "orders")).collect();
    bed.store.accept(&[], &messages).await.unwrap();
    // One of them is at somebody's.
    let received = receive(&bed, &orders, 1, (DAY_MS, DAY_MS + 100), 1).await;
    assert_eq!(received[0].message.id, event_id(1));
    let waiting = bed
        .store
        .waiting_messages((&default(), &orders), None, DAY_MS, 10)
        .await
        .unwrap();
    assert_eq!(
        waiting.iter().map(|stored| stored.message.id).collect::<Vec<_>>(),
        [event_id(2), event_id(3)]
    );
    let taken: Vec<_> = (1..=3)
        .map(|number| (event_id(number), vec![queued(10 + number, None)]))
        .collect();
    let (one, other) = (bed.store.clone(), bed.another_store().await);
    let (one, other) = tokio::join!(one.take_messages(&taken, DAY_MS), other.take_messages(&taken, DAY_MS));
    let mut ids: Vec<_> = one
        .unwrap()
        .into_iter()
        .chain(other.unwrap())
        .map(|event| event.id)
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [event_id(12), event_id(13)], "each once, whoever took it");
    assert_eq!(bed.store.count_waiting(&lane()).await.unwrap(), 2);
}

/// An event of a queue trigger.
fn queued(number: u64, order_key: Option<&str>) -> NewEvent {
    NewEvent {
        source: Trigger::Queue,
        trigger: Some("on-order".to_owned()),
        order_key: order_key.map(str::to_owned),
        ..event(number, &function("hello"))
    }
}

fn lane() -> Lane {
    Lane::of(&default(), &function("hello"), Trigger::Queue, Some("on-order"))
}

pub(crate) async fn what_waits_is_purged(bed: Bed) {
    let large = NewEvent {
        payload: vec![b'x'; 100_000].into(),
        ..queued(1, None)
    };
    let events = [large, queued(2, Some("a")), queued(3, Some("a")), queued(4, Some("b"))];
    bed.store.accept(&events, &[]).await.unwrap();
    let others = event(5, &function("hello"));
    bed.store.accept(&[others], &[message(1, "orders")]).await.unwrap();
    let claimed = bed.store.claim_events(&lane(), 1, DAY_MS, [1; 6], None).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(bed.store.cancel_waiting(&lane(), DAY_MS).await.unwrap(), 3);
    assert_eq!(bed.store.count_waiting(&lane()).await.unwrap(), 0);
    for number in 2..=4 {
        let event = bed.store.event(&default(), event_id(number)).await.unwrap().unwrap();
        let expected = if event_id(number) == claimed[0].id {
            EventState::Leased
        } else {
            EventState::Cancelled
        };
        assert_eq!(event.state, expected);
    }
    let untouched = bed.store.event(&default(), event_id(5)).await.unwrap().unwrap();
    assert_eq!(untouched.state, EventState::Queued);
    assert_eq!(bed.store.purge_messages(&default(), &name("orders")).await.unwrap(), 1);
}

pub(crate) async fn messages_are_forgotten_in_their_time(bed: Bed) {
    bed.store
        .accept(&[], &[message(1, "orders"), message(2, "orders")])
        .await
        .unwrap();
    let late = receive(&bed, &name("orders"), 1, (DAY_MS + HOUR_MS, i64::MAX), 1).await;
    assert_eq!(late, [], "too old to be received");
    assert_eq!(bed.store.forget_messages(DAY_MS + HOUR_MS - 1, 10).await.unwrap(), 0);
    assert_eq!(bed.store.forget_messages(DAY_MS + HOUR_MS, 1).await.unwrap(), 1);
    assert_eq!(bed.store.forget_messages(DAY_MS + HOUR_MS, 10).await.unwrap(), 1);
}
