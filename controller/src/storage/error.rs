//! Why something about objects was not done, for both doors: the API's problem documents and S3's XML.

use std::io;

use s3s::{S3Error, S3ErrorCode};

use super::blobs::ReceiveError;
use super::s3::TOO_SLOW;
use crate::code::Code;
use crate::config::OBJECT_BYTES_MAX;
use crate::problem::Problem;
use crate::store::StoreError;

/// Why something about objects was not done.
#[derive(Debug)]
pub(crate) enum StorageError {
    /// In the words of S3.
    S3(S3ErrorCode, String),
    /// In ours.
    Problem(Problem),
}

impl StorageError {
    pub(super) fn new(code: S3ErrorCode, message: impl Into<String>) -> Self {
        Self::S3(code, message.into())
    }

    pub(crate) fn no_bucket() -> Self {
        Self::new(S3ErrorCode::NoSuchBucket, "there is no such bucket in this namespace")
    }

    pub(crate) fn no_object() -> Self {
        Self::new(S3ErrorCode::NoSuchKey, "there is no object with this key")
    }

    pub(super) fn no_upload() -> Self {
        Self::new(
            S3ErrorCode::NoSuchUpload,
            "there is no such upload: it was completed, given up or is too old",
        )
    }

    pub(crate) fn too_large() -> Self {
        Self::new(
            S3ErrorCode::EntityTooLarge,
            format!("an object, or a part of one, has at most {OBJECT_BYTES_MAX} bytes"),
        )
    }

    pub(super) fn unmet() -> Self {
        Self::new(
            S3ErrorCode::PreconditionFailed,
            "the object that is there is not the one that the request wants",
        )
    }
}

impl From<StoreError> for StorageError {
    fn from(error: StoreError) -> Self {
        Self::Problem(Problem::from(error))
    }
}

impl From<Problem> for StorageError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::ResourceBusy {
            return Self::new(
                S3ErrorCode::SlowDown,
                "too many objects are written and read at the moment",
            );
        }
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        ) {
            tracing::warn!(%error, "there is no room for an object");
            return Self::Problem(Problem::new(Code::StorageFull, "there is no room for this object"));
        }
        tracing::error!(%error, "a file of an object cannot be read or written");
        Self::Problem(Problem::new(
            Code::Internal,
            "the object's file cannot be read or written",
        ))
    }
}

impl From<ReceiveError> for StorageError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::TooLarge => Self::too_large(),
            ReceiveError::TooSlow => Self::new(
                S3ErrorCode::RequestTimeout,
                "the body came with too long a pause, or for too long",
            ),
            ReceiveError::Broken(error) => {
                let text = error.to_string();
                // s3s says this in words only.
                if text.contains(TOO_SLOW) {
                    Self::new(S3ErrorCode::RequestTimeout, TOO_SLOW)
                } else if text.contains("Sha256Mismatch") {
                    let code = S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into());
                    Self::new(code, "the body is not the one that was signed")
                } else if text.contains("SignatureMismatch") {
                    Self::new(
                        S3ErrorCode::SignatureDoesNotMatch,
                        "a chunk is not the one that was signed",
                    )
                } else {
                    Self::new(S3ErrorCode::IncompleteBody, format!("the body was cut off: {text}"))
                }
            }
            ReceiveError::Io(error) => error.into(),
        }
    }
}

impl From<StorageError> for S3Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::S3(code, message) => {
                let mut error = Self::with_message(code, message);
                if error.status_code().is_none() {
                    error.set_status_code(Code::InvalidParameter.status());
                }
                error
            }
            StorageError::Problem(problem) => {
                let code = match problem.code {
                    Code::BacklogFull => S3ErrorCode::SlowDown,
                    Code::DatabaseUnavailable | Code::ShuttingDown => S3ErrorCode::ServiceUnavailable,
                    Code::Internal => S3ErrorCode::InternalError,
                    Code::InvalidParameter => S3ErrorCode::InvalidArgument,
                    code => S3ErrorCode::Custom(code.as_str().into()),
                };
                let mut error = Self::with_message(code, problem.detail.clone());
                if error.status_code().is_none() {
                    error.set_status_code(problem.status());
                }
                error
            }
        }
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Problem(problem) => problem,
            StorageError::S3(code, message) => {
                let code = match code {
                    S3ErrorCode::NoSuchBucket => Code::BucketNotFound,
                    S3ErrorCode::NoSuchKey => Code::ObjectNotFound,
                    S3ErrorCode::EntityTooLarge => Code::PayloadTooLarge,
                    S3ErrorCode::RequestTimeout => Code::RequestTimeout,
                    S3ErrorCode::SlowDown => Code::Overloaded,
                    _ => Code::InvalidParameter,
                };
                Self::new(code, message)
            }
        }
    }
}
