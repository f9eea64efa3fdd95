//! `cargo xtask test`: all that a change has to pass, in one profile, so that the engine is compiled once.

use anyhow::Result;

use crate::lint::{self, cargo};
use crate::summary::Summary;
use crate::{guests, services, setup};

/// How to run the tests.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A Postgres server on which databases can be made; without it the one on this machine, or a private one.
    #[arg(long, env = "TEST_POSTGRES_URL", value_name = "URL")]
    postgres: Option<String>,
    /// Start a private Postgres even when there is one on this machine.
    #[arg(long)]
    private_services: bool,
    /// Leave out formatting, lints and documentation.
    #[arg(long)]
    no_lint: bool,
    /// Names of tests, as `cargo test` takes them.
    #[arg(last = true)]
    filter: Vec<String>,
}

pub(crate) fn run(args: Args, summary: &mut Summary) -> Result<()> {
    if !args.no_lint {
        lint::run(summary)?;
    }
    let toolchain = summary.part("guest toolchain", setup::guest_toolchain)?;
    summary.part("examples", || guests::build_examples(&toolchain))?;
    summary.part("guests for the tests", || guests::build_fixtures(&toolchain))?;
    summary.run(
        "release binary (cargo build --release)",
        cargo().args(["build", "--release"]),
    )?;
    let postgres = summary.part("Postgres", || services::postgres(args.postgres, args.private_services))?;
    summary.part("RabbitMQ", services::rabbitmq)?;
    summary.part("boto3, a client of S3", setup::boto3)?;
    let test = || {
        let mut test = cargo();
        test.args(["test", "--release", "--workspace"]);
        test.env("TEST_POSTGRES_URL", &postgres.url)
            .env("REQUIRE_SERVICES", "1")
            .env_remove("RUST_BACKTRACE");
        test
    };
    if !args.filter.is_empty() {
        return summary.run("tests (cargo test)", test().arg("--").args(args.filter));
    }
    summary.run("tests (cargo test)", test().args(["--", "--skip", "hostile::"]))?;
    // They measure, so they have the machine for themselves; what they have measured is shown.
    summary.run(
        "hostile suite (cargo test -- hostile::)",
        test().args([
            "--test",
            "black_box",
            "--",
            "hostile::",
            "--test-threads=1",
            "--nocapture",
        ]),
    )
}
