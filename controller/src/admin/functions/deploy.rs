//! `PUT /v1/ns/{ns}/functions/{name}`

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use mayfly_invoker_api::Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::artifacts::missing;
use crate::admin::extract::{Document, NamedFunction, invalid_parameter};
use crate::admin::functions::FunctionView;
use crate::code::Code;
use crate::config::{ENV_BYTES_MAX, ENV_VARS_MAX, MEMORY_MIB_MAX, REQUESTS_PER_INSTANCE_MAX, TIMEOUT_MS_MAX};
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
#[utoipa::path(put, path = "/v1/ns/{ns}/functions/{name}", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Function")),
    request_body = Deployment,
    responses(
        (status = 200, description = "Nothing changed", body = Deployed),
        (status = 201, description = "There is a new version", body = Deployed),
        (status = 400, body = ProblemDocument),
        (status = 404, description = "The artifact must be uploaded first", body = ProblemDocument),
    ))]
pub(in crate::admin) async fn deploy(
    State(admin): State<Admin>,
    NamedFunction(namespace, name): NamedFunction,
    Document(deployment): Document<Deployment>,
) -> Result<(StatusCode, Json<Deployed>), Problem> {
    let artifact: Digest = deployment.artifact.parse().map_err(invalid_parameter)?;
    check(&deployment.config)?;
    if admin.parts.present_artifact(&namespace, artifact).await?.is_none() {
        return Err(missing(artifact));
    }
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
