//! What functions printed, as one stream per function.

use mayfly_controller::ledger::InvocationRecord;
use mayfly_controller::store::{InvalidCursor, LogCursor, LogPage, Store};
use mayfly_invoker_api::{LogEntry, LogStream, Logs};

use crate::bed::{Bed, DAY_MS, default, function, id, printing, record};
use crate::records::ODD_TEXT;

async fn read(store: &Store, after: Option<LogCursor>, limit: u32) -> LogPage {
    store.logs(&default(), &function("hello"), after, limit).await.unwrap()
}

fn texts(page: &LogPage) -> Vec<&str> {
    page.entries.iter().map(|line| line.text.as_str()).collect()
}

pub(crate) async fn without_a_cursor_the_newest_lines_come(bed: Bed) {
    let empty = read(&bed.store, None, 10).await;
    assert_eq!(empty.entries, []);
    let records = [
        printing(1, &["a", "b"]),
        record(2),
        InvocationRecord {
            function: function("other"),
            ..printing(3, &["elsewhere"])
        },
        InvocationRecord {
            logs: Logs {
                entries: Vec::new(),
                dropped_bytes: 9,
            },
            ..record(4)
        },
        InvocationRecord {
            version: 2,
            ..printing(5, &["c", "d", "e"])
        },
    ];
    bed.insert(&records).await.unwrap();
    assert_eq!(texts(&read(&bed.store, None, 10).await), ["a", "b", "c", "d", "e"]);
    assert_eq!(texts(&read(&bed.store, None, 4).await), ["b", "c", "d", "e"]);
    assert_eq!(texts(&read(&bed.store, None, 3).await), ["c", "d", "e"]);
    let two = read(&bed.store, None, 2).await;
    assert_eq!(texts(&two), ["d", "e"]);
    assert_eq!((two.entries[0].at_ms, two.entries[0].version), (DAY_MS + 5 + 1, 2));
    assert_eq!(two.entries[0].invocation_id, id(5));
    // A cursor taken while nothing was there leads to everything; one taken at the end to what follows.
    assert_eq!(
        texts(&read(&bed.store, Some(empty.next), 10).await),
        ["a", "b", "c", "d", "e"]
    );
    let end = read(&bed.store, Some(two.next), 10).await;
    assert_eq!(
        end,
        LogPage {
            entries: Vec::new(),
            next: two.next
        }
    );
    bed.insert(&[printing(6, &["f"])]).await.unwrap();
    assert_eq!(texts(&read(&bed.store, Some(end.next), 10).await), ["f"]);
}

pub(crate) async fn a_cursor_goes_on_inside_an_invocation(bed: Bed) {
    let start = read(&bed.store, None, 10).await.next;
    let records = [
        printing(1, &["a", "b", "c", "d", "e"]),
        printing(2, &["f"]),
        printing(3, &["g", "h"]),
    ];
    bed.insert(&records).await.unwrap();
    for limit in 1..=9 {
        let (mut found, mut cursor) = (Vec::new(), start);
        loop {
            let page = read(&bed.store, Some(cursor), limit).await;
            assert!(page.entries.len() <= limit as usize);
            if page.entries.is_empty() {
                break;
            }
            found.extend(texts(&page).into_iter().map(str::to_owned));
            // As a client would do it: through text.
            cursor = page.next.to_string().parse().unwrap();
        }
        assert_eq!(found.concat(), "abcdefgh", "limit {limit}");
    }
}

pub(crate) async fn a_follower_misses_nothing_while_two_controllers_write(bed: Bed) {
    const BATCHES: u64 = 60;
    let write = |store: Store, controller: u64| async move {
        for batch in 0..BATCHES {
            let number = controller * 10_000 + batch * 2;
            store
                .insert_records(
                    &format!("{controller}-{batch}"),
                    &[printing(number, &["x", "y"]), printing(number + 1, &["z"])],
                )
                .await
                .unwrap();
        }
    };
    let mut cursor = read(&bed.store, None, 1).await.next;
    let writers = [
        tokio::spawn(write(bed.store.clone(), 1)),
        tokio::spawn(write(bed.another_store().await, 2)),
    ];
    let mut found = Vec::new();
    loop {
        let finished = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let page = read(&bed.store, Some(cursor), 7).await;
        cursor = page.next;
        if finished && page.entries.is_empty() {
            break;
        }
        found.extend(page.entries.into_iter().map(|line| (line.invocation_id, line.text)));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let mut expected: Vec<_> = [1, 2]
        .into_iter()
        .flat_map(|controller| (0..BATCHES).map(move |batch| controller * 10_000 + batch * 2))
        .flat_map(|number| [(id(number), "x"), (id(number), "y"), (id(number + 1), "z")])
        .map(|(id, text)| (id, text.to_owned()))
        .collect();
    found.sort();
    expected.sort();
    assert!(found == expected, "read {} of {} lines", found.len(), expected.len());
}

pub(crate) async fn a_page_is_bounded_in_bytes(bed: Bed) {
    let start = read(&bed.store, None, 1).await.next;
    let large = "x".repeat(3 << 20);
    for number in 0..6 {
        bed.insert(&[printing(number, &[&large])]).await.unwrap();
    }
    let (mut lines, mut cursor) = (0, start);
    loop {
        let page = read(&bed.store, Some(cursor), 100).await;
        assert!(page.entries.len() <= 2, "{} MiB in one page", 3 * page.entries.len());
        if page.entries.is_empty() {
            break;
        }
        lines += page.entries.len();
        cursor = page.next;
    }
    assert_eq!(lines, 6);
    assert_eq!(read(&bed.store, None, 100).await.entries.len(), 2);
    // One row beyond the bound is read all the same, or nobody could ever read on.
    bed.insert(&[printing(9, &[&"y".repeat(9 << 20)])]).await.unwrap();
    assert_eq!(read(&bed.store, Some(cursor), 100).await.entries.len(), 1);
}

pub(crate) async fn any_text_survives_in_logs(bed: Bed) {
    let entries = vec![
        LogEntry {
            offset_ms: 1,
            stream: LogStream::Stderr,
            text: ODD_TEXT.to_owned(),
        },
        LogEntry {
            offset_ms: 2,
            stream: LogStream::Stdout,
            text: String::new(),
        },
    ];
    bed.insert(&[InvocationRecord {
        logs: Logs {
            entries,
            dropped_bytes: 5,
        },
        ..record(1)
    }])
    .await
    .unwrap();
    let lines = read(&bed.store, None, 10).await.entries;
    assert_eq!(
        (lines[0].text.as_str(), lines[0].stream, lines[0].dropped_bytes),
        (ODD_TEXT, LogStream::Stderr, 0)
    );
    assert_eq!(
        (lines[1].text.as_str(), lines[1].stream, lines[1].dropped_bytes),
        ("", LogStream::Stdout, 5)
    );
}

pub(crate) async fn an_invented_cursor_is_refused_or_harmless(bed: Bed) {
    bed.insert(&[printing(1, &["a"])]).await.unwrap();
    for bad in [
        "",
        "x",
        "1",
        "1.",
        ".1",
        "-1.0",
        "9223372036854775807.0",
        "1.-1",
        "1.2.3",
        " 1.0",
    ] {
        assert_eq!(bad.parse::<LogCursor>(), Err(InvalidCursor), "{bad}");
    }
    for far in ["99.0", "0.99", "9223372036854775806.18446744073709551615"] {
        assert_eq!(
            read(&bed.store, Some(far.parse().unwrap()), 10).await.entries,
            [],
            "{far}"
        );
    }
    assert_eq!(read(&bed.store, Some("0.0".parse().unwrap()), 0).await.entries, []);
}
