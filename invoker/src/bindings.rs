//! The contract between host and guests, made from `runtime-sdk/wit`.

wasmtime::component::bindgen!({
    path: "../runtime-sdk/wit",
    world: "mayfly:function/event-handler",
    exports: { default: async },
});

pub(crate) use exports::mayfly::function::handler::{Context as GuestContext, Error as HandlerError};

/// What guests of any kind may import beside WASI.
mod imports {
    wasmtime::component::bindgen!({
        path: "../runtime-sdk/wit",
        world: "mayfly:function/queue-sender",
        imports: { default: async },
    });
}

pub(crate) use imports::mayfly::function::queue;
