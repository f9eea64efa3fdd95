//! Sums over the ledger.

use mayfly_controller::ledger::{InvocationRecord, RecordedError};
use mayfly_controller::store::{StoreError, UsageBy, UsageRow};
use mayfly_invoker_api::Start;

use crate::bed::{Bed, DAY_MS, artifact, config, default, digest, function, namespace, record};

const ONE_DAY_MS: i64 = 86_400_000;

/// (function, version, start, billed ms, MiB)
fn ran(
    number: u64,
    name: &str,
    version: u32,
    start: Option<Start>,
    billed_ms: u64,
    memory_mib: u32,
) -> InvocationRecord {
    InvocationRecord {
        function: function(name),
        version,
        start,
        billed_ms,
        memory_mib,
        ..record(number)
    }
}

fn failed(record: InvocationRecord) -> InvocationRecord {
    let error = RecordedError {
        code: "function_failed".to_owned(),
        message: "no".to_owned(),
    };
    InvocationRecord {
        error: Some(error),
        ..record
    }
}

fn sums(invocations: u64, errors: u64, cold_starts: u64, billed_ms: u64, mib_ms: u64) -> UsageRow {
    UsageRow {
        function: None,
        version: None,
        day: None,
        invocations,
        errors,
        cold_starts,
        billed_ms,
        mib_ms,
        bytes_in: 10 * invocations,
        bytes_out: 20 * invocations,
    }
}

/// Four invocations of `a` and `b`, the last of them on the day before, and one of another namespace.
fn some_usage() -> Vec<InvocationRecord> {
    let last_ms_of_the_day_before = DAY_MS - 1;
    vec![
        ran(1, "a", 1, Some(Start::Cold), 10, 128),
        failed(ran(2, "a", 1, Some(Start::Warm), 5, 128)),
        ran(3, "a", 2, Some(Start::Cold), 7, 256),
        failed(InvocationRecord {
            started_at_ms: last_ms_of_the_day_before,
            ..ran(4, "b", 1, None, 0, 64)
        }),
        InvocationRecord {
            namespace: namespace("other"),
            ..ran(5, "a", 1, Some(Start::Cold), 1_000, 128)
        },
    ]
}

pub(crate) async fn usage_is_summed_by_function_version_and_day(bed: Bed) {
    assert_eq!(
        bed.store
            .usage(&default(), UsageBy::Function, None, None)
            .await
            .unwrap(),
        []
    );
    bed.insert(&some_usage()).await.unwrap();
    let of = |name: &str, version, sums| UsageRow {
        function: Some(name.to_owned()),
        version,
        ..sums
    };
    let on = |day: &str, sums| UsageRow {
        day: Some(day.to_owned()),
        ..sums
    };
    let all_of_a = sums(3, 1, 2, 22, 15 * 128 + 7 * 256);
    let all_of_b = sums(1, 1, 0, 0, 0);
    assert_eq!(
        bed.store
            .usage(&default(), UsageBy::Function, None, None)
            .await
            .unwrap(),
        [of("a", None, all_of_a.clone()), of("b", None, all_of_b.clone())]
    );
    assert_eq!(
        bed.store.usage(&default(), UsageBy::Version, None, None).await.unwrap(),
        [
            of("a", Some(1), sums(2, 1, 1, 15, 15 * 128)),
            of("a", Some(2), sums(1, 0, 1, 7, 7 * 256)),
            of("b", Some(1), all_of_b.clone()),
        ]
    );
    assert_eq!(
        bed.store.usage(&default(), UsageBy::Day, None, None).await.unwrap(),
        [on("2026-11-19", all_of_b), on("2026-11-20", all_of_a)]
    );
}

pub(crate) async fn the_range_of_time_includes_its_start_and_excludes_its_end(bed: Bed) {
    let times = [DAY_MS - 1, DAY_MS, DAY_MS + ONE_DAY_MS - 1, DAY_MS + ONE_DAY_MS];
    let records: Vec<_> = (0..)
        .zip(times)
        .map(|(i, started_at_ms)| InvocationRecord {
            started_at_ms,
            ..record(i)
        })
        .collect();
    bed.insert(&records).await.unwrap();
    for (from, to, expected) in [
        (None, None, 4),
        (Some(DAY_MS), None, 3),
        (None, Some(DAY_MS), 1),
        (Some(DAY_MS), Some(DAY_MS + ONE_DAY_MS), 2),
        (Some(DAY_MS), Some(DAY_MS), 0),
    ] {
        let rows = bed.store.usage(&default(), UsageBy::Function, from, to).await.unwrap();
        assert_eq!(
            rows.iter().map(|row| row.invocations).sum::<u64>(),
            expected,
            "{from:?} {to:?}"
        );
    }
}

pub(crate) async fn usage_outlives_the_function(bed: Bed) {
    bed.store.insert_artifact(&default(), &artifact(1)).await.unwrap();
    bed.store
        .deploy(&default(), &function("hello"), digest(1), &config(64), 1)
        .await
        .unwrap();
    bed.insert(&[record(1)]).await.unwrap();
    bed.store
        .delete_function(&default(), &function("hello"), 2)
        .await
        .unwrap();
    // Nor does a record need one: it may arrive after the deletion.
    bed.insert(&[record(2)]).await.unwrap();
    bed.assert_stored(&[record(1), record(2)]).await;
}

pub(crate) async fn a_sum_that_does_not_fit_is_an_error(bed: Bed) {
    let most = i64::MAX.unsigned_abs();
    let largest = |number| InvocationRecord {
        bytes_in: most,
        ..record(number)
    };
    bed.insert(&[largest(1)]).await.unwrap();
    let rows = bed
        .store
        .usage(&default(), UsageBy::Function, None, None)
        .await
        .unwrap();
    assert_eq!(rows[0].bytes_in, most);
    bed.insert(&[largest(2)]).await.unwrap();
    for by in [UsageBy::Function, UsageBy::Version, UsageBy::Day] {
        let refused = bed.store.usage(&default(), by, None, None).await;
        assert!(matches!(refused, Err(StoreError::OutOfRange(_))), "{refused:?}");
    }
}
