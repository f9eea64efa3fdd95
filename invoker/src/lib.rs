//! Runs functions: WebAssembly components in wasmtime.
//!
//! One invocation, read downward: [`Invoker::invoke`] → `run::run` → `code` (native code of the artifact: memory,
//! disk, compiler) → `pool` (a lease, and a warm instance if there is one) or `instance` (a fresh one) → `http`, `event` or `command` (the call) →
//! the gauge (what it used and printed). The deadline stands around all of it.
//!
//! This crate opens no database and serves no socket. The only connections that it makes are those of `outbound`.

mod apart;
mod bindings;
mod cache;
mod call;
mod code;
mod command;
mod compile;
mod config;
mod console;
mod engine;
mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guest;
mod http;
mod inspect;
mod instance;
mod limiter;
mod outbound;
mod pool;
mod replay;
mod run;
mod sealed;
mod slices;
mod snapshot;
mod state;
mod store;
mod ticker;
mod upkeep;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mayfly_invoker_api::{
    ArtifactSource, CodeCounters, CodeKey, Digest, FunctionName, Invocation, Invoke, InvokeError, Namespace, Output,
    PoolState, PrepareError, Prepared, Target, Webhook, WebhookAnswer, WebhookError,
};
use tokio::sync::Notify;

use crate::apart::Apart;
use crate::code::{CodeStore, Reuse};
use crate::outbound::Outbound;
use crate::pool::{Pool, Version};
use crate::run::Host;
use crate::ticker::Ticker;

pub use crate::compile::compile_child_main;
pub use crate::config::{Bounds, Config, MEMORY_BYTES_MAX, Wasi};
pub use crate::outbound::{NetworkError, PrivateNetwork};

/// Owns the engine, the code and the instances of one process. Cheap to clone.
#[derive(Clone)]
pub struct Invoker {
    host: Arc<Host>,
}

impl fmt::Debug for Invoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invoker").finish_non_exhaustive()
    }
}

/// Why an invoker could not start; the text is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("the invoker could not start: {0}")]
pub struct StartError(String);

impl Invoker {
    /// Starts the engine. Must be called inside a tokio runtime; what it starts ends when the last clone is dropped.
    ///
    /// # Errors
    /// When the machine cannot give the address space or the cache folder.
    pub fn create(config: Config, artifacts: Arc<dyn ArtifactSource>) -> Result<Self, StartError> {
        let start = || -> wasmtime::Result<Self> {
            let engine = engine::serving(&config.bounds, config.wasi)?;
            let ticker = Ticker::start(&engine)?;
            let pool = Pool::new(&config.bounds);
            let outbound = Outbound::new(config.private_networks.clone())?;
            let codes = Arc::new(CodeStore::open(config, &engine, artifacts)?);
            Ok(Self {
                host: Arc::new(Host {
                    engine,
                    codes,
                    pool: Arc::new(pool),
                    ticker,
                    apart: Arc::new(Apart::start()?),
                    outbound: Arc::new(outbound),
                    upkeep: Notify::new(),
                }),
            })
        };
        let invoker = start().map_err(|error| StartError(format!("{error:#}")))?;
        tokio::spawn(upkeep::tend(Arc::downgrade(&invoker.host)));
        tokio::spawn(upkeep::keep_warm(Arc::downgrade(&invoker.host)));
        let codes = Arc::clone(&invoker.host.codes);
        tokio::spawn(async move { codes.tidy().await });
        Ok(invoker)
    }
}

#[async_trait]
impl Invoke for Invoker {
    async fn invoke(&self, invocation: Invocation) -> Result<Output, InvokeError> {
        run::run(&self.host, invocation).await
    }

    async fn prepare(&self, digest: Digest, wasm: Bytes) -> Result<Prepared, PrepareError> {
        self.host.codes.prepare(digest, &wasm).await
    }

    async fn deployed(&self, target: Arc<Target>) {
        self.host.pool.deployed(&Version(target));
        self.host.upkeep.notify_one();
    }

    async fn deleted(&self, namespace: &Namespace, function: &FunctionName) {
        self.host.pool.let_go(|version| version.is_of(namespace, function));
    }

    async fn pool_state(&self, target: &Arc<Target>) -> PoolState {
        let code = self.host.codes.peek(target.code());
        PoolState {
            code_bytes: code.as_ref().map(|code| code.bytes),
            single_use: code.is_some_and(|code| code.reuse() == Reuse::Never),
            ..self.host.pool.state(&Version(Arc::clone(target)))
        }
    }

    async fn prefetch(&self, code: CodeKey) -> Result<Prepared, InvokeError> {
        self.host.codes.prefetch(code).await
    }

    async fn prepared(&self, code: CodeKey) -> Option<Prepared> {
        self.host.codes.prepared(code).await
    }

    fn code_counters(&self) -> CodeCounters {
        self.host.codes.counters()
    }

    async fn send_webhook(&self, webhook: Webhook) -> Result<WebhookAnswer, WebhookError> {
        self.host.outbound.send_webhook(webhook).await
    }
}
