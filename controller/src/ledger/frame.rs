//! How one record lies in a spool file: `LF crc32hex SPACE json LF`.
//!
//! The line feed in front makes sure that a line which was cut short (full disk, power failure) never swallows the one
//! that follows it. JSON has no line feed of its own inside. Empty lines mean nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};
use std::path::Path;

use mayfly_invoker_api::Logs;

use super::InvocationRecord;

/// Longest line, in bytes. Logs are bounded before, but JSON may need many times the space of what was printed.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Bytes of lines that are read for one transaction.
const CHUNK_BYTES_MAX: usize = 8 << 20;
const CRC_HEX_LEN: usize = 8;

/// The line for a record, with its line feeds. Logs that would make it too long are dropped.
pub(super) fn encode(record: &InvocationRecord) -> Vec<u8> {
    let line = encode_any(record);
    if line.len() <= LINE_BYTES_MAX {
        return line;
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
    let json = serde_json::to_vec(record).expect("a record has only numbers, strings and lists of them");
    let mut line = format!("\n{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    line
}

/// What a line turned out to be.
enum Line {
    Record(Box<InvocationRecord>),
    /// Whole, but not a record of this version of the program.
    Foreign,
    Damaged,
}

/// Reads a line without its line feeds.
fn decode(line: &[u8]) -> Line {
    let Some((crc, json)) = line.split_at_checked(CRC_HEX_LEN) else {
        return Line::Damaged;
    };
    let crc = std::str::from_utf8(crc)
        .ok()
        .and_then(|hex| u32::from_str_radix(hex, 16).ok());
    match json.strip_prefix(b" ") {
        Some(json) if Some(crc32fast::hash(json)) == crc => {
            serde_json::from_slice(json).map_or(Line::Foreign, |record| Line::Record(Box::new(record)))
        }
        _ => Line::Damaged,
    }
}

/// Reads a spool file in parts of bounded size.
pub(super) struct Reader {
    lines: BufReader<Take<File>>,
}

/// A part of a spool file.
pub(super) struct Chunk {
    pub(super) records: Vec<InvocationRecord>,
    /// Whole lines that are not records of this version of the program.
    pub(super) foreign: Vec<Vec<u8>>,
    /// Lines that were cut short or changed.
    pub(super) damaged: Vec<Vec<u8>>,
    /// Whether the file ends here.
    pub(super) last: bool,
}

impl Reader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // No more than is there now, whatever the name may stand for.
        let bytes = file.metadata()?.len();
        Ok(Self {
            lines: BufReader::new(file.take(bytes)),
        })
    }

    pub(super) fn next_chunk(&mut self, records_max: usize) -> io::Result<Chunk> {
        let mut chunk = Chunk {
            records: Vec::new(),
            foreign: Vec::new(),
            damaged: Vec::new(),
            last: false,
        };
        let mut bytes = 0;
        let mut line = Vec::new();
        while chunk.records.len() < records_max && bytes < CHUNK_BYTES_MAX {
            line.clear();
            let read = (&mut self.lines)
                .take(LINE_BYTES_MAX as u64 + 1)
                .read_until(b'\n', &mut line)?;
            chunk.last = read == 0;
            if chunk.last {
                break;
            }
            bytes += read;
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            if text.is_empty() {
                continue;
            }
            match decode(text) {
                Line::Record(record) => chunk.records.push(*record),
                Line::Foreign => chunk.foreign.push(text.to_vec()),
                Line::Damaged => chunk.damaged.push(text.to_vec()),
            }
        }
        Ok(chunk)
    }
}
