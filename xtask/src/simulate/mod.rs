//! `cargo xtask simulate`: the rules for warm instances over recorded traffic, without an engine.
//!
//! Drives the same state machine as the invoker does, and prints how many calls found no warm instance, for each policy
//! and each budget of memory.

mod drive;
mod traces;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use mayfly_warm_pool::Policy;
use serde_json::{Value, json};

use crate::paths;
use crate::simulate::drive::{Need, Outcome, drive};
use crate::simulate::traces::{Function, Trace};
use crate::summary::Summary;

/// What the peers do: ten minutes, then it goes.
const FIXED: Duration = Duration::from_secs(600);

/// The policies, the one to compare with first.
const POLICIES: [(&str, Policy); 5] = [
    ("fixed 10 min", Policy::FixedTime(FIXED)),
    ("LRU", Policy::LeastRecentlyUsed),
    ("greedy-dual", Policy::GreedyDual),
    ("histogram", Policy::Histogram(FIXED)),
    ("learned", Policy::Learned),
];

const MIB: u64 = 1 << 20;
/// Budgets for functions as large as the trace says, in MiB.
const CONTAINER_BUDGETS_MIB: [u64; 7] = [8_192, 12_288, 16_384, 24_576, 32_768, 49_152, 65_536];
/// Budgets for functions as large as ours, in MiB.
const WASM_BUDGETS_MIB: [u64; 6] = [256, 384, 512, 768, 1_024, 1_536];

/// Time to make a container, for all the same: the trace does not tell.
const CONTAINER_COST: Duration = Duration::from_secs(1);
/// Memory and time of a fresh instance, as measured: Rust, JavaScript in QuickJS, JavaScript in StarlingMonkey, Python.
const WASM_NEEDS: [(u64, u64); 4] = [
    (40 << 10, 19),
    (400 << 10, 89),
    (2_355 << 10, 283),
    (4_915 << 10, 1_059),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with invocations.csv, durations.csv and memory.csv of an Azure Functions 2019 sample
    #[arg(long, value_name = "DIR")]
    traces: PathBuf,
}

pub(crate) fn run(args: &Args, summary: &mut Summary) -> Result<()> {
    let trace = summary.part("reading the trace", || Trace::read(&args.traces))?;
    println!(
        "{} functions, {} calls in {:?}",
        trace.functions.len(),
        trace.calls.len(),
        trace.length
    );
    let containers: Vec<Need> = trace.functions.iter().map(container).collect();
    let instances: Vec<Need> = trace.functions.iter().map(instance).collect();
    let containers = summary.part("as large as in the trace", || {
        Ok(table(&trace, &containers, &CONTAINER_BUDGETS_MIB))
    })?;
    let instances = summary.part("as large as our instances", || {
        Ok(table(&trace, &instances, &WASM_BUDGETS_MIB))
    })?;
    let name = args.traces.file_name().map(|name| name.to_string_lossy().into_owned());
    let result = json!({
        "simulation": "warm pool policies",
        "trace": name,
        "attribution": "Azure Functions 2019 trace (Shahrad et al., Serverless in the Wild, USENIX ATC 2020), Microsoft, CC-BY 4.0",
        "functions": trace.functions.len(),
        "calls": trace.calls.len(),
        "hours": trace.length.as_secs() / 3600,
        "container_sized": containers,
        "wasm_sized": instances,
    });
    let file = paths::root().join("bench/results/policy.json");
    fs::create_dir_all(file.parent().context("the file has a folder")?)?;
    fs::write(&file, format!("{result:#}\n"))?;
    println!("\nwritten to bench/results/policy.json");
    Ok(())
}

fn container(function: &Function) -> Need {
    Need {
        bytes: function.memory_bytes,
        cost: CONTAINER_COST,
    }
}

/// The trace does not tell languages: its hashes deal them out, each to a quarter of the functions.
fn instance(function: &Function) -> Need {
    let dealt = function.name.bytes().fold(0_usize, |sum, byte| sum + usize::from(byte));
    let (bytes, cost_us) = WASM_NEEDS[dealt % WASM_NEEDS.len()];
    Need {
        bytes,
        cost: Duration::from_micros(cost_us),
    }
}

fn table(trace: &Trace, needs: &[Need], budgets_mib: &[u64]) -> Vec<Value> {
    println!(
        "| budget MiB | policy | cold % | over fixed | waited s | mean MiB | refused % |\n|---|---|---|---|---|---|---|"
    );
    let mut rows = Vec::new();
    for budget_mib in budgets_mib {
        let mut fixed = None;
        for (name, policy) in POLICIES {
            let outcome = drive(trace, needs, policy, budget_mib * MIB);
            let ratio = cold_percent(&outcome) / fixed.get_or_insert(cold_percent(&outcome)).to_owned();
            println!(
                "| {budget_mib} | {name} | {:.4} | {ratio:.2} | {:.1} | {:.0} | {:.2} |",
                cold_percent(&outcome),
                outcome.waited.as_secs_f64(),
                outcome.mean_bytes / 1_048_576.0,
                percent(outcome.refused, outcome.calls),
            );
            rows.push(json!({
                "budget_mib": budget_mib,
                "policy": name,
                "cold_percent": round(cold_percent(&outcome), 4),
                "over_fixed": round(ratio, 3),
                "cold_starts": outcome.cold,
                "waited_s": round(outcome.waited.as_secs_f64(), 3),
                "mean_mib": round(outcome.mean_bytes / 1_048_576.0, 1),
                "refused_percent": round(percent(outcome.refused, outcome.calls), 3),
            }));
        }
    }
    rows
}

/// Of the calls that were served.
fn cold_percent(outcome: &Outcome) -> f64 {
    percent(outcome.cold, outcome.calls - outcome.refused)
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
