//! `cargo xtask bench`: our figures beside those of peers, taken in turn on the same machine in the same run.

mod cold;
mod component;
mod deadline;
mod density;
mod events;
mod hello;
mod instructions;
mod invoker;
mod machine;
mod memory;
mod peers;
mod plots;
mod queue;
mod report;
mod stats;
mod svg;
mod warm;
mod wrk;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::lint::cargo;
use crate::summary::Summary;
use crate::{guests, setup};

/// What to measure; without a name, `invoker`.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Option<Bench>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// Some minutes: a warm call of hello-http beside `wasmtime serve`, and cutting off an endless loop.
    Hello,
    /// Events: made durable, delivered, and schedules that wait. Some minutes.
    Events,
    /// Messages of RabbitMQ through a function, beside a bare consumer. Some minutes.
    Queue,
    /// All figures, with every peer. About 20 minutes on two cores that do nothing else.
    Invoker(Options),
}

/// How much to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How often everything is measured, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,

    /// See that everything works: short, few, once. Writes to target/bench/results
    #[arg(long)]
    quick: bool,

    /// Only these parts; the table keeps what was measured of the others before
    #[arg(long, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<Part>,
}

/// A part of the bench that can be run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Requests per second and latency of instances that are there, beside all peers.
    Warm,
    /// The first byte of functions whose code is on disk only.
    Cold,
    /// Memory of idle instances and of deployed functions.
    Density,
    /// How far past its deadline an endless loop is cut off.
    Deadline,
    /// Instructions of a warm request, under callgrind.
    Instructions,
}

impl Options {
    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }
}

pub(crate) fn run(args: Args, summary: &mut Summary) -> Result<()> {
    match args.bench {
        Some(Bench::Hello) => hello::run(summary),
        Some(Bench::Events) => events::run(summary),
        Some(Bench::Queue) => queue::run(summary),
        Some(Bench::Invoker(options)) => invoker::run(&options, summary),
        None => invoker::run(&args.options, summary),
    }
}

/// Builds what is measured, and provides what asks for it.
fn prepare(summary: &mut Summary) -> Result<()> {
    let toolchain = summary.part("guest toolchain", setup::guest_toolchain)?;
    summary.part("examples", || guests::build_examples(&toolchain))?;
    summary.part("guests for the tests", || guests::build_fixtures(&toolchain))?;
    summary.run(
        "release build (cargo build --release)",
        cargo().args(["build", "--release"]),
    )?;
    summary.part("wrk", wrk::provide)?;
    Ok(())
}
