//! Functions and their versions.

pub(super) mod delete;
pub(super) mod deploy;
pub(super) mod get;
pub(super) mod list;

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::time;
use crate::store::{FunctionConfig, Version};
use mayfly_invoker_api::Namespace;

/// A function at its latest version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionView {
    name: String,
    namespace: String,
    /// Number of the latest version.
    version: u32,
    /// `http`, `event` or `command`.
    kind: &'static str,
    /// The artifact.
    digest: String,
    /// Size of the artifact.
    size_bytes: u64,
    /// The endpoint.
    url: String,
    config: FunctionConfig,
    /// When the latest version was made, RFC 3339.
    created_at: String,
}

impl FunctionView {
    fn of(admin: &Admin, version: Version) -> Self {
        let base = &admin.parts.public_url;
        let url = if version.namespace == Namespace::default_namespace() {
            format!("{base}/{}", version.name)
        } else {
            format!("{base}/@{}/{}", version.namespace, version.name)
        };
        Self {
            name: version.name.to_string(),
            namespace: version.namespace.to_string(),
            version: version.number,
            kind: version.kind.as_str(),
            digest: version.artifact.to_string(),
            size_bytes: version.size_bytes,
            url,
            config: version.config,
            created_at: time(version.created_at_ms),
        }
    }
}
