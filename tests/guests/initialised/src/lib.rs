//! Builds a large table in its init function and answers from it; also tells how often it was initialised, and what
//! random bytes it gets.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::random::random::get_random_bytes;

/// Numbers whose ways to 1 are counted.
const NUMBERS: usize = 200_000;

/// How many steps each number takes to 1 (halve it when it is even, else take it three times and add 1).
static STEPS: OnceLock<Vec<u32>> = OnceLock::new();
/// How often the init function has run on this memory.
static INITS: AtomicU32 = AtomicU32::new(0);

struct Initialised;

mayfly_sdk::init!(initialise);
wasip2::http::proxy::export!(Initialised);

fn initialise() {
    INITS.fetch_add(1, Ordering::Relaxed);
    STEPS.get_or_init(|| (0..NUMBERS).map(steps).collect());
}

fn steps(number: usize) -> u32 {
    let (mut number, mut steps) = (number as u64, 0);
    while number > 1 {
        number = if number.is_multiple_of(2) {
            number / 2
        } else {
            3 * number + 1
        };
        steps += 1;
    }
    steps
}

impl Guest for Initialised {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let text = match path.trim_start_matches('/') {
            "inits" => INITS.load(Ordering::Relaxed).to_string(),
            "random" => get_random_bytes(16).iter().map(|byte| format!("{byte:02x}")).collect(),
            number => {
                let number: usize = number.parse().unwrap_or_default();
                let steps = STEPS.get().and_then(|steps| steps.get(number));
                steps.map_or("not initialised".to_owned(), u32::to_string)
            }
        };
        answer(out, &text);
    }
}

fn answer(out: ResponseOutparam, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("the body was not taken before");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream was not taken before");
    // An error means that the client has gone: there is nobody left to tell.
    let _ = stream.blocking_write_and_flush(text.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}
