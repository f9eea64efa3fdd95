//! Rust for `wit/handler.wit`, the contract between a function and its host.

wit_bindgen::generate!({
    path: "wit",
    world: "event-handler",
    pub_export_macro: true,
    default_bindings_module: "$crate::__private",
});
