//! Webhooks: the secrets that sign them, and their events.

use mayfly_controller::events::{SigningSecret, SigningSecrets};
use mayfly_controller::store::EventState;

use crate::bed::{Bed, DAY_MS, default, function, namespace};
use crate::events::{event, event_id};

fn secret(seed: u8) -> SigningSecret {
    SigningSecret::from_bytes([seed; 32])
}

pub(crate) async fn whoever_needs_a_secret_first_makes_it(bed: Bed) {
    assert_eq!(bed.store.signing_secrets(&default()).await.unwrap(), None);
    let other = if bed.store.is_shared() {
        bed.another_store().await
    } else {
        bed.store.clone()
    };
    let racing = (0..16_u8).map(|seed| {
        let store = if seed % 2 == 0 {
            bed.store.clone()
        } else {
            other.clone()
        };
        tokio::spawn(async move {
            let now_ms = DAY_MS + i64::from(seed);
            store.begin_signing(&default(), &secret(seed), now_ms).await.unwrap()
        })
    });
    let mut made = Vec::new();
    for one in racing.collect::<Vec<_>>() {
        made.push(one.await.unwrap());
    }
    let kept = bed.store.signing_secrets(&default()).await.unwrap().unwrap();
    assert!(made.iter().all(|one| *one == kept), "everybody has the same: {made:?}");
    assert_eq!(kept.former, None);
    assert_eq!(
        kept.current.as_bytes()[0],
        u8::try_from(kept.rotated_ms - DAY_MS).unwrap()
    );
}

pub(crate) async fn the_secret_before_a_rotation_is_known(bed: Bed) {
    let secrets = |current: u8, former: Option<u8>, rotated_ms: i64| SigningSecrets {
        current: secret(current),
        former: former.map(secret),
        rotated_ms,
    };
    // Without a secret, a rotation makes the first one.
    let first = bed
        .store
        .rotate_signing_secret(&default(), &secret(1), 10)
        .await
        .unwrap();
    assert_eq!(first, secrets(1, None, 10));
    let second = bed
        .store
        .rotate_signing_secret(&default(), &secret(2), 20)
        .await
        .unwrap();
    assert_eq!(second, secrets(2, Some(1), 20));
    let third = bed
        .store
        .rotate_signing_secret(&default(), &secret(3), 30)
        .await
        .unwrap();
    assert_eq!(third, secrets(3, Some(2), 30));
    assert_eq!(
        bed.store.signing_secrets(&default()).await.unwrap(),
        Some(third.clone())
    );
    let late = bed.store.begin_signing(&default(), &secret(4), 40).await.unwrap();
    assert_eq!(late, third, "what is there stays");

    let refused = bed.store.begin_signing(&namespace("other"), &secret(5), 50).await;
    assert!(refused.is_err(), "there is no such namespace");
    assert_eq!(bed.store.signing_secrets(&namespace("other")).await.unwrap(), None);
}

pub(crate) async fn an_event_says_which_webhook_it_tells(bed: Bed) {
    let of = function("orders");
    let mut telling = event(1, &of);
    telling.envelope = r#"{"shape":"webhook","url":"https://example.com/hook?a=b","about":{"type":"mayfly.event.failed","source":"/ns/default/functions/orders","time":"2026-12-01T00:00:00.000Z"}}"#.to_owned();
    let mut alike = event(2, &of);
    alike.envelope = r#"{"shape":"payload","content_type":"{\"shape\":\"webhook\"","trace_parent":null}"#.to_owned();
    bed.store.accept(&[telling, alike], &[]).await.unwrap();
    let webhook = async |number: u64| {
        let found = bed.store.event(&default(), event_id(number)).await.unwrap().unwrap();
        found.webhook.map(|url| url.to_string())
    };
    assert_eq!(webhook(1).await.as_deref(), Some("https://example.com/hook?a=b"));
    assert_eq!(webhook(2).await, None);
    let listed = bed
        .store
        .events(&default(), Some(&of), Some(EventState::Queued), None, 10)
        .await
        .unwrap();
    let told: Vec<_> = listed.iter().map(|event| event.webhook.is_some()).collect();
    assert_eq!(told, [false, true], "newest first");

    let mut broken = event(3, &of);
    broken.envelope = r#"{"shape":"webhook","url":"https://user@example.com/"}"#.to_owned();
    bed.store.accept(&[broken], &[]).await.unwrap();
    assert_eq!(webhook(3).await, None, "what another server wrote can be looked at");
    let listed = bed.store.events(&default(), Some(&of), None, None, 10).await.unwrap();
    assert_eq!(listed.len(), 3, "and spoils nothing for the others");
}
