//! Calls that ask the host for more memory than a guest may have.

use std::mem::forget;

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::types::{Fields, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::OutputStream;
use wasip2::random::random::get_random_bytes;

use crate::answer::Answer;
use crate::request::Wish;

/// More than a test waits for, so that a pollable is never ready.
const NEVER_NS: u64 = 3_600_000_000_000;
/// Of a header field that is kept; a few of them fill the host's limit for one list.
const FIELD_BYTES: usize = 1000;
/// Header fields in one list.
const FIELDS_PER_LIST: usize = 28;

/// Does what `what` says with `count`, and tells how far it came. Most never come to an answer.
pub(crate) fn drop_one(wish: &Wish, out: ResponseOutparam) {
    let count = wish.number("count", 1);
    let came = match wish.text("what") {
        "appends" => append(count),
        "field-lists" => hoard(count, full_fields),
        "list" => one_long_list(count),
        "log" => log(count, wish.number("piece", 1), wish.number("byte", u64::from(b'x'))),
        "pollables" => hoard(count, || subscribe_duration(NEVER_NS)),
        "random" => get_random_bytes(count).len() as u64,
        "responses" => hoard(count, || OutgoingResponse::new(Fields::new())),
        "streams" => hoard(count, wasip2::cli::stdout::get_stdout),
        "string" => one_long_name(count),
        "write" => one_long_write(count),
        _ => 0,
    };
    Answer::text(out, &came.to_string());
}

/// Makes `count` resources and gives none back.
fn hoard<T>(count: u64, make: impl Fn() -> T) -> u64 {
    for _ in 0..count {
        forget(make());
    }
    count
}

/// As much as the host lets one list of header fields hold.
fn full_fields() -> Fields {
    let fields = Fields::new();
    for number in 0..FIELDS_PER_LIST {
        if fields.append(&format!("x-{number}"), &[b'v'; FIELD_BYTES]).is_err() {
            break;
        }
    }
    fields
}

/// Appends to one list until it is refused; tells how many were taken.
fn append(count: u64) -> u64 {
    let fields = Fields::new();
    let mut taken = 0;
    for _ in 0..count {
        taken += u64::from(fields.append("a", b"").is_ok());
    }
    taken
}

/// Hands over a list of `count` header fields in one call.
fn one_long_list(count: u64) -> u64 {
    let list = vec![(String::new(), Vec::new()); length(count)];
    u64::from(Fields::from_list(&list).is_ok())
}

/// Hands over a name of `count` bytes.
fn one_long_name(count: u64) -> u64 {
    u64::from(Fields::new().append(&"n".repeat(length(count)), b"").is_ok())
}

/// Hands over `count` bytes to a stream that takes far less.
fn one_long_write(count: u64) -> u64 {
    let bytes = vec![b'w'; length(count)];
    u64::from(wasip2::cli::stdout::get_stdout().write(&bytes).is_ok())
}

/// Prints `count` bytes in pieces, without a line feed.
fn log(count: u64, piece: u64, byte: u64) -> u64 {
    let stdout: OutputStream = wasip2::cli::stdout::get_stdout();
    let bytes = vec![u8::try_from(byte).expect("a byte"); length(piece)];
    let mut printed = 0;
    while printed < count {
        stdout
            .blocking_write_and_flush(&bytes)
            .expect("standard output takes everything");
        printed += piece;
    }
    printed
}

fn length(count: u64) -> usize {
    usize::try_from(count).expect("fits the address space")
}
