//! What the hostile suite asks for: attacks on the host, on the wire and on other tenants.

use std::hint::spin_loop;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use wasip2::random::random::get_random_u64;

use crate::answer::Answer;
use crate::request::Wish;
use crate::{bombs, pry, sleep, wire};

/// Bytes of the endless answers that are written at once.
const PIECE_BYTES: usize = 4096;

/// Who this instance is; asked for at its first call.
static IDENTITY: OnceLock<u64> = OnceLock::new();
/// The first key that this instance was called with.
static FIRST_KEY: OnceLock<String> = OnceLock::new();
/// Calls that this instance has begun.
static BEGUN: AtomicU64 = AtomicU64::new(0);

pub(crate) fn handle(wish: &Wish, request: IncomingRequest, out: ResponseOutparam) {
    match wish.path() {
        "/answer-then-spin" => answer_then_spin(out),
        "/bomb" => bombs::drop_one(wish, out),
        "/first-key" => {
            let key = FIRST_KEY.get_or_init(|| wish.text("key").to_owned());
            Answer::text(out, key);
        }
        "/flood" => flood(out),
        "/identity" => identity(wish, out),
        "/lie" => wire::lie_about_length(wish, out),
        "/make-header" => wire::make_header(wish, out),
        "/make-url" => wire::make_url(wish, out),
        "/measure" => wire::measure(request, out),
        "/pry" => pry::pry(out),
        "/random" => Answer::text(out, &pry::random_hex()),
        _ => Answer::begin(out, 404).end(),
    }
}

/// Finishes its answer, and goes on working at its host's expense.
fn answer_then_spin(out: ResponseOutparam) {
    Answer::text(out, "that was all");
    loop {
        spin_loop();
    }
}

/// An answer without an end.
fn flood(out: ResponseOutparam) {
    let answer = Answer::begin(out, 200);
    while answer.write(&[b'x'; PIECE_BYTES]) {}
}

/// Says who it is before it waits, and before it may trap.
fn identity(wish: &Wish, out: ResponseOutparam) {
    let identity = IDENTITY.get_or_init(get_random_u64);
    let begun = BEGUN.fetch_add(1, Ordering::Relaxed) + 1;
    let answer = Answer::begin(out, 200);
    answer.write(format!("{identity:016x} {begun}\n").as_bytes());
    sleep(wish.number("ms", 0));
    if wish.number("trap", 0) > 0 {
        panic!("the request asked for this trap after it learnt who this is");
    }
    answer.end();
}
