//! `GET /v1/ns/{ns}/functions/{name}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use mayfly_invoker_api::{CodeKey, PoolState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::{NamedFunction, time};
use crate::admin::functions::{FunctionView, SnapshotView};
use crate::code::Code;
use crate::config::VERSIONS_SHOWN_MAX;
use crate::ingress::target_of;
use crate::problem::{Problem, ProblemDocument};
use crate::store::{FunctionConfig, Version};

/// A function with its versions and its instances.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionDetail {
    #[serde(flatten)]
    function: FunctionView,
    /// Of the latest version; null when its code has to be made again.
    snapshot: Option<SnapshotView>,
    /// Newest first; at most 100.
    versions: Vec<VersionView>,
    pool: PoolView,
}

/// What the server that answers has of the latest version at the moment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoolView {
    /// Instances that wait for a call.
    idle: u32,
    /// Instances that serve one.
    running: u32,
    /// Calls that wait for an instance.
    waiting: u32,
    /// Memory of the instances that is really there; an estimate.
    resident_bytes: u64,
    /// Native code in memory; null while it is not loaded.
    code_bytes: Option<u64>,
    /// Whether it was found out that an instance can serve one call only. Every call gets a fresh one then, and none is
    /// kept warm.
    single_use: bool,
}

impl From<PoolState> for PoolView {
    fn from(state: PoolState) -> Self {
        Self {
            idle: state.idle,
            running: state.running,
            waiting: state.waiting,
            resident_bytes: state.resident_bytes,
            code_bytes: state.code_bytes,
            single_use: state.single_use,
        }
    }
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
#[utoipa::path(get, path = "/v1/ns/{ns}/functions/{name}",
    operation_id = "get_function", security(("bearer" = [])),
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
    let target = Arc::new(target_of(latest.clone()));
    let pool = admin.parts.invoker.pool_state(&target).await.into();
    let mode = latest.config.snapshot;
    let prepared = admin.parts.invoker.prepared(CodeKey::new(latest.artifact, mode)).await;
    Ok(Json(FunctionDetail {
        snapshot: prepared.map(|prepared| SnapshotView::of(mode, &prepared.init)),
        function: FunctionView::of(&admin, latest),
        versions,
        pool,
    }))
}
