//! Rust for `wit`, the contract between a function and its host.

wit_bindgen::generate!({
    path: "wit",
    world: "event-handler",
    pub_export_macro: true,
    default_bindings_module: "$crate::__private",
});

/// The part of the contract that functions of any kind may have.
pub mod init {
    wit_bindgen::generate!({
        path: "wit",
        world: "init",
        pub_export_macro: true,
        export_macro_name: "export_init",
        default_bindings_module: "$crate::__private::init",
    });
}

/// What functions of any kind may import beside WASI.
pub(crate) mod imports {
    wit_bindgen::generate!({
        path: "wit",
        world: "queue-sender",
    });
}
