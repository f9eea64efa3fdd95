//! What must be kept and never shown, such as passwords of brokers: encrypted in the database with a key that lies elsewhere.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::clock::Random;

/// Seals and opens. A clone is cheap and means the same key.
#[derive(Clone)]
pub struct Seal {
    key: Arc<LessSafeKey>,
    random: Arc<dyn Random>,
}

/// A text that was sealed: base64 of the nonce and the ciphertext.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// As it was kept.
    pub(crate) fn of_column(text: String) -> Self {
        Self(text)
    }

    /// As it is kept.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// The text was sealed with another key, for another purpose, or was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed with another key: give all servers of one database the same --secret-key-file")]
pub struct NotOpened;

impl Seal {
    /// With that key; `random` makes nonces.
    #[must_use]
    pub fn new(key: &[u8; 32], random: Arc<dyn Random>) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the length of the algorithm");
        Self {
            key: Arc::new(LessSafeKey::new(key)),
            random,
        }
    }

    /// Seals `text` for `purpose`: it is not opened for another one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn seal(&self, purpose: &str, text: &str) -> std::io::Result<Sealed> {
        let random = self.random.secret()?;
        let nonce: [u8; NONCE_LEN] = std::array::from_fn(|place| random[place]);
        let mut bytes = text.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut bytes)
            .map_err(|_| std::io::Error::other("the cipher failed"))?;
        Ok(Sealed(BASE64.encode([&nonce[..], &bytes].concat())))
    }

    /// The text that was sealed for `purpose`.
    ///
    /// # Errors
    /// When it was not sealed with this key, or not for that.
    pub fn open(&self, purpose: &str, Sealed(sealed): &Sealed) -> Result<String, NotOpened> {
        let bytes = BASE64.decode(sealed).map_err(|_| NotOpened)?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or(NotOpened)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOpened)?;
        let mut rest = rest.to_vec();
        let text = self
            .key
            .open_in_place(nonce, Aad::from(purpose), &mut rest)
            .map_err(|_| NotOpened)?;
        String::from_utf8(text.to_vec()).map_err(|_| NotOpened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemRandom;

    #[test]
    fn what_is_sealed_is_opened_by_its_key_for_its_purpose_only() {
        let seal = Seal::new(&[7; 32], Arc::new(SystemRandom));
        let sealed = seal.seal("a", "amqp://user:pa\u{df}@host").unwrap();
        assert_eq!(seal.open("a", &sealed).unwrap(), "amqp://user:pa\u{df}@host");
        assert_ne!(
            seal.seal("a", "amqp://user:pa\u{df}@host").unwrap(),
            sealed,
            "twice is not the same"
        );
        assert_eq!(seal.open("b", &sealed), Err(NotOpened));
        assert_eq!(
            Seal::new(&[8; 32], Arc::new(SystemRandom)).open("a", &sealed),
            Err(NotOpened)
        );
        for broken in ["", "AA==", "no base64", &sealed.0[4..]] {
            assert_eq!(seal.open("a", &Sealed(broken.to_owned())), Err(NotOpened), "{broken}");
        }
        assert!(!format!("{seal:?} {sealed:?}").contains(&sealed.0));
    }
}
