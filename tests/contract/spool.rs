//! What happens to the spool when files, disks and memory go wrong.

use std::fs;
use std::path::{Path, PathBuf};

use mayfly_controller::ledger::{InvocationRecord, Ledger, LedgerCounts, LedgerError, LedgerLimits};
use mayfly_controller::store::UsageBy;
use mayfly_invoker_api::{LogEntry, LogStream, Logs};

use crate::bed::{Bed, default, printing, record};

/// The spool files of one process, oldest first.
pub(crate) fn spool_files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "usage"));
    found.sort();
    found
}

/// A file with `parts` one behind the other, as a process that was killed would leave it.
fn leave(dir: &Path, name: &str, parts: &[&[u8]]) {
    fs::write(dir.join(format!("{name}.usage")), parts.concat()).unwrap();
}

/// What lies in the spool for each of these records.
fn frames(bed: &Bed, records: &[InvocationRecord]) -> Vec<Vec<u8>> {
    let mut used = 0;
    let ledger = bed.ledger();
    let path = spool_files(&bed.spool_dir()).pop().unwrap();
    let frames = records.iter().map(|record| {
        ledger.record(record);
        let bytes = fs::read(&path).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes[std::mem::replace(&mut used, end)..end].to_vec()
    });
    let frames = frames.collect();
    drop(ledger);
    fs::remove_file(path).unwrap();
    frames
}

/// The file that the next rotation will make.
fn next_file(dir: &Path) -> PathBuf {
    let last = spool_files(dir).pop().unwrap();
    let (run, number) = last.file_stem().unwrap().to_str().unwrap().split_once('-').unwrap();
    let number: u64 = number.parse().unwrap();
    dir.join(format!("{run}-{:010}.usage", number + 1))
}

/// Ends with a byte that is not zero, so that its end can be seen in a file.
fn distinct(number: u64) -> InvocationRecord {
    let logs = Logs {
        entries: Vec::new(),
        dropped_bytes: 1,
    };
    InvocationRecord { logs, ..record(number) }
}

pub(crate) async fn a_torn_tail_is_skipped_and_counted(bed: Bed) {
    let frame = frames(&bed, &[distinct(0), distinct(1), distinct(2)]);
    let empty = [0; 5_000];
    // Wherever the last frame is cut, the first two are there.
    for cut in [0, 1, 3, 4, 11, 12, 20, frame[2].len() - 1] {
        leave(
            &bed.spool_dir(),
            &format!("cut-{cut}"),
            &[&frame[0], &frame[1], &frame[2][..cut], &empty],
        );
        let ledger = bed.ledger();
        ledger.flush().await.unwrap();
        let damaged = u64::from(cut > 0);
        assert_eq!(
            ledger.counts(),
            LedgerCounts {
                damaged,
                ..LedgerCounts::default()
            },
            "cut at {cut}"
        );
        assert!(ledger.accepting());
        let rows = bed
            .store
            .usage(&default(), UsageBy::Function, None, None)
            .await
            .unwrap();
        assert_eq!(rows[0].invocations % 2, 0, "cut at {cut}");
    }
}

pub(crate) async fn garbage_between_records_is_skipped_and_counted(bed: Bed) {
    let frame = frames(&bed, &(0..5).map(distinct).collect::<Vec<_>>());
    let mut flipped = frame[4].clone();
    let end = flipped.len() - 3;
    flipped[end] ^= 1;
    let hole = [0; 70_000];
    let parts: [&[u8]; 9] = [
        &frame[0],
        b"\xff\0M2half a frame",
        &frame[1],
        &hole,
        &frame[2],
        b"\xff\xfe",
        &flipped,
        &frame[3],
        b"\xff\0M2\xff\xff\xff\xff",
    ];
    leave(&bed.spool_dir(), "garbage", &parts);
    let ledger = bed.ledger();
    ledger.flush().await.unwrap();
    bed.assert_stored(&(0..4).map(distinct).collect::<Vec<_>>()).await;
    assert_eq!(
        ledger.counts(),
        LedgerCounts {
            damaged: 3,
            ..LedgerCounts::default()
        }
    );
    let aside = fs::read(bed.spool_dir().join("rejected")).unwrap();
    let found = |part: &[u8]| aside.windows(part.len()).any(|window| window == part);
    assert!(
        found(b"\xff\0M2half a frame") && found(&flipped),
        "what was skipped is kept"
    );
}

pub(crate) async fn frames_of_another_version_are_set_aside(bed: Bed) {
    let frame = frames(&bed, &[distinct(1)]);
    let future = b"from the future";
    let head = [
        *b"\xff\0M2",
        u32::try_from(future.len()).unwrap().to_le_bytes(),
        crc32fast::hash(future).to_le_bytes(),
    ];
    leave(&bed.spool_dir(), "future", &[head.as_flattened(), future, &frame[0]]);
    let ledger = bed.ledger();
    ledger.flush().await.unwrap();
    bed.assert_stored(&[distinct(1)]).await;
    assert_eq!(
        ledger.counts(),
        LedgerCounts {
            rejected: 1,
            ..LedgerCounts::default()
        }
    );
    let aside = fs::read(bed.spool_dir().join("rejected")).unwrap();
    assert!(aside.windows(future.len()).any(|window| window == future));
}

pub(crate) async fn more_than_fits_one_file_goes_into_several(bed: Bed) {
    let large = "x".repeat(200 << 10);
    let ledger = bed.ledger();
    let records: Vec<_> = (0..50).map(|number| printing(number, &[&large])).collect();
    for record in &records {
        ledger.record(record);
    }
    assert!(spool_files(&bed.spool_dir()).len() >= 3);
    ledger.flush().await.unwrap();
    bed.assert_stored(&records).await;
    assert_eq!(spool_files(&bed.spool_dir()).len(), 1);
    assert_eq!(ledger.counts(), LedgerCounts::default());
}

pub(crate) async fn a_full_spool_refuses_until_it_is_drained(bed: Bed) {
    let limits = LedgerLimits {
        spool_bytes_max: 700,
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
    // The next spool file cannot be made, which is found out when the active one is full: by the fourth of these.
    let next = next_file(&bed.spool_dir());
    fs::write(&next, "").unwrap();
    let large = "x".repeat(1 << 20);
    let records: Vec<_> = (1..5).map(|number| printing(number, &[&large])).collect();
    for record in &records {
        ledger.record(record);
    }
    // The reserve was given up for it, and what was printed afterwards is not kept.
    assert!(!ledger.accepting());
    ledger.record(&printing(5, &["not kept"]));
    ledger.record(&record(6));
    fs::remove_file(&next).unwrap();
    ledger.flush().await.unwrap();
    assert!(ledger.accepting());
    ledger.record(&record(7));
    ledger.flush().await.unwrap();
    let all = [&[record(0)][..], &records, &[record(5), record(6), record(7)]].concat();
    bed.assert_stored(&all).await;
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
