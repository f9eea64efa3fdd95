//! `cargo xtask bench`: our figures beside a peer's, taken in turn on the same machine in the same run.

mod overshoot;
mod peer;
mod wrk;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bench::wrk::Figures;
use crate::lint::cargo;
use crate::server::Server;
use crate::summary::Summary;
use crate::{guests, paths, setup};

/// Connections, one row of the table each.
const CONNECTIONS: [u32; 2] = [1, 32];
/// Every variant is measured once per round, so that a slow minute of the machine hits all of them.
const ROUNDS: usize = 3;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bench {
    /// A warm call of hello-http beside `wasmtime serve`; binary size; how far past the deadline a loop is cut off.
    Hello,
}

pub(crate) fn run(bench: &Bench, summary: &mut Summary) -> Result<()> {
    match bench {
        Bench::Hello => hello(summary),
    }
}

/// All runs of one variant at one number of connections.
struct Measured {
    variant: &'static str,
    connections: u32,
    runs: Vec<Figures>,
}

fn hello(summary: &mut Summary) -> Result<()> {
    let toolchain = summary.part("guest toolchain", setup::guest_toolchain)?;
    summary.part("examples", || guests::build_examples(&toolchain))?;
    summary.part("guests for the tests", || guests::build_fixtures(&toolchain))?;
    summary.run(
        "release binary (cargo build --release)",
        cargo().args(["build", "--release"]),
    )?;
    summary.part("wrk", wrk::provide)?;
    summary.part("wasmtime, the peer", peer::provide)?;
    let measured = summary.part("hello-http, four servers in turn", measure)?;
    let overshoot = summary.part("cutting off an endless loop", overshoot::measure)?;
    let result = json!({
        "bench": "hello",
        "machine": machine()?,
        "method": wrk::method(ROUNDS),
        "binary_bytes": fs::metadata(paths::binary())?.len(),
        "rows": rows(&measured),
        "deadline_overshoot_ms": overshoot,
    });
    let file = paths::root().join("bench/results/hello.json");
    fs::create_dir_all(file.parent().context("the file has a folder")?)?;
    fs::write(&file, format!("{result:#}\n"))?;
    println!("\n{}\n\nwritten to bench/results/hello.json", markdown(&result));
    Ok(())
}

/// Ours, with warm instances.
const OURS: &str = "mayfly";
/// Ours, with a new instance for every request.
const OURS_FRESH: &str = "mayfly --isolation invocation";

fn measure() -> Result<Vec<Measured>> {
    let variants = [OURS, OURS_FRESH, peer::FRESH, peer::REUSED];
    let mut measured: Vec<_> = variants
        .iter()
        .flat_map(|variant| {
            CONNECTIONS.map(|connections| Measured {
                variant,
                connections,
                runs: Vec::new(),
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        for variant in variants {
            println!("round {round} of {ROUNDS}: {variant}");
            let mine = measured.iter_mut().filter(|row| row.variant == variant);
            one_server(variant, mine.collect())?;
        }
    }
    Ok(measured)
}

fn one_server(variant: &str, rows: Vec<&mut Measured>) -> Result<()> {
    if variant == OURS || variant == OURS_FRESH {
        let isolation = if variant == OURS { "auto" } else { "invocation" };
        let server = Server::start("bench")?;
        let file = paths::guest("hello-http");
        server.call(&["deploy", &file.to_string_lossy(), "--isolation", isolation])?;
        load(&format!("{}/hello-http", server.functions), rows)?;
        return server.stop();
    }
    let peer = peer::Peer::start(variant)?;
    load(&peer.url, rows)
}

fn load(url: &str, rows: Vec<&mut Measured>) -> Result<()> {
    for row in rows {
        let figures = wrk::run(url, row.connections)?;
        println!(
            "  {:>2} connections: {:.0} req/s, p50 {:.3} ms, p99 {:.3} ms",
            row.connections, figures.requests_per_s, figures.p50_ms, figures.p99_ms
        );
        row.runs.push(figures);
    }
    Ok(())
}

/// Medians over the rounds, with every round beside them.
fn rows(measured: &[Measured]) -> Vec<Value> {
    let requests = |row: &Measured| median(row.runs.iter().map(|run| run.requests_per_s).collect());
    let mut rows = Vec::new();
    for row in measured {
        let ours = measured
            .iter()
            .find(|it| it.variant == OURS && it.connections == row.connections);
        rows.push(json!({
            "server": row.variant,
            "connections": row.connections,
            "requests_per_s": round(requests(row), 0),
            "p50_ms": round(median(row.runs.iter().map(|run| run.p50_ms).collect()), 3),
            "p99_ms": round(median(row.runs.iter().map(|run| run.p99_ms).collect()), 3),
            "mayfly_requests_ratio": round(ours.map_or(f64::NAN, requests) / requests(row), 2),
            "rounds_requests_per_s": row.runs.iter().map(|run| round(run.requests_per_s, 0)).collect::<Vec<_>>(),
        }));
    }
    rows
}

fn markdown(result: &Value) -> String {
    let mut table = String::from(
        "| server | connections | req/s | p50 ms | p99 ms | mayfly's req/s over this |\n|---|---|---|---|---|---|\n",
    );
    for row in result["rows"].as_array().into_iter().flatten() {
        let name = row["server"].as_str().unwrap_or_default();
        table += &format!(
            "| {name} | {} | {:.0} | {} | {} | {} |\n",
            row["connections"],
            row["requests_per_s"].as_f64().unwrap_or_default(),
            row["p50_ms"],
            row["p99_ms"],
            row["mayfly_requests_ratio"]
        );
    }
    let overshoot = &result["deadline_overshoot_ms"];
    let binary = result["binary_bytes"].as_f64().unwrap_or_default() / 1e6;
    format!(
        "{table}\nRelease binary: {binary:.1} MB. Past the deadline of an endless loop: p50 {} ms, p99 {} ms, max {} ms over {} calls.",
        overshoot["p50"], overshoot["p99"], overshoot["max"], overshoot["calls"]
    )
}

/// What a reader needs to judge the figures; no names and no paths of the machine.
fn machine() -> Result<Value> {
    let first_line = |program: &str, args: &[&str]| -> Result<String> {
        let output = Command::new(program).args(args).output()?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned())
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown");
    Ok(json!({
        "cores": std::thread::available_parallelism()?.get(),
        "processor": model.trim_start_matches([' ', '\t', ':']),
        "kernel": first_line("uname", &["-sr"])?,
        "rustc": first_line("rustc", &["--version"])?,
        "mayfly": env!("CARGO_PKG_VERSION"),
        "wasmtime": peer::VERSION,
    }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
