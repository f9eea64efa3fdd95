//! Where the bytes of an answer go: to standard output while they come, or into a document at the end.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::api::{Invocation, InvocationUsage};
use crate::error::{CliError, ErrorKind};
use crate::output::{self, StreamEscaper};

/// Longest answer that is put into a document, in bytes.
const COLLECTED_BYTES_MAX: usize = 64 << 20;

/// Takes the bytes of an answer.
#[derive(Debug)]
pub(in crate::commands) enum Sink {
    /// Keeps them for a document.
    Collect(Vec<u8>),
    /// Shows them to a person.
    Screen {
        escaper: StreamEscaper,
        last_byte: Option<u8>,
    },
    /// Passes them on as they are.
    Pipe,
}

impl Sink {
    /// For a document or for standard output, whatever that is.
    pub(in crate::commands) fn new(collect: bool) -> Self {
        if collect {
            Self::Collect(Vec::new())
        } else if output::stdout_is_terminal() {
            Self::Screen {
                escaper: StreamEscaper::default(),
                last_byte: None,
            }
        } else {
            Self::Pipe
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they cannot be printed, or are too many to be kept.
    pub(in crate::commands) fn take(&mut self, chunk: &[u8]) -> Result<(), CliError> {
        match self {
            Self::Pipe => output::bytes(chunk),
            Self::Screen { escaper, last_byte } => {
                *last_byte = chunk.last().copied().or(*last_byte);
                output::lines(&escaper.push(chunk))
            }
            Self::Collect(body) if body.len() + chunk.len() > COLLECTED_BYTES_MAX => {
                let message = format!(
                    "the answer has more than {} MiB, too much for --json",
                    COLLECTED_BYTES_MAX >> 20
                );
                Err(CliError::new(ErrorKind::Failed, "payload_too_large", message).hint("leave out --json"))
            }
            Self::Collect(body) => {
                body.extend_from_slice(chunk);
                Ok(())
            }
        }
    }

    /// Ends the last line on a screen; gives what was kept.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub(in crate::commands) fn finish(self) -> Result<Vec<u8>, CliError> {
        match self {
            Self::Pipe => Ok(Vec::new()),
            Self::Screen { escaper, last_byte } => {
                let line_end = if last_byte.is_none_or(|byte| byte == b'\n') {
                    ""
                } else {
                    "\n"
                };
                output::lines(&(escaper.finish() + line_end)).map(|()| Vec::new())
            }
            Self::Collect(body) => Ok(body),
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    status: &'static str,
    /// JSON of the function stays as it was written: numbers keep all their digits, keys their order.
    response: Box<RawValue>,
    usage: Option<&'a InvocationUsage>,
    invocation: Option<&'a Invocation>,
}

impl<'a> Document<'a> {
    /// `ok` is whether the exit code will be 0; without a `record`, the parts that come from it are null.
    ///
    /// # Errors
    /// None that is known: every body can be put into JSON.
    pub(super) fn new(ok: bool, body: &[u8], record: Option<&'a Invocation>) -> Result<Self, CliError> {
        Ok(Self {
            status: if ok { "ok" } else { "error" },
            response: value_of(body).map_err(|cause| CliError::from_output(&cause.into()))?,
            usage: record.map(|record| &record.usage),
            invocation: record,
        })
    }
}

fn value_of(body: &[u8]) -> serde_json::Result<Box<RawValue>> {
    match (serde_json::from_slice::<Box<RawValue>>(body), std::str::from_utf8(body)) {
        (Ok(json), _) => Ok(json),
        (_, Ok(text)) => to_raw_value(text),
        _ => to_raw_value(&json!({ "base64": BASE64_STANDARD.encode(body) })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_json_else_text_else_base64() {
        for (body, value) in [
            (&b"hello\n"[..], r#""hello\n""#),
            (b"", r#""""#),
            (b"{} {}", r#""{} {}""#),
            (b"\xff\x00", r#"{"base64":"/wA="}"#),
        ] {
            assert_eq!(value_of(body).unwrap().get(), value);
        }
    }

    #[test]
    fn json_keeps_its_digits_and_its_order() {
        let written = r#"{"b": 123456789012345678901234567890, "a": 1.10}"#;
        assert_eq!(value_of(written.as_bytes()).unwrap().get(), written);
    }

    #[test]
    fn a_document_without_a_record_says_so() {
        let document = serde_json::to_value(Document::new(false, b"1", None).unwrap()).unwrap();
        assert_eq!(
            document,
            json!({"status": "error", "response": 1, "usage": null, "invocation": null})
        );
    }

    #[test]
    fn what_is_collected_is_bounded() {
        let mut sink = Sink::new(true);
        sink.take(&vec![0; COLLECTED_BYTES_MAX]).unwrap();
        assert_eq!(sink.take(b"x").unwrap_err().code(), "payload_too_large");
        assert_eq!(sink.finish().unwrap().len(), COLLECTED_BYTES_MAX);
    }
}
