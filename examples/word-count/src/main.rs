//! Counts the lines, words and bytes of a text: a function of the `command` kind, an ordinary program.
//!
//! The text is what it reads. Called over HTTP it reads the request as an API Gateway event, and the text is the body.

use std::io::{self, Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

/// As much of an API Gateway event, payload format 2.0, as it takes to recognise one and to find the body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpEvent {
    version: String,
    #[serde(rename = "requestContext")]
    _request_context: serde_json::Map<String, serde_json::Value>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Debug, PartialEq, Serialize)]
struct Count {
    lines: usize,
    words: usize,
    bytes: usize,
}

#[expect(clippy::print_stderr, reason = "what a function prints is its log")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input)?;

    let count = count(&text_of(input)?);
    eprintln!("counted {} words in {} bytes", count.words, count.bytes);

    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &count)?;
    writeln!(out)?;
    Ok(())
}

fn text_of(input: Vec<u8>) -> Result<Vec<u8>, base64::DecodeError> {
    match serde_json::from_slice::<HttpEvent>(&input) {
        Ok(event) if event.version == "2.0" => {
            let body = event.body.unwrap_or_default();
            if event.is_base64_encoded {
                BASE64.decode(body)
            } else {
                Ok(body.into_bytes())
            }
        }
        _ => Ok(input),
    }
}

fn count(text: &[u8]) -> Count {
    Count {
        lines: text.split_inclusive(|byte| *byte == b'\n').count(),
        words: text
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .count(),
        bytes: text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_needs_no_end() {
        assert_eq!(
            count(b"to be\nor  not\n\nto be"),
            Count {
                lines: 4,
                words: 6,
                bytes: 20
            }
        );
        assert_eq!(
            count(b""),
            Count {
                lines: 0,
                words: 0,
                bytes: 0
            }
        );
    }

    #[test]
    fn the_text_of_a_request_is_its_body() {
        let event = |body: &str, encoded: bool| serde_json::json!({"version": "2.0", "requestContext": {}, "body": body, "isBase64Encoded": encoded});
        let text = |event: serde_json::Value| text_of(serde_json::to_vec(&event).unwrap()).unwrap();
        assert_eq!(text(event("to be", false)), b"to be");
        assert_eq!(text(event("dG8gYmU=", true)), b"to be");
        assert_eq!(text(serde_json::json!({"body": "to be"})), br#"{"body":"to be"}"#);
    }
}
