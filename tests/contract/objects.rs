//! Buckets and objects, and what follows from their changes.

use std::collections::{BTreeMap, BTreeSet};

use mayfly_controller::clock::SystemRandom;
use mayfly_controller::sealing::Seal;
use mayfly_controller::store::{
    Blob, BlobId, Bucket, BucketDeletion, BucketKey, Changed, Completion, Condition, ContentId, ListedObject, NewEvent,
    ObjectMeta, ObjectPath, Removal, Store, StoredObject, StoredPart, Upload,
};
use mayfly_invoker_api::BucketName;

use crate::bed::{Bed, DAY_MS, default, function};
use crate::events::{event, event_id};

pub(crate) const AFTER_ALL: &[u8] = &[0xff];

pub(crate) fn photos() -> BucketName {
    "photos".parse().unwrap()
}

pub(crate) async fn make_bucket(bed: &Bed) {
    let bucket = Bucket {
        namespace: default(),
        name: photos(),
        created_ms: DAY_MS,
    };
    assert!(bed.store.insert_bucket(&bucket).await.unwrap());
    assert!(!bed.store.insert_bucket(&bucket).await.unwrap(), "there is one");
    assert_eq!(bed.store.bucket(&default(), &photos()).await.unwrap(), Some(bucket));
}

pub(crate) fn path(key: &str) -> ObjectPath {
    ObjectPath {
        namespace: default(),
        bucket: photos(),
        key: key.to_owned(),
    }
}

pub(crate) fn id(number: u64) -> [u8; 16] {
    *event_id(number).as_bytes()
}

pub(crate) fn object(number: u64, etag: &str) -> StoredObject {
    StoredObject {
        content: ContentId::from_bytes(id(number)),
        bytes: number,
        etag: etag.to_owned(),
        modified_ms: DAY_MS + i64::try_from(number).unwrap(),
        meta: ObjectMeta {
            headers: BTreeMap::from([("content-type".to_owned(), "image/\u{e4}\0".to_owned())]),
            user: BTreeMap::from([("a".to_owned(), "\u{1f642}".to_owned())]),
            checksums: BTreeMap::new(),
        },
    }
}

pub(crate) fn blob(number: u64) -> Blob {
    Blob {
        id: BlobId::from_bytes(id(number)),
        bytes: number,
    }
}

pub(crate) async fn put(store: &Store, key: &str, number: u64, condition: Condition, events: &[NewEvent]) -> Changed {
    let etag = format!("etag-{number}");
    let put = store
        .put_object(&path(key), &object(number, &etag), &[blob(number)], &condition, events)
        .await;
    put.unwrap()
}

async fn delete(store: &Store, keys: &[&str], events: impl Fn(&str) -> Vec<NewEvent>) -> Vec<Result<bool, Changed>> {
    let removals: Vec<Removal> = keys
        .iter()
        .map(|key| Removal {
            key: (*key).to_owned(),
            condition: Condition::None,
            events: events(key),
        })
        .collect();
    let deleted = store
        .delete_objects(&default(), &photos(), &removals, DAY_MS + 500)
        .await;
    deleted.unwrap()
}

pub(crate) async fn gone(store: &Store) -> BTreeSet<BlobId> {
    store.gone_blobs(i64::MAX, 1_000).await.unwrap().into_iter().collect()
}

pub(crate) async fn is_there(store: &Store, event: &NewEvent) -> bool {
    store.event(&default(), event.id).await.unwrap().is_some()
}

pub(crate) async fn an_object_and_its_events_come_together(bed: Bed) {
    let follows = event(1, &function("f"));
    let nowhere = put(&bed.store, "a", 1, Condition::None, std::slice::from_ref(&follows)).await;
    assert_eq!(nowhere, Changed::NoBucket);
    make_bucket(&bed).await;
    let refused = put(&bed.store, "a", 1, Condition::Present, std::slice::from_ref(&follows)).await;
    assert_eq!(refused, Changed::ConditionFailed);
    assert!(!is_there(&bed.store, &follows).await);
    assert!(bed.store.object(&path("a")).await.unwrap().is_none());
    assert!(bed.store.known_blobs(&[blob(1).id]).await.unwrap().is_empty());

    let done = put(&bed.store, "a", 1, Condition::Absent, std::slice::from_ref(&follows)).await;
    assert_eq!(done, Changed::Done);
    assert!(is_there(&bed.store, &follows).await);
    assert_eq!(bed.store.object(&path("a")).await.unwrap(), Some(object(1, "etag-1")));
    assert_eq!(
        bed.store.blobs_of(ContentId::from_bytes(id(1))).await.unwrap(),
        [blob(1)]
    );
    assert_eq!(bed.store.measure_bucket(&default(), &photos()).await.unwrap(), (1, 1));
}

pub(crate) async fn what_was_replaced_or_deleted_leaves_files_to_be_removed(bed: Bed) {
    make_bucket(&bed).await;
    put(&bed.store, "a", 1, Condition::None, &[]).await;
    assert_eq!(
        put(&bed.store, "a", 2, Condition::Absent, &[]).await,
        Changed::ConditionFailed
    );
    let wrong = Condition::Etag("etag-7".to_owned());
    assert_eq!(put(&bed.store, "a", 2, wrong, &[]).await, Changed::ConditionFailed);
    let right = Condition::Etag("etag-1".to_owned());
    assert_eq!(put(&bed.store, "a", 2, right, &[]).await, Changed::Done);
    assert_eq!(gone(&bed.store).await, BTreeSet::from([blob(1).id]));
    assert!(
        bed.store
            .blobs_of(ContentId::from_bytes(id(1)))
            .await
            .unwrap()
            .is_empty()
    );

    let events = |key: &str| vec![event(if key == "a" { 1 } else { 2 }, &function("f"))];
    let deleted = delete(&bed.store, &["a", "b", "a"], events).await;
    assert_eq!(deleted, [Ok(true), Ok(false), Ok(false)]);
    assert!(is_there(&bed.store, &events("a")[0]).await);
    assert!(!is_there(&bed.store, &events("b")[0]).await, "nothing was deleted");
    assert_eq!(gone(&bed.store).await, BTreeSet::from([blob(1).id, blob(2).id]));
    assert!(bed.store.gone_blobs(DAY_MS, 10).await.unwrap().is_empty(), "not yet");

    bed.store.forget_blobs(&[blob(1).id]).await.unwrap();
    assert_eq!(gone(&bed.store).await, BTreeSet::from([blob(2).id]));
    let known = bed.store.known_blobs(&[blob(1).id, blob(2).id]).await.unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), [blob(2).id]);
}

pub(crate) async fn keys_are_listed_in_the_order_of_their_bytes(bed: Bed) {
    make_bucket(&bed).await;
    let mut keys = vec![
        "B",
        "a",
        "a/b",
        "a-b",
        "\u{e4}",
        "\u{1f642}",
        "\u{ff5e}",
        "../x",
        "a\nb",
    ];
    for (key, number) in keys.iter().zip(1..) {
        put(&bed.store, key, number, Condition::None, &[]).await;
    }
    keys.sort_unstable_by_key(|key| key.as_bytes());
    let list = async |from: &[u8], before: &[u8], limit: u32| {
        let found = bed
            .store
            .list_objects(&default(), &photos(), from, before, limit)
            .await
            .unwrap();
        found
            .into_iter()
            .map(|object: ListedObject| object.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(b"", AFTER_ALL, 100).await, keys);
    assert_eq!(list(b"", AFTER_ALL, 2).await, keys[..2]);
    assert_eq!(list(b"a", b"a/", 100).await, ["a", "a\nb", "a-b"]);
}

pub(crate) async fn of_parallel_writers_that_want_to_be_first_one_is(bed: Bed) {
    make_bucket(&bed).await;
    let (here, there) = (bed.store.clone(), bed.another_store().await);
    for round in 0..10_u64 {
        let key = format!("key-{round}");
        let writers = (0..8_u64).map(|writer| {
            let store = if writer % 2 == 0 { here.clone() } else { there.clone() };
            let (key, number) = (key.clone(), round * 100 + writer + 1);
            tokio::spawn(async move {
                let follows = event(number, &function("f"));
                put(&store, &key, number, Condition::Absent, &[follows]).await == Changed::Done
            })
        });
        let mut winners = Vec::new();
        for (writer, ended) in writers.collect::<Vec<_>>().into_iter().enumerate() {
            if ended.await.unwrap() {
                winners.push(round * 100 + writer as u64 + 1);
            }
        }
        assert_eq!(winners.len(), 1, "{key}: {winners:?}");
        for number in (0..8).map(|writer| round * 100 + writer + 1) {
            let follows = is_there(&bed.store, &event(number, &function("f"))).await;
            assert_eq!(follows, winners == [number]);
        }
    }
    there.close().await;
}

pub(crate) fn part(number: u32, blob_number: u64) -> StoredPart {
    StoredPart {
        blob: blob(blob_number).id,
        number,
        bytes: blob_number,
        etag: format!("part-{blob_number}"),
        written_ms: DAY_MS,
    }
}

/// An upload to `a` with the parts 1, 2 and 4, of which the second was sent twice.
async fn begin_with_parts(store: &Store) -> Upload {
    let upload = Upload {
        id: ContentId::from_bytes(id(7)),
        path: path("a"),
        meta: object(7, "").meta,
        created_ms: DAY_MS,
    };
    assert!(store.begin_upload(&upload).await.unwrap());
    for (number, blob_number) in [(1, 1), (2, 2), (2, 3), (4, 4)] {
        assert!(
            store
                .put_part(&path("a"), upload.id, &part(number, blob_number))
                .await
                .unwrap()
        );
    }
    upload
}

pub(crate) async fn an_upload_becomes_an_object_once(bed: Bed) {
    make_bucket(&bed).await;
    let store = &bed.store;
    put(store, "a", 99, Condition::None, &[]).await;
    let upload = begin_with_parts(store).await;
    assert_eq!(
        store.upload(&path("a"), upload.id).await.unwrap().as_ref(),
        Some(&upload)
    );
    assert!(
        store.upload(&path("b"), upload.id).await.unwrap().is_none(),
        "of another key"
    );
    let there = store.parts(upload.id, 0, 10).await.unwrap();
    assert_eq!(there, [part(1, 1), part(2, 3), part(4, 4)]);
    assert_eq!(store.parts(upload.id, 1, 1).await.unwrap(), [part(2, 3)]);
    assert!(!matches!(
        store.delete_bucket(&default(), &photos()).await.unwrap(),
        BucketDeletion::Deleted
    ));

    let whole = StoredObject {
        content: upload.id,
        bytes: 4,
        ..object(7, "both-2")
    };
    let follows = event(1, &function("f"));
    let complete = async |parts: &[StoredPart], condition: Condition| {
        let follows = std::slice::from_ref(&follows);
        store
            .complete_upload(&path("a"), &whole, parts, &condition, follows)
            .await
            .unwrap()
    };
    assert_eq!(
        complete(&[part(1, 1), part(2, 2)], Condition::None).await,
        Completion::PartsChanged
    );
    assert_eq!(
        complete(&[part(1, 1)], Condition::Absent).await,
        Completion::ConditionFailed
    );
    assert!(!is_there(store, &follows).await);
    assert_eq!(
        complete(&[part(1, 1), part(2, 3)], Condition::Present).await,
        Completion::Done
    );
    assert_eq!(
        complete(&[part(1, 1), part(2, 3)], Condition::None).await,
        Completion::NoUpload
    );
    assert!(is_there(store, &follows).await);
    assert_eq!(store.object(&path("a")).await.unwrap(), Some(whole.clone()));
    let made_of: Vec<BlobId> = store
        .blobs_of(upload.id)
        .await
        .unwrap()
        .iter()
        .map(|blob| blob.id)
        .collect();
    assert_eq!(made_of, [blob(1).id, blob(3).id]);
    // What was replaced, not wanted, and what was there before.
    assert_eq!(gone(store).await, BTreeSet::from([blob(2).id, blob(4).id, blob(99).id]));
    let late = store.put_part(&path("a"), upload.id, &part(3, 5)).await.unwrap();
    assert!(!late, "the object stays as it is");
    assert_eq!(store.blobs_of(upload.id).await.unwrap().len(), 2);
}

pub(crate) async fn an_upload_that_is_given_up_leaves_nothing(bed: Bed) {
    make_bucket(&bed).await;
    let store = &bed.store;
    for (number, key) in [(1, "a"), (2, "a"), (3, "b/c")] {
        let upload = Upload {
            id: ContentId::from_bytes(id(number)),
            path: path(key),
            meta: ObjectMeta::default(),
            created_ms: DAY_MS + i64::try_from(number).unwrap(),
        };
        assert!(store.begin_upload(&upload).await.unwrap());
        store
            .put_part(&path(key), upload.id, &part(1, 10 + number))
            .await
            .unwrap();
    }
    assert_eq!(store.count_uploads(&default(), &photos()).await.unwrap(), 3);
    let list = async |key: &str, after: u64, prefix: &[u8]| {
        let after = (
            key.as_bytes(),
            ContentId::from_bytes(if after == 0 { [0; 16] } else { id(after) }),
        );
        let found = store
            .uploads(&default(), &photos(), after, (prefix, AFTER_ALL), 10)
            .await
            .unwrap();
        found
            .into_iter()
            .map(|upload| (upload.key, upload.id))
            .collect::<Vec<_>>()
    };
    let named = |key: &str, number: u64| (key.to_owned(), ContentId::from_bytes(id(number)));
    assert_eq!(list("", 0, b"").await, [named("a", 1), named("a", 2), named("b/c", 3)]);
    assert_eq!(list("a", 1, b"").await, [named("a", 2), named("b/c", 3)]);
    assert_eq!(list("", 0, b"b/").await, [named("b/c", 3)]);
    let old: Vec<ContentId> = store
        .old_uploads(DAY_MS + 3, 10)
        .await
        .unwrap()
        .iter()
        .map(|upload| upload.id)
        .collect();
    assert_eq!(old, [named("a", 1).1, named("a", 2).1]);

    let first = ContentId::from_bytes(id(1));
    assert!(store.abort_upload(&path("a"), first, DAY_MS).await.unwrap());
    assert!(!store.abort_upload(&path("a"), first, DAY_MS).await.unwrap());
    assert!(!store.put_part(&path("a"), first, &part(2, 20)).await.unwrap());
    assert_eq!(gone(store).await, BTreeSet::from([blob(11).id]));
}

pub(crate) async fn a_bucket_goes_when_it_is_empty(bed: Bed) {
    let store = &bed.store;
    assert_eq!(
        store.delete_bucket(&default(), &photos()).await.unwrap(),
        BucketDeletion::Missing
    );
    make_bucket(&bed).await;
    assert_eq!(store.count_buckets(&default()).await.unwrap(), 1);
    put(store, "a", 1, Condition::None, &[]).await;
    assert_eq!(
        store.delete_bucket(&default(), &photos()).await.unwrap(),
        BucketDeletion::InUse
    );
    delete(store, &["a"], |_| Vec::new()).await;
    let key = bucket_key("MF1", "secret");
    store.set_bucket_key(&key, false).await.unwrap();
    assert_eq!(
        store.delete_bucket(&default(), &photos()).await.unwrap(),
        BucketDeletion::Deleted
    );
    assert_eq!(store.key_named("MF1").await.unwrap(), None, "its key goes with it");
    assert_eq!(store.set_bucket_key(&key, false).await.unwrap(), None);
}

fn bucket_key(name: &str, secret: &str) -> BucketKey {
    let seal = Seal::new(&[7; 32], std::sync::Arc::new(SystemRandom));
    BucketKey {
        access_key: name.to_owned(),
        namespace: default(),
        bucket: photos(),
        secret: seal.seal("a test", secret).unwrap(),
        created_ms: DAY_MS,
    }
}

pub(crate) async fn a_bucket_has_one_key(bed: Bed) {
    make_bucket(&bed).await;
    let store = &bed.store;
    let (first, second) = (bucket_key("MF1", "one"), bucket_key("MF2", "two"));
    assert_eq!(
        store.set_bucket_key(&first, false).await.unwrap().as_ref(),
        Some(&first)
    );
    assert_eq!(
        store.set_bucket_key(&second, false).await.unwrap().as_ref(),
        Some(&first),
        "who came first"
    );
    assert_eq!(
        store.bucket_key(&default(), &photos()).await.unwrap().as_ref(),
        Some(&first)
    );
    assert_eq!(
        store.set_bucket_key(&second, true).await.unwrap().as_ref(),
        Some(&second)
    );
    assert_eq!(store.key_named("MF1").await.unwrap(), None);
    assert_eq!(store.key_named("MF2").await.unwrap(), Some(second));
}
