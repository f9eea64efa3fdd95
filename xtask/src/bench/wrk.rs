//! Load from `wrk`: one thread, keep-alive connections, on the same machine as the server.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::step;

const WARM_UP_S: u32 = 2;
const RUN_S: u32 = 5;

/// What one run of `wrk` found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    pub(crate) requests_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Makes sure that there is a `wrk`.
pub(crate) fn provide() -> Result<()> {
    // It has no flag that ends well, so its exit code says nothing.
    if Command::new("wrk")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
    {
        println!("wrk is here");
        return Ok(());
    }
    println!("no wrk here: installing Debian's");
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--yes", "--no-install-recommends", "wrk"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    step::run("apt-get install wrk", &mut install).context("install wrk (apt-get update may have to come first)")
}

/// How the figures came about, for the reader of the results.
pub(crate) fn method(rounds: usize) -> String {
    format!(
        "wrk, 1 thread, loopback, same machine; {WARM_UP_S} s warm-up, {RUN_S} s run, one server at a time, \
         {rounds} interleaved rounds, medians of the rounds"
    )
}

/// Warms the server up, then measures.
pub(crate) fn run(url: &str, connections: u32) -> Result<Figures> {
    wrk(url, connections, WARM_UP_S)?;
    wrk(url, connections, RUN_S)
}

fn wrk(url: &str, connections: u32, seconds: u32) -> Result<Figures> {
    let args = [
        "-t1".to_owned(),
        format!("-c{connections}"),
        format!("-d{seconds}s"),
        "--latency".to_owned(),
    ];
    let output = Command::new("wrk")
        .args(args)
        .arg(url)
        .output()
        .context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "wrk failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&text)
}

fn parse(text: &str) -> Result<Figures> {
    if let Some(line) = text
        .lines()
        .find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        bail!("the server did not answer every request well: {}", line.trim());
    }
    let value = |label: &str| {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(label));
        found
            .map(str::trim)
            .with_context(|| format!("no `{label}` in the output of wrk:\n{text}"))
    };
    Ok(Figures {
        requests_per_s: value("Requests/sec:")?.parse()?,
        p50_ms: milliseconds(value("50%")?)?,
        p99_ms: milliseconds(value("99%")?)?,
    })
}

fn milliseconds(text: &str) -> Result<f64> {
    for (unit, scale) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * scale);
        }
    }
    bail!("{text} is not a duration")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "  Latency Distribution\n     50%  847.00us\n     75%    1.17ms\n     99%   14.22ms\n\
                          2053 requests in 1.10s, 1.02MB read\nRequests/sec:   1866.80\n";

    #[test]
    fn reads_what_wrk_prints() {
        let figures = parse(OUTPUT).unwrap();
        assert_eq!(
            figures,
            Figures {
                requests_per_s: 1866.8,
                p50_ms: 0.847,
                p99_ms: 14.22
            }
        );
    }

    #[test]
    fn bad_answers_are_not_a_result() {
        assert!(parse(&format!("{OUTPUT}  Non-2xx or 3xx responses: 3\n")).is_err());
    }
}
