//! What a reader needs to judge figures; no names and no paths of the machine.

use std::fs;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

pub(crate) fn machine() -> Result<Value> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown");
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kb: u64 = super::memory::field(&memory, "MemTotal").unwrap_or_default();
    Ok(json!({
        "cores": std::thread::available_parallelism()?.get(),
        "processor": model.trim_start_matches([' ', '\t', ':']),
        "memory_gb": memory_kb.div_ceil(1_000_000),
        "kernel": first_line("uname", &["-sr"]),
        "rustc": first_line("rustc", &["--version"]),
        "mayfly": env!("CARGO_PKG_VERSION"),
        "commit": commit(),
        "date": today(),
    }))
}

/// The commit that is measured; with a mark when there is more than it. Results are what a run changes itself.
pub(crate) fn commit() -> String {
    let changed = first_line(
        "git",
        &[
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--",
            ".",
            ":!bench/results",
        ],
    );
    let mark = if changed.is_empty() { "" } else { "-dirty" };
    first_line("git", &["rev-parse", "--short=10", "HEAD"]) + mark
}

pub(crate) fn today() -> String {
    first_line("date", &["-u", "+%F"])
}

/// The first line that a program prints on its standard output, empty when it cannot be run.
pub(crate) fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(crate::paths::root())
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}
