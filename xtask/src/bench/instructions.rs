//! Instructions of a warm request, counted by callgrind: a figure that a busy machine does not move. Kept over time.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bench::machine::{commit, first_line, today};
use crate::bench::report::{self, Report, Row};
use crate::bench::wrk::Load;
use crate::bench::{Options, peers};
use crate::paths;
use crate::server::{Launch, Server};
use crate::setup::{install_debian_packages, program_exists};

pub(crate) const PART: &str = "warm-path";
/// All counts that were ever taken, one per commit.
const HISTORY: &str = "instructions.json";

const NAME: &str = "bench-callgrind";
const CONNECTIONS: u32 = 2;
const WARM_UP_S: u32 = 4;

pub(super) fn measure(options: &Options) -> Result<Report> {
    if !program_exists("valgrind") {
        install_debian_packages(&["valgrind"])?;
    }
    let seconds = if options.quick { 3 } else { 10 };
    let recorded = count(&[], seconds)?;
    let unrecorded = count(&["--no-usage"], seconds)?;
    let recording = recorded.saturating_sub(unrecorded);
    remember(options.quick, recorded, unrecorded)?;
    Ok(Report {
        part: PART,
        method: format!(
            "callgrind over all threads of the server while wrk calls a warm `hello-http` over {CONNECTIONS} connections \
             for {seconds} s; instructions in user space, divided by the requests. Earlier counts: `{HISTORY}`."
        ),
        with: json!({ "valgrind": first_line("valgrind", &["--version"]) }),
        rows: vec![
            Row::new("instructions of a warm request", recorded.to_string(), ""),
            Row::new(
                "of these for the record of its usage and output (beside `fn serve --no-usage`)",
                format!("{recording} ({:.0} %)", 100.0 * recording as f64 / recorded as f64),
                "",
            ),
        ],
        data: json!({ "instructions_per_request": recorded, "with_nothing_recorded": unrecorded }),
    })
}

fn count(serve: &[&str], seconds: u32) -> Result<u64> {
    let dir = peers::dir()?.canonicalize()?;
    let out = dir.join("callgrind.out");
    let option = format!("--callgrind-out-file={}.%p", out.display());
    // The children as well: the compiler has to see the processor that the server sees.
    let under = [
        "valgrind",
        "--tool=callgrind",
        "--instr-atstart=no",
        "--trace-children=yes",
        &option,
    ];
    // Every call takes 4 GiB of address space, of which there is less under valgrind.
    let args: Vec<_> = ["--max-concurrency", "3"].iter().chain(serve).copied().collect();
    let server = Server::launch(Launch {
        name: NAME,
        under: &under,
        args: &args,
        ..Launch::default()
    })?;
    server.call(&["deploy", &paths::guest("hello-http").to_string_lossy()])?;
    let url = format!("{}/hello-http", server.functions);
    let load = Load {
        url: &url,
        post: None,
        headers: &[],
        connections: CONNECTIONS,
        seconds,
    };
    Load {
        seconds: WARM_UP_S,
        ..load
    }
    .run()?;
    let pid = server.pid().to_string();
    control("on", &pid)?;
    let figures = load.run()?;
    control("off", &pid)?;
    server.stop()?;
    let total = read_total(&out.with_extension(format!("out.{pid}")))?;
    remove_outputs(&dir)?;
    let each = total / figures.requests;
    println!("{} requests, {each} instructions each", figures.requests);
    Ok(each)
}

/// Counting begins or ends.
fn control(switch: &str, pid: &str) -> Result<()> {
    let output = Command::new("callgrind_control").args(["-i", switch, pid]).output()?;
    ensure!(output.status.success(), "callgrind_control -i {switch} failed");
    Ok(())
}

fn read_total(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file).context("callgrind has left no counts")?;
    total(&text).context("callgrind's output has no total")
}

fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))?;
    line.split_whitespace().next()?.parse().ok()
}

/// One of each process, the compiler's among them.
fn remove_outputs(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("callgrind.out.") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remember(quick: bool, recorded: u64, unrecorded: u64) -> Result<()> {
    let file = report::folder(quick)?.join(HISTORY);
    let known: Vec<Value> = match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{HISTORY} is damaged"))?,
        Err(_) => Vec::new(),
    };
    let entry = json!({
        "commit": commit(),
        "date": today(),
        "instructions_per_request": recorded,
        "with_nothing_recorded": unrecorded,
    });
    let history = Value::Array(with_entry(known, entry));
    Ok(fs::write(file, format!("{history:#}\n"))?)
}

/// A commit has one entry, the last one taken.
fn with_entry(mut known: Vec<Value>, entry: Value) -> Vec<Value> {
    known.retain(|old| old["commit"] != entry["commit"]);
    known.push(entry);
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_last_of_the_file() {
        let text = "version: 1\nsummary: 5\nfn=(1)\n1 5\ntotals: 66116000\n";
        assert_eq!(total(text), Some(66_116_000));
        assert_eq!(total("version: 1\n"), None);
    }

    #[test]
    fn counts_are_kept_and_a_commit_has_one() {
        let old = vec![json!({ "commit": "a", "n": 1 }), json!({ "commit": "b", "n": 2 })];
        let kept = with_entry(old, json!({ "commit": "b", "n": 3 }));
        assert_eq!(
            kept,
            [json!({ "commit": "a", "n": 1 }), json!({ "commit": "b", "n": 3 })]
        );
    }
}
