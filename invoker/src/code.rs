//! Native code in memory, ready to be instantiated, one per artifact.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use mayfly_invoker_api::{
    ArtifactSource, Digest, InvokeError, InvokeErrorKind, PrepareError, PrepareErrorKind, Prepared,
};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::cache::Cache;
use crate::compile::{self, Compiled};
use crate::config::Config;
use crate::engine;
use crate::guest::GuestPre;
use crate::state::{self, State};

/// Whether an instance of a guest can serve a second invocation. Found out by trying, see [`crate::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    Unproven,
    Proven,
    Never,
}

impl Reuse {
    /// A guest that spoils its own state fails in one of these ways; a limit or a deadline has another cause.
    pub(crate) fn may_be_to_blame_for(kind: InvokeErrorKind) -> bool {
        matches!(
            kind,
            InvokeErrorKind::Trapped | InvokeErrorKind::BadResponse | InvokeErrorKind::Failed
        )
    }
}

/// The code of one artifact.
pub(crate) struct Code {
    pub(crate) guest: GuestPre,
    reuse: AtomicU8,
    bytes: u64,
}

impl Code {
    pub(crate) fn reuse(&self) -> Reuse {
        match self.reuse.load(Relaxed) {
            0 => Reuse::Unproven,
            1 => Reuse::Proven,
            _ => Reuse::Never,
        }
    }

    /// Notes what was found out; the first finding stays.
    pub(crate) fn settle_reuse(&self, found: Reuse) {
        // Err means that it was settled already.
        let _ = self
            .reuse
            .compare_exchange(Reuse::Unproven as u8, found as u8, Relaxed, Relaxed);
    }
}

/// Gets code from memory, from the cache on disk, or from the compiler, in this order.
pub(crate) struct CodeStore {
    config: Config,
    engine: Engine,
    linker: Linker<State>,
    cache: Arc<Cache>,
    artifacts: Arc<dyn ArtifactSource>,
    loaded: moka::sync::Cache<Digest, Arc<Code>>,
    /// What is being loaded just now.
    loading: Mutex<HashMap<Digest, Loading>>,
    compilers: Semaphore,
}

type Loading = Shared<BoxFuture<'static, Result<Arc<Code>, InvokeError>>>;

impl CodeStore {
    pub(crate) fn open(config: Config, engine: &Engine, artifacts: Arc<dyn ArtifactSource>) -> wasmtime::Result<Self> {
        let linker = state::linker(engine)?;
        let cache = Arc::new(Cache::open(&config, engine::compatibility(engine))?);
        let loaded = moka::sync::Cache::builder()
            .weigher(|_, code: &Arc<Code>| u32::try_from(code.bytes).unwrap_or(u32::MAX))
            .max_capacity(config.bounds.code_bytes_max)
            .build();
        let compilers = Semaphore::new(config.bounds.compilers_max);
        Ok(Self {
            config,
            engine: engine.clone(),
            linker,
            cache,
            artifacts,
            loaded,
            loading: Mutex::default(),
            compilers,
        })
    }

    /// Checks and compiles `wasm`, unless there is code of it already.
    pub(crate) async fn prepare(&self, digest: Digest, wasm: &[u8]) -> Result<Prepared, PrepareError> {
        if let Some(code) = self.loaded.get(&digest) {
            return Ok(Prepared {
                kind: code.guest.kind(),
                code_bytes: code.bytes,
            });
        }
        let compiled = match self.cache.load(digest).await {
            Some(compiled) => Arc::new(compiled),
            None => self.compile(digest, wasm).await?,
        };
        Ok(Prepared {
            kind: compiled.kind,
            code_bytes: compiled.code.len() as u64,
        })
    }

    /// The code of `digest`; many who ask at once for code that is not in memory wait for one load.
    pub(crate) async fn get(self: &Arc<Self>, digest: Digest) -> Result<Arc<Code>, InvokeError> {
        match self.loaded.get(&digest) {
            Some(code) => Ok(code),
            None => self.loading(digest).await,
        }
    }

    /// A load is a task of its own: a caller that gives up must not stop what the next one will ask for again.
    fn loading(self: &Arc<Self>, digest: Digest) -> Loading {
        let start = || {
            let store = Arc::clone(self);
            let load = tokio::spawn(Arc::clone(self).load(digest));
            let remembered = tokio::spawn(async move {
                let loaded = load.await.unwrap_or_else(|error| {
                    tracing::error!(%digest, %error, "a load of code failed");
                    Err(not_loaded())
                });
                if let Ok(code) = &loaded {
                    store.loaded.insert(digest, Arc::clone(code));
                }
                store.lock_loading().remove(&digest);
                loaded
            });
            remembered
                .map(|joined| joined.unwrap_or_else(|_cancelled| Err(not_loaded())))
                .boxed()
                .shared()
        };
        self.lock_loading().entry(digest).or_insert_with(start).clone()
    }

    fn lock_loading(&self) -> MutexGuard<'_, HashMap<Digest, Loading>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(self: Arc<Self>, digest: Digest) -> Result<Arc<Code>, InvokeError> {
        let compiled = match self.cache.load(digest).await {
            Some(compiled) => Arc::new(compiled),
            None => {
                let wasm = self.artifacts.fetch(digest).await?;
                self.compile_again(digest, wasm).await?
            }
        };
        let bytes = compiled.code.len() as u64;
        // Relocating megabytes would keep this thread from its other tasks.
        let linked = tokio::task::spawn_blocking(move || self.link(&compiled)).await;
        let guest = linked.map_err(wasmtime::Error::from).flatten().map_err(|error| {
            tracing::error!(%digest, ?error, "native code cannot be loaded");
            not_loaded()
        })?;
        Ok(Arc::new(Code {
            guest,
            reuse: AtomicU8::new(Reuse::Unproven as u8),
            bytes,
        }))
    }

    /// For an artifact that was accepted once: a refusal now is the platform's fault, not the function's.
    async fn compile_again(&self, digest: Digest, wasm: Bytes) -> Result<Arc<Compiled>, InvokeError> {
        tracing::info!(%digest, "no native code in the cache: compiling");
        self.compile(digest, &wasm).await.map_err(|error| {
            tracing::error!(%digest, %error, "an accepted artifact no longer compiles");
            InvokeError::new(
                InvokeErrorKind::ArtifactUnavailable,
                "the function's artifact could not be compiled again",
            )
        })
    }

    async fn compile(&self, digest: Digest, wasm: &[u8]) -> Result<Arc<Compiled>, PrepareError> {
        let _permit = self
            .compilers
            .acquire()
            .await
            .map_err(|_closed| PrepareError::new(PrepareErrorKind::Internal, "the invoker is shutting down"))?;
        let compiled = Arc::new(compile::compile(&self.config, wasm).await?);
        if let Err(error) = self.cache.store(digest, Arc::clone(&compiled)).await {
            // The code is good; only the next start of this process pays for it.
            tracing::warn!(%digest, %error, "native code could not be kept on disk");
        }
        Ok(compiled)
    }

    fn link(&self, compiled: &Compiled) -> wasmtime::Result<GuestPre> {
        let component = deserialize(&self.engine, &compiled.code)?;
        GuestPre::new(self.linker.instantiate_pre(&component)?, compiled.kind)
    }
}

fn not_loaded() -> InvokeError {
    InvokeError::new(
        InvokeErrorKind::Internal,
        "the function's code could not be loaded; see the server's log",
    )
}

#[expect(unsafe_code, reason = "the one place where bytes become native code")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `Compiled` is made in two places: by our own compiling process, over a pipe that nobody else holds, and
    // by `Cache::open_entry`, after the keyed MAC has shown that we wrote these bytes for this artifact and this
    // engine. Both hand over memory of this process, not a file that could change meanwhile.
    unsafe { Component::deserialize(engine, code) }
}
