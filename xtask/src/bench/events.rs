//! `cargo xtask bench events`: how fast events are made durable, how fast a backlog is delivered, what waiting schedules cost.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bench::memory::Resident;
use crate::bench::report::{Report, Row};
use crate::bench::stats::{median, round};
use crate::bench::wrk::{Figures, Load};
use crate::http::{self, Connection};
use crate::paths;
use crate::server::Server;
use crate::summary::Summary;

const PART: &str = "events";
const NAME: &str = "bench-events";
/// What is handed in.
const PAYLOAD: &str = r#"{"order":1,"lines":[]}"#;
/// Clients that hand in events at once.
const CLIENTS: u32 = 64;
const ACCEPT_SECONDS: u32 = 5;
const ROUNDS: u32 = 3;
/// Events that are delivered.
const BACKLOG: usize = 100_000;
/// Rows that the bare loop inserts.
const BARE_ROWS: usize = 100_000;
const SYNC_CONNECTIONS: u32 = 32;
const SYNC_SECONDS: u32 = 5;
/// Schedules that wait.
const SCHEDULES: usize = 100_000;
/// How long they are watched.
const WATCHED: Duration = Duration::from_secs(30);
/// Threads that make them.
const MAKERS: usize = 8;
/// Ticks of the kernel's clock in a second, as `/proc/PID/stat` counts processor time.
const TICKS_PER_SECOND: f64 = 100.0;
const DELIVERED_WITHIN: Duration = Duration::from_secs(300);

pub(super) fn run(summary: &mut Summary) -> Result<()> {
    super::prepare(summary)?;
    let accept = summary.part("accepting", accept)?;
    let drain = summary.part("delivering", drain)?;
    let idle = summary.part("schedules that wait", idle)?;
    let report = Report {
        part: PART,
        method: format!(
            "Accepting: wrk, {CLIENTS} connections, {ACCEPT_SECONDS} s, {ROUNDS} rounds in turn with a loop that inserts the same \
             rows into the same table in transactions of {CLIENTS}, one after the other, on an SQLite file in the same folder; \
             medians. \
             Delivering: {BACKLOG} events of `hello-http`, all due at the same moment, beside synchronous calls of it over \
             {SYNC_CONNECTIONS} connections. Schedules: {SCHEDULES}, none due, watched for {} s.",
            WATCHED.as_secs()
        ),
        with: json!({}),
        rows: [accept.rows, drain.rows, idle.rows].concat(),
        data: json!({ "accept": accept.data, "drain": drain.data, "idle": idle.data }),
    };
    report.write(false)?;
    for row in &report.rows {
        println!("{}: {} ({})", row.what, row.figure, row.goal);
    }
    Ok(())
}

struct Found {
    rows: Vec<Row>,
    data: Value,
}

fn accept() -> Result<Found> {
    let (mut bare, mut accepted): (Vec<f64>, Vec<Figures>) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let server = Server::start(NAME)?;
        deploy(&server)?;
        let url = format!("{}/hello", server.functions);
        let load = Load {
            url: &url,
            post: Some(PAYLOAD),
            // Not due while anybody looks: delivering is measured by itself.
            headers: &[("prefer", "respond-async"), ("mayfly-delay", "10m")],
            connections: CLIENTS,
            seconds: ACCEPT_SECONDS,
        };
        accepted.push(load.run_warm(1)?);
        server.stop()?;
        bare.push(bare_inserts()?);
    }
    let rates: Vec<f64> = accepted.iter().map(|figures| figures.requests_per_s).collect();
    let ratio = crate::bench::stats::paired(&rates, &bare, |a, b| a / b);
    let p99 = median(accepted.iter().map(|figures| figures.p99_ms));
    let p50 = median(accepted.iter().map(|figures| figures.p50_ms));
    Ok(Found {
        rows: vec![
            Row::new(
                "events made durable over a bare insert loop, per second",
                format!("{ratio:.2}x"),
                ">= 0.5x",
            ),
            Row::new(
                "events made durable",
                format!(
                    "{:.0} per s, p50 {p50:.1} ms, p99 {p99:.1} ms",
                    median(rates.iter().copied())
                ),
                "p99 <= 25 ms",
            ),
            Row::new(
                "the bare insert loop",
                format!("{:.0} per s", median(bare.iter().copied())),
                "",
            ),
        ],
        data: json!({ "ratio": round(ratio, 2), "per_s": rates, "p50_ms": p50, "p99_ms": p99, "bare_per_s": bare }),
    })
}

fn deploy(server: &Server) -> Result<()> {
    let guest = paths::guest("hello-http");
    server
        .call(&["deploy", &guest.to_string_lossy(), "--name", "hello"])
        .map(drop)
}

fn bare_inserts() -> Result<f64> {
    let file = paths::target().join(NAME).join("bare.sqlite");
    for ending in ["", "-wal", "-shm"] {
        fs::remove_file(format!("{}{ending}", file.display())).ok();
    }
    let output = Command::new(paths::binary().with_file_name("bare-inserts"))
        .arg(&file)
        .args([BARE_ROWS.to_string(), CLIENTS.to_string(), PAYLOAD.len().to_string()])
        .output()
        .context("the release build did not make bare-inserts")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

fn drain() -> Result<Found> {
    let server = Server::start(NAME)?;
    deploy(&server)?;
    let url = format!("{}/hello", server.functions);
    let sync = Load {
        url: &url,
        post: None,
        headers: &[],
        connections: SYNC_CONNECTIONS,
        seconds: SYNC_SECONDS,
    }
    .run_warm(2)?;
    hand_in(&server, BACKLOG, &moment()?)?;
    let done = delivered(&server)?;
    ensure!(
        done == 0,
        "{done} events were delivered already: it took too long to hand them in"
    );
    let before = Resident::of(server.pid())?.all_kib;
    // From the first that is done until the last.
    let mut first = 0;
    while first == 0 {
        first = delivered(&server)?;
        thread::sleep(Duration::from_millis(5));
    }
    let began = Instant::now();
    let mut most = before;
    while delivered(&server)? < BACKLOG {
        ensure!(
            began.elapsed() < DELIVERED_WITHIN,
            "not delivered within {} s",
            DELIVERED_WITHIN.as_secs()
        );
        most = most.max(Resident::of(server.pid())?.all_kib);
        thread::sleep(Duration::from_millis(100));
    }
    let per_s = (BACKLOG - first) as f64 / began.elapsed().as_secs_f64();
    server.stop()?;
    let ratio = per_s / sync.requests_per_s;
    let grown_mb = most.saturating_sub(before) as f64 * 1024.0 / 1e6;
    Ok(Found {
        rows: vec![
            Row::new(
                "delivered events over synchronous calls, per second",
                format!("{ratio:.2}x"),
                ">= 0.5x",
            ),
            Row::new(
                format!("{BACKLOG} events delivered"),
                format!("{per_s:.0} per s; {:.0} calls per s", sync.requests_per_s),
                "",
            ),
            Row::new(
                "resident memory meanwhile",
                format!("{:.0} MB, at most {grown_mb:.0} MB more", before as f64 * 1024.0 / 1e6),
                "",
            ),
        ],
        data: json!({ "ratio": round(ratio, 2), "per_s": round(per_s, 0), "sync_per_s": sync.requests_per_s,
            "before_kib": before, "most_kib": most }),
    })
}

/// When the backlog is due: far enough ahead for all of it to be handed in before.
fn moment() -> Result<String> {
    let output = Command::new("date")
        .args(["-u", "-d", "+45 seconds", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Hands in events that are due at `moment`, over connections that are kept.
fn hand_in(server: &Server, count: usize, moment: &str) -> Result<()> {
    let workers: Vec<_> = (0..CLIENTS as usize)
        .map(|worker| {
            let (host, moment) = (server.functions.clone(), moment.to_owned());
            let mine = count / CLIENTS as usize + usize::from(worker < count % CLIENTS as usize);
            thread::spawn(move || -> Result<()> {
                let mut connection = Connection::open(&host)?;
                let headers = [("prefer", "respond-async"), ("mayfly-not-before", moment.as_str())];
                for _ in 0..mine {
                    let answer = connection.send("POST", "/hello", &headers, PAYLOAD)?;
                    ensure!(
                        answer.status == 202,
                        "an event was answered with {}: {}",
                        answer.status,
                        answer.body
                    );
                }
                Ok(())
            })
        })
        .collect();
    join(workers)
}

fn join(workers: Vec<thread::JoinHandle<Result<()>>>) -> Result<()> {
    for worker in workers {
        worker.join().ok().context("a worker panicked")??;
    }
    Ok(())
}

/// How many events were delivered since the server's start. What it counts itself: to count what is queued would cost the
/// server more than delivering it.
pub(super) fn delivered(server: &Server) -> Result<usize> {
    const NAME: &str = r#"mayfly_event_attempts_total{namespace="default",ending="succeeded"} "#;
    let bearer = format!("Bearer {}", server.token()?);
    let url = format!("{}/metrics", server.admin);
    let answer = http::request("GET", &url, &[("authorization", &bearer)], "")?;
    ensure!(answer.status == 200, "GET {url} was answered with {}", answer.status);
    let value = answer.body.lines().find_map(|line| line.strip_prefix(NAME));
    Ok(value.map(str::parse).transpose()?.unwrap_or(0))
}

fn idle() -> Result<Found> {
    let server = Server::start(NAME)?;
    deploy(&server)?;
    let bearer = format!("Bearer {}", server.token()?);
    let workers: Vec<_> = (0..MAKERS)
        .map(|worker| {
            let (host, bearer) = (server.admin.clone(), bearer.clone());
            thread::spawn(move || -> Result<()> {
                let mut connection = Connection::open(&host)?;
                for number in (worker..SCHEDULES).step_by(MAKERS) {
                    // Spread over next year, so that none is due today.
                    let (day, month) = (number % 28 + 1, number / 28 % 12 + 1);
                    let body = json!({ "name": format!("t-{number}"), "function": "hello", "kind": "cron",
                        "schedule": format!("at(2099-{month:02}-{day:02}T03:00:00)"), "timezone": "Europe/Berlin" });
                    let headers = [("authorization", bearer.as_str())];
                    let answer = connection.send("POST", "/v1/ns/default/triggers", &headers, &body.to_string())?;
                    ensure!(
                        answer.status == 201,
                        "a trigger was answered with {}: {}",
                        answer.status,
                        answer.body
                    );
                }
                Ok(())
            })
        })
        .collect();
    join(workers)?;
    thread::sleep(Duration::from_secs(5));
    let before = processor_s(server.pid())?;
    thread::sleep(WATCHED);
    let used = processor_s(server.pid())? - before;
    server.stop()?;
    let percent = used / WATCHED.as_secs_f64() * 100.0;
    Ok(Found {
        rows: vec![Row::new(
            format!("processor time with {SCHEDULES} schedules, none due"),
            format!("{percent:.2} % of a core"),
            "< 1 %",
        )],
        data: json!({ "schedules": SCHEDULES, "percent": round(percent, 2) }),
    })
}

/// Processor time of a process so far.
fn processor_s(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().context("no fields")?;
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // The state is no number, so user and system time are the 11th and 12th numbers.
    Ok((ticks[10] + ticks[11]) / TICKS_PER_SECOND)
}
