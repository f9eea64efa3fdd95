//! `DELETE /v1/ns/{ns}/functions/{name}`

use axum::extract::State;
use http::StatusCode;

use crate::admin::Admin;
use crate::admin::extract::NamedFunction;
use crate::code::Code;
use crate::problem::{Problem, ProblemDocument};

/// Deletes a function and all its versions. What it has used stays in the ledger.
#[utoipa::path(delete, path = "/v1/ns/{ns}/functions/{name}",
    operation_id = "delete_function", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Function")),
    responses((status = 204, description = "It is gone"), (status = 404, body = ProblemDocument)))]
pub(in crate::admin) async fn delete(
    State(admin): State<Admin>,
    NamedFunction(namespace, name): NamedFunction,
) -> Result<StatusCode, Problem> {
    let existed = admin
        .parts
        .store
        .delete_function(&namespace, &name, admin.parts.clock.unix_ms())
        .await?;
    admin.ingress.routes.forget(&namespace, &name).await;
    admin.parts.invoker.deleted(&namespace, &name).await;
    if !existed {
        return Err(Problem::new(
            Code::FunctionNotFound,
            format!("there is no function named {name}"),
        ));
    }
    Ok(StatusCode::NO_CONTENT)
}
