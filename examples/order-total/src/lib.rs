//! Adds up an order: a function of the `event` kind, with types in and types out.

use mayfly_sdk::{Context, Error, Payload, handler};
use serde::{Deserialize, Serialize};

const TAX_PERCENT: u64 = 19;
const LINES_MAX: usize = 1_000;

#[derive(Deserialize)]
struct Order {
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    quantity: u16,
    unit_price_cents: u32,
}

#[derive(Debug, PartialEq, Serialize)]
struct Total {
    net_cents: u64,
    tax_cents: u64,
    total_cents: u64,
}

handler!(total);

#[expect(clippy::print_stderr, reason = "what a function prints is its log")]
async fn total(Payload(order): Payload<Order>, context: Context) -> Result<Total, Error> {
    let total = add_up(&order)?;
    eprintln!(
        "order {}: {} lines, {} cents",
        context.event_id,
        order.lines.len(),
        total.total_cents
    );
    Ok(total)
}

fn add_up(order: &Order) -> Result<Total, Error> {
    if !(1..=LINES_MAX).contains(&order.lines.len()) {
        return Err(Error::new(
            "invalid_order",
            format!("an order has 1 to {LINES_MAX} lines"),
        ));
    }
    let mut net_cents = 0;
    for (number, line) in (1..).zip(&order.lines) {
        if line.quantity == 0 {
            return Err(Error::new(
                "invalid_order",
                format!("line {number} has the quantity 0: leave it out"),
            ));
        }
        net_cents += u64::from(line.quantity) * u64::from(line.unit_price_cents);
    }
    // Half a cent counts as a whole one. The bounds above keep all of this far below 2^64.
    let tax_cents = (net_cents * TAX_PERCENT + 50) / 100;
    Ok(Total {
        net_cents,
        tax_cents,
        total_cents: net_cents + tax_cents,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tax_is_rounded_to_the_nearest_cent() {
        let order = Order {
            lines: vec![
                Line {
                    quantity: 2,
                    unit_price_cents: 450,
                },
                Line {
                    quantity: 1,
                    unit_price_cents: 50,
                },
            ],
        };
        assert_eq!(
            add_up(&order).unwrap(),
            Total {
                net_cents: 950,
                tax_cents: 181,
                total_cents: 1_131
            }
        );
    }

    #[test]
    fn the_largest_order_fits() {
        let lines = (0..LINES_MAX)
            .map(|_| Line {
                quantity: u16::MAX,
                unit_price_cents: u32::MAX,
            })
            .collect();
        assert!(add_up(&Order { lines }).is_ok());
    }

    #[test]
    fn an_order_without_lines_and_a_line_without_quantity_are_refused() {
        for lines in [
            vec![],
            vec![Line {
                quantity: 0,
                unit_price_cents: 1,
            }],
        ] {
            assert_eq!(add_up(&Order { lines }).unwrap_err().code(), "invalid_order");
        }
    }
}
