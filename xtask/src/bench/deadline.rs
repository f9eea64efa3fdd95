//! How long after its deadline an endless loop is really answered with 504, as the client sees it.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::bench::report::{Report, Row};
use crate::bench::stats::{percentile, round};
use crate::server::Server;
use crate::{http, paths};

pub(crate) const PART: &str = "deadline";

const CALLS: usize = 100;
const TIMEOUT_MS: f64 = 1000.0;
/// Loops at a time: the machine is busy with nothing else, so this is about the engine and not about its queue.
const PARALLEL: usize = 2;

pub(crate) fn measure() -> Result<Report> {
    let server = Server::start("bench-deadline")?;
    let guest = paths::guest("misbehave");
    server.call(&["deploy", &guest.to_string_lossy(), "--name", "spin", "--timeout", "1s"])?;
    let url = format!("{}/spin/spin", server.functions);
    println!("{CALLS} calls, {PARALLEL} at a time");
    let callers: Vec<_> = (0..PARALLEL)
        .map(|_| {
            let url = url.clone();
            thread::spawn(move || (0..CALLS / PARALLEL).map(|_| call(&url)).collect::<Result<Vec<f64>>>())
        })
        .collect();
    let mut overshoot = Vec::new();
    for caller in callers {
        overshoot.extend(caller.join().ok().context("a caller panicked")??);
    }
    server.stop()?;
    let at = |percent: usize| round(percentile(&overshoot, percent), 1);
    println!("p50 {} ms, p99 {} ms, max {} ms", at(50), at(99), at(100));
    Ok(Report {
        part: PART,
        method: format!("{CALLS} calls of an endless loop with a limit of 1 s, {PARALLEL} at a time."),
        with: json!({}),
        rows: vec![Row::new(
            "an endless loop is answered with 504, after its deadline",
            format!("p50 {} ms, p99 {} ms, max {} ms", at(50), at(99), at(100)),
            "p99 <= 50 ms",
        )],
        data: json!({ "calls": CALLS, "parallel": PARALLEL, "p50": at(50), "p99": at(99), "max": at(100) }),
    })
}

fn call(url: &str) -> Result<f64> {
    let began = Instant::now();
    let answer = http::get(url)?;
    ensure!(
        answer.status == 504,
        "an endless loop was answered with {}",
        answer.status
    );
    Ok(began.elapsed().as_secs_f64() * 1000.0 - TIMEOUT_MS)
}
