//! How one record lies in a spool file: a mark, the length and the crc32 of what follows (both 32 bits, little-endian),
//! then the record in the encoding of postcard.
//!
//! A process that is killed may leave a frame that was begun or a hole where one was about to be written, with whole
//! frames behind it. So a reader that meets something else goes on to the next mark.

use mayfly_invoker_api::Logs;

use super::InvocationRecord;

/// Begins every frame; the digit is the version of the encoding.
///
/// The first two bytes stand nowhere in what guests and clients can bring into a record: 0xff is in no UTF-8, and no
/// number of postcard that has one ends in a zero. Else a guest could print a frame of its own making, which a reader
/// would come upon if the frame around it was damaged.
const MARK: [u8; 4] = *b"\xff\0M2";
const HEAD_BYTES: usize = 12;
/// Longest frame, in bytes. What a guest printed is bounded before.
const FRAME_BYTES_MAX: usize = 2 << 20;
/// Room for a record without output, in bytes.
const USUAL_BYTES: usize = 256;

/// The frame of a record. Logs that would make it too long are dropped.
pub(super) fn encode(record: &InvocationRecord) -> Vec<u8> {
    let frame = encode_any(record);
    if frame.len() <= FRAME_BYTES_MAX {
        return frame;
    }
    let printed: usize = record.logs.entries.iter().map(|entry| entry.text.len()).sum();
    let dropped_bytes = record.logs.dropped_bytes.saturating_add(printed as u64);
    encode_any(&InvocationRecord {
        logs: Logs {
            entries: Vec::new(),
            dropped_bytes,
        },
        ..record.clone()
    })
}

fn encode_any(record: &InvocationRecord) -> Vec<u8> {
    let mut frame = Vec::with_capacity(USUAL_BYTES);
    frame.extend_from_slice(&[0; HEAD_BYTES]);
    let mut frame = postcard::to_extend(record, frame).expect("a record has only numbers, strings and lists of them");
    let (head, record) = frame.split_at_mut(HEAD_BYTES);
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    head[..4].copy_from_slice(&MARK);
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..].copy_from_slice(&crc32fast::hash(record).to_le_bytes());
    frame
}

/// What a spool file holds.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) records: Vec<InvocationRecord>,
    /// Whole frames that are not records of this version of the program.
    pub(super) foreign: Vec<Vec<u8>>,
    /// What is neither a frame nor empty space.
    pub(super) damaged: Vec<Vec<u8>>,
}

/// Takes a spool file apart. Every byte that is not zero ends up somewhere.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let (mut at, mut skipped_from) = (0, 0);
    while at < bytes.len() {
        let Some(record) = record_at(&bytes[at..]) else {
            at = next_mark(bytes, at + 1);
            continue;
        };
        parsed.skipped(&bytes[skipped_from..at]);
        let end = at + HEAD_BYTES + record.len();
        match postcard::from_bytes(record) {
            Ok(record) => parsed.records.push(record),
            Err(_) => parsed.foreign.push(bytes[at..end].to_vec()),
        }
        (at, skipped_from) = (end, end);
    }
    parsed.skipped(&bytes[skipped_from..]);
    parsed
}

impl Parsed {
    fn skipped(&mut self, bytes: &[u8]) {
        let is_used = |byte: &u8| *byte != 0;
        let (first, last) = (bytes.iter().position(is_used), bytes.iter().rposition(is_used));
        if let (Some(first), Some(last)) = (first, last) {
            self.damaged.push(bytes[first..=last].to_vec());
        }
    }
}

/// The bytes of the record whose frame begins here, if it is whole.
fn record_at(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    if head[..4] != MARK {
        return None;
    }
    let record = rest.get(..usize::try_from(number(4)?).ok()?)?;
    // The checksum of nothing is 0, so an empty frame would look whole in empty space.
    (!record.is_empty() && Some(crc32fast::hash(record)) == number(8)).then_some(record)
}

fn next_mark(bytes: &[u8], from: usize) -> usize {
    let found = bytes[from..].windows(MARK.len()).position(|window| *window == MARK);
    found.map_or(bytes.len(), |offset| from + offset)
}
