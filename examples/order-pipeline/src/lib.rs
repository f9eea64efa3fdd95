//! Prices orders on their way from one queue to the next: a function of the `event` kind with the types of AWS Lambda.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use mayfly_sdk::queue::Message;
use mayfly_sdk::{Context, Error, handler};
use serde::{Deserialize, Serialize};

/// Where priced orders go.
const NEXT_QUEUE: &str = "priced-orders";

#[derive(Deserialize)]
struct Order {
    id: u64,
    customer: String,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    quantity: u16,
    unit_price_cents: u32,
}

#[derive(Serialize)]
struct Priced<'a> {
    id: u64,
    customer: &'a str,
    total_cents: u64,
}

handler!(price);

/// Orders that are no orders are named as failures: they come again, and are given up by themselves.
#[expect(clippy::print_stderr, reason = "what a function prints is its log")]
async fn price(event: SqsEvent, _context: Context) -> Result<SqsBatchResponse, Error> {
    let mut response = SqsBatchResponse::default();
    for message in event.records {
        if let Err(error) = pass_on(&message).await {
            eprintln!("order {:?}: {error}", message.message_id);
            response.add_failure(message.message_id.unwrap_or_default());
        }
    }
    Ok(response)
}

async fn pass_on(message: &SqsMessage) -> Result<(), Error> {
    let order: Order = serde_json::from_str(message.body.as_deref().unwrap_or_default())?;
    let priced = Priced {
        id: order.id,
        customer: &order.customer,
        total_cents: order
            .lines
            .iter()
            .map(|line| u64::from(line.quantity) * u64::from(line.unit_price_cents))
            .sum(),
    };
    let size = if priced.total_cents >= 100_000 {
        "large"
    } else {
        "small"
    };
    Message::json(&priced)?.attribute("size", size).send(NEXT_QUEUE).await?;
    Ok(())
}
