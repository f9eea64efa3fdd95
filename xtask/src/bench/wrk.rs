//! Load from `wrk`: one thread, keep-alive connections, on the same machine as the server.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::bench::peers;
use crate::setup::install_debian_packages;

/// One run of `wrk`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) url: &'a str,
    /// A JSON body to POST; else it is a GET.
    pub(crate) post: Option<&'a str>,
    /// More header fields of a POST.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
}

/// What one run of `wrk` found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) requests_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p75_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Makes sure that there is a `wrk`.
pub(crate) fn provide() -> Result<()> {
    if version().is_some() {
        return Ok(());
    }
    install_debian_packages(&["wrk"])
}

/// It has no flag that ends well, so its exit code says nothing.
pub(crate) fn version() -> Option<String> {
    let output = Command::new("wrk")
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.split_whitespace().nth(1).unwrap_or("unknown").to_owned())
}

impl Load<'_> {
    /// One run without a figure, then one with it.
    pub(crate) fn run_warm(self, warm_up_s: u32) -> Result<Figures> {
        Self {
            seconds: warm_up_s,
            ..self
        }
        .run()?;
        self.run()
    }

    pub(crate) fn run(self) -> Result<Figures> {
        let mut command = Command::new("wrk");
        command.args([
            "-t1".to_owned(),
            format!("-c{}", self.connections),
            format!("-d{}s", self.seconds),
            "--latency".to_owned(),
        ]);
        if let Some(body) = self.post {
            let script = peers::dir()?.join("post.lua");
            let headers = [("content-type", "application/json")];
            let headers: String = headers
                .iter()
                .chain(self.headers)
                .map(|(name, value)| format!("wrk.headers['{name}'] = '{value}'\n"))
                .collect();
            fs::write(
                &script,
                format!("wrk.method = 'POST'\n{headers}wrk.body = [==[{body}]==]\n"),
            )?;
            command.arg("-s").arg(script);
        }
        let output = command.arg(self.url).output().context("cannot run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "wrk failed: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        parse(&text)
    }
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
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    Ok(Figures {
        requests: requests.context("wrk did not count its requests")?.0.parse()?,
        requests_per_s: value("Requests/sec:")?.parse()?,
        p50_ms: milliseconds(value("50%")?)?,
        p75_ms: milliseconds(value("75%")?)?,
        p90_ms: milliseconds(value("90%")?)?,
        p99_ms: milliseconds(value("99%")?)?,
    })
}

fn milliseconds(text: &str) -> Result<f64> {
    for (unit, scale) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * scale);
        }
    }
    bail!("{text} is not a duration")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "  Latency Distribution\n     50%  847.00us\n     75%    1.17ms\n     90%    2.00ms\n     \
                          99%   14.22ms\n  2053 requests in 1.10s, 1.02MB read\nRequests/sec:   1866.80\n";

    #[test]
    fn reads_what_wrk_prints() {
        let figures = parse(OUTPUT).unwrap();
        assert_eq!(
            figures,
            Figures {
                requests: 2053,
                requests_per_s: 1866.8,
                p50_ms: 0.847,
                p75_ms: 1.17,
                p90_ms: 2.0,
                p99_ms: 14.22
            }
        );
    }

    #[test]
    fn bad_answers_are_not_a_result() {
        assert!(parse(&format!("{OUTPUT}  Non-2xx or 3xx responses: 3\n")).is_err());
        assert!(parse("unable to connect to 127.0.0.1:1 Connection refused\n").is_err());
    }

    #[test]
    fn durations_have_their_units() {
        assert_eq!(milliseconds("1.50s").unwrap(), 1500.0);
        assert_eq!(milliseconds("2.00m").unwrap(), 120_000.0);
        assert!(milliseconds("7").is_err());
    }
}
