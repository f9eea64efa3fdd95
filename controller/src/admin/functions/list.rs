//! `GET /v1/ns/{ns}/functions`

use axum::Json;
use axum::extract::State;
use mayfly_invoker_api::FunctionName;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::admin::Admin;
use crate::admin::extract::{InNamespace, Params, page_rows};
use crate::admin::functions::FunctionView;
use crate::problem::{Problem, ProblemDocument};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Rows of this page.
    limit: Option<u32>,
    /// The name after which this page begins.
    after: Option<FunctionNameParam>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(value_type = String)]
pub(crate) struct FunctionNameParam(FunctionName);

/// One page of functions, in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Functions {
    functions: Vec<FunctionView>,
    /// Give this as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// Lists the functions of a namespace.
#[utoipa::path(get, path = "/v1/ns/{ns}/functions",
    operation_id = "list_functions", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), Page),
    responses((status = 200, body = Functions), (status = 404, body = ProblemDocument)))]
pub(in crate::admin) async fn list(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Params(page): Params<Page>,
) -> Result<Json<Functions>, Problem> {
    let limit = page_rows(page.limit, 100)?;
    let after = page.after.as_ref().map(|name| &name.0);
    let versions = admin.parts.store.functions(&namespace, after, limit).await?;
    let full = versions.len() == limit as usize;
    let next = versions.last().filter(|_| full).map(|last| last.name.to_string());
    let functions = versions
        .into_iter()
        .map(|version| FunctionView::of(&admin, version))
        .collect();
    Ok(Json(Functions { functions, next }))
}
