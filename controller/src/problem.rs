//! Refusals and failures on their way to the client.
//!
//! A client gets a problem document (RFC 9457): a sentence that says what happened, a hint that says what to do, and a
//! code with a page in `docs/errors`. The cause goes to the log.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use mayfly_invoker_api::{InvocationId, InvokeError, InvokeErrorKind, PrepareError, PrepareErrorKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::code::Code;
use crate::store::StoreError;

/// A refusal or a failure on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) detail: String,
    pub(crate) invocation_id: Option<InvocationId>,
}

/// The document that a client gets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument {
    /// `urn:mayfly:error:` and the code.
    r#type: String,
    /// The code in words.
    title: String,
    /// HTTP status.
    status: u16,
    /// What happened.
    detail: String,
    /// Stable; explained by `fn explain CODE`.
    code: Code,
    /// What to do next.
    hint: String,
    /// The invocation that failed, if one was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation_id: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            invocation_id: None,
        }
    }

    pub(crate) fn of_invocation(mut self, id: InvocationId) -> Self {
        self.invocation_id = Some(id);
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.code.status()
    }

    fn document(&self) -> ProblemDocument {
        let name = self.code.as_str();
        ProblemDocument {
            r#type: format!("urn:mayfly:error:{name}"),
            title: name.replace('_', " "),
            status: self.status().as_u16(),
            detail: self.detail.clone(),
            code: self.code,
            hint: self.code.hint().to_owned(),
            invocation_id: self.invocation_id.map(|id| id.to_string()),
        }
    }

    /// The whole answer, for both listeners.
    pub(crate) fn response<B: From<Vec<u8>>>(&self) -> http::Response<B> {
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut response = http::Response::new(B::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::CONFLICT if self.code == Code::RequestUnderWay => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.response()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::TooManyRows(_) | StoreError::OutOfRange(_) => {
                Self::new(Code::InvalidParameter, format!("{error}; narrow the range of time"))
            }
            StoreError::MissingBucket(_) => Self::new(Code::BucketNotFound, error.to_string()),
            StoreError::Unavailable(_) => {
                tracing::warn!(error = error as &dyn std::error::Error, "the database is away");
                Self::new(Code::DatabaseUnavailable, "the database does not answer at the moment")
            }
            _ => {
                tracing::error!(error = error as &dyn std::error::Error, "the store failed");
                Self::new(Code::Internal, "the database could not be read or written")
            }
        }
    }
}

impl From<&InvokeError> for Problem {
    fn from(error: &InvokeError) -> Self {
        Self::new(code_of(error.kind()), error.to_string())
    }
}

/// The code of every way in which an invocation can fail.
pub(crate) fn code_of(kind: InvokeErrorKind) -> Code {
    match kind {
        InvokeErrorKind::Trapped => Code::FunctionTrapped,
        InvokeErrorKind::Failed => Code::FunctionFailed,
        InvokeErrorKind::BadResponse => Code::BadResponse,
        InvokeErrorKind::MemoryExceeded => Code::MemoryExceeded,
        InvokeErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        InvokeErrorKind::Cancelled => Code::Cancelled,
        InvokeErrorKind::Overloaded => Code::Overloaded,
        InvokeErrorKind::ConcurrencyLimit => Code::ConcurrencyLimit,
        InvokeErrorKind::ArtifactUnavailable => Code::ArtifactUnavailable,
        InvokeErrorKind::Internal => Code::Internal,
    }
}

impl From<PrepareError> for Problem {
    fn from(error: PrepareError) -> Self {
        let code = match error.kind() {
            PrepareErrorKind::InvalidWasm => Code::InvalidWasm,
            PrepareErrorKind::UnsupportedImport => Code::UnsupportedImport,
            PrepareErrorKind::NoUsableExport => Code::NoUsableExport,
            PrepareErrorKind::CompileFailed => Code::CompileFailed,
            PrepareErrorKind::CompileLimit => Code::CompileLimit,
            PrepareErrorKind::Internal => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}
