//! Triggers that wait for changes of objects, and which database this is.

use mayfly_controller::clock::SystemRandom;
use mayfly_controller::sealing::Seal;
use mayfly_controller::store::{
    AmqpSource, Bucket, BucketDeletion, EventTrigger, MessageSource, ObjectChange, StorageSource, StorageWatch,
    StoreError, Subscription, TriggerConfig,
};
use mayfly_invoker_api::EventId;

use crate::bed::{Bed, DAY_MS, default, function};

fn trigger(name: &str, config: TriggerConfig) -> EventTrigger {
    let last = name.bytes().last().unwrap();
    EventTrigger {
        id: EventId::new(DAY_MS.unsigned_abs(), [last; 10]),
        namespace: default(),
        name: name.to_owned(),
        function: function("f"),
        config,
        enabled: true,
        created_ms: DAY_MS,
        next_ms: None,
        last_ms: None,
    }
}

fn watch(name: &str, source: StorageSource) -> EventTrigger {
    let watch = StorageWatch {
        source,
        other_bucket: None,
        prefix: "raw/".to_owned(),
        suffix: "\u{e4}".to_owned(),
        changes: vec![ObjectChange::Created, ObjectChange::Removed],
        retry: None,
    };
    trigger(name, TriggerConfig::Storage(watch))
}

fn in_bucket(name: &str, bucket: &str) -> EventTrigger {
    watch(name, StorageSource::Bucket(bucket.parse().unwrap()))
}

fn amqp() -> AmqpSource {
    let seal = Seal::new(&[7; 32], std::sync::Arc::new(SystemRandom));
    AmqpSource {
        url: seal.seal("test", "amqp://localhost").unwrap(),
        shown: "amqp://localhost".to_owned(),
        queue: "orders".to_owned(),
        dead_letter: None,
    }
}

async fn make_bucket(bed: &Bed, name: &str) {
    let bucket = Bucket {
        namespace: default(),
        name: name.parse().unwrap(),
        created_ms: DAY_MS,
    };
    assert!(bed.store.insert_bucket(&bucket).await.unwrap());
}

pub(crate) async fn triggers_are_found_by_where_they_look(bed: Bed) {
    let store = &bed.store;
    make_bucket(&bed, "photos").await;
    make_bucket(&bed, "photos-2").await;
    let messages = Subscription {
        source: MessageSource::Amqp(amqp()),
        filter: None,
        order_key: None,
        batch: 1,
        window_ms: 0,
        concurrency: 1,
        bisect: true,
        retry: None,
    };
    let all = [
        in_bucket("b", "photos"),
        in_bucket("a", "photos"),
        in_bucket("c", "photos-2"),
        watch("d", StorageSource::Amqp(amqp())),
        trigger("e", TriggerConfig::Queue(messages)),
        EventTrigger {
            enabled: false,
            ..watch("g", StorageSource::Amqp(amqp()))
        },
    ];
    for trigger in &all {
        assert!(store.insert_trigger(trigger).await.unwrap());
    }
    let watchers = store.watchers(&default(), &"photos".parse().unwrap()).await.unwrap();
    assert_eq!(watchers, [all[1].clone(), all[0].clone()]);
    let of_rabbitmq = store.amqp_triggers().await.unwrap();
    assert_eq!(of_rabbitmq, [all[3].clone(), all[4].clone()], "those that are on");
}

pub(crate) async fn a_bucket_goes_after_what_waits_for_it(bed: Bed) {
    let store = &bed.store;
    let lost = store.insert_trigger(&in_bucket("a", "photos")).await;
    assert!(matches!(lost, Err(StoreError::MissingBucket(_))), "{lost:?}");
    make_bucket(&bed, "photos").await;
    assert!(store.insert_trigger(&in_bucket("a", "photos")).await.unwrap());
    let photos = "photos".parse().unwrap();
    let delete = async || store.delete_bucket(&default(), &photos).await.unwrap();
    assert_eq!(delete().await, BucketDeletion::InUse);
    assert!(store.delete_trigger(&default(), "a").await.unwrap());
    assert_eq!(delete().await, BucketDeletion::Deleted);
}

pub(crate) async fn a_database_has_one_name(bed: Bed) {
    assert_eq!(bed.store.installation("first").await.unwrap(), "first");
    assert_eq!(bed.store.installation("second").await.unwrap(), "first");
}
