//! The error codes: their names, their HTTP status and what to do about them.
//!
//! Each has a page in `docs/errors`. No match here has a wildcard, so that a new code cannot be forgotten.

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each code has a page of its own in docs/errors")]
pub enum Code {
    ArtifactMissing,
    ArtifactTooLarge,
    ArtifactUnavailable,
    BacklogFull,
    BadResponse,
    BucketExists,
    BucketInUse,
    BucketNotFound,
    Cancelled,
    CompileFailed,
    CompileLimit,
    ConcurrencyLimit,
    DatabaseUnavailable,
    DeadlineExceeded,
    DigestMismatch,
    EventExpired,
    EventNotFound,
    FunctionFailed,
    FunctionNotFound,
    FunctionTrapped,
    IdempotencyKeyReused,
    Internal,
    Interrupted,
    InvalidConfig,
    InvalidJson,
    InvalidName,
    InvalidParameter,
    InvalidSchedule,
    InvalidWasm,
    InvocationNotFound,
    LedgerUnavailable,
    MemoryExceeded,
    MessageNotFound,
    MethodNotAllowed,
    NamespaceNotFound,
    NoUsableExport,
    ObjectNotFound,
    Overloaded,
    PayloadTooLarge,
    PublishFailed,
    QueueExists,
    QueueInUse,
    QueueNotFound,
    RecursionDetected,
    RequestTimeout,
    RequestUnderWay,
    RouteNotFound,
    ShuttingDown,
    SnapshotFailed,
    StorageFull,
    TriggerExists,
    TriggerNotFound,
    Unauthorized,
    UnsupportedImport,
    WebhookFailed,
    WebhookProhibited,
}

impl Code {
    /// The code as text, as in the answers and in `docs/errors`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ArtifactMissing => "artifact_missing",
            Self::ArtifactTooLarge => "artifact_too_large",
            Self::ArtifactUnavailable => "artifact_unavailable",
            Self::BacklogFull => "backlog_full",
            Self::BadResponse => "bad_response",
            Self::BucketExists => "bucket_exists",
            Self::BucketInUse => "bucket_in_use",
            Self::BucketNotFound => "bucket_not_found",
            Self::Cancelled => "cancelled",
            Self::CompileFailed => "compile_failed",
            Self::CompileLimit => "compile_limit",
            Self::ConcurrencyLimit => "concurrency_limit",
            Self::DatabaseUnavailable => "database_unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::DigestMismatch => "digest_mismatch",
            Self::EventExpired => "event_expired",
            Self::EventNotFound => "event_not_found",
            Self::FunctionFailed => "function_failed",
            Self::FunctionNotFound => "function_not_found",
            Self::FunctionTrapped => "function_trapped",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::Internal => "internal",
            Self::Interrupted => "interrupted",
            Self::InvalidConfig => "invalid_config",
            Self::InvalidJson => "invalid_json",
            Self::InvalidName => "invalid_name",
            Self::InvalidParameter => "invalid_parameter",
            Self::InvalidSchedule => "invalid_schedule",
            Self::InvalidWasm => "invalid_wasm",
            Self::InvocationNotFound => "invocation_not_found",
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::MemoryExceeded => "memory_exceeded",
            Self::MessageNotFound => "message_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NamespaceNotFound => "namespace_not_found",
            Self::NoUsableExport => "no_usable_export",
            Self::ObjectNotFound => "object_not_found",
            Self::Overloaded => "overloaded",
            Self::PayloadTooLarge => "payload_too_large",
            Self::PublishFailed => "publish_failed",
            Self::QueueExists => "queue_exists",
            Self::QueueInUse => "queue_in_use",
            Self::QueueNotFound => "queue_not_found",
            Self::RecursionDetected => "recursion_detected",
            Self::RequestTimeout => "request_timeout",
            Self::RequestUnderWay => "request_under_way",
            Self::RouteNotFound => "route_not_found",
            Self::ShuttingDown => "shutting_down",
            Self::SnapshotFailed => "snapshot_failed",
            Self::StorageFull => "storage_full",
            Self::TriggerExists => "trigger_exists",
            Self::TriggerNotFound => "trigger_not_found",
            Self::Unauthorized => "unauthorized",
            Self::UnsupportedImport => "unsupported_import",
            Self::WebhookFailed => "webhook_failed",
            Self::WebhookProhibited => "webhook_prohibited",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        use StatusCode as S;
        match self {
            Self::ArtifactMissing
            | Self::BucketNotFound
            | Self::ObjectNotFound
            | Self::TriggerNotFound
            | Self::EventNotFound
            | Self::FunctionNotFound
            | Self::InvocationNotFound
            | Self::MessageNotFound
            | Self::NamespaceNotFound
            | Self::QueueNotFound
            | Self::RouteNotFound => S::NOT_FOUND,
            Self::ArtifactTooLarge | Self::PayloadTooLarge => S::PAYLOAD_TOO_LARGE,
            Self::ArtifactUnavailable
            | Self::FunctionFailed
            | Self::FunctionTrapped
            | Self::Internal
            | Self::Interrupted
            | Self::MemoryExceeded => S::INTERNAL_SERVER_ERROR,
            Self::BadResponse
            | Self::Cancelled
            | Self::PublishFailed
            | Self::WebhookFailed
            | Self::WebhookProhibited => S::BAD_GATEWAY,
            Self::CompileFailed
            | Self::CompileLimit
            | Self::InvalidWasm
            | Self::NoUsableExport
            | Self::SnapshotFailed
            | Self::UnsupportedImport => S::UNPROCESSABLE_ENTITY,
            Self::BacklogFull | Self::ConcurrencyLimit => S::TOO_MANY_REQUESTS,
            Self::DeadlineExceeded | Self::EventExpired => S::GATEWAY_TIMEOUT,
            Self::DigestMismatch
            | Self::InvalidConfig
            | Self::InvalidJson
            | Self::InvalidName
            | Self::InvalidParameter
            | Self::InvalidSchedule => S::BAD_REQUEST,
            Self::DatabaseUnavailable | Self::LedgerUnavailable | Self::Overloaded | Self::ShuttingDown => {
                S::SERVICE_UNAVAILABLE
            }
            Self::BucketExists
            | Self::BucketInUse
            | Self::IdempotencyKeyReused
            | Self::QueueExists
            | Self::QueueInUse
            | Self::RequestUnderWay
            | Self::TriggerExists => S::CONFLICT,
            Self::RecursionDetected => S::LOOP_DETECTED,
            Self::StorageFull => S::INSUFFICIENT_STORAGE,
            Self::RequestTimeout => S::REQUEST_TIMEOUT,
            Self::MethodNotAllowed => S::METHOD_NOT_ALLOWED,
            Self::Unauthorized => S::UNAUTHORIZED,
        }
    }

    /// What to do next.
    #[expect(
        clippy::too_many_lines,
        reason = "a table: one line for each code, of which none can be forgotten"
    )]
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::BacklogFull => {
                "wait until some events are delivered, or raise the bound with `fn serve --max-backlog`"
            }
            Self::BucketExists => "choose another name",
            Self::BucketInUse => {
                "`fn bucket show` says what uses it: delete its triggers, and its objects with `fn bucket rm`"
            }
            Self::BucketNotFound => "`fn bucket list` shows the buckets that exist, `fn bucket create` makes one",
            Self::ObjectNotFound => "`fn bucket ls` shows the objects that exist",
            Self::StorageFull => "free disk space in the data directory, then try again",
            Self::EventExpired => "raise `--max-event-age` of the function, or redrive the event with `fn dlq redrive`",
            Self::EventNotFound => {
                "`fn events list` shows the events that are known; those that were delivered are forgotten after a day"
            }
            Self::IdempotencyKeyReused => "use a new Idempotency-Key for a request that is not a repetition",
            Self::Interrupted => "nothing: the event is delivered again",
            Self::InvalidSchedule => {
                "write five fields as in crontab, such as \"0 9 * * *\", or @hourly, rate(5 minutes), at(2026-12-31T23:59:00)"
            }
            Self::MessageNotFound => "delete a message before its time is over, or receive it with a longer one",
            Self::PublishFailed => {
                "see whether the broker runs and has the exchange and a queue for the key, then `fn dlq redrive`"
            }
            Self::QueueExists => "choose another name, or delete the queue first with `fn queue delete`",
            Self::QueueInUse => {
                "`fn queue show` says what uses it: delete its triggers, and purge it or delete it with --force"
            }
            Self::QueueNotFound => "`fn queue list` shows the queues that exist, `fn queue create` makes one",
            Self::RecursionDetected => {
                "look for a circle: destinations (`fn describe`), or a function that writes what fires it (`fn trigger list`)"
            }
            Self::RequestUnderWay => "wait for the time in Retry-After, then send the same request again",
            Self::TriggerExists => "choose another name, or delete the trigger first with `fn trigger delete`",
            Self::TriggerNotFound => "`fn trigger list` shows the triggers that exist",
            Self::ArtifactMissing => "upload the file with PUT to /v1/ns/NAMESPACE/artifacts/DIGEST first",
            Self::ArtifactTooLarge => "build with optimisation for size and without debug information",
            Self::ArtifactUnavailable => "deploy the function's file again",
            Self::BadResponse => "the function must answer every request; look at `fn logs`",
            Self::Cancelled => "keep the connection open until the answer is complete",
            Self::CompileFailed => "rebuild the file with a current toolchain",
            Self::CompileLimit => "split very large functions or leave out unused code",
            Self::ConcurrencyLimit => "try again after the time in Retry-After",
            Self::DatabaseUnavailable => "try again; if it stays, see whether the database is running",
            Self::DeadlineExceeded => "raise the limit with `fn deploy --timeout` or do less per call",
            Self::DigestMismatch => "send exactly the bytes whose sha256 is in the path",
            Self::FunctionFailed => "look at `fn logs` for what it printed",
            Self::FunctionNotFound => "`fn list` shows the functions that exist",
            Self::FunctionTrapped => "look at `fn logs` for the place of the trap",
            Self::Internal => "look at the server's log",
            Self::InvalidConfig => "correct the named setting and deploy again",
            Self::InvalidJson => "send one valid JSON document",
            Self::InvalidName => "choose a name of a-z, 0-9 and '-'",
            Self::InvalidParameter => "correct the named parameter",
            Self::InvalidWasm => "check that the file is the output of a wasm build and is complete",
            Self::InvocationNotFound => "`fn invocations NAME` shows the invocations that are known",
            Self::LedgerUnavailable => "free disk space in the data directory or bring the database back",
            Self::MemoryExceeded => "raise the limit with `fn deploy --memory` or use less",
            Self::MethodNotAllowed => "see /openapi.json for what this path accepts",
            Self::NamespaceNotFound => "use the namespace `default`",
            Self::NoUsableExport => "build an HTTP handler, an event handler or a command",
            Self::Overloaded => "try again after the time in Retry-After",
            Self::PayloadTooLarge => "send less, or a reference to the data",
            Self::RequestTimeout => "send the whole body without long pauses",
            Self::RouteNotFound => "functions are at /NAME, the API is under /v1 of the admin address",
            Self::ShuttingDown => "try again after the time in Retry-After",
            Self::SnapshotFailed => {
                "deploy with `--snapshot auto`, or leave out of the init function what is in the way"
            }
            Self::Unauthorized => "send `Authorization: Bearer TOKEN`, or set MAYFLY_TOKEN for `fn`",
            Self::UnsupportedImport => "remove the import or build for wasm32-wasip2",
            Self::WebhookFailed => "see whether the receiver runs and answers 2xx, then `fn dlq redrive`",
            Self::WebhookProhibited => {
                "name a public address, or have the operator open the network with `fn serve --allow-private-network`"
            }
        }
    }
}
