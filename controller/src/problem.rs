//! Everything that the controller can refuse or report as failed: one code each, with its HTTP status.
//!
//! A client gets a problem document (RFC 9457): a sentence that says what happened, a hint that says what to do, and a
//! code with a page in `docs/errors`. The cause goes to the log.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use mayfly_invoker_api::{InvocationId, InvokeError, InvokeErrorKind, PrepareError, PrepareErrorKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each code has a page of its own in docs/errors")]
pub enum Code {
    ArtifactMissing,
    ArtifactTooLarge,
    ArtifactUnavailable,
    BadResponse,
    Cancelled,
    CompileFailed,
    CompileLimit,
    ConcurrencyLimit,
    DeadlineExceeded,
    DigestMismatch,
    FunctionFailed,
    FunctionNotFound,
    FunctionTrapped,
    Internal,
    InvalidConfig,
    InvalidJson,
    InvalidName,
    InvalidParameter,
    InvalidWasm,
    InvocationNotFound,
    LedgerUnavailable,
    MemoryExceeded,
    MethodNotAllowed,
    NamespaceNotFound,
    NoUsableExport,
    Overloaded,
    PayloadTooLarge,
    RouteNotFound,
    ShuttingDown,
    Unauthorized,
    UnsupportedImport,
}

impl Code {
    /// The code as text, as in the answers and in `docs/errors`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.describe().0
    }

    fn status(self) -> StatusCode {
        self.describe().1
    }

    fn hint(self) -> &'static str {
        self.describe().2
    }

    /// Name, status and hint of every code; no wildcard, so that a new code cannot be forgotten here.
    fn describe(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::ArtifactMissing => {
                ("artifact_missing", S::NOT_FOUND, "upload the file with PUT to /v1/ns/NAMESPACE/artifacts/DIGEST first")
            }
            Self::ArtifactTooLarge => {
                ("artifact_too_large", S::PAYLOAD_TOO_LARGE, "build with optimisation for size and without debug information")
            }
            Self::ArtifactUnavailable => {
                ("artifact_unavailable", S::INTERNAL_SERVER_ERROR, "deploy the function's file again")
            }
            Self::BadResponse => {
                ("bad_response", S::BAD_GATEWAY, "the function must answer every request; look at `fn logs`")
            }
            Self::Cancelled => ("cancelled", S::BAD_GATEWAY, "keep the connection open until the answer is complete"),
            Self::CompileFailed => {
                ("compile_failed", S::UNPROCESSABLE_ENTITY, "rebuild the file with a current toolchain")
            }
            Self::CompileLimit => {
                ("compile_limit", S::UNPROCESSABLE_ENTITY, "split very large functions or leave out unused code")
            }
            Self::ConcurrencyLimit => ("concurrency_limit", S::TOO_MANY_REQUESTS, "try again after the time in Retry-After"),
            Self::DeadlineExceeded => {
                ("deadline_exceeded", S::GATEWAY_TIMEOUT, "raise the limit with `fn deploy --timeout` or do less per call")
            }
            Self::DigestMismatch => {
                ("digest_mismatch", S::BAD_REQUEST, "send exactly the bytes whose sha256 is in the path")
            }
            Self::FunctionFailed => ("function_failed", S::INTERNAL_SERVER_ERROR, "look at `fn logs` for what it printed"),
            Self::FunctionNotFound => ("function_not_found", S::NOT_FOUND, "`fn list` shows the functions that exist"),
            Self::FunctionTrapped => {
                ("function_trapped", S::INTERNAL_SERVER_ERROR, "look at `fn logs` for the place of the trap")
            }
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "look at the server's log"),
            Self::InvalidConfig => ("invalid_config", S::BAD_REQUEST, "correct the named setting and deploy again"),
            Self::InvalidJson => ("invalid_json", S::BAD_REQUEST, "send one valid JSON document"),
            Self::InvalidName => ("invalid_name", S::BAD_REQUEST, "choose a name of a-z, 0-9 and '-'"),
            Self::InvalidParameter => ("invalid_parameter", S::BAD_REQUEST, "correct the named parameter"),
            Self::InvalidWasm => {
                ("invalid_wasm", S::UNPROCESSABLE_ENTITY, "check that the file is the output of a wasm build and is complete")
            }
            Self::InvocationNotFound => {
                ("invocation_not_found", S::NOT_FOUND, "`fn invocations NAME` shows the invocations that are known")
            }
            Self::LedgerUnavailable => {
                ("ledger_unavailable", S::SERVICE_UNAVAILABLE, "free disk space in the data directory or bring the database back")
            }
            Self::MemoryExceeded => {
                ("memory_exceeded", S::INTERNAL_SERVER_ERROR, "raise the limit with `fn deploy --memory` or use less")
            }
            Self::MethodNotAllowed => ("method_not_allowed", S::METHOD_NOT_ALLOWED, "see /openapi.json for what this path accepts"),
            Self::NamespaceNotFound => ("namespace_not_found", S::NOT_FOUND, "use the namespace `default`"),
            Self::NoUsableExport => {
                ("no_usable_export", S::UNPROCESSABLE_ENTITY, "build an HTTP handler, an event handler or a command")
            }
            Self::Overloaded => ("overloaded", S::SERVICE_UNAVAILABLE, "try again after the time in Retry-After"),
            Self::PayloadTooLarge => ("payload_too_large", S::PAYLOAD_TOO_LARGE, "send less, or a reference to the data"),
            Self::RouteNotFound => {
                ("route_not_found", S::NOT_FOUND, "functions are at /NAME, the API is under /v1 of the admin address")
            }
            Self::ShuttingDown => ("shutting_down", S::SERVICE_UNAVAILABLE, "try again after the time in Retry-After"),
            Self::Unauthorized => {
                ("unauthorized", S::UNAUTHORIZED, "send `Authorization: Bearer TOKEN`, or set MAYFLY_TOKEN for `fn`")
            }
            Self::UnsupportedImport => {
                ("unsupported_import", S::UNPROCESSABLE_ENTITY, "remove the import or build for wasm32-wasip2")
            }
        }
    }
}

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
        Self { code, detail: detail.into(), invocation_id: None }
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
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
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
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
        Self::new(Code::Internal, "the database could not be read or written")
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
