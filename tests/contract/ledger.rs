//! The ledger between the hot path and the database.

use std::time::Duration;

use mayfly_controller::ledger::{InvocationRecord, Ledger, LedgerCounts, LedgerError, LedgerLimits};
use mayfly_controller::store::{Database, StoreError};
use tokio_util::sync::CancellationToken;

use crate::bed::{Bed, execute, printing, record};
use crate::spool::spool_files;

fn some(count: u64) -> Vec<InvocationRecord> {
    (0..count)
        .map(|i| {
            if i % 5 == 0 {
                printing(i, &["a line", "another"])
            } else {
                record(i)
            }
        })
        .collect()
}

pub(crate) async fn a_flush_brings_everything_into_the_database(bed: Bed) {
    let ledger = bed.ledger();
    assert!(ledger.accepting());
    ledger.flush().await.unwrap();
    let records = some(1_300);
    for record in &records {
        ledger.record(record);
    }
    bed.assert_stored(&[]).await;
    ledger.flush().await.unwrap();
    bed.assert_stored(&records).await;
    // Nothing is left but the active file.
    ledger.flush().await.unwrap();
    let names: Vec<_> = std::fs::read_dir(bed.spool_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "the lock, the reserve and one file: {names:?}");
    assert_eq!(ledger.counts(), LedgerCounts::default());
}

pub(crate) async fn a_killed_process_loses_and_doubles_nothing(bed: Bed) {
    let records = some(700);
    let ledger = bed.ledger();
    for record in &records[..400] {
        ledger.record(record);
    }
    drop(ledger);
    // The next one dies between the transaction and the removal of the file: the file is there again.
    let file = spool_files(&bed.spool_dir()).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    bed.ledger().flush().await.unwrap();
    std::fs::write(&file, bytes).unwrap();
    let ledger = bed.ledger();
    for record in &records[400..] {
        ledger.record(record);
    }
    drop(ledger);
    let ledger = bed.ledger();
    ledger.flush().await.unwrap();
    bed.assert_stored(&records).await;
    assert_eq!(ledger.counts(), LedgerCounts::default());
}

pub(crate) async fn many_threads_record_while_the_drain_runs(bed: Bed) {
    const THREADS: u64 = 8;
    const EACH: u64 = 400;
    let limits = LedgerLimits {
        drain_interval: Duration::from_millis(1),
        ..LedgerLimits::default()
    };
    let ledger = Ledger::open(&bed.spool_dir(), bed.store.clone(), limits).unwrap();
    let stop = CancellationToken::new();
    let drain = tokio::spawn(ledger.clone().run(stop.clone()));
    let recorders: Vec<_> = (0..THREADS)
        .map(|thread| {
            let ledger = ledger.clone();
            std::thread::spawn(move || {
                for number in thread * EACH..(thread + 1) * EACH {
                    ledger.record(&printing(number, &["from a thread"]));
                }
            })
        })
        .collect();
    while !recorders.iter().all(std::thread::JoinHandle::is_finished) {
        ledger.flush().await.unwrap();
    }
    ledger.flush().await.unwrap();
    let records: Vec<_> = (0..THREADS * EACH)
        .map(|number| printing(number, &["from a thread"]))
        .collect();
    bed.assert_stored(&records).await;
    assert_eq!(ledger.counts(), LedgerCounts::default());
    stop.cancel();
    drain.await.unwrap();
}

pub(crate) async fn a_flush_waits_for_the_drain_that_is_under_way(bed: Bed) {
    let ledger = bed.ledger();
    for round in 0..20 {
        let before: Vec<_> = (round * 100..round * 100 + 100).map(record).collect();
        for record in &before {
            ledger.record(record);
        }
        // The first one has taken the file; the second one must not return before it is done.
        let (first, second) = (ledger.clone(), ledger.clone());
        let first = tokio::spawn(async move { first.flush().await });
        tokio::task::yield_now().await;
        second.flush().await.unwrap();
        for record in &before {
            assert!(
                bed.store
                    .invocation(&record.namespace, record.id)
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        first.await.unwrap().unwrap();
        // A cancelled flush loses nothing.
        ledger.record(&record(10_000 + round));
        let cancelled = tokio::time::timeout(Duration::from_micros(50 * round), ledger.flush()).await;
        drop(cancelled);
    }
    ledger.flush().await.unwrap();
    let all: Vec<_> = (0..2_000).chain(10_000..10_020).map(record).collect();
    bed.assert_stored(&all).await;
}

pub(crate) async fn a_stop_brings_the_rest_into_the_database(bed: Bed) {
    let limits = LedgerLimits {
        drain_interval: Duration::from_secs(3_600),
        ..LedgerLimits::default()
    };
    let ledger = Ledger::open(&bed.spool_dir(), bed.store.clone(), limits).unwrap();
    let stop = CancellationToken::new();
    let drain = tokio::spawn(ledger.clone().run(stop.clone()));
    ledger.record(&record(1));
    stop.cancel();
    drain.await.unwrap();
    bed.assert_stored(&[record(1)]).await;
}

pub(crate) async fn records_wait_while_the_database_is_away(bed: Bed) {
    let away = bed.another_store().await;
    away.close().await;
    let limits = LedgerLimits {
        drain_interval: Duration::from_millis(1),
        retry_interval_max: Duration::from_millis(5),
        ..LedgerLimits::default()
    };
    let ledger = Ledger::open(&bed.spool_dir(), away, limits).unwrap();
    let stop = CancellationToken::new();
    let drain = tokio::spawn(ledger.clone().run(stop.clone()));
    let records = some(50);
    for record in &records {
        ledger.record(record);
        let refused = ledger.flush().await;
        assert!(
            matches!(refused, Err(LedgerError::Store(StoreError::Unavailable(_)))),
            "{refused:?}"
        );
    }
    assert!(ledger.accepting());
    stop.cancel();
    drain.await.unwrap();
    drop(ledger);
    bed.ledger().flush().await.unwrap();
    bed.assert_stored(&records).await;
}

pub(crate) async fn a_record_that_cannot_be_stored_does_not_block_the_others(bed: Bed) {
    let ledger = bed.ledger();
    ledger.record(&record(1));
    ledger.record(&InvocationRecord {
        bytes_in: u64::MAX,
        ..record(2)
    });
    ledger.record(&record(3));
    // Each number fits, their product does not.
    ledger.record(&InvocationRecord {
        memory_mib: 4_096,
        billed_ms: 1 << 52,
        ..record(4)
    });
    ledger.record(&record(5));
    ledger.flush().await.unwrap();
    bed.assert_stored(&[record(1), record(3), record(5)]).await;
    assert_eq!(ledger.counts().rejected, 2);
    let rejected = std::fs::read_to_string(bed.spool_dir().join("rejected")).unwrap();
    assert!(rejected.contains(&record(2).id.to_string()), "{rejected}");
    assert!(ledger.accepting());
}

pub(crate) async fn broken_connections_lose_and_double_nothing(bed: Bed) {
    const KILL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let Database::Postgres { url } = bed.database.clone() else {
        panic!("only for Postgres")
    };
    let limits = LedgerLimits {
        drain_interval: Duration::from_millis(1),
        retry_interval_max: Duration::from_millis(5),
        ..LedgerLimits::default()
    };
    let ledger = Ledger::open(&bed.spool_dir(), bed.store.clone(), limits).unwrap();
    let stop = CancellationToken::new();
    let drain = tokio::spawn(ledger.clone().run(stop.clone()));
    let records = some(3_000);
    for records in records.chunks(100) {
        for record in records {
            ledger.record(record);
        }
        execute(&url, KILL).await;
    }
    stop.cancel();
    drain.await.unwrap();
    ledger.flush().await.unwrap();
    bed.assert_stored(&records).await;
    assert_eq!(ledger.counts(), LedgerCounts::default());
}
