//! Functions and their versions.

pub(super) mod delete;
pub(super) mod deploy;
pub(super) mod get;
pub(super) mod list;
mod secrets;

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::time;
use crate::store::{FunctionConfig, Version};
use mayfly_invoker_api::{Init, Namespace, SnapshotMode};

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

/// Whether instances begin with what the function's init function has left.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SnapshotView {
    taken: bool,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) reason: Option<String>,
    /// Processor time of the init function at deploy, in microseconds; no instance runs it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    init_saved_us: Option<u64>,
}

impl SnapshotView {
    fn of(mode: SnapshotMode, init: &Init) -> Self {
        let without = |reason: &str| Self {
            taken: false,
            reason: Some(reason.to_owned()),
            init_saved_us: None,
        };
        match (init, mode) {
            (Init::Absent, _) => without("the component exports no function named wizer-initialize"),
            (Init::PerInstance { .. }, SnapshotMode::Off) => without("it was deployed with snapshots switched off"),
            (Init::PerInstance { reason }, _) => without(reason),
            (Init::Snapshot { init_us }, _) => Self {
                taken: true,
                reason: None,
                init_saved_us: Some(*init_us),
            },
        }
    }
}
