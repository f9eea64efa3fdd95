//! Tokens, namespaces, artifacts, and opening and closing.

use mayfly_controller::store::{Artifact, Database, Store, StoreError};
use mayfly_invoker_api::Kind;

use crate::bed::{Bed, artifact, config, default, digest, execute, function, namespace};

pub(crate) async fn a_token_is_known_by_its_hash(bed: Bed) {
    assert!(!bed.store.token_exists(&[1; 32]).await.unwrap());
    bed.store.insert_token([1; 32], "admin", 5).await.unwrap();
    bed.store.insert_token([1; 32], "admin again", 6).await.unwrap();
    assert!(bed.store.token_exists(&[1; 32]).await.unwrap());
    assert!(!bed.store.token_exists(&[2; 32]).await.unwrap());
}

pub(crate) async fn only_the_default_namespace_exists_at_first(bed: Bed) {
    assert!(bed.store.namespace_exists(&default()).await.unwrap());
    assert!(!bed.store.namespace_exists(&namespace("other")).await.unwrap());
}

pub(crate) async fn an_artifact_is_kept_as_it_was_first_given(bed: Bed) {
    assert_eq!(bed.store.artifact(&default(), digest(1)).await.unwrap(), None);
    for (seed, kind) in [(1, Kind::Http), (2, Kind::Event), (3, Kind::Command)] {
        let given = Artifact {
            kind,
            size_bytes: (1 << 40) + u64::from(seed),
            ..artifact(seed)
        };
        bed.store.insert_artifact(&default(), &given).await.unwrap();
        bed.store
            .insert_artifact(
                &default(),
                &Artifact {
                    created_at_ms: 99,
                    ..given
                },
            )
            .await
            .unwrap();
        assert_eq!(bed.store.artifact(&default(), digest(seed)).await.unwrap(), Some(given));
    }
    assert_eq!(bed.store.artifact(&namespace("other"), digest(1)).await.unwrap(), None);
}

pub(crate) async fn an_artifact_needs_its_namespace(bed: Bed) {
    let refused = bed.store.insert_artifact(&namespace("other"), &artifact(1)).await;
    assert!(matches!(refused, Err(StoreError::MissingNamespace(name)) if name == namespace("other")));
    let refused = bed
        .store
        .insert_artifact(
            &default(),
            &Artifact {
                size_bytes: u64::MAX,
                ..artifact(1)
            },
        )
        .await;
    assert!(matches!(refused, Err(StoreError::OutOfRange(_))), "{refused:?}");
    assert_eq!(bed.store.artifact(&default(), digest(1)).await.unwrap(), None);
}

pub(crate) async fn state_survives_reopening(bed: Bed) {
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    let deployed = bed
        .store
        .deploy(&default(), &function("hello"), digest(1), &config(64), 9)
        .await
        .unwrap();
    bed.store.close().await;
    let store = bed.another_store().await;
    assert_eq!(
        store.function(&default(), &function("hello")).await.unwrap(),
        Some(deployed.version)
    );
}

pub(crate) async fn several_controllers_may_open_an_empty_database_at_once(bed: Bed) {
    let Database::Postgres { url } = &bed.database else {
        panic!("SQLite is for one controller")
    };
    execute(url, "DROP SCHEMA public CASCADE").await;
    execute(url, "CREATE SCHEMA public").await;
    let open = || Store::open(&bed.database);
    let (one, two, three) = tokio::join!(open(), open(), open());
    for store in [one.unwrap(), two.unwrap(), three.unwrap()] {
        store.ping().await.unwrap();
        assert!(store.namespace_exists(&default()).await.unwrap());
    }
}

pub(crate) async fn a_closed_store_is_unavailable(bed: Bed) {
    bed.store.ping().await.unwrap();
    bed.store.close().await;
    assert!(matches!(bed.store.ping().await, Err(StoreError::Unavailable(_))));
    let refused = bed.store.insert_token([1; 32], "admin", 5).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
}

pub(crate) async fn an_address_where_nobody_listens_fails_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("postgres://user:secret@127.0.0.1:{port}/none");
    let database = Database::Postgres { url };
    assert!(!format!("{database:?}").contains("secret"));
    let error = Store::open(&database).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    let error = Store::open(&Database::Postgres {
        url: "postgres://[".to_owned(),
    })
    .await
    .unwrap_err();
    assert!(matches!(error, StoreError::InvalidUrl(_)), "{error:?}");
}
