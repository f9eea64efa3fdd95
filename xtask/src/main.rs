//! Developer commands: `cargo xtask setup | demo | test | lint | bench | simulate | fuzz | chaos`. Plain Rust, nothing else
//! to install; what is wanted from elsewhere, they get.
#![expect(clippy::print_stdout, reason = "the terminal is this program's only output")]

mod bench;
mod chaos;
mod demo;
mod fuzz;
mod guests;
mod http;
mod lint;
mod paths;
mod server;
mod services;
mod setup;
mod simulate;
mod step;
mod summary;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::summary::Summary;

/// Developer commands of Mayfly.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make sure that functions can be built here: Rust to wasm; JavaScript, Python and C for the tests.
    Setup,
    /// Build everything, deploy the examples to a server of its own, call them, show what it cost.
    Demo,
    /// Lints, guests, release binary, then every test with real services.
    Test(test::Args),
    /// Formatting, lints, licences, documentation.
    Lint,
    /// Measure, beside peers, in one run.
    Bench(bench::Args),
    /// Drive the rules for warm instances over recorded traffic and compare them.
    Simulate(simulate::Args),
    /// Kill the server again and again while events are handed in, and count what became of them.
    Chaos(chaos::Args),
    /// Look for inputs that break what the readers of foreign bytes promise.
    Fuzz(fuzz::Args),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let mut summary = Summary::new();
    let result = match cli.command {
        Task::Setup => setup(&mut summary),
        Task::Demo => demo::run(&mut summary),
        Task::Test(args) => test::run(args, &mut summary),
        Task::Lint => lint::run(&mut summary),
        Task::Bench(args) => bench::run(args, &mut summary),
        Task::Simulate(args) => simulate::run(&args, &mut summary),
        Task::Chaos(args) => chaos::run(args, &mut summary),
        Task::Fuzz(args) => fuzz::run(&args, &mut summary),
    };
    summary.print();
    result
}

fn setup(summary: &mut Summary) -> Result<()> {
    summary.part("guest toolchain", setup::guest_toolchain)?;
    summary.part("JavaScript for the tests", setup::javascript)?;
    summary.part("Python for the tests", setup::componentize_py)?;
    summary.part("C for the tests", setup::clang)?;
    Ok(())
}
