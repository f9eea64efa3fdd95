//! A request that the platform itself sends: to which URL, with what, and what came back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::{Destination, ParseError};

/// Longest URL of a webhook, in bytes.
const URL_BYTES_MAX: usize = 2_048;
/// Characters of a path or a query that stand for themselves, beside letters and digits (RFC 3986).
const PLAIN: &[u8] = b"-._~!$&'()*+,;=:@/?";

/// `https://HOST[:PORT][/PATH][?QUERY]`, or the same with `http`; read once and in one way only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl {
    tls: bool,
    destination: Destination,
    target: String,
}

impl WebhookUrl {
    /// Whether it is spoken to in private.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// Who is spoken to.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Without path and query, which may be a secret: for messages.
    #[must_use]
    pub fn origin(&self) -> String {
        let (scheme, standard_port) = if self.tls { ("https", 443) } else { ("http", 80) };
        if self.destination.port == standard_port {
            format!("{scheme}://{}", self.destination.host)
        } else {
            format!("{scheme}://{}", self.destination)
        }
    }
}

impl FromStr for WebhookUrl {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > URL_BYTES_MAX {
            return Err(ParseError::new(&format!(
                "a webhook's URL may have at most {URL_BYTES_MAX} bytes"
            )));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(ParseError::new("a webhook's URL begins with https:// or http://")),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(ParseError::new(
                "a webhook's URL names no user or password; what is sent is signed instead",
            ));
        }
        let destination = Destination::parse(authority, if tls { 443 } else { 80 })?;
        check_target(target)?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            tls,
            destination,
            target: format!("{slash}{target}"),
        })
    }
}

fn check_target(target: &str) -> Result<(), ParseError> {
    if target.contains('#') {
        return Err(ParseError::new(
            "a webhook's URL has no fragment: what follows a '#' is never sent",
        ));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || PLAIN.contains(&byte);
    let mut left = target.as_bytes();
    while let Some((&first, rest)) = left.split_first() {
        left = match rest {
            [high, low, after @ ..] if first == b'%' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            _ if is_plain(first) => rest,
            _ => {
                return Err(ParseError::new(
                    "in the path and the query of a webhook's URL, everything but letters, digits and -._~!$&'()*+,;=:@/? \
                     must be written as % and two hex digits",
                ));
            }
        };
    }
    Ok(())
}

impl TryFrom<String> for WebhookUrl {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.target)
    }
}

/// What is posted, and how patient the sender is.
#[derive(Debug)]
pub struct Webhook {
    /// Where to.
    pub url: WebhookUrl,
    /// What is said beside the body.
    pub headers: HeaderMap,
    /// The message.
    pub body: Bytes,
    /// From the look-up of the host to the end of the answer.
    pub time_max: Duration,
    /// Of the answer's body, in bytes; more of it is not read.
    pub answer_bytes_max: usize,
}

/// What a receiver said. Its status is all that counts; where it leads on to is not followed.
#[derive(Debug)]
pub struct WebhookAnswer {
    /// Whether it has taken the message.
    pub status: StatusCode,
    /// Fields of the answer.
    pub headers: HeaderMap,
    /// As much of the body as was read.
    pub body: Bytes,
    /// Whether that is all of it.
    pub is_complete: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct WebhookError {
    kind: WebhookErrorKind,
    /// A sentence for the function's owner. Never holds a path or a query.
    message: String,
}

/// Every way in which a webhook can be left without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WebhookErrorKind {
    /// Its address is not a public one, and the operator has not opened it; nothing was connected to.
    Prohibited,
    /// It could not be looked up, connected to or understood, or took too long.
    NoAnswer,
}

impl WebhookError {
    /// An error of `kind` with a sentence for the function's owner.
    #[must_use]
    pub fn new(kind: WebhookErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Which kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> WebhookErrorKind {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        text.parse().ok().map(|url: WebhookUrl| url.to_string())
    }

    #[test]
    fn there_is_one_spelling_of_each_url() {
        for (text, spelling) in [
            ("https://example.com", "https://example.com/"),
            ("HTTPS://Example.COM.:443/Hook", "https://example.com/Hook"),
            ("http://example.com:80/a/b?c=d", "http://example.com/a/b?c=d"),
            ("http://example.com:443/", "http://example.com:443/"),
            ("https://example.com:80", "https://example.com:80/"),
            ("https://example.com?token=a", "https://example.com/?token=a"),
            ("http://127.0.0.1:9000/hook", "http://127.0.0.1:9000/hook"),
            ("http://[::ffff:127.0.0.1]:81/", "http://127.0.0.1:81/"),
            ("https://[2001:DB8::1]/x", "https://[2001:db8::1]/x"),
            (
                "https://example.com/%E2%82%AC?a=b%20c",
                "https://example.com/%E2%82%AC?a=b%20c",
            ),
            ("https://example.com//double", "https://example.com//double"),
            (
                "https://example.com/@user:x?a=https://b/",
                "https://example.com/@user:x?a=https://b/",
            ),
        ] {
            assert_eq!(read(text).as_deref(), Some(spelling), "{text}");
            assert_eq!(read(spelling).as_deref(), Some(spelling), "it reads itself");
        }
    }

    #[test]
    fn what_is_no_plain_url_is_refused() {
        let most = format!(
            "https://example.com/{}",
            "a".repeat(URL_BYTES_MAX - "https://example.com/".len())
        );
        assert_eq!(read(&most), Some(most.clone()));
        let too_long = format!("{most}a");
        for text in [
            "",
            "example.com/hook",
            "//example.com/hook",
            "ftp://example.com/",
            "file:///etc/passwd",
            "httpss://example.com/",
            " https://example.com/",
            "https:/example.com/",
            "https://",
            "https:///hook",
            "https://?a=b",
            "https://user@example.com/",
            "https://user:password@example.com/",
            "https://example.com@evil.example/",
            "https://example.com\\@evil.example/",
            "https://example.com/#part",
            "https://example.com#part",
            "https://example.com/a b",
            "https://example.com/a\r\nx: y",
            "https://example.com/\u{e4}",
            "https://example.com/a%",
            "https://example.com/a%2",
            "https://example.com/a%zz",
            "https://example.com/<a>",
            "https://example.com/?a[]=1",
            "https://example.com/{a}",
            "https://example.com:0/",
            "https://example.com:65536/",
            "https://example.com:/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://[fe80::1%25eth0]/",
            "https://::1/",
            "https://b\u{fc}cher.example/",
            "https://*.example.com/",
            &too_long,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_message_names_no_path() {
        let url: WebhookUrl = "https://example.com:8443/secret?token=secret".parse().unwrap();
        assert_eq!(url.origin(), "https://example.com:8443");
        let url: WebhookUrl = "http://example.com/secret".parse().unwrap();
        assert_eq!(url.origin(), "http://example.com");
    }
}
