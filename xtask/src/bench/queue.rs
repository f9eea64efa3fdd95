//! `cargo xtask bench queue`: messages of RabbitMQ that go through a function, beside a consumer that only acknowledges.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::bench::events::delivered;
use crate::bench::report::{Report, Row};
use crate::bench::stats::{median, paired, round};
use crate::paths;
use crate::server::Server;
use crate::services;
use crate::summary::Summary;

const PART: &str = "queue";
const NAME: &str = "bench-queue";
const MESSAGES: usize = 50_000;
const MESSAGE_BYTES: usize = 100;
const ROUNDS: u32 = 3;
const BATCHES: [usize; 2] = [1, 100];
const DELIVERED_WITHIN: Duration = Duration::from_secs(300);

pub(super) fn run(summary: &mut Summary) -> Result<()> {
    super::prepare(summary)?;
    summary.part("RabbitMQ", services::rabbitmq)?;
    let broker = summary.part("a broker", Broker::start)?;
    let (mut bare, mut ours): (Vec<f64>, [Vec<f64>; 2]) = (Vec::new(), Default::default());
    for round in 1..=ROUNDS {
        summary.part(&format!("round {round} of {ROUNDS}"), || {
            bare.push(consumed(&broker, round)?);
            for (batch, figures) in BATCHES.iter().zip(&mut ours) {
                figures.push(through_a_function(&broker, *batch, round)?);
            }
            Ok(())
        })?;
    }
    let mut rows = vec![Row::new(
        "a bare consumer that acknowledges",
        format!("{:.0} per s", median(bare.iter().copied())),
        "",
    )];
    for (batch, figures) in BATCHES.iter().zip(&ours) {
        rows.push(Row::new(
            format!("through a function in batches of {batch}, over the bare consumer"),
            format!("{:.2}x", paired(figures, &bare, |a, b| a / b)),
            "",
        ));
        rows.push(Row::new(
            format!("through a function in batches of {batch}"),
            format!("{:.0} per s", median(figures.iter().copied())),
            "",
        ));
    }
    let rounded = |figures: &[f64]| figures.iter().map(|figure| round(*figure, 0)).collect::<Vec<_>>();
    let report = Report {
        part: PART,
        method: format!(
            "{MESSAGES} persistent messages of {MESSAGE_BYTES} bytes in a durable queue of a broker on the same machine, {ROUNDS} \
             rounds in turn. Bare: a lapin consumer that is given 256 ahead and acknowledges each, from the first to the last. \
             Ours: from the first message that a function (`hello-http`) has done to the last; each is durable in SQLite before it \
             is acknowledged, and in the ledger after it ran."
        ),
        with: json!({}),
        rows,
        data: json!({ "bare_per_s": rounded(&bare), "batch_1_per_s": rounded(&ours[0]), "batch_100_per_s": rounded(&ours[1]) }),
    };
    report.write(false)?;
    for row in &report.rows {
        println!("{}: {}", row.what, row.figure);
    }
    Ok(())
}

/// A broker that ends with this value.
struct Broker {
    peer: Child,
    _stays: ChildStdin,
    url: String,
}

impl Broker {
    fn start() -> Result<Self> {
        let mut peer = peer(&["broker"])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the release build did not make amqp-peer")?;
        let stays = peer.stdin.take().context("its standard input is a pipe")?;
        let mut url = String::new();
        BufReader::new(peer.stdout.take().context("its standard output is a pipe")?).read_line(&mut url)?;
        ensure!(!url.is_empty(), "the broker did not start");
        Ok(Self {
            peer,
            _stays: stays,
            url: url.trim().to_owned(),
        })
    }

    fn fill(&self, queue: &str) -> Result<()> {
        let (count, bytes) = (MESSAGES.to_string(), MESSAGE_BYTES.to_string());
        output(peer(&["publish", &self.url, queue, &count, &bytes])?).map(drop)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It ends its broker when nobody holds its standard input any more; that is dropped after this.
        self.peer.try_wait().ok();
    }
}

fn peer(args: &[&str]) -> Result<Command> {
    let program = paths::binary().with_file_name("amqp-peer");
    ensure!(program.exists(), "the release build did not make amqp-peer");
    let mut command = Command::new(program);
    command.args(args);
    Ok(command)
}

fn output(mut command: Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn consumed(broker: &Broker, round: u32) -> Result<f64> {
    let queue = format!("bare-{round}");
    broker.fill(&queue)?;
    Ok(output(peer(&["consume", &broker.url, &queue, &MESSAGES.to_string()])?)?.parse()?)
}

fn through_a_function(broker: &Broker, batch: usize, round: u32) -> Result<f64> {
    let queue = format!("ours-{batch}-{round}");
    broker.fill(&queue)?;
    let server = Server::start(NAME)?;
    let guest = paths::guest("hello-http");
    server.call(&["deploy", &guest.to_string_lossy(), "--name", "hello"])?;
    let batch = batch.to_string();
    let trigger = [
        "trigger",
        "create",
        "queue",
        "hello",
        "--amqp",
        &broker.url,
        "--queue",
        &queue,
        "--batch",
        &batch,
    ];
    server.call(&trigger)?;
    let mut first = 0;
    let waiting = Instant::now();
    while first == 0 {
        ensure!(waiting.elapsed() < DELIVERED_WITHIN, "nothing was delivered");
        first = delivered(&server)?;
        thread::sleep(Duration::from_millis(5));
    }
    let began = Instant::now();
    while delivered(&server)? < MESSAGES {
        ensure!(
            began.elapsed() < DELIVERED_WITHIN,
            "not delivered within {} s",
            DELIVERED_WITHIN.as_secs()
        );
        thread::sleep(Duration::from_millis(20));
    }
    let per_s = (MESSAGES - first) as f64 / began.elapsed().as_secs_f64();
    server.stop()?;
    Ok(per_s)
}
