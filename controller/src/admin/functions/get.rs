//! `GET /v1/ns/{ns}/functions/{name}`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::{NamedFunction, time};
use crate::admin::functions::FunctionView;
use crate::code::Code;
use crate::config::VERSIONS_SHOWN_MAX;
use crate::problem::{Problem, ProblemDocument};
use crate::store::{FunctionConfig, Version};

/// A function with its versions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionDetail {
    #[serde(flatten)]
    function: FunctionView,
    /// Newest first; at most 100.
    versions: Vec<VersionView>,
}

/// One immutable deployment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionView {
    version: u32,
    digest: String,
    /// `http`, `event` or `command`.
    kind: &'static str,
    size_bytes: u64,
    config: FunctionConfig,
    /// RFC 3339.
    created_at: String,
}

impl From<Version> for VersionView {
    fn from(version: Version) -> Self {
        Self {
            version: version.number,
            digest: version.artifact.to_string(),
            kind: version.kind.as_str(),
            size_bytes: version.size_bytes,
            config: version.config,
            created_at: time(version.created_at_ms),
        }
    }
}

/// Shows a function and its versions.
#[utoipa::path(get, path = "/v1/ns/{ns}/functions/{name}", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Function")),
    responses((status = 200, body = FunctionDetail), (status = 404, body = ProblemDocument)))]
pub(in crate::admin) async fn get(
    State(admin): State<Admin>,
    NamedFunction(namespace, name): NamedFunction,
) -> Result<Json<FunctionDetail>, Problem> {
    let store = &admin.parts.store;
    let not_found = || Problem::new(Code::FunctionNotFound, format!("there is no function named {name}"));
    let latest = store.function(&namespace, &name).await?.ok_or_else(not_found)?;
    let versions = store.versions(&namespace, &name, VERSIONS_SHOWN_MAX).await?;
    let versions = versions.into_iter().map(VersionView::from).collect();
    Ok(Json(FunctionDetail {
        function: FunctionView::of(&admin, latest),
        versions,
    }))
}
