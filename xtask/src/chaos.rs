//! `cargo xtask chaos`: asynchronous calls while the server is killed again and again, and messages of RabbitMQ while the
//! broker is, too. `cargo xtask test` plays short forms of the same stories (`tests/tests/chaos.rs`, `rabbitmq/restarts.rs`).

use anyhow::Result;

use crate::lint::cargo;
use crate::summary::Summary;
use crate::{guests, services, setup};

/// How much chaos.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Events that are handed in, on each database.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    events: usize,
    /// Messages of RabbitMQ that are taken, on each database.
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    messages: usize,
    /// How often the server is killed meanwhile.
    #[arg(long, value_name = "N", default_value_t = 20)]
    kills: usize,
    /// A Postgres server on which databases can be made; without it the one on this machine, or a private one.
    #[arg(long, env = "TEST_POSTGRES_URL", value_name = "URL")]
    postgres: Option<String>,
}

pub(crate) fn run(args: Args, summary: &mut Summary) -> Result<()> {
    let toolchain = summary.part("guest toolchain", setup::guest_toolchain)?;
    summary.part("guests for the tests", || guests::build_fixtures(&toolchain))?;
    summary.run(
        "release binary (cargo build --release)",
        cargo().args(["build", "--release"]),
    )?;
    let postgres = summary.part("Postgres", || services::postgres(args.postgres, false))?;
    summary.part("RabbitMQ", services::rabbitmq)?;
    let mut test = cargo();
    test.args(["test", "--release", "--workspace", "--test", "black_box", "--"])
        .args(["chaos::", "rabbitmq::restarts", "--test-threads=1", "--nocapture"])
        .env("TEST_POSTGRES_URL", &postgres.url)
        .env("REQUIRE_SERVICES", "1")
        .env("CHAOS_EVENTS", args.events.to_string())
        .env("CHAOS_KILLS", args.kills.to_string())
        .env("RABBITMQ_MESSAGES", args.messages.to_string())
        .env_remove("RUST_BACKTRACE");
    summary.run("chaos (cargo test -- chaos:: rabbitmq::restarts)", &mut test)
}
