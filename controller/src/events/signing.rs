//! Signatures of webhooks, as Standard Webhooks has them: HMAC-SHA256 over id, time and body, with a secret that the
//! receiver knows, too.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mayfly_invoker_api::Namespace;
use sha2::Sha256;

use crate::Parts;
use crate::clock::{Clock, Random};
use crate::code::Code;
use crate::config::FORMER_SECRET_SIGNS;
use crate::problem::Problem;
use crate::store::Store;

/// Tells such a secret from others, for people and for secret scanners.
const PREFIX: &str = "whsec_";
/// How a signature is made.
const VERSION: &str = "v1,";
/// How far a sender's clock may be from ours, and how long a message may be under way, in seconds.
const CLOCK_SECONDS_MAX: i64 = 300;
/// Signatures of one message that are looked at.
const SIGNATURES_MAX: usize = 8;

/// What webhooks are signed with. Shown to whoever may use the API, and never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret([u8; 32]);

impl SigningSecret {
    /// A secret of random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As it is kept.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A secret as it was told.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.strip_prefix(PREFIX)?).ok()?;
        bytes.try_into().map(Self).ok()
    }

    /// Whether `text` is this secret, as it was told. How long that takes tells nothing about it.
    pub(crate) fn is(&self, text: &str) -> bool {
        let own = mac(&self.0, &[]).finalize().into_bytes();
        Self::parse(text).is_some_and(|other| mac(&other.0, &[]).verify_slice(&own).is_ok())
    }

    /// As receivers are told it.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(..)")
    }
}

/// The secrets of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSecrets {
    /// What signs.
    pub current: SigningSecret,
    /// What signed before that.
    pub former: Option<SigningSecret>,
    /// When the current one was made, in milliseconds since 1970.
    pub rotated_ms: i64,
}

impl SigningSecrets {
    /// Until when the former secret signs, too, so that receivers can be told the new one meanwhile.
    pub(crate) fn former_until_ms(&self, now_ms: i64) -> Option<i64> {
        let signs_ms = i64::try_from(FORMER_SECRET_SIGNS.as_millis()).unwrap_or(i64::MAX);
        let until_ms = self.rotated_ms.saturating_add(signs_ms);
        self.former
            .as_ref()
            .map(|_| until_ms)
            .filter(|until_ms| now_ms < *until_ms)
    }

    /// The value of the header `webhook-signature` for a message that is sent now; one signature per secret.
    pub(crate) fn signatures(&self, id: &str, now_ms: i64, body: &[u8]) -> String {
        let seconds = now_ms.div_euclid(1_000);
        let former = self.former.as_ref().filter(|_| self.former_until_ms(now_ms).is_some());
        let secrets = [Some(&self.current), former].into_iter().flatten();
        let signatures: Vec<_> = secrets.map(|secret| signature(&secret.0, id, seconds, body)).collect();
        signatures.join(" ")
    }
}

/// Whether somebody who knows `secret` has signed this message, and not long ago. The header may hold several signatures.
pub(crate) fn is_signed(
    secret: &SigningSecret,
    (id, timestamp, signatures): (&str, &str, &str),
    body: &[u8],
    now_ms: i64,
) -> bool {
    let Ok(seconds) = timestamp.parse::<i64>() else {
        return false;
    };
    let age = now_ms.div_euclid(1_000).saturating_sub(seconds);
    if !(-CLOCK_SECONDS_MAX..=CLOCK_SECONDS_MAX).contains(&age) {
        return false;
    }
    let expected = mac(&secret.0, &[format!("{id}.{seconds}.").as_bytes(), body]);
    let is_expected = |found: &str| {
        let code = found.strip_prefix(VERSION).and_then(|found| BASE64.decode(found).ok());
        code.is_some_and(|code| expected.clone().verify_slice(&code).is_ok())
    };
    signatures.split(' ').take(SIGNATURES_MAX).any(is_expected)
}

fn signature(secret: &[u8], id: &str, seconds: i64, body: &[u8]) -> String {
    let mac = mac(secret, &[format!("{id}.{seconds}.").as_bytes(), body]);
    format!("{VERSION}{}", BASE64.encode(mac.finalize().into_bytes()))
}

fn mac(secret: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// The secrets of all namespaces; each is made when it is needed first, and is the same for all controllers.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    store: Store,
    random: Arc<dyn Random>,
    clock: Arc<dyn Clock>,
}

impl Secrets {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            store: parts.store.clone(),
            random: Arc::clone(&parts.random),
            clock: Arc::clone(&parts.clock),
        }
    }

    /// Those of a namespace.
    pub(crate) async fn of(&self, namespace: &Namespace) -> Result<SigningSecrets, Problem> {
        match self.store.signing_secrets(namespace).await? {
            Some(secrets) => Ok(secrets),
            None => {
                let (fresh, now_ms) = (self.fresh()?, self.clock.unix_ms());
                Ok(self.store.begin_signing(namespace, &fresh, now_ms).await?)
            }
        }
    }

    /// Puts a new secret in the place of the current one.
    pub(crate) async fn rotate(&self, namespace: &Namespace) -> Result<SigningSecrets, Problem> {
        let (fresh, now_ms) = (self.fresh()?, self.clock.unix_ms());
        Ok(self.store.rotate_signing_secret(namespace, &fresh, now_ms).await?)
    }

    fn fresh(&self) -> Result<SigningSecret, Problem> {
        let bytes = self.random.secret();
        bytes
            .map(SigningSecret::from_bytes)
            .map_err(|error| Problem::new(Code::Internal, format!("no random numbers: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the documentation of Standard Webhooks' libraries.
    #[test]
    fn it_signs_as_others_do() {
        let secret = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_signature_is_of_one_message_and_one_moment() {
        let secret = SigningSecret::from_bytes([7; 32]);
        let now_ms = 1_700_000_000_500;
        let signed = signature(&secret.0, "id", 1_700_000_000, b"{}");
        let is_signed = |id: &str, timestamp: &str, signatures: &str, body: &[u8], later_ms: i64| {
            is_signed(&secret, (id, timestamp, signatures), body, now_ms + later_ms)
        };
        let at = "1700000000";
        assert!(is_signed("id", at, &signed, b"{}", 0));
        assert!(is_signed("id", at, &format!("v1,AAAA v2,x {signed}"), b"{}", 299_000));
        assert!(is_signed("id", at, &signed, b"{}", -300_000));
        for (id, timestamp, signatures, body, later_ms) in [
            ("ie", at, signed.as_str(), &b"{}"[..], 0),
            ("id", "1700000001", &signed, b"{}", 0),
            ("id", at, &signed, b"{ }", 0),
            ("id", at, &signed, b"{}", 301_000),
            ("id", at, &signed, b"{}", -302_000),
            ("id", "", &signed, b"{}", 0),
            ("id", "9223372036854775807", &signed, b"{}", 0),
            ("id", at, "", b"{}", 0),
            ("id", at, &signed[3..], b"{}", 0),
        ] {
            assert!(
                !is_signed(id, timestamp, signatures, body, later_ms),
                "{id} {timestamp} {later_ms}"
            );
        }
        let other = SigningSecret::from_bytes([8; 32]);
        assert!(secret.is(&secret.reveal()));
        assert!(!secret.is(&other.reveal()) && !secret.is("") && !secret.is("whsec_"));
        assert_eq!(SigningSecret::parse(&secret.reveal()), Some(secret));
    }

    #[test]
    fn the_former_secret_signs_for_a_day() {
        let (new, old) = (SigningSecret::from_bytes([1; 32]), SigningSecret::from_bytes([2; 32]));
        let rotated_ms = 1_000_000;
        let secrets = SigningSecrets {
            current: new.clone(),
            former: Some(old.clone()),
            rotated_ms,
        };
        let day_ms = 24 * 3_600 * 1_000;
        let signed = |now_ms: i64| secrets.signatures("id", now_ms, b"{}");
        let by = |secret: &SigningSecret, now_ms: i64| signature(&secret.0, "id", now_ms / 1_000, b"{}");
        for now_ms in [rotated_ms, rotated_ms + day_ms - 1] {
            assert_eq!(signed(now_ms), format!("{} {}", by(&new, now_ms), by(&old, now_ms)));
            assert_eq!(secrets.former_until_ms(now_ms), Some(rotated_ms + day_ms));
        }
        let later_ms = rotated_ms + day_ms;
        assert_eq!(signed(later_ms), by(&new, later_ms));
        assert_eq!(secrets.former_until_ms(later_ms), None);
        let first = SigningSecrets {
            former: None,
            ..secrets
        };
        assert_eq!(first.signatures("id", rotated_ms, b"{}"), by(&new, rotated_ms));
        assert_eq!(first.former_until_ms(rotated_ms), None);
    }

    #[test]
    fn a_secret_is_not_shown_by_accident() {
        let secret = SigningSecret::from_bytes([0xab; 32]);
        assert_eq!(format!("{secret:?}"), "SigningSecret(..)");
        assert_eq!(secret.reveal(), "whsec_q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=");
    }
}
