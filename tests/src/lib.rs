//! The harness of the black-box tests: real processes of the release binary, real databases, real sockets.
//!
//! A test is a short story: `Platform::start(Database::Sqlite).await`, `platform.deploy("hello-http", &[]).await`,
//! `platform.get("/hello-http").await`. Nothing here sleeps to be right; what has to be waited for is waited for with
//! [`eventually`].
#![expect(clippy::print_stderr, reason = "the test runner shows it with the failed test")]

mod broker;
mod client;
mod database;
mod guests;
mod platform;
mod proxy;
mod run;
mod upstream;
mod vitals;
mod wait;

pub use broker::Broker;
pub use client::{Reply, http_client};
pub use database::Database;
pub use guests::{guest, guest_bytes, guest_from_wat, repository};
pub use platform::{Platform, ServeWith};
pub use proxy::CountingProxy;
pub use run::{Done, fn_binary, run_fn};
pub use upstream::{Answer, Upstream};
pub use vitals::{Vitals, forget_peak, peak_bytes};
pub use wait::{WAIT_MAX, eventually, eventually_within};

/// Stamps every named `async fn name(platform: &mut Platform)` once per database: tests `sqlite::name` and
/// `postgres::name`. A story that is left out of the list is dead code, which the compiler reports.
#[macro_export]
macro_rules! on_both_databases {
    ($($story:ident),+ $(,)?) => {
        $crate::on_both_databases!(@module sqlite, Sqlite, $($story),+);
        $crate::on_both_databases!(@module postgres, Postgres, $($story),+);
    };
    (@module $module:ident, $database:ident, $($story:ident),+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    if let Some(mut platform) = $crate::Platform::start($crate::Database::$database).await {
                        super::$story(&mut platform).await;
                    }
                }
            )+
        }
    };
}
