//! The other side of `cargo xtask bench queue`: a broker, somebody who fills a queue of it, and somebody who empties one and does
//! nothing else.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use mayfly_tests::Broker;
use tokio::time::Instant;

/// As many as our consumer is given ahead at most.
const PREFETCH: u16 = 256;
/// Messages that are not confirmed yet.
const UNCONFIRMED_MAX: usize = 1_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["broker"] => broker().await,
        ["publish", url, queue, count, bytes] => publish(url, queue, count.parse()?, bytes.parse()?).await,
        ["consume", url, queue, count] => consume(url, queue, count.parse()?).await,
        _ => bail!("amqp-peer broker | publish URL QUEUE COUNT BYTES | consume URL QUEUE COUNT"),
    }
}

/// Prints its URL; ends when its standard input does.
#[expect(clippy::print_stdout, reason = "whoever has started it reads the URL there")]
async fn broker() -> Result<()> {
    let broker = Broker::start().await.context("rabbitmq-server is not installed")?;
    println!("{}", broker.url());
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    ended.await??;
    Ok(())
}

async fn channel(url: &str, queue: &str) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel
        .queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default())
        .await?;
    Ok((connection, channel))
}

/// Persistent messages, all confirmed.
async fn publish(url: &str, queue: &str, count: usize, bytes: usize) -> Result<()> {
    let (_connection, channel) = channel(url, queue).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let body = vec![b'x'; bytes];
    let mut unconfirmed = Vec::with_capacity(UNCONFIRMED_MAX);
    for number in 1..=count {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish("".into(), queue.into(), options, &body, properties);
        unconfirmed.push(sent.await?);
        if unconfirmed.len() == UNCONFIRMED_MAX || number == count {
            for confirm in unconfirmed.drain(..) {
                ensure!(confirm.await?.is_ack(), "the broker has not taken a message");
            }
        }
    }
    Ok(())
}

/// Acknowledges each message; prints how many it were per second, from the first to the last.
#[expect(clippy::print_stdout, reason = "whoever has started it reads the figure there")]
async fn consume(url: &str, queue: &str, count: u32) -> Result<()> {
    let (_connection, channel) = channel(url, queue).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut messages = channel
        .basic_consume(
            queue.into(),
            "bare".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let mut began = Instant::now();
    for number in 0..count {
        let message = messages.next().await.context("the broker has ended the delivery")??;
        if number == 0 {
            began = Instant::now();
        }
        message.ack(BasicAckOptions::default()).await?;
    }
    println!("{}", f64::from(count) / began.elapsed().as_secs_f64());
    Ok(())
}
