//! What a function or a queue is given.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{CliError, ErrorKind};

/// Longest payload that is read from a file or from standard input, in bytes.
const PAYLOAD_BYTES_MAX: u64 = 256 << 20;

const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// Where the payload comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Inline(String),
    File(PathBuf),
    Stdin,
}

impl FromStr for Data {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(PathBuf::from(path)),
            None if text == "-" => Self::Stdin,
            None => Self::Inline(text.to_owned()),
        })
    }
}

impl Data {
    /// All of it, as text; what stands on the command line as it is.
    ///
    /// # Errors
    /// When a file cannot be read, or is no text.
    pub(super) fn text(&self) -> Result<String, CliError> {
        let bytes = match self {
            Self::Inline(text) => return Ok(text.clone()),
            Self::File(path) => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|cause| CliError::unreadable(&name, &cause))?;
                read_bounded(file, &name)?
            }
            Self::Stdin => read_bounded(io::stdin().lock(), "standard input")?,
        };
        String::from_utf8(bytes).map_err(|_| {
            CliError::usage("the body of a message is text, and this is none").hint("encode it as base64 first")
        })
    }
}

/// Bytes and what they are.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) bytes: Vec<u8>,
    pub(super) content_type: &'static str,
}

impl Payload {
    /// Reads the payload; without `data` it is empty.
    ///
    /// # Errors
    /// When a file cannot be read, or JSON on the command line is none.
    pub(super) fn read(data: Option<&Data>) -> Result<Self, CliError> {
        let bytes = match data {
            None => Vec::new(),
            Some(Data::Inline(text)) => return inline(text),
            Some(Data::File(path)) => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|cause| CliError::unreadable(&name, &cause))?;
                read_bounded(file, &name)?
            }
            Some(Data::Stdin) => read_bounded(io::stdin().lock(), "standard input")?,
        };
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
        Ok(Self {
            bytes,
            content_type: if is_json { JSON } else { BINARY },
        })
    }
}

/// Checked here, because the shell has had its hands on it.
fn inline(text: &str) -> Result<Payload, CliError> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(Payload {
            bytes: text.as_bytes().to_vec(),
            content_type: JSON,
        }),
        Err(cause) => {
            let message = format!("--data is not valid JSON: {cause}");
            Err(CliError::new(ErrorKind::Usage, "invalid_json", message)
                .hint(
                    r#"put it in single quotes for the shell: --data '{"key": "value"}'; a text too: --data '"text"'"#,
                )
                .hint("to send bytes as they are, use --data @FILE, or --data - for standard input"))
        }
    }
}

fn read_bounded(source: impl Read, name: &str) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = source.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|cause| CliError::unreadable(name, &cause))?;
    if bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        let message = format!("{name} has more than {} MiB", PAYLOAD_BYTES_MAX >> 20);
        return Err(CliError::new(ErrorKind::Failed, "payload_too_large", message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> Data {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_character_says_where_data_comes_from() {
        assert_eq!(data("-"), Data::Stdin);
        assert_eq!(data("@a/b"), Data::File(PathBuf::from("a/b")));
        assert_eq!(data("-1"), Data::Inline("-1".to_owned()));
        assert_eq!(data("{}"), Data::Inline("{}".to_owned()));
    }

    #[test]
    fn json_on_the_command_line_is_sent_as_it_was_written() {
        let payload = Payload::read(Some(&data(r#"{"b": 1,  "a": 1.0}"#))).unwrap();
        assert_eq!(
            (&payload.bytes[..], payload.content_type),
            (&br#"{"b": 1,  "a": 1.0}"#[..], JSON)
        );
    }

    #[test]
    fn what_is_no_json_on_the_command_line_is_wrong_use() {
        for text in ["", "{a: 1}", "hello", "{} {}"] {
            let error = Payload::read(Some(&data(text))).unwrap_err();
            assert_eq!((error.kind().exit_code(), error.code()), (2, "invalid_json"), "{text}");
        }
    }

    #[test]
    fn files_are_sent_as_they_are() {
        let path = std::env::temp_dir().join(format!("mayfly-payload-{}", std::process::id()));
        std::fs::write(&path, b"\xff{").unwrap();
        let payload = Payload::read(Some(&Data::File(path.clone()))).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((&payload.bytes[..], payload.content_type), (&b"\xff{"[..], BINARY));
        let error = Payload::read(Some(&Data::File(path))).unwrap_err();
        assert_eq!((error.kind().exit_code(), error.code()), (2, "file_not_found"));
    }
}
