//! The contract between host and event guests, made from `runtime-sdk/wit`.

wasmtime::component::bindgen!({
    path: "../runtime-sdk/wit",
    world: "mayfly:function/event-handler",
    exports: { default: async },
});

pub(crate) use exports::mayfly::function::handler::{Context as GuestContext, Error as HandlerError};
