//! The one seam between controller and invoker.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Digest, Invocation, InvokeError, Kind, Output, PrepareError};

/// What is known of an artifact once it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared {
    /// How its function is called.
    pub kind: Kind,
    /// Size of the native code that was made of it, in bytes.
    pub code_bytes: u64,
}

/// Runs functions. Dropping a returned future or body cancels the invocation and destroys its instance.
#[async_trait]
pub trait Invoke: Send + Sync {
    /// Runs one invocation.
    ///
    /// # Errors
    /// Says why the guest did not answer. A guest that fails after its answer has begun ends the body with the error.
    async fn invoke(&self, invocation: Invocation) -> Result<Output, InvokeError>;

    /// Checks and compiles an artifact, so that no request ever waits for a compiler.
    ///
    /// # Errors
    /// Says what is wrong with the artifact; nothing of it is kept then.
    async fn prepare(&self, digest: Digest, wasm: Bytes) -> Result<Prepared, PrepareError>;
}

/// Where an invoker gets the bytes of an artifact that it has no native code for.
#[async_trait]
pub trait ArtifactSource: Send + Sync {
    /// The bytes of `digest`; whoever calls checks them against it.
    ///
    /// # Errors
    /// When there is no such artifact or it cannot be read.
    async fn fetch(&self, digest: Digest) -> Result<Bytes, InvokeError>;
}
