//! Standard output and error of a guest, kept per invocation up to a bound.
//!
//! A guest opens its streams once per instance, but every invocation has its own gauge: the console stands between
//! them and always writes to the invocation that is running.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use mayfly_invoker_api::{Gauge, LogEntry, LogStream, Logs};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

use crate::config::{LOG_BYTES_MAX, LOG_ENTRIES_MAX};

/// One write is taken whole up to this many bytes.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// Where the streams of one instance write to.
#[derive(Debug, Default)]
pub(crate) struct Console {
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    gauge: Arc<Gauge>,
    started: Instant,
    /// What the kept text takes, in bytes.
    kept_bytes: usize,
}

impl Console {
    /// Sends what is printed from now on to `gauge`.
    pub(crate) fn begin(&self, gauge: &Arc<Gauge>) {
        *self.lock() = Some(Current {
            gauge: Arc::clone(gauge),
            started: Instant::now(),
            kept_bytes: 0,
        });
    }

    /// Nothing is running: what is printed now belongs to nobody.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    /// Adds a line of the host's own to standard error, such as the place of a trap.
    pub(crate) fn note(&self, text: &str) {
        self.write(LogStream::Stderr, text.as_bytes());
    }

    /// The same, unless the invocation of `gauge` has ended meanwhile.
    pub(crate) fn note_for(&self, gauge: &Arc<Gauge>, text: &str) {
        if let Some(current) = self.lock().as_mut().filter(|it| Arc::ptr_eq(&it.gauge, gauge)) {
            current.write(LogStream::Stderr, text.as_bytes());
        }
    }

    fn write(&self, stream: LogStream, bytes: &[u8]) {
        if let Some(current) = self.lock().as_mut() {
            current.write(stream, bytes);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn write(&mut self, stream: LogStream, bytes: &[u8]) {
        let offset_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (kept, taken) = fitting(bytes, LOG_BYTES_MAX.saturating_sub(self.kept_bytes));
        self.kept_bytes += taken;
        self.gauge.with_logs(|logs| {
            let dropped = append(logs, stream, offset_ms, &bytes[..kept]) + (bytes.len() - kept);
            logs.dropped_bytes += dropped as u64;
        });
    }
}

/// How many of `bytes` fit into `room`, and how much of it they take as text.
fn fitting(bytes: &[u8], room: usize) -> (usize, usize) {
    let (mut fitting, mut taken) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        let replaced = (chunk.invalid().len(), char::REPLACEMENT_CHARACTER.len_utf8());
        let valid = chunk
            .valid()
            .chars()
            .map(|character| (character.len_utf8(), kept_size(character)));
        for (bytes, size) in valid.chain((replaced.0 > 0).then_some(replaced)) {
            if taken + size > room {
                return (fitting, taken);
            }
            fitting += bytes;
            taken += size;
        }
    }
    (fitting, taken)
}

/// What a character takes where it is kept. A control character is written out there, so a flood of them would need six
/// times as much.
fn kept_size(character: char) -> usize {
    match character {
        '\n' | '\r' | '\t' => 1,
        '\0'..'\x20' => r"\u0000".len(),
        other => other.len_utf8(),
    }
}

/// Adds `bytes` line by line; a line that was begun by an earlier write is continued. Says how many bytes found no
/// room among the entries.
fn append(logs: &mut Logs, stream: LogStream, offset_ms: u64, bytes: &[u8]) -> usize {
    let mut dropped = 0;
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(piece);
        let has_room = logs.entries.len() < LOG_ENTRIES_MAX;
        match logs.entries.last_mut() {
            Some(last) if last.stream == stream && !last.text.ends_with('\n') => last.text.push_str(&text),
            _ if has_room => logs.entries.push(LogEntry {
                offset_ms,
                stream,
                text: text.into_owned(),
            }),
            _ => dropped += piece.len(),
        }
    }
    dropped
}

/// Standard output or standard error of the guests of one console.
#[derive(Debug, Clone)]
pub(crate) struct ConsoleStream {
    console: Arc<Console>,
    stream: LogStream,
}

impl ConsoleStream {
    pub(crate) fn new(console: &Arc<Console>, stream: LogStream) -> Self {
        Self {
            console: Arc::clone(console),
            stream,
        }
    }
}

impl IsTerminal for ConsoleStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for ConsoleStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for ConsoleStream {
    async fn ready(&mut self) {}
}

impl OutputStream for ConsoleStream {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.console.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for ConsoleStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.console.write(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(writes: &[(LogStream, &[u8])]) -> Logs {
        let (console, gauge) = (Console::default(), Arc::new(Gauge::default()));
        console.begin(&gauge);
        for (stream, bytes) in writes {
            console.write(*stream, bytes);
        }
        gauge.take_logs()
    }

    #[test]
    fn writes_become_lines() {
        use LogStream::{Stderr, Stdout};
        let logs = printed(&[(Stdout, b"a"), (Stdout, b"b\nc\n"), (Stderr, b"d"), (Stdout, b"e")]);
        let texts: Vec<_> = logs
            .entries
            .iter()
            .map(|entry| (entry.stream, entry.text.as_str()))
            .collect();
        assert_eq!(texts, [(Stdout, "ab\n"), (Stdout, "c\n"), (Stderr, "d"), (Stdout, "e")]);
        assert_eq!(logs.dropped_bytes, 0);
    }

    #[test]
    fn what_does_not_fit_is_counted_exactly() {
        let logs = printed(&[
            (LogStream::Stdout, &vec![b'x'; LOG_BYTES_MAX - 1]),
            (LogStream::Stdout, b"12345"),
        ]);
        assert_eq!(logs.dropped_bytes, 4);
        let logs = printed(&[(LogStream::Stdout, &b"\n".repeat(LOG_ENTRIES_MAX + 7))]);
        assert_eq!((logs.entries.len(), logs.dropped_bytes), (LOG_ENTRIES_MAX, 7));
    }

    #[test]
    fn what_grows_when_it_is_kept_is_measured_as_it_is_kept() {
        for (byte, size) in [(b'x', 1), (0xff, 3), (1, 6), (b'\t', 1)] {
            let logs = printed(&[(LogStream::Stdout, &vec![byte; LOG_BYTES_MAX])]);
            let kept = LOG_BYTES_MAX / size;
            assert_eq!(logs.entries[0].text.chars().count(), kept, "{byte}");
            assert_eq!(logs.dropped_bytes, (LOG_BYTES_MAX - kept) as u64, "{byte}");
        }
        assert_eq!(fitting("aä€".as_bytes(), 5), (3, 3), "no character is cut");
    }

    #[test]
    fn output_between_invocations_belongs_to_nobody() {
        let (console, gauge) = (Console::default(), Arc::new(Gauge::default()));
        console.begin(&gauge);
        console.end();
        console.write(LogStream::Stdout, b"late");
        assert!(gauge.take_logs().is_empty());
    }
}
