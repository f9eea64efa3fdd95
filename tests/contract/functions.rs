//! Functions and versions.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use mayfly_controller::clock::SystemRandom;
use mayfly_controller::ledger::InvocationRecord;
use mayfly_controller::sealing::Seal;
use mayfly_controller::store::{Artifact, DestinationSecrets, FunctionConfig, StoreError, Version};
use mayfly_invoker_api::{Kind, SnapshotMode};

use crate::bed::{Bed, artifact, config, default, digest, function, namespace, record};

pub(crate) async fn a_deployment_makes_a_numbered_version(bed: Bed) {
    let name = function("hello");
    bed.store
        .insert_artifact(
            &default(),
            &Artifact {
                kind: Kind::Command,
                ..artifact(1)
            },
        )
        .await
        .unwrap();
    assert_eq!(bed.store.function(&default(), &name).await.unwrap(), None);
    let deployed = bed
        .store
        .deploy(&default(), &name, digest(1), &config(64), 9)
        .await
        .unwrap();
    assert!(deployed.changed);
    let expected = Version {
        namespace: default(),
        name: name.clone(),
        number: 1,
        kind: Kind::Command,
        artifact: digest(1),
        size_bytes: 1_000,
        config: config(64),
        config_digest: config(64).digest(),
        created_at_ms: 9,
    };
    assert_eq!(deployed.version, expected);
    assert_eq!(bed.store.function(&default(), &name).await.unwrap(), Some(expected));
    assert_eq!(bed.store.function(&namespace("other"), &name).await.unwrap(), None);
}

pub(crate) async fn the_same_deployment_twice_changes_nothing(bed: Bed) {
    let name = function("hello");
    for seed in [1, 2] {
        bed.store.insert_artifact(&default(), &artifact(seed)).await.unwrap();
    }
    let first = bed
        .store
        .deploy(&default(), &name, digest(1), &config(64), 1)
        .await
        .unwrap();
    let again = bed
        .store
        .deploy(&default(), &name, digest(1), &config(64), 2)
        .await
        .unwrap();
    assert!(!again.changed);
    assert_eq!(again.version, first.version);
    // Another configuration, another artifact, and back: each is a version.
    for (number, (seed, memory_mib)) in (2..).zip([(1, 65), (2, 65), (1, 64)]) {
        let deployed = bed
            .store
            .deploy(&default(), &name, digest(seed), &config(memory_mib), 3)
            .await
            .unwrap();
        assert!(deployed.changed);
        assert_eq!(deployed.version.number, number);
    }
}

pub(crate) async fn a_missing_artifact_leaves_nothing_behind(bed: Bed) {
    let name = function("hello");
    let refused = bed.store.deploy(&default(), &name, digest(1), &config(64), 1).await;
    assert!(matches!(refused, Err(StoreError::MissingArtifact(missing)) if missing == digest(1)));
    assert_eq!(bed.store.function(&default(), &name).await.unwrap(), None);
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    // It is not an artifact of another namespace.
    let refused = bed
        .store
        .deploy(&namespace("other"), &name, digest(1), &config(64), 1)
        .await;
    assert!(matches!(refused, Err(StoreError::MissingArtifact(_))));
    assert_eq!(
        bed.store
            .deploy(&default(), &name, digest(1), &config(64), 1)
            .await
            .unwrap()
            .version
            .number,
        1
    );
}

pub(crate) async fn parallel_deployments_get_different_numbers(bed: Bed) {
    let name = function("hello");
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    let stores = [bed.store.clone(), bed.another_store().await];
    let tasks = (0..20).map(|i: u32| {
        let (store, name) = (stores[i as usize % 2].clone(), name.clone());
        tokio::spawn(async move { store.deploy(&default(), &name, digest(1), &config(100 + i), 1).await })
    });
    let mut numbers = BTreeSet::new();
    for deployed in join_all(tasks).await {
        let deployed = deployed.unwrap().unwrap();
        assert!(deployed.changed);
        numbers.insert(deployed.version.number);
    }
    assert_eq!(numbers, (1..=20).collect());
    let versions = bed.store.versions(&default(), &name, 100).await.unwrap();
    let configs: BTreeSet<_> = versions.iter().map(|version| version.config.memory_mib).collect();
    assert_eq!(configs, (100..120).collect());
    assert_eq!(bed.store.function(&default(), &name).await.unwrap().unwrap().number, 20);
}

pub(crate) async fn parallel_equal_deployments_make_one_version(bed: Bed) {
    let name = function("hello");
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    let stores = [bed.store.clone(), bed.another_store().await];
    let tasks = (0..20).map(|i: usize| {
        let (store, name) = (stores[i % 2].clone(), name.clone());
        tokio::spawn(async move { store.deploy(&default(), &name, digest(1), &config(64), 1).await })
    });
    let deployed: Vec<_> = join_all(tasks)
        .await
        .into_iter()
        .map(|result| result.unwrap().unwrap())
        .collect();
    assert_eq!(deployed.iter().filter(|deployed| deployed.changed).count(), 1);
    assert!(deployed.iter().all(|deployed| deployed.version.number == 1));
    assert_eq!(bed.store.versions(&default(), &name, 100).await.unwrap().len(), 1);
}

pub(crate) async fn deployments_and_deletions_may_cross(bed: Bed) {
    let name = function("hello");
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    let tasks = (0..20).map(|i: u32| {
        let (store, name) = (bed.store.clone(), name.clone());
        tokio::spawn(async move {
            if i.is_multiple_of(3) {
                store.delete_function(&default(), &name, 2).await.unwrap();
                return None;
            }
            Some(
                store
                    .deploy(&default(), &name, digest(1), &config(100 + i), 1)
                    .await
                    .unwrap()
                    .version
                    .number,
            )
        })
    });
    let numbers: Vec<_> = join_all(tasks).await.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(
        numbers.iter().collect::<BTreeSet<_>>().len(),
        numbers.len(),
        "no number twice: {numbers:?}"
    );
    // Whoever came last, the list and the function agree.
    let latest = bed.store.function(&default(), &name).await.unwrap();
    let versions = bed.store.versions(&default(), &name, 100).await.unwrap();
    assert_eq!(versions.first(), latest.as_ref());
}

pub(crate) async fn functions_are_listed_by_the_bytes_of_their_names(bed: Bed) {
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    // A collation that skips hyphens would put `a-b` behind `aa`.
    for name in ["b", "aa", "a0", "a-b", "a", "a-c", "z"] {
        bed.store
            .deploy(&default(), &function(name), digest(1), &config(64), 1)
            .await
            .unwrap();
    }
    bed.store
        .deploy(&default(), &function("a"), digest(1), &config(65), 1)
        .await
        .unwrap();
    bed.store.delete_function(&default(), &function("z"), 2).await.unwrap();
    let mut found = Vec::new();
    loop {
        let after = found.last().map(|version: &Version| version.name.clone());
        let page = bed.store.functions(&default(), after.as_ref(), 4).await.unwrap();
        assert!(page.len() <= 4);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    let names: Vec<_> = found
        .iter()
        .map(|version| (version.name.as_str(), version.number))
        .collect();
    assert_eq!(
        names,
        [("a", 2), ("a-b", 1), ("a-c", 1), ("a0", 1), ("aa", 1), ("b", 1)]
    );
    assert_eq!(bed.store.functions(&namespace("other"), None, 10).await.unwrap(), []);
}

pub(crate) async fn all_functions_are_listed_once(bed: Bed) {
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    let mut made = Vec::new();
    for (name, memory_mib) in [("a", 64), ("a-b", 64), ("b", 64), ("b", 65), ("c", 64), ("z", 64)] {
        let deployed = bed
            .store
            .deploy(&default(), &function(name), digest(1), &config(memory_mib), 1)
            .await;
        made.retain(|version: &Version| version.name.as_str() != name);
        made.push(deployed.unwrap().version);
    }
    bed.store.delete_function(&default(), &function("z"), 2).await.unwrap();
    made.pop();
    // The namespace goes first: all of them come after one that sorts before theirs.
    let before = (&namespace("aaa"), &function("zzz"));
    assert_eq!(bed.store.all_functions(Some(before), 10).await.unwrap(), made);
    let mut found: Vec<Version> = Vec::new();
    loop {
        let after = found.last().map(|last| (last.namespace.clone(), last.name.clone()));
        let after = after.as_ref().map(|(namespace, name)| (namespace, name));
        let page = bed.store.all_functions(after, 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, made);
}

pub(crate) async fn versions_are_listed_newest_first(bed: Bed) {
    let name = function("hello");
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    for i in 1..=12 {
        bed.store
            .deploy(&default(), &name, digest(1), &config(i), i64::from(i))
            .await
            .unwrap();
    }
    let numbers = |versions: Vec<Version>| versions.iter().map(|version| version.number).collect::<Vec<_>>();
    let all = bed.store.versions(&default(), &name, 100).await.unwrap();
    assert_eq!(numbers(all), (1..=12).rev().collect::<Vec<_>>());
    assert_eq!(
        numbers(bed.store.versions(&default(), &name, 3).await.unwrap()),
        [12, 11, 10]
    );
    assert_eq!(bed.store.versions(&default(), &function("other"), 3).await.unwrap(), []);
}

pub(crate) async fn the_functions_that_were_called_last_come_first(bed: Bed) {
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    for (name, deployed_at_ms) in [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("gone", 5)] {
        bed.store
            .deploy(&default(), &function(name), digest(1), &config(64), deployed_at_ms)
            .await
            .unwrap();
    }
    let called = |number, name| InvocationRecord {
        function: function(name),
        ..record(number)
    };
    let records = [called(1, "b"), called(2, "a"), called(3, "gone"), called(4, "b")];
    bed.insert(&records).await.unwrap();
    bed.store
        .delete_function(&default(), &function("gone"), 9)
        .await
        .unwrap();
    let names = async |limit| {
        let recent = bed.store.recent_functions(limit).await.unwrap();
        recent
            .into_iter()
            .map(|version| version.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(10).await, ["b", "a", "d", "c"]);
    assert_eq!(names(1).await, ["b"]);
}

pub(crate) async fn numbers_go_on_after_a_deletion(bed: Bed) {
    let name = function("hello");
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    assert!(!bed.store.delete_function(&default(), &name, 1).await.unwrap());
    for memory_mib in [1, 2] {
        bed.store
            .deploy(&default(), &name, digest(1), &config(memory_mib), 1)
            .await
            .unwrap();
    }
    assert!(!bed.store.delete_function(&namespace("other"), &name, 2).await.unwrap());
    assert!(bed.store.delete_function(&default(), &name, 2).await.unwrap());
    assert!(!bed.store.delete_function(&default(), &name, 3).await.unwrap());
    assert_eq!(bed.store.function(&default(), &name).await.unwrap(), None);
    assert_eq!(bed.store.versions(&default(), &name, 10).await.unwrap(), []);
    // Equal to the last version before the deletion, and yet a new one.
    let deployed = bed
        .store
        .deploy(&default(), &name, digest(1), &config(2), 4)
        .await
        .unwrap();
    assert!(deployed.changed);
    assert_eq!(deployed.version.number, 3);
    assert_eq!(
        bed.store.versions(&default(), &name, 10).await.unwrap(),
        [deployed.version]
    );
}

pub(crate) async fn any_text_survives_in_the_configuration(bed: Bed) {
    let odd = [
        ("PLAIN", "x"),
        ("NUL", "a\0b"),
        ("LINES", "a\nb\r\n"),
        ("QUOTES", "\"'\\"),
        ("WORDS", "žluť 🦋 \u{2028}"),
    ];
    let env = odd
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let config = FunctionConfig {
        memory_mib: u32::MAX,
        timeout_ms: u64::MAX,
        env,
        isolation: "key:x-user".parse().unwrap(),
        max_requests_per_instance: u32::MAX,
        allow_hosts: ["*", "*.example.com:81", "[2001:db8::1]", "192.0.2.1:8080"]
            .map(|host| host.parse().unwrap())
            .into(),
        min_warm: 7,
        max_instances: u32::MAX,
        snapshot: SnapshotMode::On,
        retry: mayfly_delivery::RetryPolicy {
            max_attempts: 7,
            ..mayfly_delivery::RetryPolicy::default()
        },
        on_success: Some("function:next".parse().unwrap()),
        on_failure: None,
        secrets: DestinationSecrets::default(),
    };
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    bed.store
        .deploy(&default(), &function("hello"), digest(1), &config, 1)
        .await
        .unwrap();
    let version = bed
        .store
        .function(&default(), &function("hello"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(version.config, config);
    assert_eq!(version.config_digest, config.digest());
}

pub(crate) async fn secrets_are_kept_apart(bed: Bed) {
    let seal = Seal::new(&[7; 32], std::sync::Arc::new(SystemRandom));
    let sealed = |text: &str| Some(seal.seal("a", text).unwrap());
    let with = |on_success, on_failure| FunctionConfig {
        secrets: DestinationSecrets { on_success, on_failure },
        ..config(64)
    };
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    let first = with(sealed("one"), None);
    for (config, number, changed) in [
        (&first, 1, true),
        (&first, 1, false),
        (&with(sealed("one"), None), 2, true),
        (&with(None, sealed("two")), 3, true),
        (&config(64), 4, true),
    ] {
        let deployed = bed
            .store
            .deploy(&default(), &function("hello"), digest(1), config, 1)
            .await
            .unwrap();
        assert_eq!((deployed.version.number, deployed.changed), (number, changed));
        assert_eq!(&deployed.version.config, config);
        assert_eq!(deployed.version.config_digest, first.digest(), "it is of what is shown");
    }
    let shown = serde_json::to_string(&first).unwrap();
    assert!(!shown.contains("secrets"), "{shown}");
    let listed = bed.store.versions(&default(), &function("hello"), 10).await.unwrap();
    assert_eq!(listed[3].config, first);
}
