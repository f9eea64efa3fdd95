//! Uploading files: checked and compiled before they are kept.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use bytes::Bytes;
use http::StatusCode;
use mayfly_invoker_api::Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::{InNamespace, invalid_parameter, time};
use crate::artifacts::digest_of_large;
use crate::body::{self, ReadError};
use crate::code::Code;
use crate::config::UPLOAD_TIME_MAX;
use crate::problem::{Problem, ProblemDocument};
use crate::store::Artifact;

/// A file that a namespace may deploy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArtifactView {
    /// `sha256:` and 64 hex digits.
    digest: String,
    /// Size of the file.
    size_bytes: u64,
    /// `http`, `event` or `command`.
    kind: &'static str,
    /// When it was uploaded first, RFC 3339.
    created_at: String,
}

impl From<Artifact> for ArtifactView {
    fn from(artifact: Artifact) -> Self {
        Self {
            digest: artifact.digest.to_string(),
            size_bytes: artifact.size_bytes,
            kind: artifact.kind.as_str(),
            created_at: time(artifact.created_at_ms),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct DigestInPath {
    digest: String,
}

impl DigestInPath {
    fn parse(&self) -> Result<Digest, Problem> {
        self.digest.parse().map_err(invalid_parameter)
    }
}

/// Says whether the namespace has this artifact, and the server its bytes.
#[utoipa::path(get, path = "/v1/ns/{ns}/artifacts/{digest}",
    operation_id = "get_artifact", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("digest" = String, Path, description = "sha256:<64 hex digits>")),
    responses((status = 200, body = ArtifactView), (status = 404, body = ProblemDocument)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<DigestInPath>,
) -> Result<Json<ArtifactView>, Problem> {
    let digest = path.parse()?;
    let artifact = admin.parts.present_artifact(&namespace, digest).await?;
    artifact
        .map(|artifact| Json(artifact.into()))
        .ok_or_else(|| missing(digest))
}

pub(super) fn missing(digest: Digest) -> Problem {
    Problem::new(
        Code::ArtifactMissing,
        format!("the artifact {digest} has not been uploaded to this namespace"),
    )
}

/// Uploads an artifact. It is checked and compiled before anything of it is kept, which can take some seconds.
#[utoipa::path(put, path = "/v1/ns/{ns}/artifacts/{digest}",
    operation_id = "put_artifact", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("digest" = String, Path, description = "sha256:<64 hex digits>")),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses(
        (status = 200, description = "It was there already", body = ArtifactView),
        (status = 201, body = ArtifactView),
        (status = 400, description = "The bytes are not those of the digest", body = ProblemDocument),
        (status = 413, body = ProblemDocument),
        (status = 422, description = "The file cannot be run here", body = ProblemDocument),
    ))]
pub(super) async fn put(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<DigestInPath>,
    body: Body,
) -> Result<(StatusCode, Json<ArtifactView>), Problem> {
    let digest = path.parse()?;
    let wasm = read(body, admin.parts.bounds.artifact_bytes_max).await?;
    let found = digest_of_large(wasm.clone()).await.map_err(|error| {
        tracing::error!(%error, "an artifact could not be hashed");
        Problem::new(Code::Internal, "the artifact could not be read")
    })?;
    if found != digest {
        return Err(Problem::new(
            Code::DigestMismatch,
            format!("the body has the digest {found}, not {digest}"),
        ));
    }
    let Admin { parts, .. } = &admin;
    if let Some(artifact) = parts.present_artifact(&namespace, digest).await? {
        return Ok((StatusCode::OK, Json(artifact.into())));
    }
    let prepared = parts.invoker.prepare(digest, wasm.clone()).await?;
    parts.artifacts.keep(digest, &wasm).await.map_err(|error| {
        tracing::error!(%error, %digest, "artifact could not be written");
        Problem::new(
            Code::Internal,
            "the artifact could not be written to the data directory",
        )
    })?;
    let artifact = Artifact {
        digest,
        kind: prepared.kind,
        size_bytes: wasm.len() as u64,
        code_bytes: prepared.code_bytes,
        created_at_ms: parts.clock.unix_ms(),
    };
    parts.store.insert_artifact(&namespace, &artifact).await?;
    Ok((StatusCode::CREATED, Json(artifact.into())))
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    body::read(body, bytes_max, UPLOAD_TIME_MAX)
        .await
        .map_err(|error| match error {
            ReadError::TooLong => Problem::new(
                Code::ArtifactTooLarge,
                format!("an artifact may have at most {bytes_max} bytes"),
            ),
            ReadError::TooSlow(message) => Problem::new(Code::RequestTimeout, message),
            ReadError::Broken(message) => Problem::new(Code::InvalidParameter, message),
        })
}
