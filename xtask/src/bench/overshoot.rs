//! How long after its deadline an endless loop is really answered with 504, as the client sees it.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::server::Server;
use crate::{http, paths};

const CALLS: usize = 100;
const TIMEOUT_MS: f64 = 1000.0;
/// Loops at a time: the machine is busy with nothing else, so this is about the engine and not about its queue.
const PARALLEL: usize = 2;

pub(crate) fn measure() -> Result<Value> {
    let server = Server::start("bench")?;
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
    overshoot.sort_by(f64::total_cmp);
    let at = |percent: usize| super::round(overshoot[(overshoot.len() * percent).div_ceil(100) - 1], 1);
    println!("p50 {} ms, p99 {} ms, max {} ms", at(50), at(99), at(100));
    Ok(json!({ "calls": CALLS, "parallel": PARALLEL, "p50": at(50), "p99": at(99), "max": at(100) }))
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
