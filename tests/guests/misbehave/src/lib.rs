//! Does what the request's path says, mostly bad things, each of which a host has to survive.

mod answer;
mod attack;
mod bombs;
mod pry;
mod request;
mod wire;

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use crate::answer::Answer;
use crate::request::{Wish, describe};

const MIB: usize = 1024 * 1024;
const PAGE_BYTES: usize = 64 * 1024;

/// Requests that this instance has counted.
static COUNT: AtomicU64 = AtomicU64::new(0);

struct Misbehave;

wasip2::http::proxy::export!(Misbehave);

impl Guest for Misbehave {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let wish = Wish::of(&request);
        match wish.path() {
            "/count" => Answer::text(out, &(COUNT.fetch_add(1, Ordering::Relaxed) + 1).to_string()),
            "/echo" => echo(request, out),
            "/headers" => Answer::text(out, &describe(&request).to_string()),
            // An event comes there, too.
            "/" if request.headers().has("ce-id") => Answer::text(out, &describe(&request).to_string()),
            "/memory" => {
                let mib = wish.number("mib", 1);
                take_memory(mib);
                Answer::text(out, &format!("{mib} MiB"));
            }
            "/no-response" => {}
            "/panic-after-head" => {
                let answer = Answer::begin(out, 200);
                answer.write(b"the beginning of an answer\n");
                panic!("the request asked for this trap in the middle of the answer");
            }
            "/print" => {
                print(wish.number("lines", 1));
                Answer::text(out, "printed");
            }
            "/sleep" => {
                sleep(wish.number("ms", 10));
                Answer::text(out, "slept");
            }
            "/slow-body" => slow_body(out, wish.number("chunks", 5), wish.number("ms", 10)),
            "/spin" => loop {
                spin_loop();
            },
            "/trap" => panic!("the request asked for this trap"),
            _ => attack::handle(&wish, request, out),
        }
    }
}

/// Sends every piece of the body back before it asks for the next one.
fn echo(request: IncomingRequest, out: ResponseOutparam) {
    const PIECE_BYTES: u64 = 64 * 1024;
    let body = request.consume().expect("the body was not taken before");
    let pieces = body.stream().expect("the stream was not taken before");
    let answer = Answer::begin(out, 200);
    while let Ok(piece) = pieces.blocking_read(PIECE_BYTES) {
        if !answer.write(&piece) {
            return;
        }
    }
    answer.end();
}

fn take_memory(mib: u64) {
    let bytes = usize::try_from(mib).expect("more than there can be") * MIB;
    let mut memory = vec![0_u8; bytes];
    for page in memory.chunks_mut(PAGE_BYTES) {
        page[0] = 1;
    }
    black_box(&memory);
}

#[expect(clippy::print_stdout, reason = "what a function prints is its log")]
fn print(lines: u64) {
    for line in 1..=lines {
        println!("line {line} of {lines}");
    }
}

fn slow_body(out: ResponseOutparam, chunks: u64, ms: u64) {
    let answer = Answer::begin(out, 200);
    for chunk in 1..=chunks {
        if !answer.write(format!("chunk {chunk} of {chunks}\n").as_bytes()) {
            return;
        }
        sleep(ms);
    }
    answer.end();
}

fn sleep(ms: u64) {
    monotonic_clock::subscribe_duration(ms * 1_000_000).block();
}
