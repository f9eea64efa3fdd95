//! Why a function gives no answer.

use std::fmt;

use crate::bindings::exports::mayfly::function::handler;

/// The code of an error that came in through `?` and has no code of its own.
const CODE_DEFAULT: &str = "failed";

/// Why a function gives no answer: a short code for programs and a sentence for people.
///
/// Every error of another crate turns into one with `?`; its code is then `failed`, and its message holds its causes too.
///
/// ```
/// use mayfly_sdk::Error;
///
/// fn port(text: &str) -> Result<u16, Error> {
///     let port: u16 = text.parse()?;
///     if port == 0 {
///         return Err(Error::new("port_zero", "choose a port from 1 to 65535"));
///     }
///     Ok(port)
/// }
///
/// assert_eq!(port("x").unwrap_err().code(), "failed");
/// assert_eq!(port("0").unwrap_err().code(), "port_zero");
/// ```
// Not `std::error::Error` itself: that would forbid the conversion from all that are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: String,
    message: String,
}

impl Error {
    /// An error with a code such as `invalid_order` and a sentence that says what is wrong and what to do.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }

    /// The short name that programs can compare.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(CODE_DEFAULT, message)
    }
}

impl From<Error> for handler::Error {
    fn from(error: Error) -> Self {
        Self {
            code: error.code,
            message: error.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the quantity is wrong")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_foreign_error_keeps_its_causes() {
        let error = Error::from(Outer("x".parse::<u8>().unwrap_err()));
        assert_eq!(
            error.to_string(),
            "failed: the quantity is wrong: invalid digit found in string"
        );
    }

    #[test]
    fn code_and_message_reach_the_host() {
        let error = handler::Error::from(Error::new("sold_out", "order again tomorrow"));
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("sold_out", "order again tomorrow")
        );
    }
}
