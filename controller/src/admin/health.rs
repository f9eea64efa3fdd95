//! Whether the process lives, and whether it can do its work: two different questions.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::code::Code;
use crate::problem::Problem;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok` or `ready`.
    status: &'static str,
}

/// The process lives. Does not look at the database: a restart would not bring that back.
#[utoipa::path(get, path = "/healthz",
    operation_id = "is_alive", responses((status = 200, body = Health)))]
pub(super) async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// The server can run functions and record their usage.
#[utoipa::path(get, path = "/readyz",
    operation_id = "is_ready", responses(
    (status = 200, body = Health),
    (status = 503, body = crate::problem::ProblemDocument),
))]
pub(super) async fn ready(State(admin): State<Admin>) -> Result<Json<Health>, Problem> {
    if admin.stop.is_cancelled() {
        return Err(Problem::new(Code::ShuttingDown, "this server is shutting down"));
    }
    if !admin.parts.ledger.accepting() {
        return Err(Problem::new(
            Code::LedgerUnavailable,
            "usage cannot be recorded at the moment",
        ));
    }
    admin.parts.store.ping().await.map_err(|error| {
        tracing::warn!(%error, "not ready: the database does not answer");
        Problem::new(Code::LedgerUnavailable, "the database does not answer")
    })?;
    Ok(Json(Health { status: "ready" }))
}
