//! Which invocations may share an instance, one after the other.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::ParseError;

/// Which invocations of one version may be served by the same instance. Invocations of different functions, versions or
/// configurations never are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Isolation {
    /// All, as long as the guest bears it; a guest that can serve only once is found out at nobody's cost.
    #[default]
    Auto,
    /// All. The author says that the guest bears it, and a failure of a reused instance is the function's own.
    Function,
    /// None: every invocation gets a fresh instance.
    Invocation,
    /// Those with an equal value of this request header. One without the header gets a fresh instance.
    Key(HeaderName),
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Function => f.write_str("function"),
            Self::Invocation => f.write_str("invocation"),
            Self::Key(header) => write!(f, "key:{header}"),
        }
    }
}

impl FromStr for Isolation {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "auto" => Ok(Self::Auto),
            "function" => Ok(Self::Function),
            "invocation" => Ok(Self::Invocation),
            _ => text
                .strip_prefix("key:")
                .and_then(|header| HeaderName::from_str(header).ok())
                .map(Self::Key)
                .ok_or_else(|| {
                    ParseError::new(
                        "isolation must be auto, function, invocation, or key:HEADER with the name of a header",
                    )
                }),
        }
    }
}

impl TryFrom<String> for Isolation {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Isolation> for String {
    fn from(isolation: Isolation) -> Self {
        isolation.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_same_both_ways() {
        for text in ["auto", "function", "invocation", "key:x-user"] {
            assert_eq!(text.parse::<Isolation>().unwrap().to_string(), text);
        }
        assert_eq!("key:X-User".parse::<Isolation>().unwrap().to_string(), "key:x-user");
        for bad in ["", "Auto", "key", "key:", "key:a b", "key:a\nb", "tenant"] {
            assert!(bad.parse::<Isolation>().is_err(), "{bad}");
        }
    }
}
