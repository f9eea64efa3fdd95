//! Rows of the ledger, one by one and in pages.

use mayfly_controller::ledger::{InvocationRecord, RecordedError, Trigger};
use mayfly_controller::store::{StoreError, UsageBy};
use mayfly_invoker_api::{LogEntry, LogStream, Logs, Start};

use crate::bed::{Bed, default, function, id, namespace, printing, record};

/// Text that a careless store loses or refuses.
pub(crate) const ODD_TEXT: &str = "nul \0 lines \n\r\n quotes \"'\\ escape \u{1b}[0m words žluť 🦋 \u{2028} end";

fn failing(number: u64) -> InvocationRecord {
    let error = RecordedError {
        code: "function_trapped".to_owned(),
        message: format!("{number}: {ODD_TEXT}"),
    };
    InvocationRecord {
        error: Some(error),
        http_status: Some(500),
        ..record(number)
    }
}

pub(crate) async fn a_record_comes_back_as_it_was(bed: Bed) {
    let full = InvocationRecord {
        trigger: Trigger::Direct,
        event_id: Some(ODD_TEXT.to_owned()),
        attempt: u32::MAX,
        version: u32::MAX,
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        start: Some(Start::Cold),
        duration_us: i64::MAX as u64,
        memory_peak_bytes: i64::MAX as u64,
        logs: Logs {
            entries: vec![
                LogEntry {
                    offset_ms: 0,
                    stream: LogStream::Stdout,
                    text: ODD_TEXT.to_owned(),
                },
                LogEntry {
                    offset_ms: u64::MAX,
                    stream: LogStream::Stderr,
                    text: String::new(),
                },
            ],
            dropped_bytes: 17,
        },
        ..failing(1)
    };
    let bare = InvocationRecord {
        http_status: None,
        start: None,
        event_id: None,
        duration_us: 0,
        billed_ms: 0,
        cpu_us: 0,
        memory_peak_bytes: 0,
        bytes_in: 0,
        bytes_out: 0,
        ..record(2)
    };
    let only_dropped = InvocationRecord {
        logs: Logs {
            entries: Vec::new(),
            dropped_bytes: 3,
        },
        ..record(3)
    };
    let records = [full, bare, only_dropped];
    bed.insert(&records).await.unwrap();
    bed.assert_stored(&records).await;
    bed.insert(&[]).await.unwrap();
}

pub(crate) async fn a_record_belongs_to_its_namespace(bed: Bed) {
    let other = namespace("other");
    let foreign = InvocationRecord {
        namespace: other.clone(),
        ..printing(1, &["secret"])
    };
    bed.insert(std::slice::from_ref(&foreign)).await.unwrap();
    assert_eq!(bed.store.invocation(&default(), id(1)).await.unwrap(), None);
    assert_eq!(
        bed.store
            .invocations(&default(), &function("hello"), None, None, 10)
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        bed.store
            .logs(&default(), &function("hello"), None, 10)
            .await
            .unwrap()
            .entries,
        []
    );
    assert_eq!(bed.store.invocation(&other, id(1)).await.unwrap(), Some(foreign));
    assert_eq!(bed.store.invocation(&other, id(2)).await.unwrap(), None);
}

pub(crate) async fn a_segment_that_is_there_already_changes_nothing(bed: Bed) {
    let first = [
        InvocationRecord {
            logs: printing(1, &["one"]).logs,
            ..failing(1)
        },
        record(2),
    ];
    bed.store.insert_records("a", &first).await.unwrap();
    bed.store.insert_records("a", &first).await.unwrap();
    bed.assert_stored(&first).await;
    bed.store.insert_records("b", &[record(3)]).await.unwrap();
    bed.assert_stored(&[&first[..], &[record(3)]].concat()).await;
    let lines = bed.store.logs(&default(), &function("hello"), None, 10).await.unwrap();
    assert_eq!(lines.entries.len(), 1);
}

pub(crate) async fn parallel_inserts_of_the_same_segment_double_nothing(bed: Bed) {
    // Of several functions, versions and minutes, and more than fit one block.
    let records: Vec<_> = (0..3_000)
        .map(|i| InvocationRecord {
            version: 1 + u32::try_from(i % 2).unwrap(),
            function: function(if i % 3 == 0 { "hello" } else { "other" }),
            ..if i % 7 == 0 {
                printing(i, &["line"])
            } else {
                record(i * 50)
            }
        })
        .collect();
    let other = bed.another_store().await;
    let (one, two) = tokio::join!(
        bed.store.insert_records("same", &records),
        other.insert_records("same", &records)
    );
    one.unwrap();
    two.unwrap();
    let rows = bed
        .store
        .usage(&default(), UsageBy::Function, None, None)
        .await
        .unwrap();
    assert_eq!(rows.iter().map(|row| row.invocations).sum::<u64>(), 3_000);
    let lines = bed
        .store
        .logs(&default(), &function("hello"), None, 1_000)
        .await
        .unwrap();
    let others = bed
        .store
        .logs(&default(), &function("other"), None, 1_000)
        .await
        .unwrap();
    assert_eq!(
        lines.entries.len() + others.entries.len(),
        records.iter().filter(|record| !record.logs.is_empty()).count()
    );
}

/// Calls that end long after they began lie in blocks with much younger ones.
pub(crate) async fn blocks_that_overlap_are_read_in_order(bed: Bed) {
    let each = |step: usize| (0..200).map(record).skip(step).step_by(20).collect::<Vec<_>>();
    for step in 0..20 {
        bed.insert(&each(step)).await.unwrap();
    }
    let all: Vec<_> = (0..200).map(record).collect();
    bed.assert_stored(&all).await;
    let mut found: Vec<InvocationRecord> = Vec::new();
    loop {
        let before = found.last().map(|record| record.id);
        let page = bed
            .store
            .invocations(&default(), &function("hello"), before, None, 7)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, all.into_iter().rev().collect::<Vec<_>>());
}

pub(crate) async fn a_batch_is_inserted_all_or_none(bed: Bed) {
    for wrong in [
        InvocationRecord {
            bytes_out: u64::MAX,
            ..record(2)
        },
        InvocationRecord {
            duration_us: 1 << 63,
            ..record(2)
        },
        // Each fits, their product does not: 2^63 and 2^64.
        InvocationRecord {
            memory_mib: 4_096,
            billed_ms: 1 << 51,
            ..record(2)
        },
        InvocationRecord {
            memory_mib: 4_096,
            billed_ms: 1 << 52,
            ..record(2)
        },
    ] {
        let refused = bed.insert(&[record(1), wrong]).await;
        assert!(matches!(refused, Err(StoreError::OutOfRange(_))), "{refused:?}");
    }
    bed.assert_stored(&[]).await;
}

pub(crate) async fn pages_go_from_the_newest_to_the_oldest(bed: Bed) {
    let records: Vec<_> = (0..10)
        .map(|i| if i % 2 == 0 { failing(i) } else { printing(i, &["x"]) })
        .collect();
    bed.insert(&records).await.unwrap();
    let elsewhere = InvocationRecord {
        function: function("other"),
        ..record(50)
    };
    bed.insert(&[elsewhere]).await.unwrap();
    let mut found: Vec<InvocationRecord> = Vec::new();
    for expected in [4, 4, 2, 0] {
        let before = found.last().map(|record| record.id);
        let page = bed
            .store
            .invocations(&default(), &function("hello"), before, None, 4)
            .await
            .unwrap();
        assert_eq!(page.len(), expected);
        found.extend(page);
    }
    let without_logs = |record: &InvocationRecord| InvocationRecord {
        logs: Logs::default(),
        ..record.clone()
    };
    assert_eq!(found, records.iter().rev().map(without_logs).collect::<Vec<_>>());
}

pub(crate) async fn failures_can_be_picked(bed: Bed) {
    let records: Vec<_> = (0..9)
        .map(|i| if i % 3 == 0 { failing(i) } else { record(i) })
        .collect();
    bed.insert(&records).await.unwrap();
    let name = function("hello");
    let ids = |records: Vec<InvocationRecord>| records.iter().map(|record| record.id).collect::<Vec<_>>();
    let failed = bed
        .store
        .invocations(&default(), &name, None, Some(true), 10)
        .await
        .unwrap();
    assert_eq!(ids(failed), [id(6), id(3), id(0)]);
    let fine = bed
        .store
        .invocations(&default(), &name, None, Some(false), 10)
        .await
        .unwrap();
    assert_eq!(ids(fine), [id(8), id(7), id(5), id(4), id(2), id(1)]);
    let page = bed
        .store
        .invocations(&default(), &name, Some(id(6)), Some(true), 1)
        .await
        .unwrap();
    assert_eq!(ids(page), [id(3)]);
}
