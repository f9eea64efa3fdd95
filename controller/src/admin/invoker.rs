//! `GET /v1/invoker`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::Admin;

/// What the invoker has done since it started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvokerView {
    code: CodeView,
}

/// How often native code was had, and from where.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CodeView {
    /// A compiling process made it.
    compiled: u64,
    /// It was loaded from disk.
    loaded: u64,
    /// A call found it in memory.
    found: u64,
    /// Files with code that were not authentic; each was removed.
    rejected: u64,
}

/// Says what the invoker has done since it started. A restart compiles nothing: its calls load.
#[utoipa::path(get, path = "/v1/invoker",
    operation_id = "get_invoker", security(("bearer" = [])), responses((status = 200, body = InvokerView)))]
pub(super) async fn get(State(admin): State<Admin>) -> Json<InvokerView> {
    let counters = admin.parts.invoker.code_counters();
    Json(InvokerView {
        code: CodeView {
            compiled: counters.compiled,
            loaded: counters.loaded,
            found: counters.found,
            rejected: counters.rejected,
        },
    })
}
