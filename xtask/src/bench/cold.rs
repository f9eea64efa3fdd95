//! Cold calls: no instance, and no code in memory. After a restart every function is called once, for the first time.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bench::peers::{self, Peer, Running, wasmtime};
use crate::bench::report::{Report, Row};
use crate::bench::stats::{percentile, round};
use crate::bench::{Options, component};
use crate::http;
use crate::paths;
use crate::server::{Launch, Server};

pub(crate) const PART: &str = "cold";

/// Functions that were called after all others, so that what a server loads before it is asked for is these. They share
/// one artifact.
const DECOYS: u32 = 100;
const NAME: &str = "bench-cold";

/// A component of which there are several functions, each with an artifact of its own.
#[derive(Debug)]
struct Kind {
    what: &'static str,
    file: Result<PathBuf>,
    path: &'static str,
    functions: u32,
    /// Starts of `wasmtime serve` in each round.
    starts: u32,
}

fn kinds(quick: bool) -> [Kind; 3] {
    let few = |many| if quick { 3 } else { many };
    [
        Kind {
            what: "Rust",
            file: Ok(paths::guest("misbehave")),
            path: "/count",
            functions: few(100),
            starts: few(10),
        },
        Kind {
            what: "JavaScript",
            file: Ok(paths::guest("incoming-handler")),
            path: "/",
            functions: few(10),
            starts: few(10),
        },
        Kind {
            what: "Python",
            file: component::python(),
            path: "/",
            functions: few(10),
            starts: few(10),
        },
    ]
}

pub(super) fn measure(options: &Options) -> Result<Report> {
    let peer = Peer::Wasmtime
        .provide()
        .inspect_err(|error| println!("without wasmtime: {error:#}"));
    let mut rows = Vec::new();
    let mut data = Vec::new();
    for kind in kinds(options.quick) {
        let file = match &kind.file {
            Ok(file) => file,
            Err(error) => {
                println!("no {} component: {error:#}", kind.what);
                let what = format!("{} component, first byte", kind.what);
                rows.push(Row::new(what, "not measured: the component could not be built", ""));
                continue;
            }
        };
        let size = std::fs::metadata(file)?.len();
        let ours = ours(&kind, file, options.rounds()).with_context(|| format!("cold calls, {}", kind.what))?;
        let theirs = match &peer {
            Ok(_) => wasmtime_starts(&kind, file, options.rounds())?,
            Err(_) => Vec::new(),
        };
        rows.extend(kind.rows(size, &ours, &theirs));
        data.push(json!({
            "component": kind.what,
            "bytes": size,
            "mayfly": summary(&ours),
            "wasmtime_serve_precompiled": summary(&theirs),
        }));
    }
    Ok(Report {
        part: PART,
        method: format!(
            "{} restart(s) of the server with all functions deployed, each of an artifact of its own; after each restart \
             one call of each function, one after the other, each on a new connection; time from the connect to the first \
             byte of the answer. Files are in the page cache. Beside it: `wasmtime serve` with the same component \
             precompiled, from the start of the process to the first byte of its first answer.",
            options.rounds()
        ),
        with: json!({ "wasmtime serve": peer.unwrap_or_else(|_| "could not be had".to_owned()) }),
        rows,
        data: Value::Array(data),
    })
}

impl Kind {
    fn rows(&self, size: u64, ours: &[f64], theirs: &[f64]) -> [Row; 2] {
        let component = if size > 1_000_000 {
            format!("{} component of {} MB", self.what, size / 1_000_000)
        } else {
            format!("{} component of {} KB", self.what, size / 1_000)
        };
        let (p50, p99) = (percentile(ours, 50), percentile(ours, 99));
        let theirs_p50 = percentile(theirs, 50);
        let ratio = if theirs.is_empty() {
            "not measured: wasmtime could not be had".to_owned()
        } else {
            format!("{:.1}x ({theirs_p50:.1} ms)", theirs_p50 / p50)
        };
        [
            Row::new(
                format!("{component}, first byte, {} cold calls", ours.len()),
                format!("p50 {p50:.2} ms, p99 {p99:.2} ms"),
                "",
            ),
            Row::new(
                format!("{component}: how much longer the start of `wasmtime serve` takes, p50"),
                ratio,
                "",
            ),
        ]
    }
}

fn summary(times: &[f64]) -> Value {
    let at = |percent| (!times.is_empty()).then(|| round(percentile(times, percent), 3));
    json!({ "calls": times.len(), "p50_ms": at(50), "p90_ms": at(90), "p99_ms": at(99), "max_ms": at(100) })
}

fn ours(kind: &Kind, file: &Path, rounds: u32) -> Result<Vec<f64>> {
    let server = Server::start(NAME)?;
    println!("deploying {} functions of {}", kind.functions, kind.what);
    for number in 0..kind.functions {
        let copy = component::copy(file, number)?;
        server.call(&["deploy", &copy.to_string_lossy(), "--name", &format!("cold-{number}")])?;
        std::fs::remove_file(copy)?;
    }
    let decoy = paths::guest("hello-http");
    for number in 0..DECOYS {
        server.call(&["deploy", &decoy.to_string_lossy(), "--name", &format!("decoy-{number}")])?;
    }
    call_decoys(&server)?;
    server.stop()?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let server = Server::launch(Launch {
            name: NAME,
            keep: true,
            ..Launch::default()
        })?;
        call_decoys(&server)?;
        for number in 0..kind.functions {
            times.push(cold_call(&format!("{}/cold-{number}{}", server.functions, kind.path))?);
        }
        call_decoys(&server)?;
        server.stop()?;
    }
    Ok(times)
}

fn call_decoys(server: &Server) -> Result<()> {
    for number in 0..DECOYS {
        let answer = http::get(&format!("{}/decoy-{number}", server.functions))?;
        ensure!(answer.status == 200, "a decoy answered {}", answer.status);
    }
    Ok(())
}

/// Milliseconds to the first byte. A call whose code was in memory is none that we look for.
fn cold_call(url: &str) -> Result<f64> {
    let answer = http::request("GET", url, &[("mayfly-timing", "1")], "")?;
    ensure!(
        answer.status == 200,
        "{url} answered {}: {}",
        answer.status,
        answer.body
    );
    ensure!(answer.header("mayfly-start") == "cold", "{url} had an instance");
    let timing = answer.header("server-timing");
    ensure!(code_ms(timing)? > 0.0, "the code of {url} was in memory: {timing}");
    Ok(answer.first_byte.as_secs_f64() * 1000.0)
}

/// How long a call waited for its code, as its `Server-Timing` says.
fn code_ms(timing: &str) -> Result<f64> {
    let part = timing.split(',').find_map(|part| part.trim().strip_prefix("code;dur="));
    Ok(part.context("no Server-Timing with a time for code")?.parse()?)
}

fn wasmtime_starts(kind: &Kind, file: &Path, rounds: u32) -> Result<Vec<f64>> {
    let code = peers::dir()?.join("component.cwasm");
    wasmtime::compile(file, &code)?;
    let mut times = Vec::new();
    for _ in 0..rounds * kind.starts {
        let port = peers::free_port()?;
        let running = Running::start(wasmtime::serve(port, &code), port, kind.path)?;
        times.push(running.first_answer_ms);
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_code_is_read() {
        assert_eq!(
            code_ms("queue;dur=0.000, code;dur=4.001, init;dur=0.250").unwrap(),
            4.001
        );
        assert!(code_ms("").is_err());
    }
}
