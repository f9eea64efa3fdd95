//! What the author of a Mayfly function of the `event` kind imports.
//!
//! A function is one `async fn` and one line that names it. The crate is built as a `cdylib` for `wasm32-wasip2`, and
//! its `Cargo.toml` needs this crate and `serde`:
//!
//! ```no_run
//! use mayfly_sdk::{Context, Error, handler};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Greeting {
//!     text: String,
//! }
//!
//! handler!(greet);
//!
//! async fn greet(event: Greet, context: Context) -> Result<Greeting, Error> {
//!     if event.name.is_empty() {
//!         return Err(Error::new("no_name", "say who is to be greeted"));
//!     }
//!     Ok(Greeting { text: format!("Hello, {}, from {}!", event.name, context.function) })
//! }
//! ```
//!
//! The event is any type with `serde::Deserialize`, the answer any type with `serde::Serialize`. The event types of
//! the crate `aws_lambda_events` are such types, so a handler written for AWS Lambda carries over: an HTTP request comes
//! as `ApiGatewayV2httpRequest`. A function that wants only the body of a request takes a [`Payload`].
//!
//! A function sends messages with [`queue`], and reads and writes objects with [`bucket`]. What the function prints is its
//! log. What it can wait for without blocking is in [`wstd`].

mod bindings;
pub mod bucket;
mod context;
mod error;
mod event;
pub mod queue;

pub use context::Context;
pub use error::Error;
pub use event::{FromEvent, Payload};
/// Timers, streams and HTTP calls that a function can `.await`; this version of the crate is the one that drives it.
pub use wstd;

/// Makes an `async fn(event, Context) -> Result<answer, Error>` the function that Mayfly calls.
///
/// Stands once in a crate, beside the function or anywhere else; see the [crate's page](crate) for an example.
#[macro_export]
macro_rules! handler {
    ($function:path) => {
        const _: () = {
            struct Handler;

            impl $crate::__private::Guest for Handler {
                fn handle(
                    event: ::std::vec::Vec<u8>,
                    context: $crate::__private::Context,
                ) -> ::core::result::Result<::std::vec::Vec<u8>, $crate::__private::Error> {
                    $crate::__private::run(&event, context, $function)
                }
            }

    $crate::__private::export!(Handler with_types_in $crate::__private);
        };
    };
}

/// Makes a `fn()` the one that runs before the function is called for the first time: the place for tables, parsed
/// configuration and whatever else is the same for every call. What it has to leave for the calls goes into a `static`.
///
/// At deploy, if that works: then every instance begins with the memory that it has left, and no call ever waits for it.
/// That needs it to get by without the host: no clock, no environment, no output, and no randomness, so also no
/// `HashMap` with its default hasher (a `BTreeMap` does). If it does call the host, it runs in every new instance;
/// `fn describe` says what it called.
///
/// Stands once in a crate, for functions of any kind, also for those that do not use [`handler!`].
///
/// ```no_run
/// use std::sync::OnceLock;
///
/// static SQUARES: OnceLock<Vec<u64>> = OnceLock::new();
///
/// fn prepare() {
///     SQUARES.get_or_init(|| (0..1_000).map(|number| number * number).collect());
/// }
///
/// mayfly_sdk::init!(prepare);
/// ```
#[macro_export]
macro_rules! init {
    ($function:path) => {
        const _: () = {
            struct Init;

            impl $crate::__private::init::Guest for Init {
                fn wizer_initialize() {
                    $function()
                }
            }

    $crate::__private::export_init!(Init with_types_in $crate::__private::init);
        };
    };
}

/// What [`handler!`] and [`init!`] write into the author's crate; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::export;
    pub use crate::bindings::exports;
    pub use crate::bindings::exports::mayfly::function::handler::{Context, Error, Guest};
    pub use crate::bindings::init::{self, export_init};
    pub use crate::event::run;
}
