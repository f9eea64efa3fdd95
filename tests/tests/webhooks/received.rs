//! What a receiver of webhooks got, checked as a receiver does it.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A request that a receiver got.
pub(super) struct Received {
    pub(super) head: String,
    pub(super) body: String,
}

impl Received {
    pub(super) fn of(request: &str) -> Self {
        let (head, body) = request.split_once("\r\n\r\n").expect("a head and a body");
        Self {
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .collect();
        assert_eq!(values.len(), 1, "one {name} in {}", self.head);
        values[0].1
    }

    pub(super) fn document(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON document")
    }

    /// As a receiver checks it: which of the signatures is made with `secret`.
    pub(super) fn signed_by(&self, secret: &str) -> Option<usize> {
        let seconds = self.header("webhook-timestamp").parse::<u64>().expect("a number");
        assert!(now_seconds().abs_diff(seconds) < 300, "it was sent at {seconds}");
        let wanted = signature(secret, self.header("webhook-id"), seconds, &self.body);
        self.header("webhook-signature")
            .split(' ')
            .position(|signature| signature == wanted)
    }
}

/// As in Standard Webhooks.
pub(crate) fn signature(secret: &str, id: &str, seconds: u64, body: &str) -> String {
    let key = secret.strip_prefix("whsec_").expect("a secret of webhooks");
    let key = BASE64.decode(key).expect("base64");
    assert_eq!(key.len(), 32);
    let message = format!("{id}.{seconds}.{body}");
    format!("v1,{}", BASE64.encode(hmac_sha256(&key, message.as_bytes())))
}

/// As in RFC 2104, for keys of at most 64 bytes; not with the library that the server uses.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let padded = |pad: u8| -> Vec<u8> {
        let mut block = vec![pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::digest([padded(0x36), message.to_vec()].concat());
    Sha256::digest([padded(0x5c), inner.to_vec()].concat()).into()
}

#[expect(clippy::disallowed_methods, reason = "a receiver looks at its own clock")]
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
