//! What happens to the spool when files, disks and memory go wrong.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use mayfly_controller::ledger::{InvocationRecord, Ledger, LedgerCounts, LedgerError, LedgerLimits};
use mayfly_invoker_api::{LogEntry, LogStream, Logs};

use crate::bed::{Bed, record};

/// The spool files, oldest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "spool"));
    found.sort();
    found
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new()
        .append(true)
        .open(path)
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

/// The file that the next rotation will make.
fn next_file(dir: &Path) -> PathBuf {
    let last = files(dir).pop().unwrap();
    let number: u64 = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    dir.join(format!("{:010}.spool", number + 1))
}

pub(crate) async fn a_torn_tail_is_skipped_and_counted(bed: Bed) {
    let ledger = bed.ledger();
    for number in 0..3 {
        ledger.record(&record(number));
    }
    drop(ledger);
    let path = files(&bed.spool_dir()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    // Wherever the last line is cut, the first two records are there; cut before its end, the last one is not.
    let line = whole.len() / 3;
    for cut in [line * 2 + 1, line * 2 + 5, line * 2 + line / 2, whole.len() - 2] {
        fs::write(&path, &whole[..cut]).unwrap();
        let ledger = bed.ledger();
        ledger.flush().await.unwrap();
        bed.assert_stored(&[record(0), record(1)]).await;
        let damaged = u64::from(cut > line * 2 + 1);
        assert_eq!(
            ledger.counts(),
            LedgerCounts {
                damaged,
                ..LedgerCounts::default()
            },
            "cut at {cut}"
        );
        assert!(ledger.accepting());
    }
    // Without the last line feed only, it is whole.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    bed.ledger().flush().await.unwrap();
    bed.assert_stored(&[record(0), record(1), record(2)]).await;
}

pub(crate) async fn garbage_between_records_is_skipped_and_counted(bed: Bed) {
    let ledger = bed.ledger();
    let path = files(&bed.spool_dir()).pop().unwrap();
    for (number, garbage) in (0..).zip([
        b"half a line".as_slice(),
        b"\xff\xfe\n\n\n",
        b"00000000 {}",
        &[0; 70_000],
    ]) {
        append(&path, garbage);
        ledger.record(&record(number));
    }
    // One bit of a record.
    ledger.record(&record(99));
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len() - 10;
    bytes[end] ^= 1;
    fs::write(&path, bytes).unwrap();
    ledger.flush().await.unwrap();
    bed.assert_stored(&[record(0), record(1), record(2), record(3)]).await;
    assert_eq!(
        ledger.counts(),
        LedgerCounts {
            damaged: 5,
            ..LedgerCounts::default()
        }
    );
    let aside = fs::read(bed.spool_dir().join("rejected")).unwrap();
    let found = |part: &[u8]| aside.windows(part.len()).any(|window| window == part);
    assert!(
        found(b"half a line") && found(b"00000000 {}"),
        "what was skipped is kept"
    );
}

pub(crate) async fn lines_of_another_version_are_set_aside(bed: Bed) {
    let ledger = bed.ledger();
    let json = r#"{"id":"from the future"}"#;
    let line = format!("\n{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
    append(&files(&bed.spool_dir()).pop().unwrap(), line.as_bytes());
    ledger.record(&record(1));
    ledger.flush().await.unwrap();
    bed.assert_stored(&[record(1)]).await;
    assert_eq!(
        ledger.counts(),
        LedgerCounts {
            rejected: 1,
            ..LedgerCounts::default()
        }
    );
    assert!(
        fs::read_to_string(bed.spool_dir().join("rejected"))
            .unwrap()
            .contains(line.trim())
    );
}

pub(crate) async fn a_full_spool_refuses_until_it_is_drained(bed: Bed) {
    let limits = LedgerLimits {
        spool_bytes_max: 2_000,
        ..LedgerLimits::default()
    };
    let ledger = Ledger::open(&bed.spool_dir(), bed.store.clone(), limits.clone()).unwrap();
    let mut records = Vec::new();
    while ledger.accepting() {
        records.push(record(records.len() as u64));
        ledger.record(&records[records.len() - 1]);
        assert!(records.len() < 10, "never refused");
    }
    // What was admitted before is still kept.
    records.push(record(100));
    ledger.record(&record(100));
    // A restart does not forget how full it is.
    drop(ledger);
    let ledger = Ledger::open(&bed.spool_dir(), bed.store.clone(), limits).unwrap();
    assert!(!ledger.accepting());
    ledger.flush().await.unwrap();
    assert!(ledger.accepting());
    bed.assert_stored(&records).await;
}

pub(crate) async fn a_full_disk_refuses_and_recovers(bed: Bed) {
    let ledger = bed.ledger();
    ledger.record(&record(0));
    // The next spool file is one that takes no byte.
    std::os::unix::fs::symlink("/dev/full", next_file(&bed.spool_dir())).unwrap();
    ledger.flush().await.unwrap();
    assert!(ledger.accepting());
    ledger.record(&record(1));
    assert!(!ledger.accepting());
    ledger.record(&record(2));
    ledger.flush().await.unwrap();
    assert!(ledger.accepting());
    ledger.record(&record(3));
    assert!(ledger.accepting());
    ledger.flush().await.unwrap();
    bed.assert_stored(&[record(0), record(1), record(2), record(3)]).await;
    assert_eq!(ledger.counts(), LedgerCounts::default());
}

pub(crate) async fn a_lost_folder_refuses_and_recovers(bed: Bed) {
    let ledger = bed.ledger();
    let moved = bed.dir.path().join("moved");
    ledger.record(&record(0));
    fs::rename(bed.spool_dir(), &moved).unwrap();
    // Deleted by somebody else, as far as the drain can see; its records are gone from its sight.
    assert!(matches!(ledger.flush().await, Err(LedgerError::Io { .. })));
    assert!(!ledger.accepting());
    // These go to memory and from there to the database, with the folder still away.
    ledger.record(&record(1));
    ledger.record(&record(2));
    assert!(ledger.flush().await.is_err());
    bed.assert_stored(&[record(1), record(2)]).await;
    fs::rename(&moved, bed.spool_dir()).unwrap();
    ledger.flush().await.unwrap();
    assert!(ledger.accepting());
    drop(ledger);
    bed.ledger().flush().await.unwrap();
    bed.assert_stored(&[record(0), record(1), record(2)]).await;
}

pub(crate) async fn a_full_memory_is_counted(bed: Bed) {
    let limits = LedgerLimits {
        queue_records_max: 2,
        ..LedgerLimits::default()
    };
    let ledger = Ledger::open(&bed.spool_dir(), bed.store.clone(), limits).unwrap();
    fs::remove_dir_all(bed.spool_dir()).unwrap();
    ledger.record(&record(0));
    assert!(ledger.flush().await.is_err());
    for number in 1..5 {
        ledger.record(&record(number));
    }
    assert_eq!(
        ledger.counts(),
        LedgerCounts {
            lost: 2,
            ..LedgerCounts::default()
        }
    );
    fs::create_dir_all(bed.spool_dir()).unwrap();
    ledger.flush().await.unwrap();
    assert!(ledger.accepting());
    bed.assert_stored(&[record(1), record(2)]).await;
}

pub(crate) async fn a_record_with_enormous_logs_is_kept_without_them(bed: Bed) {
    let entry = |offset_ms| LogEntry {
        offset_ms,
        stream: LogStream::Stdout,
        text: "\0".repeat(1 << 20),
    };
    let logs = Logs {
        entries: (0..3).map(entry).collect(),
        dropped_bytes: 7,
    };
    let ledger = bed.ledger();
    ledger.record(&InvocationRecord { logs, ..record(1) });
    ledger.record(&record(2));
    ledger.flush().await.unwrap();
    let logs = Logs {
        entries: Vec::new(),
        dropped_bytes: 7 + (3 << 20),
    };
    bed.assert_stored(&[InvocationRecord { logs, ..record(1) }, record(2)])
        .await;
}

pub(crate) async fn a_spool_has_one_owner(bed: Bed) {
    let ledger = bed.ledger();
    let second = Ledger::open(&bed.spool_dir(), bed.store.clone(), LedgerLimits::default());
    assert!(matches!(second, Err(LedgerError::InUse { .. })), "{second:?}");
    drop(ledger);
    bed.ledger();
    let file = bed.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = Ledger::open(&file.join("spool"), bed.store.clone(), LedgerLimits::default());
    assert!(matches!(refused, Err(LedgerError::Io { .. })), "{refused:?}");
}
