//! `PUT /v1/ns/{ns}/functions/{name}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use mayfly_invoker_api::{CodeKey, Digest, Isolation, Kind, SnapshotMode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::artifacts::missing;
use crate::admin::extract::{Document, NamedFunction, invalid_parameter};
use crate::admin::functions::{FunctionView, SnapshotView, secrets};
use crate::code::Code;
use crate::config::{
    ALLOWED_HOSTS_MAX, ENV_BYTES_MAX, ENV_VARS_MAX, INSTANCES_MAX, MEMORY_MIB_MAX, MIN_WARM_MAX,
    REQUESTS_PER_INSTANCE_MAX, TIMEOUT_MS_MAX,
};
use crate::ingress::target_of;
use crate::problem::{Problem, ProblemDocument};
use crate::store::{FunctionConfig, StoreError};

/// What to run and how.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deployment {
    /// `sha256:` and 64 hex digits; the artifact must have been uploaded to this namespace.
    artifact: String,
    #[serde(default)]
    config: FunctionConfig,
}

/// The function after the deployment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Deployed {
    #[serde(flatten)]
    function: FunctionView,
    /// False if the latest version was the same already.
    changed: bool,
}

/// Deploys an artifact: makes a new version, unless the latest one has the same artifact and configuration.
#[utoipa::path(put, path = "/v1/ns/{ns}/functions/{name}",
    operation_id = "deploy_function", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Function")),
    request_body = Deployment,
    responses(
        (status = 200, description = "Nothing changed", body = Deployed),
        (status = 201, description = "There is a new version", body = Deployed),
        (status = 400, body = ProblemDocument),
        (status = 404, description = "The artifact must be uploaded first", body = ProblemDocument),
        (status = 422, description = "There can be no snapshot", body = ProblemDocument),
    ))]
pub(in crate::admin) async fn deploy(
    State(admin): State<Admin>,
    NamedFunction(namespace, name): NamedFunction,
    Document(mut deployment): Document<Deployment>,
) -> Result<(StatusCode, Json<Deployed>), Problem> {
    let artifact: Digest = deployment.artifact.parse().map_err(invalid_parameter)?;
    check(&deployment.config)?;
    let Some(present) = admin.parts.present_artifact(&namespace, artifact).await? else {
        return Err(missing(artifact));
    };
    check_warm(&deployment.config, present.kind)?;
    prefetch(
        &admin,
        CodeKey::new(artifact, deployment.config.snapshot),
        &deployment.config,
    )
    .await?;
    deployment.config.secrets = secrets::of(&admin, &namespace, &name, &deployment.config).await?;
    let now_ms = admin.parts.clock.unix_ms();
    let deployed = admin
        .parts
        .store
        .deploy(&namespace, &name, artifact, &deployment.config, now_ms)
        .await;
    let deployed = deployed.map_err(|error| match error {
        StoreError::MissingArtifact(digest) => missing(digest),
        other => other.into(),
    })?;
    admin.ingress.routes.forget(&namespace, &name).await;
    let target = Arc::new(target_of(deployed.version.clone()));
    admin.parts.invoker.deployed(target).await;
    let status = if deployed.changed {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let function = FunctionView::of(&admin, deployed.version);
    Ok((
        status,
        Json(Deployed {
            function,
            changed: deployed.changed,
        }),
    ))
}

/// Only an instance that any caller may have can be there before the call.
fn check_warm(config: &FunctionConfig, kind: Kind) -> Result<(), Problem> {
    let invalid = |message: String| Err(Problem::new(Code::InvalidConfig, message));
    let most = MIN_WARM_MAX.min(config.max_instances);
    if config.min_warm > most {
        return invalid(format!(
            "min_warm must be at most {most}, not {}: {MIN_WARM_MAX} is the most for any function, and max_instances \
             holds, too",
            config.min_warm
        ));
    }
    if config.min_warm == 0 {
        return Ok(());
    }
    if kind == Kind::Command {
        return invalid("min_warm must be 0 for a command: every call starts it anew".to_owned());
    }
    match &config.isolation {
        Isolation::Auto | Isolation::Function => Ok(()),
        isolation @ (Isolation::Invocation | Isolation::Key(_)) => invalid(format!(
            "min_warm must be 0 with isolation {isolation}: no instance is there for any caller"
        )),
    }
}

/// Has the code in memory before the first call can come; a version whose code cannot be had does not become one.
async fn prefetch(admin: &Admin, code: CodeKey, config: &FunctionConfig) -> Result<(), Problem> {
    let prepared = admin.parts.invoker.prefetch(code).await;
    let prepared = prepared.map_err(|error| Problem::from(&error))?;
    match (config.snapshot, SnapshotView::of(config.snapshot, &prepared.init)) {
        (
            SnapshotMode::On,
            SnapshotView {
                reason: Some(reason), ..
            },
        ) => Err(Problem::new(
            Code::SnapshotFailed,
            format!("there can be no snapshot: {reason}"),
        )),
        _ => Ok(()),
    }
}

fn check(config: &FunctionConfig) -> Result<(), Problem> {
    let invalid = |message: String| Err(Problem::new(Code::InvalidConfig, message));
    if !(1..=MEMORY_MIB_MAX).contains(&config.memory_mib) {
        return invalid(format!(
            "memory_mib must be between 1 and {MEMORY_MIB_MAX}, not {}",
            config.memory_mib
        ));
    }
    if !(1..=TIMEOUT_MS_MAX).contains(&config.timeout_ms) {
        return invalid(format!(
            "timeout_ms must be between 1 and {TIMEOUT_MS_MAX}, not {}",
            config.timeout_ms
        ));
    }
    if !(1..=REQUESTS_PER_INSTANCE_MAX).contains(&config.max_requests_per_instance) {
        return invalid(format!(
            "max_requests_per_instance must be between 1 and {REQUESTS_PER_INSTANCE_MAX}, not {}",
            config.max_requests_per_instance
        ));
    }
    if !(1..=INSTANCES_MAX).contains(&config.max_instances) {
        return invalid(format!(
            "max_instances must be between 1 and {INSTANCES_MAX}, not {}",
            config.max_instances
        ));
    }
    if let Err(error) = config.retry.check() {
        return invalid(error.to_string());
    }
    if config.env.len() > ENV_VARS_MAX {
        return invalid(format!(
            "env has {} variables; at most {ENV_VARS_MAX} are allowed",
            config.env.len()
        ));
    }
    let bytes: usize = config.env.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ENV_BYTES_MAX {
        return invalid(format!("env has {bytes} bytes; at most {ENV_BYTES_MAX} are allowed"));
    }
    if config.allow_hosts.len() > ALLOWED_HOSTS_MAX {
        return invalid(format!(
            "allow_hosts has {} entries; at most {ALLOWED_HOSTS_MAX} are allowed",
            config.allow_hosts.len()
        ));
    }
    let bad_name = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
    if let Some(name) = config.env.keys().find(bad_name) {
        return invalid(format!(
            "env has a variable named {name:?}; names must not be empty or hold '=' or NUL"
        ));
    }
    if let Some((name, _)) = config.env.iter().find(|(_, value)| value.contains('\0')) {
        return invalid(format!("the value of the variable {name:?} holds a NUL character"));
    }
    Ok(())
}
