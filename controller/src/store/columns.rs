//! How values are kept in columns: both databases have signed 64-bit numbers, text and bytes.

use mayfly_invoker_api::InvocationId;

use super::StoreError;

/// The number for a column; `what` names it when it does not fit.
pub(super) fn number(what: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::OutOfRange(what))
}

/// The number out of a column; `what` names it when no such number can have been stored.
pub(super) fn stored<T: TryFrom<i64>>(what: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Corrupt(what))
}

/// The name, digest or the like out of a column.
pub(super) fn parsed<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(what))
}

/// The invocation id out of a column.
pub(super) fn stored_id(bytes: &[u8]) -> Result<InvocationId, StoreError> {
    bytes
        .try_into()
        .map(InvocationId::from_bytes)
        .map_err(|_| StoreError::Corrupt("invocation id"))
}

/// For a column of JSON. JSON writes control characters as `\u0000`, so it fits a TEXT column whatever it holds.
pub(super) fn json<T: serde::Serialize + ?Sized>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::OutOfRange(what))
}

/// Out of a column of JSON.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt(what))
}
