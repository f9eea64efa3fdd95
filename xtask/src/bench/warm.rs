//! Warm calls: requests per second and latency of every server in turn, round by round.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::Options;
use crate::bench::peers::Peer;
use crate::bench::report::{Report, Row};
use crate::bench::stats::{median, paired, round};
use crate::bench::wrk::{self, Figures, Load};
use crate::paths;
use crate::server::{Launch, Server};

pub(crate) const PART: &str = "warm";

/// One row of each server: alone, where a request's own time shows, and enough to keep both cores busy.
const CONNECTIONS: [u32; 2] = [1, BUSY];
const BUSY: u32 = 32;
/// What `examples/order-total` takes.
const ORDER: &str = r#"{"lines":[{"quantity":2,"unit_price_cents":1250},{"quantity":1,"unit_price_cents":499}]}"#;

/// A way to run Mayfly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ours {
    name: &'static str,
    guest: &'static str,
    deploy: &'static [&'static str],
    serve: &'static [&'static str],
    under: &'static [&'static str],
    post: Option<&'static str>,
}

/// With warm instances.
pub(crate) const REUSED: Ours = Ours {
    name: "mayfly",
    guest: "hello-http",
    deploy: &[],
    serve: &[],
    under: &[],
    post: None,
};
/// With a new instance for every request.
pub(crate) const FRESH: Ours = Ours {
    name: "mayfly, --isolation invocation",
    deploy: &["--isolation", "invocation"],
    ..REUSED
};
const FRESH_ONE_CORE: Ours = Ours {
    name: "mayfly, --isolation invocation, on one core",
    under: &["taskset", "--cpu-list", "0"],
    ..FRESH
};
const EVENT: Ours = Ours {
    name: "mayfly, event function",
    guest: "order-total",
    post: Some(ORDER),
    ..REUSED
};
const UNRECORDED: Ours = Ours {
    name: "mayfly, nothing recorded",
    serve: &["--no-usage"],
    ..REUSED
};

/// A server under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Ours(Ours),
    Peer(Peer),
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Ours(ours) => ours.name,
            Self::Peer(peer) => peer.name(),
        }
    }
}

pub(super) fn measure(options: &Options) -> Result<Report> {
    let mut subjects = [REUSED, FRESH, FRESH_ONE_CORE, EVENT, UNRECORDED]
        .map(Subject::Ours)
        .to_vec();
    let mut with = BTreeMap::from([("wrk", wrk::version().unwrap_or_default())]);
    let mut missing = Vec::new();
    for peer in Peer::ALL {
        match peer.provide() {
            Ok(version) => {
                with.insert(peer.name(), version);
                subjects.push(Subject::Peer(peer));
            }
            Err(error) => {
                println!("{} is left out: {error:#}", peer.name());
                missing.push(Row::new(peer.name(), format!("not measured: {error}"), ""));
            }
        }
    }
    let mut warm = Warm::new(&subjects, options.quick);
    warm.run(options.rounds())?;
    let mut rows = warm.rows();
    rows.extend(missing);
    Ok(Report {
        part: PART,
        method: warm.method(options.rounds()),
        with: json!(with),
        rows,
        data: warm.data(),
    })
}

/// All runs of some servers.
#[derive(Debug)]
pub(crate) struct Warm {
    measured: Vec<Measured>,
    warm_up_s: u32,
    run_s: u32,
}

/// All runs of one server at one number of connections.
#[derive(Debug)]
struct Measured {
    subject: Subject,
    connections: u32,
    runs: Vec<Figures>,
}

impl Warm {
    pub(crate) fn new(subjects: &[Subject], quick: bool) -> Self {
        let empty = |subject: &Subject| {
            CONNECTIONS.map(|connections| Measured {
                subject: *subject,
                connections,
                runs: Vec::new(),
            })
        };
        Self {
            measured: subjects.iter().flat_map(empty).collect(),
            warm_up_s: if quick { 1 } else { 2 },
            run_s: if quick { 1 } else { 5 },
        }
    }

    /// Every server once per round, so that a slow minute of the machine hits all of them.
    pub(crate) fn run(&mut self, rounds: u32) -> Result<()> {
        for number in 1..=rounds {
            for of_one_server in self.measured.chunks_mut(CONNECTIONS.len()) {
                println!("round {number} of {rounds}: {}", of_one_server[0].subject.name());
                let seconds = (self.warm_up_s, self.run_s);
                match of_one_server[0].subject {
                    Subject::Ours(ours) => load_ours(ours, of_one_server, seconds)?,
                    Subject::Peer(peer) => load(&peer.start()?.url, None, of_one_server, seconds)?,
                }
            }
        }
        Ok(())
    }

    /// How the figures came about, for the reader of the results.
    pub(crate) fn method(&self, rounds: u32) -> String {
        format!(
            "wrk, 1 thread, loopback, same machine; {} s warm-up, {} s run, one server at a time, {rounds} interleaved \
             rounds; medians of the rounds, ratios within a round. Every call of Mayfly is metered and recorded.",
            self.warm_up_s, self.run_s
        )
    }

    /// Medians over the rounds, with every round beside them.
    pub(crate) fn data(&self) -> Value {
        let rows = self.measured.iter().map(|row| {
            let of = |what: fn(&Figures) -> f64| round(median(row.runs.iter().map(what)), 3);
            json!({
                "server": row.subject.name(),
                "connections": row.connections,
                "requests_per_s": of(|run| run.requests_per_s).round(),
                "p50_ms": of(|run| run.p50_ms),
                "p75_ms": of(|run| run.p75_ms),
                "p90_ms": of(|run| run.p90_ms),
                "p99_ms": of(|run| run.p99_ms),
                "rounds_requests_per_s": row.runs.iter().map(|run| run.requests_per_s.round()).collect::<Vec<_>>(),
            })
        });
        rows.collect()
    }

    /// The servers one by one, for a terminal.
    pub(crate) fn table(&self) -> String {
        self.each()
            .iter()
            .map(|row| format!("{:>60}  {}\n", row.what, row.figure))
            .collect()
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = vec![
            self.ratio(
                "warm `hello-http` over `wasmtime serve`",
                REUSED,
                Subject::Peer(Peer::Wasmtime),
                ">= 4x",
            ),
            self.ratio(
                "the same over `wasmtime serve --max-instance-reuse-count 1000000`",
                REUSED,
                Subject::Peer(Peer::WasmtimeReusing),
                ">= 1.0x",
            ),
            self.above_hyper(),
            self.p99_beside_reuse(),
            self.ratio(
                "`--isolation invocation` over `wasmtime serve`",
                FRESH,
                Subject::Peer(Peer::Wasmtime),
                ">= 2.5x",
            ),
            self.ratio(
                "the same on two cores over one",
                FRESH,
                Subject::Ours(FRESH_ONE_CORE),
                ">= 1.6x",
            ),
            self.ratio(
                "event function (JSON POSTed) over warm `hello-http`",
                EVENT,
                Subject::Ours(REUSED),
                "",
            ),
            self.ratio(
                "recorded over nothing recorded (`fn serve --no-usage`)",
                REUSED,
                Subject::Ours(UNRECORDED),
                "",
            ),
        ];
        rows.extend(self.each());
        rows
    }

    fn each(&self) -> Vec<Row> {
        let row = |row: &Measured| {
            let of = |what: fn(&Figures) -> f64| median(row.runs.iter().map(what));
            Row::new(
                format!("{}, {} connection(s)", row.subject.name(), row.connections),
                format!(
                    "{:.0} req/s, p50 {:.3} ms, p99 {:.3} ms",
                    of(|run| run.requests_per_s),
                    of(|run| run.p50_ms),
                    of(|run| run.p99_ms)
                ),
                "",
            )
        };
        self.measured.iter().map(row).collect()
    }

    fn ratio(&self, what: &str, ours: Ours, other: Subject, goal: &'static str) -> Row {
        let of = |subject| self.values(subject, BUSY, |run| run.requests_per_s);
        let ratio = paired(&of(Subject::Ours(ours)), &of(other), |ours, other| ours / other);
        Row::new(
            format!("{what}, req/s at {BUSY} connections"),
            shown(ratio, |ratio| format!("{ratio:.2}x")),
            goal,
        )
    }

    fn above_hyper(&self) -> Row {
        let of = |subject| self.values(subject, 1, |run| run.p50_ms);
        let ours = of(Subject::Ours(REUSED));
        let us = paired(&ours, &of(Subject::Peer(Peer::BareHyper)), |ours, hyper| {
            (ours - hyper) * 1000.0
        });
        Row::new(
            "warm p50 at 1 connection over a bare hyper server",
            shown(us, |us| format!("{us:+.0} us")),
            "<= +25 us",
        )
    }

    fn p99_beside_reuse(&self) -> Row {
        let of = |subject| self.values(subject, BUSY, |run| run.p99_ms);
        let ours = of(Subject::Ours(REUSED));
        let theirs = of(Subject::Peer(Peer::WasmtimeReusing));
        let ratio = paired(&ours, &theirs, |ours, theirs| ours / theirs);
        Row::new(
            format!("warm p99 at {BUSY} connections over `wasmtime serve`, reusing instances"),
            shown(ratio, |ratio| {
                let (ours, theirs) = (median(ours.clone()), median(theirs.clone()));
                format!("{ratio:.2}x ({ours:.2} ms, {theirs:.2} ms)")
            }),
            "",
        )
    }

    fn values(&self, subject: Subject, connections: u32, what: fn(&Figures) -> f64) -> Vec<f64> {
        let row = self
            .measured
            .iter()
            .find(|row| row.subject == subject && row.connections == connections);
        row.map(|row| row.runs.iter().map(what).collect()).unwrap_or_default()
    }
}

/// A figure, or that one of the two servers could not be measured.
fn shown(value: f64, text: impl Fn(f64) -> String) -> String {
    if value.is_nan() {
        "not measured: one of the two could not be had".to_owned()
    } else {
        text(value)
    }
}

fn load_ours(ours: Ours, rows: &mut [Measured], seconds: (u32, u32)) -> Result<()> {
    let server = Server::launch(Launch {
        name: "bench-warm",
        under: ours.under,
        args: ours.serve,
        ..Launch::default()
    })?;
    let file = paths::guest(ours.guest);
    let file = file.to_string_lossy();
    let deploy: Vec<_> = ["deploy", &file]
        .into_iter()
        .chain(ours.deploy.iter().copied())
        .collect();
    server.call(&deploy)?;
    load(
        &format!("{}/{}", server.functions, ours.guest),
        ours.post,
        rows,
        seconds,
    )?;
    server.stop()
}

fn load(url: &str, post: Option<&str>, rows: &mut [Measured], (warm_up_s, run_s): (u32, u32)) -> Result<()> {
    for row in rows {
        let load = Load {
            url,
            post,
            headers: &[],
            connections: row.connections,
            seconds: run_s,
        };
        let figures = load.run_warm(warm_up_s)?;
        println!(
            "  {:>2} connections: {:.0} req/s, p50 {:.3} ms, p99 {:.3} ms",
            row.connections, figures.requests_per_s, figures.p50_ms, figures.p99_ms
        );
        row.runs.push(figures);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(requests_per_s: f64) -> Figures {
        Figures {
            requests: 1,
            requests_per_s,
            p50_ms: 1.0,
            p75_ms: 1.0,
            p90_ms: 1.0,
            p99_ms: 1.0,
        }
    }

    #[test]
    fn ratios_are_of_one_round_and_a_missing_peer_is_said() {
        let mut warm = Warm::new(&[Subject::Ours(REUSED), Subject::Peer(Peer::Wasmtime)], true);
        for row in warm.measured.iter_mut().filter(|row| row.connections == BUSY) {
            let factor = if row.subject == Subject::Ours(REUSED) { 4.0 } else { 1.0 };
            row.runs = [1.0, 100.0, 10.0].map(|speed| run(speed * factor)).to_vec();
        }
        let rows = warm.rows();
        assert_eq!((rows[0].figure.as_str(), rows[0].goal), ("4.00x", ">= 4x"));
        assert!(rows[1].figure.starts_with("not measured"), "{}", rows[1].figure);
    }
}
