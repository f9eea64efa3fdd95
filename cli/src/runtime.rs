//! The async runtime that client and server wait on.

use tokio::runtime::{Builder, Runtime};

use crate::error::{CliError, ErrorKind, cause_text};

/// Builds what `builder` describes, with timers and sockets.
///
/// # Errors
/// `internal`, when the machine gives no threads or file descriptors.
pub(crate) fn start(builder: &mut Builder) -> Result<Runtime, CliError> {
    builder.enable_all().build().map_err(|cause| {
        CliError::new(
            ErrorKind::Failed,
            "internal",
            format!("cannot start: {}", cause_text(&cause)),
        )
    })
}
