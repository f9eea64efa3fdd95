//! Native code in memory, ready to be instantiated, one per artifact.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use mayfly_invoker_api::{
    ArtifactSource, CodeCounters, CodeKey, Digest, Init, InvokeError, InvokeErrorKind, PrepareError, PrepareErrorKind,
    Prepared,
};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::cache::Cache;
use crate::compile::{self, Compiled};
use crate::config::{CODE_WEIGHT_BYTES_MIN, Config};
use crate::engine;
use crate::guest::GuestPre;
use crate::sealed::Sealed;
use crate::slices::Manners;
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
    pub(crate) manners: Arc<Manners>,
    init: Init,
    reuse: AtomicU8,
    pub(crate) bytes: u64,
}

impl Code {
    pub(crate) fn reuse(&self) -> Reuse {
        match self.reuse.load(Relaxed) {
            0 => Reuse::Unproven,
            1 => Reuse::Proven,
            _ => Reuse::Never,
        }
    }

    fn prepared(&self) -> Prepared {
        Prepared {
            kind: self.guest.kind(),
            code_bytes: self.bytes,
            init: self.init.clone(),
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
    in_memory: moka::sync::Cache<CodeKey, Arc<Code>>,
    /// What is being loaded just now.
    loading: Mutex<HashMap<CodeKey, Loading>>,
    compilers: Semaphore,
    compiled: AtomicU64,
    loaded: AtomicU64,
    found: AtomicU64,
}

type Loading = Shared<BoxFuture<'static, Result<Arc<Code>, InvokeError>>>;

impl CodeStore {
    pub(crate) fn open(config: Config, engine: &Engine, artifacts: Arc<dyn ArtifactSource>) -> wasmtime::Result<Self> {
        let linker = state::linker(engine, config.wasi)?;
        let cache = Arc::new(Cache::open(&config, engine::compatibility(engine))?);
        let in_memory = moka::sync::Cache::builder()
            .weigher(|_, code: &Arc<Code>| u32::try_from(code.bytes.max(CODE_WEIGHT_BYTES_MIN)).unwrap_or(u32::MAX))
            .max_capacity(config.bounds.code_bytes_max)
            .build();
        let compilers = Semaphore::new(config.bounds.compilers_max);
        Ok(Self {
            config,
            engine: engine.clone(),
            linker,
            cache,
            artifacts,
            in_memory,
            loading: Mutex::default(),
            compilers,
            compiled: AtomicU64::new(0),
            loaded: AtomicU64::new(0),
            found: AtomicU64::new(0),
        })
    }

    /// Checks and compiles `wasm` as it is, unless there is code of it already.
    pub(crate) async fn prepare(self: &Arc<Self>, digest: Digest, wasm: &[u8]) -> Result<Prepared, PrepareError> {
        let key = plain(digest);
        if let Some(code) = self.in_memory.get(&key) {
            return Ok(code.prepared());
        }
        let compiled = match self.cache.load(key).await {
            Some(compiled) => Arc::new(compiled),
            None => self.compile(key, wasm).await?,
        };
        // The compiling process has no slots for memories and tables, so what does not fit ours is found out here.
        let code = self.make(compiled).await.map_err(|error| {
            PrepareError::new(
                PrepareErrorKind::CompileLimit,
                format!(
                    "the file asks for more than one function may have: {}",
                    error.root_cause()
                ),
            )
        })?;
        let prepared = code.prepared();
        self.in_memory.insert(key, code);
        Ok(prepared)
    }

    /// The code of `key`, if it is in memory, for a call.
    pub(crate) fn at_hand(&self, key: CodeKey) -> Option<Arc<Code>> {
        let code = self.in_memory.get(&key)?;
        self.found.fetch_add(1, Relaxed);
        Some(code)
    }

    /// The code of `key`, if it is in memory, to look at.
    pub(crate) fn peek(&self, key: CodeKey) -> Option<Arc<Code>> {
        self.in_memory.get(&key)
    }

    /// The code of `key`; many who ask at once for code that is not in memory wait for one load.
    pub(crate) async fn get(self: &Arc<Self>, key: CodeKey) -> Result<Arc<Code>, InvokeError> {
        match self.in_memory.get(&key) {
            Some(code) => {
                self.found.fetch_add(1, Relaxed);
                Ok(code)
            }
            None => self.loading(key).await,
        }
    }

    /// Has the code of `key` in memory when it returns. Nobody called, so nothing was found.
    pub(crate) async fn prefetch(self: &Arc<Self>, key: CodeKey) -> Result<Prepared, InvokeError> {
        match self.in_memory.get(&key) {
            Some(code) => Ok(code.prepared()),
            None => self.loading(key).await.map(|code| code.prepared()),
        }
    }

    /// What is known of the code of `key`, if there is any.
    pub(crate) async fn prepared(&self, key: CodeKey) -> Option<Prepared> {
        match self.in_memory.get(&key) {
            Some(code) => Some(code.prepared()),
            None => self.cache.prepared(self.kept_as(key).await).await,
        }
    }

    pub(crate) fn counters(&self) -> CodeCounters {
        CodeCounters {
            compiled: self.compiled.load(Relaxed),
            loaded: self.loaded.load(Relaxed),
            found: self.found.load(Relaxed),
            rejected: self.cache.rejected(),
        }
    }

    /// Keeps the cache on disk small.
    pub(crate) async fn tidy(&self) {
        let in_memory = self.in_memory.clone();
        let is_in_memory = move |key: CodeKey| {
            let as_snapshot = CodeKey { snapshot: true, ..key };
            in_memory.contains_key(&key) || in_memory.contains_key(&as_snapshot)
        };
        self.cache.tidy(is_in_memory).await;
    }

    /// A load is a task of its own: a caller that gives up must not stop what the next one will ask for again.
    fn loading(self: &Arc<Self>, key: CodeKey) -> Loading {
        let start = || {
            let store = Arc::clone(self);
            let load = tokio::spawn(Arc::clone(self).load(key));
            let remembered = tokio::spawn(async move {
                let loaded = load.await.unwrap_or_else(|error| {
                    tracing::error!(digest = %key.artifact, %error, "a load of code failed");
                    Err(not_loaded())
                });
                if let Ok(code) = &loaded {
                    store.in_memory.insert(key, Arc::clone(code));
                }
                store.lock_loading().remove(&key);
                loaded
            });
            remembered
                .map(|joined| joined.unwrap_or_else(|_cancelled| Err(not_loaded())))
                .boxed()
                .shared()
        };
        self.lock_loading().entry(key).or_insert_with(start).clone()
    }

    fn lock_loading(&self) -> MutexGuard<'_, HashMap<CodeKey, Loading>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(self: Arc<Self>, key: CodeKey) -> Result<Arc<Code>, InvokeError> {
        let key = self.kept_as(key).await;
        let compiled = match self.cache.load(key).await {
            Some(compiled) => {
                self.loaded.fetch_add(1, Relaxed);
                Arc::new(compiled)
            }
            None => {
                let wasm = self.artifacts.fetch(key.artifact).await?;
                self.compile_again(key, wasm).await?
            }
        };
        self.make(compiled).await.map_err(|error| {
            tracing::error!(digest = %key.artifact, ?error, "native code cannot be loaded");
            not_loaded()
        })
    }

    async fn make(self: &Arc<Self>, compiled: Arc<Compiled>) -> wasmtime::Result<Arc<Code>> {
        let store = Arc::clone(self);
        // Looking through megabytes would keep this thread from its other tasks.
        let code = tokio::task::spawn_blocking(move || store.link(&compiled)).await??;
        Ok(Arc::new(code))
    }

    /// The name under which the code of `key` lies on disk: without an init function it is the same in either way, and
    /// there is one entry of it.
    async fn kept_as(&self, key: CodeKey) -> CodeKey {
        let plain = plain(key.artifact);
        match self.cache.prepared(plain).await {
            Some(Prepared { init: Init::Absent, .. }) => plain,
            _ => key,
        }
    }

    /// For an artifact that was accepted once: a refusal now is the platform's fault, not the function's.
    async fn compile_again(self: &Arc<Self>, key: CodeKey, wasm: Bytes) -> Result<Arc<Compiled>, InvokeError> {
        let digest = key.artifact;
        tracing::info!(%digest, snapshot = key.snapshot, "no native code in the cache: compiling");
        let compiled = self.compile(key, &wasm).await;
        let compiled = compiled.map_err(|error| {
            tracing::error!(%digest, %error, "an accepted artifact no longer compiles");
            let why = match error.kind() {
                // Said in the terms of the file, and there may be a remedy in it.
                PrepareErrorKind::NoUsableExport | PrepareErrorKind::UnsupportedImport => error.to_string(),
                _ => "it could not be compiled again".to_owned(),
            };
            InvokeError::new(
                InvokeErrorKind::ArtifactUnavailable,
                format!("the function's file was accepted once and is not any more: {why}"),
            )
        })?;
        if let Init::PerInstance { reason } = &compiled.init {
            tracing::info!(%digest, reason, "every instance runs the init function: there is no snapshot of it");
        }
        Ok(compiled)
    }

    async fn compile(self: &Arc<Self>, key: CodeKey, wasm: &[u8]) -> Result<Arc<Compiled>, PrepareError> {
        let _permit = self
            .compilers
            .acquire()
            .await
            .map_err(|_closed| PrepareError::new(PrepareErrorKind::Internal, "the invoker is shutting down"))?;
        let compiled = Arc::new(compile::compile(&self.config, wasm, key.snapshot).await?);
        self.compiled.fetch_add(1, Relaxed);
        let key = match compiled.init {
            Init::Absent => plain(key.artifact),
            Init::PerInstance { .. } | Init::Snapshot { .. } => key,
        };
        match self.cache.store(key, Arc::clone(&compiled)).await {
            Ok(()) => {
                let store = Arc::clone(self);
                tokio::spawn(async move { store.tidy().await });
            }
            // The code is good; only the next start of this process pays for it.
            Err(error) => tracing::warn!(digest = %key.artifact, %error, "native code could not be kept on disk"),
        }
        Ok(compiled)
    }

    fn link(&self, compiled: &Compiled) -> wasmtime::Result<Code> {
        let component = map(&self.engine, &compiled.code)?;
        Ok(Code {
            guest: GuestPre::new(self.linker.instantiate_pre(&component)?, compiled.kind, &compiled.init)?,
            init: compiled.init.clone(),
            manners: Arc::default(),
            reuse: AtomicU8::new(Reuse::Unproven as u8),
            bytes: compiled.code.len(),
        })
    }
}

/// The artifact compiled as it is.
fn plain(artifact: Digest) -> CodeKey {
    CodeKey {
        artifact,
        snapshot: false,
    }
}

fn not_loaded() -> InvokeError {
    InvokeError::new(
        InvokeErrorKind::Internal,
        "the function's code could not be loaded; see the server's log",
    )
}

#[expect(unsafe_code, reason = "the one place where bytes become native code")]
fn map(engine: &Engine, code: &Sealed) -> wasmtime::Result<Component> {
    // SAFETY: `Compiled` is made in two places: from what our own compiling process said over a pipe that nobody else
    // holds, and by `Cache::load`, after the facts with a keyed MAC and the hash in them have shown that we wrote these
    // bytes for this artifact and this engine. In both, the bytes lie in a file in memory that was sealed before it was
    // looked at: neither its content nor its length can change under the mapping.
    unsafe { Component::deserialize_file(engine, code.path()) }
}
