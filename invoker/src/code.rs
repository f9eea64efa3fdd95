//! Native code in memory, ready to be instantiated, one per artifact.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use bytes::Bytes;
use mayfly_invoker_api::{
    ArtifactSource, Digest, InvokeError, InvokeErrorKind, Kind, PrepareError, PrepareErrorKind, Prepared,
};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::bindings::EventHandlerPre;
use crate::cache::Cache;
use crate::compile::{self, Compiled};
use crate::config::Config;
use crate::engine;
use crate::state::{self, State};

/// A component with its imports resolved: what is left per instance is to allocate and to start.
pub(crate) enum GuestPre {
    Http(ProxyPre<State>),
    Event(EventHandlerPre<State>),
    Command(CommandPre<State>),
}

/// Whether an instance of a guest can serve a second invocation. Found out by trying, see [`crate::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    Unproven,
    Proven,
    Never,
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

    pub(crate) fn set_reuse(&self, reuse: Reuse) {
        self.reuse.store(reuse as u8, Relaxed);
    }

    fn kind(&self) -> Kind {
        match self.guest {
            GuestPre::Http(_) => Kind::Http,
            GuestPre::Event(_) => Kind::Event,
            GuestPre::Command(_) => Kind::Command,
        }
    }
}

/// Gets code from memory, from the cache on disk, or from the compiler, in this order.
pub(crate) struct CodeStore {
    config: Config,
    engine: Engine,
    linker: Linker<State>,
    cache: Cache,
    artifacts: Arc<dyn ArtifactSource>,
    loaded: moka::future::Cache<Digest, Arc<Code>>,
    compilers: Semaphore,
}

impl CodeStore {
    pub(crate) fn open(config: Config, engine: &Engine, artifacts: Arc<dyn ArtifactSource>) -> wasmtime::Result<Self> {
        let linker = state::linker(engine)?;
        let cache = Cache::open(&config, engine::compatibility(engine))?;
        let loaded = moka::future::Cache::builder()
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
            compilers,
        })
    }

    /// Checks and compiles `wasm`, unless there is code of it already.
    pub(crate) async fn prepare(&self, digest: Digest, wasm: &[u8]) -> Result<Prepared, PrepareError> {
        if let Some(code) = self.loaded.get(&digest).await {
            return Ok(Prepared {
                kind: code.kind(),
                code_bytes: code.bytes,
            });
        }
        let compiled = match self.cache.load(digest).await {
            Some(compiled) => compiled,
            None => self.compile(digest, wasm).await?,
        };
        Ok(Prepared {
            kind: compiled.kind,
            code_bytes: compiled.code.len() as u64,
        })
    }

    /// The code of `digest`; many who ask at once for code that is not in memory wait for one load.
    pub(crate) async fn get(&self, digest: Digest) -> Result<Arc<Code>, InvokeError> {
        if let Some(code) = self.loaded.get(&digest).await {
            return Ok(code);
        }
        self.loaded
            .try_get_with(digest, self.load(digest))
            .await
            .map_err(|error: Arc<InvokeError>| (*error).clone())
    }

    async fn load(&self, digest: Digest) -> Result<Arc<Code>, InvokeError> {
        let compiled = match self.cache.load(digest).await {
            Some(compiled) => compiled,
            None => {
                let wasm = self.artifacts.fetch(digest).await?;
                self.compile_again(digest, wasm).await?
            }
        };
        let bytes = compiled.code.len() as u64;
        let guest = self.link(&compiled).map_err(|error| {
            tracing::error!(%digest, ?error, "native code cannot be loaded");
            InvokeError::new(
                InvokeErrorKind::Internal,
                "the function's code could not be loaded; see the server's log",
            )
        })?;
        Ok(Arc::new(Code {
            guest,
            reuse: AtomicU8::new(0),
            bytes,
        }))
    }

    /// For an artifact that was accepted once: a refusal now is the platform's fault, not the function's.
    async fn compile_again(&self, digest: Digest, wasm: Bytes) -> Result<Compiled, InvokeError> {
        tracing::info!(%digest, "no native code in the cache: compiling");
        self.compile(digest, &wasm).await.map_err(|error| {
            tracing::error!(%digest, %error, "an accepted artifact no longer compiles");
            InvokeError::new(
                InvokeErrorKind::ArtifactUnavailable,
                "the function's artifact could not be compiled again",
            )
        })
    }

    async fn compile(&self, digest: Digest, wasm: &[u8]) -> Result<Compiled, PrepareError> {
        let _permit = self
            .compilers
            .acquire()
            .await
            .map_err(|_closed| PrepareError::new(PrepareErrorKind::Internal, "the invoker is shutting down"))?;
        let compiled = compile::compile(&self.config, wasm).await?;
        if let Err(error) = self.cache.store(digest, &compiled).await {
            // The code is good; only the next start of this process pays for it.
            tracing::warn!(%digest, %error, "native code could not be kept on disk");
        }
        Ok(compiled)
    }

    fn link(&self, compiled: &Compiled) -> wasmtime::Result<GuestPre> {
        let component = deserialize(&self.engine, &compiled.code)?;
        let pre: InstancePre<State> = self.linker.instantiate_pre(&component)?;
        Ok(match compiled.kind {
            Kind::Http => GuestPre::Http(ProxyPre::new(pre)?),
            Kind::Event => GuestPre::Event(EventHandlerPre::new(pre)?),
            Kind::Command => GuestPre::Command(CommandPre::new(pre)?),
        })
    }
}

#[expect(unsafe_code, reason = "the one place where bytes become native code")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `Compiled` is made in two places: by our own compiling process, over a pipe that nobody else holds, and
    // by `Cache::open_entry`, after the keyed MAC has shown that we wrote these bytes for this artifact and this
    // engine. Both hand over memory of this process, not a file that could change meanwhile.
    unsafe { Component::deserialize(engine, code) }
}
