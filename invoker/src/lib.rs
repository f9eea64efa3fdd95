//! Runs functions: WebAssembly components in wasmtime.
//!
//! One invocation, read downward: [`Invoker::invoke`] → `run::run` → `code` (native code of the artifact: memory,
//! disk, compiler) → `pool` (a warm instance) or `instance` (a fresh one) → `http`, `event` or `command` (the call) →
//! the gauge (what it used and printed). The deadline stands around all of it.
//!
//! This crate opens no database and serves no socket.

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
mod guest;
mod http;
mod inspect;
mod instance;
mod limiter;
mod pool;
mod replay;
mod run;
mod state;
mod ticker;

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mayfly_invoker_api::{ArtifactSource, Digest, Invocation, Invoke, InvokeError, Output, PrepareError, Prepared};

use crate::code::CodeStore;
use crate::pool::Pool;
use crate::run::Host;
use crate::ticker::Ticker;

pub use crate::compile::compile_child_main;
pub use crate::config::{Bounds, Config, MEMORY_BYTES_MAX};

/// How often the pool is searched for instances that were idle for too long.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

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
            let engine = engine::serving(&config.bounds)?;
            let ticker = Ticker::start(&engine)?;
            let pool = Pool::new(config.bounds.idle_instances_max, config.bounds.idle_time);
            let codes = Arc::new(CodeStore::open(config, &engine, artifacts)?);
            Ok(Self {
                host: Arc::new(Host {
                    engine,
                    codes,
                    pool: Arc::new(pool),
                    ticker,
                }),
            })
        };
        let invoker = start().map_err(|error| StartError(format!("{error:#}")))?;
        tokio::spawn(reap(Arc::downgrade(&invoker.host)));
        Ok(invoker)
    }
}

async fn reap(host: Weak<Host>) {
    let mut interval = tokio::time::interval(REAP_INTERVAL);
    loop {
        interval.tick().await;
        let Some(host) = host.upgrade() else { return };
        host.pool.reap();
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
}
