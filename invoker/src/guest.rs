//! A component that can be called: its imports are resolved and its exports are what its kind needs.

use mayfly_invoker_api::{Init, Kind};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{ComponentExportIndex, Instance, InstancePre};
use wasmtime::{Result, Store};
use wasmtime_wasi::p2::bindings::{Command, CommandIndices};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyIndices};
use wasmtime_wasi_http::p3::bindings::{Service, ServiceIndices};

use crate::bindings::{EventHandler, EventHandlerIndices};
use crate::config::INIT_FUNCTION;
use crate::state::State;

/// What is left per instance is to allocate and to start.
pub(crate) enum GuestPre {
    Http(Pre<ProxyIndices>),
    /// The same of WASI 0.3.
    HttpPreview(Pre<ServiceIndices>),
    Event(Pre<EventHandlerIndices>),
    Command(Pre<CommandIndices>),
}

/// A component whose exports were looked up.
pub(crate) struct Pre<Exports> {
    pre: InstancePre<State>,
    exports: Exports,
    /// What every new instance runs first; `None` when there is nothing, or when it was run at deploy.
    init_function: Option<ComponentExportIndex>,
}

impl GuestPre {
    /// Looks the exports up.
    ///
    /// # Errors
    /// When the component does not export what a guest of `kind` has to, or in another shape.
    pub(crate) fn new(pre: InstancePre<State>, kind: Kind, init: &Init) -> Result<Self> {
        let init_function = match init {
            Init::PerInstance { .. } => Some(init_function(&pre)?),
            Init::Absent | Init::Snapshot { .. } => None,
        };
        Ok(match kind {
            // A component that exports both is called as the finished version.
            Kind::Http => match ProxyIndices::new(&pre) {
                Ok(exports) => Self::Http(Pre {
                    exports,
                    pre,
                    init_function,
                }),
                Err(not_stable) => match ServiceIndices::new(&pre) {
                    Ok(exports) => Self::HttpPreview(Pre {
                        exports,
                        pre,
                        init_function,
                    }),
                    Err(_) => return Err(not_stable),
                },
            },
            Kind::Event => Self::Event(Pre {
                exports: EventHandlerIndices::new(&pre)?,
                pre,
                init_function,
            }),
            Kind::Command => Self::Command(Pre {
                exports: CommandIndices::new(&pre)?,
                pre,
                init_function,
            }),
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Http(_) | Self::HttpPreview(_) => Kind::Http,
            Self::Event(_) => Kind::Event,
            Self::Command(_) => Kind::Command,
        }
    }
}

fn init_function(pre: &InstancePre<State>) -> Result<ComponentExportIndex> {
    match pre.component().get_export(None, INIT_FUNCTION) {
        Some((ComponentItem::ComponentFunc(init), index)) if init.params().len() == 0 && init.results().len() == 0 => {
            Ok(index)
        }
        _ => Err(wasmtime::Error::msg(format!(
            "the export {INIT_FUNCTION} is to be a function that takes nothing and gives nothing"
        ))),
    }
}

impl<Exports> Pre<Exports> {
    async fn start(&self, store: &mut Store<State>) -> Result<Instance> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        if let Some(init_function) = &self.init_function {
            let init = instance.get_typed_func::<(), ()>(&mut *store, init_function)?;
            init.call_async(&mut *store, ()).await?;
        }
        Ok(instance)
    }
}

impl Pre<ProxyIndices> {
    /// Makes an instance that is ready to be called.
    pub(crate) async fn instantiate_async(&self, store: &mut Store<State>) -> Result<Proxy> {
        let instance = self.start(store).await?;
        self.exports.load(store, &instance)
    }
}

impl Pre<ServiceIndices> {
    /// Makes an instance that is ready to be called.
    pub(crate) async fn instantiate_async(&self, store: &mut Store<State>) -> Result<Service> {
        let instance = self.start(store).await?;
        self.exports.load(store, &instance)
    }
}

impl Pre<EventHandlerIndices> {
    /// Makes an instance that is ready to be called.
    pub(crate) async fn instantiate_async(&self, store: &mut Store<State>) -> Result<EventHandler> {
        let instance = self.start(store).await?;
        self.exports.load(store, &instance)
    }
}

impl Pre<CommandIndices> {
    /// Makes an instance that is ready to be called.
    pub(crate) async fn instantiate_async(&self, store: &mut Store<State>) -> Result<Command> {
        let instance = self.start(store).await?;
        self.exports.load(store, &instance)
    }
}
