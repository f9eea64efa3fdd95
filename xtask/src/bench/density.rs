//! What idle things cost in memory: warm instances, and functions that are deployed and not called.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bench::Options;
use crate::bench::memory::Resident;
use crate::bench::report::{Report, Row};
use crate::bench::stats::{median, round};
use crate::http::{self, Answer, Connection};
use crate::paths;
use crate::server::{Launch, Server};

pub(crate) const PART: &str = "density";

const NAME: &str = "bench-density";
/// Fewer than a server keeps by default.
const INSTANCES: u32 = 200;
const DEPLOYERS: u32 = 4;
/// Memory is read when it has stood still for as long as this.
const STILL: Duration = Duration::from_secs(2);
/// And at the latest after this.
const STILL_WITHIN: Duration = Duration::from_secs(30);
/// What counts as standing still, in KiB.
const STILL_KIB: u64 = 256;

pub(super) fn measure(options: &Options) -> Result<Report> {
    let instances = (0..options.rounds())
        .map(|_| idle_instance())
        .collect::<Result<Vec<_>>>()?;
    let counts: &[u32] = if options.quick {
        &[0, 1_000]
    } else {
        &[0, 1_000, 10_000]
    };
    let functions = idle_functions(counts)?;
    let binary_mb = std::fs::metadata(paths::binary())?.len() as f64 / 1e6;
    let mut rows = vec![Row::new(
        format!("host memory of an idle warm instance, beyond its guest's pages, over {INSTANCES}"),
        format!("{:.1} KiB", median(instances.iter().map(|one| one.host_kib))),
        "",
    )];
    rows.push(Row::new(
        "the pages of its guest, `hello-http`",
        format!("{:.1} KiB", median(instances.iter().map(|one| one.guest_kib))),
        "",
    ));
    for (count, resident) in &functions {
        let mb = resident.all_kib as f64 * 1024.0 / 1e6;
        rows.push(Row::new(
            format!("{count} deployed functions, all idle, after a restart: resident memory"),
            format!("{mb:.1} MB"),
            "",
        ));
    }
    rows.push(Row::new("release binary", format!("{binary_mb:.1} MB"), ""));
    Ok(Report {
        part: PART,
        method: format!(
            "Resident memory as /proc tells it, once it has not changed by {STILL_KIB} KiB for {} s. Instances: {INSTANCES} \
             functions of one artifact, each called once and found warm afterwards, beside the same server with one of them called; what lies in the \
             address space of linear memories is the guests' and taken off; the rest is the instance with its stack and \
             tables and all that a server knows of a function that was called. Functions: one artifact under that many names.",
            STILL.as_secs()
        ),
        with: json!({}),
        rows,
        data: json!({
            "instances": INSTANCES,
            "instance_host_kib": instances.iter().map(|one| round(one.host_kib, 1)).collect::<Vec<_>>(),
            "instance_guest_kib": instances.iter().map(|one| round(one.guest_kib, 1)).collect::<Vec<_>>(),
            "binary_mb": round(binary_mb, 1),
            "functions": functions.iter().map(|(count, resident)| json!({
                "count": count,
                "resident_mb": round(resident.all_kib as f64 * 1024.0 / 1e6, 1),
            })).collect::<Vec<Value>>(),
        }),
    })
}

struct Instance {
    host_kib: f64,
    guest_kib: f64,
}

fn idle_instance() -> Result<Instance> {
    let server = Server::start(NAME)?;
    deploy(&server, 0..INSTANCES + 1)?;
    call(&server, INSTANCES)?;
    let before = settled(server.pid())?;
    for number in 0..INSTANCES {
        call(&server, number)?;
    }
    let after = settled(server.pid())?;
    let mut warm = 0;
    for number in 0..INSTANCES {
        warm += u32::from(call(&server, number)?.header("mayfly-start") == "warm");
    }
    server.stop()?;
    ensure!(warm > 0, "no instance was idle: all were given up");
    let each = |before: u64, after: u64| (after as f64 - before as f64) / f64::from(warm);
    let instance = Instance {
        host_kib: each(before.host_kib(), after.host_kib()),
        guest_kib: each(before.guests_kib, after.guests_kib),
    };
    println!(
        "{warm} of {INSTANCES} instances were idle, each {:.1} KiB of the host, {:.1} KiB of the guest",
        instance.host_kib, instance.guest_kib
    );
    Ok(instance)
}

/// Deploys up to each of `counts`, restarts and looks.
fn idle_functions(counts: &[u32]) -> Result<Vec<(u32, Resident)>> {
    let mut found = Vec::new();
    let mut there = 0;
    for count in counts {
        let launch = Launch {
            name: NAME,
            keep: there > 0,
            ..Launch::default()
        };
        let server = Server::launch(launch)?;
        let began = Instant::now();
        deploy(&server, there..*count)?;
        println!(
            "{} deployments in {:.1} s",
            count - there,
            began.elapsed().as_secs_f64()
        );
        there = *count;
        server.stop()?;
        let server = Server::launch(Launch { keep: true, ..launch })?;
        let resident = settled(server.pid())?;
        println!("{count} functions: {} KiB", resident.all_kib);
        found.push((*count, resident));
        if there > 0 {
            call(&server, there - 1)?;
        }
        server.stop()?;
    }
    Ok(found)
}

/// One artifact under many names: the first by the client, which sends the file, the others through the API.
fn deploy(server: &Server, numbers: std::ops::Range<u32>) -> Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let file = paths::guest("hello-http");
    let first = name(numbers.start);
    let deployed = server.call(&["deploy", &file.to_string_lossy(), "--name", &first, "--json"])?;
    let deployed: Value = serde_json::from_str(&deployed)?;
    let digest = deployed["digest"].as_str().context("a deployment without a digest")?;
    let body = json!({ "artifact": digest }).to_string();
    let authorization = format!("Bearer {}", server.token()?);
    thread::scope(|scope| {
        let deployers: Vec<_> = (0..DEPLOYERS)
            .map(|deployer| {
                let mine = numbers.clone().skip(1 + deployer as usize).step_by(DEPLOYERS as usize);
                scope.spawn(|| deploy_each(&server.admin, mine, &authorization, &body))
            })
            .collect();
        for deployer in deployers {
            deployer.join().ok().context("a deployer panicked")??;
        }
        Ok(())
    })
}

fn deploy_each(admin: &str, numbers: impl Iterator<Item = u32>, authorization: &str, body: &str) -> Result<()> {
    let mut connection = Connection::open(admin)?;
    for number in numbers {
        let path = format!("/v1/ns/default/functions/{}", name(number));
        let answer = connection.send("PUT", &path, &[("authorization", authorization)], body)?;
        ensure!(
            answer.status == 201,
            "a deployment was answered with {}: {}",
            answer.status,
            answer.body
        );
    }
    Ok(())
}

fn call(server: &Server, number: u32) -> Result<Answer> {
    let answer = http::get(&format!("{}/{}", server.functions, name(number)))?;
    ensure!(answer.status == 200, "{} answered {}", name(number), answer.status);
    Ok(answer)
}

fn name(number: u32) -> String {
    format!("idle-{number}")
}

/// Memory once it stands still: a server that has just started, or was just called, still tidies up.
fn settled(pid: u32) -> Result<Resident> {
    let began = Instant::now();
    let mut since = Instant::now();
    let mut seen = Resident::of(pid)?;
    while since.elapsed() < STILL && began.elapsed() < STILL_WITHIN {
        thread::sleep(Duration::from_millis(200));
        let now = Resident::of(pid)?;
        if now.all_kib.abs_diff(seen.all_kib) > STILL_KIB {
            since = Instant::now();
            seen = now;
        }
    }
    Resident::of(pid)
}
