//! Guests of other people's tools pass the same test as ours; `tests/guests/conformance/README.md` is what all promise.
//!
//! Only on SQLite: nothing here depends on the database, and compiling what is made of JavaScript or Python takes ten
//! seconds and more. For the same reason each guest is deployed once, and all that it promises is asked of that.

mod command;
mod http;
mod wire;

use http::Guest;
use mayfly_tests::{Database, Platform};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ours_on_the_bare_interface() {
    http::keeps_the_contract(&start().await, &Guest::of("conformance-wasip2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wstd() {
    http::keeps_the_contract(&start().await, &Guest::of("conformance-wstd")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn componentize_py() {
    http::keeps_the_contract(&start().await, &Guest::of("conformance-py")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn componentize_js_incoming_handler() {
    http::keeps_the_contract(&start().await, &Guest::of("conformance-js-incoming-handler")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn componentize_js_fetch_event() {
    // The web's interface has one value for each field, and no trailers.
    let guest = Guest {
        joins_values: true,
        drops_trailers: true,
        ..Guest::of("conformance-js-fetch-event")
    };
    http::keeps_the_contract(&start().await, &guest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_in_c() {
    command::keeps_the_contract(&start().await, "conformance-c").await;
}

async fn start() -> Platform {
    Platform::start(Database::Sqlite).await.expect("SQLite is always there")
}
