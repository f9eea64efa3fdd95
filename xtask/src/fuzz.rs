//! `cargo xtask fuzz`: every target for a while, over what was kept and what earlier runs on this machine have found.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;

use crate::lint::cargo;
use crate::paths;
use crate::summary::Summary;

/// The targets in `fuzz/fuzz_targets`, and the longest input of each in bytes.
const TARGETS: [(&str, u32); 6] = [
    ("cache_entry", 1 << 10),
    ("headers", 4 << 10),
    ("outbound", 4 << 10),
    ("pre_scan", 64 << 10),
    ("sources", 4 << 10),
    ("usage_frames", 4 << 10),
];
/// Memory of a target, in MiB.
const MEMORY_MIB_MAX: u32 = 2_048;
/// Time of a single input, in seconds.
const INPUT_SECONDS_MAX: u32 = 10;

/// What is fuzzed, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Time for each target
    #[arg(long, value_name = "N", default_value_t = 30)]
    seconds: u32,
    /// Names of targets; without them all
    #[arg(value_name = "TARGET", value_parser = PossibleValuesParser::new(TARGETS.map(|(name, _)| name)))]
    targets: Vec<String>,
}

/// What became of one target.
struct Outcome {
    target: &'static str,
    /// Inputs that were run.
    runs: u64,
    /// Places of the code that were reached.
    covered: u64,
    /// Inputs that reached something for the first time on this machine.
    found: u64,
    crash: Option<String>,
}

pub(crate) fn run(args: &Args, summary: &mut Summary) -> Result<()> {
    summary.part("cargo-fuzz", cargo_fuzz)?;
    let mut build = cargo();
    build.arg("fuzz").arg("build").args(build_flags());
    summary.run("targets with instruments (cargo fuzz build)", &mut build)?;
    let wanted = TARGETS
        .into_iter()
        .filter(|(name, _)| args.targets.is_empty() || args.targets.iter().any(|wanted| wanted == name));
    let mut outcomes = Vec::new();
    for (target, input_bytes_max) in wanted {
        let title = format!("{target} for {} s", args.seconds);
        outcomes.push(summary.part(&title, || fuzz(target, input_bytes_max, args.seconds))?);
    }
    println!("\n| target | runs | coverage | new inputs | crashes |\n|---|---|---|---|---|");
    for outcome in &outcomes {
        println!(
            "| {} | {} | {} | {} | {} |",
            outcome.target,
            outcome.runs,
            outcome.covered,
            outcome.found,
            u8::from(outcome.crash.is_some()),
        );
    }
    let crashes: Vec<_> = outcomes.iter().filter_map(Outcome::how_to_repeat).collect();
    if !crashes.is_empty() {
        bail!(
            "a property does not hold; to see it again:\n{}\nWhen it is mended, the input belongs into fuzz/corpus.",
            crashes.join("\n")
        );
    }
    Ok(())
}

/// Installs the tool when it is not there.
fn cargo_fuzz() -> Result<()> {
    let found = cargo()
        .args(["fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if found.success() {
        println!("it is installed");
        return Ok(());
    }
    crate::step::run(
        "cargo-fuzz is not installed: cargo install cargo-fuzz --locked",
        cargo().args(["install", "cargo-fuzz", "--locked"]),
    )
}

/// The sanitizers want an unstable compiler, and there is next to nothing unsafe here; coverage works with the stable
/// one. The engine takes minutes to compile: in many pieces at once, and kept beside the other builds.
fn build_flags() -> [&'static str; 6] {
    [
        "--sanitizer",
        "none",
        "--codegen-units",
        "16",
        "--target-dir",
        "target/fuzz",
    ]
}

fn fuzz(target: &'static str, input_bytes_max: u32, seconds: u32) -> Result<Outcome> {
    let here = paths::target().join("fuzz");
    // What is found is written to the first folder. What is kept in the repository only grows on purpose.
    let found = here.join("corpus").join(target);
    let kept = paths::root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&found)?;
    let said = here.join(format!("{target}.log"));
    let mut fuzz = cargo();
    fuzz.args(["fuzz", "run"])
        .args(build_flags())
        .arg(target)
        .args([&found, &kept])
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={input_bytes_max}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg("-print_final_stats=1");
    let status = logged(&mut fuzz, &said)?;
    let log = fs::read(&said).with_context(|| said.display().to_string())?;
    let log = String::from_utf8_lossy(&log);
    let crash = log.lines().find_map(|line| line.split_once("Test unit written to "));
    let crash = crash.map(|(_, path)| path.to_owned());
    if crash.is_none() && !status.success() {
        bail!("{target} ended with {status}; see {}", said.display());
    }
    if crash.is_some() {
        println!("{target} crashed; what it said is in {}", said.display());
    }
    Ok(Outcome {
        target,
        runs: last_number(&log, "stat::number_of_executed_units:"),
        covered: last_number(&log, " cov:"),
        found: last_number(&log, "stat::new_units_added:"),
        crash,
    })
}

fn logged(command: &mut Command, said: &Path) -> Result<ExitStatus> {
    let file = File::create(said).with_context(|| said.display().to_string())?;
    let status = command.stdout(file.try_clone()?).stderr(file).status();
    status.context("cargo fuzz cannot be started")
}

/// The number behind the last `label`; 0 when a run was too short to say it.
fn last_number(log: &str, label: &str) -> u64 {
    let rest = log.rsplit_once(label).map_or("", |(_, rest)| rest);
    let number = rest.split_whitespace().next().unwrap_or_default();
    number.parse().unwrap_or(0)
}

impl Outcome {
    fn how_to_repeat(&self) -> Option<String> {
        let crash = PathBuf::from(self.crash.as_ref()?);
        let flags = build_flags().join(" ");
        Some(format!("  cargo fuzz run {flags} {} {}", self.target, crash.display()))
    }
}
