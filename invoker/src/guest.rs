//! A component that can be called: its imports are resolved and its exports are what its kind needs.

use mayfly_invoker_api::Kind;
use wasmtime::Result;
use wasmtime::component::InstancePre;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::bindings::EventHandlerPre;
use crate::state::State;

/// What is left per instance is to allocate and to start.
pub(crate) enum GuestPre {
    Http(ProxyPre<State>),
    Event(EventHandlerPre<State>),
    Command(CommandPre<State>),
}

impl GuestPre {
    /// Looks the exports up.
    ///
    /// # Errors
    /// When the component does not export what a guest of `kind` has to, or in another shape.
    pub(crate) fn new(pre: InstancePre<State>, kind: Kind) -> Result<Self> {
        Ok(match kind {
            Kind::Http => Self::Http(ProxyPre::new(pre)?),
            Kind::Event => Self::Event(EventHandlerPre::new(pre)?),
            Kind::Command => Self::Command(CommandPre::new(pre)?),
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Http(_) => Kind::Http,
            Self::Event(_) => Kind::Event,
            Self::Command(_) => Kind::Command,
        }
    }
}
