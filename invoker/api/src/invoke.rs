//! The one seam between controller and invoker.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    CodeCounters, CodeKey, Digest, FunctionName, Invocation, InvokeError, Namespace, Output, PrepareError, Prepared,
    Target, Webhook, WebhookAnswer, WebhookError,
};

/// What an invoker has of one version at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Instances that wait for a call.
    pub idle: u32,
    /// Instances that serve one, or are being made for one.
    pub running: u32,
    /// Calls that wait for an instance.
    pub waiting: u32,
    /// Memory of its instances that is really there, in bytes; an estimate.
    pub resident_bytes: u64,
    /// Its native code in memory, in bytes; `None` while it is not loaded.
    pub code_bytes: Option<u64>,
    /// It was found out that an instance of it can serve one call only.
    pub single_use: bool,
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

    /// From now on `target` is the version of its function that is called: what waits for calls of other versions is given
    /// up, and as many instances as the version wants are kept warm. They are made in the background.
    async fn deployed(&self, target: Arc<Target>);

    /// The function is no more: what waits for its calls is given up.
    async fn deleted(&self, namespace: &Namespace, function: &FunctionName);

    /// What there is of a version at the moment.
    async fn pool_state(&self, target: &Arc<Target>) -> PoolState;

    /// Has this code in memory when it returns, so that the next call need not wait for it. Makes it if there is none.
    ///
    /// # Errors
    /// When its artifact cannot be had or compiled.
    async fn prefetch(&self, code: CodeKey) -> Result<Prepared, InvokeError>;

    /// What is known of code that was made here and is still kept; never makes any.
    async fn prepared(&self, code: CodeKey) -> Option<Prepared>;

    /// What became of loading code so far.
    fn code_counters(&self) -> CodeCounters;

    /// Posts a message of the platform's own, once, under the rules for the requests of functions: a controller opens no
    /// connection to an address that somebody else has named.
    ///
    /// # Errors
    /// When there is no answer; whatever was answered is none.
    async fn send_webhook(&self, webhook: Webhook) -> Result<WebhookAnswer, WebhookError>;
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
