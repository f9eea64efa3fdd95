//! What holds for every file of the spool, whatever became of it: what comes out was put in, and what was not touched
//! comes out.

use arbitrary::{Arbitrary, Unstructured};
use mayfly_invoker_api::{InvocationId, LogEntry, LogStream, Logs, Start};

use super::frame::{Parsed, encode, parse};
use super::{InvocationRecord, RecordedError, Trigger};

/// Records of one file; more of them show nothing new.
const RECORDS_MAX: u8 = 6;

/// One of two: any bytes, or a file that was written and then damaged as crashes do it.
pub fn usage_frames(input: &[u8]) {
    match input.split_first() {
        Some((how, rest)) if how % 2 == 0 => drop(damaged_file(&mut Unstructured::new(rest))),
        Some((_, rest)) => any_bytes(rest),
        None => {}
    }
}

fn any_bytes(bytes: &[u8]) {
    let parsed = parse(bytes);
    check_remains(&parsed);
    if parsed.records.is_empty() {
        let used = |bytes: &[u8]| bytes.iter().filter(|byte| **byte != 0).count();
        let kept: usize = parsed
            .foreign
            .iter()
            .chain(&parsed.damaged)
            .map(|part| used(part))
            .sum();
        assert_eq!(kept, used(bytes), "every byte ends up somewhere");
    }
    for record in parsed.records {
        let again = parse(&encode(&record));
        assert_eq!(again.records, [record]);
    }
}

/// What is put aside is no record, and the other way round.
fn check_remains(parsed: &Parsed) {
    for frame in &parsed.foreign {
        let again = parse(frame);
        assert_eq!(
            (again.records.len(), again.foreign.as_slice()),
            (0, std::slice::from_ref(frame))
        );
    }
    for part in &parsed.damaged {
        assert_eq!(parse(part).records, []);
    }
}

/// A file that was cut short, and that has holes where pages were not written.
fn damaged_file(input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let mut file = Vec::new();
    let mut written = Vec::new();
    for number in 1..=input.int_in_range(1..=RECORDS_MAX)? {
        let record = record(number, input)?;
        let start = file.len();
        file.extend_from_slice(&encode(&record));
        written.push((start..file.len(), record));
        // Space that was taken and not used.
        file.resize(file.len() + usize::from(input.arbitrary::<u8>()? >> 4), 0);
    }
    let whole = file.clone();
    for _ in 0..input.int_in_range(0..=3)? {
        let from = input.int_in_range(0..=file.len())?;
        let to = input.int_in_range(from..=file.len())?;
        if input.ratio(1, 4)? {
            file.truncate(from);
        } else {
            file[from..to].fill(0);
        }
    }
    let parsed = parse(&file);
    check_remains(&parsed);
    assert_eq!(parsed.foreign.len(), 0, "{:?}", parsed.foreign);
    let untouched = written
        .iter()
        .filter(|(place, _)| file.get(place.clone()) == Some(&whole[place.clone()]));
    let untouched: Vec<_> = untouched.map(|(_, record)| record.clone()).collect();
    assert_eq!(parsed.records, untouched);
    assert!(untouched.len() < written.len() || parsed.damaged.is_empty());
    Ok(())
}

/// Guests and clients choose all of it but the id.
fn record(number: u8, input: &mut Unstructured<'_>) -> arbitrary::Result<InvocationRecord> {
    let mut record = InvocationRecord {
        id: InvocationId::new(1_700_000_000_000, [number; 10]),
        namespace: "default".parse().expect("a name"),
        function: "shop".parse().expect("a name"),
        version: input.arbitrary()?,
        trigger: *input.choose(&[Trigger::Http, Trigger::Direct])?,
        event_id: input.arbitrary()?,
        attempt: 1,
        error: None,
        http_status: input.arbitrary()?,
        started_at_ms: input.arbitrary()?,
        trace_id: None,
        start: *input.choose(&[None, Some(Start::Cold), Some(Start::Warm)])?,
        duration_us: input.arbitrary()?,
        billed_ms: input.arbitrary()?,
        queue_us: 0,
        code_us: 0,
        init_us: 0,
        cpu_us: input.arbitrary()?,
        memory_mib: 128,
        memory_peak_bytes: 1 << 20,
        bytes_in: input.arbitrary()?,
        bytes_out: input.arbitrary()?,
        logs: Logs::default(),
    };
    if input.arbitrary()? {
        record.error = Some(RecordedError {
            code: "trapped".to_owned(),
            message: text(&record, input)?,
        });
    }
    for _ in 0..input.int_in_range(0..=2)? {
        let text = text(&record, input)?;
        record.logs.entries.push(LogEntry {
            offset_ms: input.arbitrary()?,
            stream: *input.choose(&[LogStream::Stdout, LogStream::Stderr])?,
            text,
        });
    }
    Ok(record)
}

/// What a guest may print: anything that is text, also what looks like a frame.
fn text(record: &InvocationRecord, input: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    if input.arbitrary()? {
        return String::arbitrary(input);
    }
    let mut forged = record.clone();
    // In text is written what has no byte above 127: small numbers, and a checksum that happens to be such.
    forged.id = InvocationId::from_bytes(*b"an id of a guest");
    forged.billed_ms = input.arbitrary()?;
    (forged.started_at_ms, forged.memory_mib, forged.memory_peak_bytes) = (1, 1, 1);
    Ok(String::from_utf8_lossy(&encode(&forged)).into_owned())
}
