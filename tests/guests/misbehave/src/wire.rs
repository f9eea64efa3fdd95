//! What a guest can try to put on the wire, and what it sees of a request.

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

use crate::answer::Answer;
use crate::request::{Wish, method};

/// Says how long its answer is, whatever it writes.
pub(crate) fn lie_about_length(wish: &Wish, out: ResponseOutparam) {
    let headers = Fields::new();
    for said in wish.text("said").split(',').filter(|said| !said.is_empty()) {
        // Refused by the host or taken off by it: both are an end of the attack.
        let _ = headers.append("content-length", said.as_bytes());
    }
    if wish.number("chunked", 0) > 0 {
        let _ = headers.append("transfer-encoding", b"chunked");
    }
    let response = OutgoingResponse::new(headers);
    let body = response.body().expect("the body was not taken before");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream was not taken before");
    let written = vec![b'w'; usize::try_from(wish.number("written", 0)).expect("a size")];
    if wish.number("unflushed", 0) > 0 {
        // It never gives way: all that it wrote is there when it ends.
        let _ = stream.check_write().and_then(|_room| stream.write(&written));
    } else {
        let _ = written
            .chunks(1)
            .try_for_each(|byte| stream.blocking_write_and_flush(byte));
    }
    drop(stream);
    if wish.number("open", 0) > 0 {
        std::mem::forget(body);
    } else if wish.number("unfinished", 0) == 0 {
        // The host may find that the length does not hold; it is for the client to see what it makes of that.
        let _ = OutgoingBody::finish(body, None);
    }
}

/// Puts one byte into the name or the value of a header of its answer; tells in the body whether it was let.
pub(crate) fn make_header(wish: &Wish, out: ResponseOutparam) {
    let byte = u8::try_from(wish.number("byte", 0)).expect("a byte");
    let at = usize::try_from(wish.number("at", 0)).expect("a place");
    let headers = Fields::new();
    let taken = match wish.text("place") {
        "name" => {
            let mut name = "x-name".to_owned();
            name.insert(at.min(name.len()), char::from(byte));
            headers.append(&name, b"value").is_ok()
        }
        _ => {
            let mut value = b"value".to_vec();
            let injected = [&[byte], b"x-injected: yes".as_slice()].concat();
            value.splice(at.min(5)..at.min(5), injected);
            headers.append("x-value", &value).is_ok()
        }
    };
    let response = OutgoingResponse::new(headers);
    let body = response.body().expect("the body was not taken before");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream was not taken before");
    let said = if taken { "taken" } else { "refused" };
    let _ = stream.blocking_write_and_flush(said.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// Builds a request whose parts are `bytes` long; tells which parts the host took.
pub(crate) fn make_url(wish: &Wish, out: ResponseOutparam) {
    let bytes = usize::try_from(wish.number("bytes", 1)).expect("fits the address space");
    let request = OutgoingRequest::new(Fields::new());
    let long = "u".repeat(bytes);
    let taken = [
        request.set_path_with_query(Some(&format!("/{long}"))).is_ok(),
        request.set_path_with_query(Some(&format!("/?{long}"))).is_ok(),
        request.set_authority(Some(&long)).is_ok(),
        request.set_scheme(Some(&Scheme::Other(long))).is_ok(),
    ];
    Answer::text(out, &format!("{taken:?}"));
}

/// Tells the method, the path, and how many bytes of body came, whole or broken.
pub(crate) fn measure(request: IncomingRequest, out: ResponseOutparam) {
    let head = format!(
        "{} {}",
        method(&request.method()),
        request.path_with_query().unwrap_or_default()
    );
    let body = request.consume().expect("the body was not taken before");
    let pieces = body.stream().expect("the stream was not taken before");
    let mut bytes = 0;
    let ended = loop {
        match pieces.blocking_read(64 * 1024) {
            Ok(piece) => bytes += piece.len(),
            Err(StreamError::Closed) => break "whole",
            Err(StreamError::LastOperationFailed(_)) => break "broken",
        }
    };
    println_to_log(&format!("measured {head} {ended} {bytes}"));
    Answer::text(out, &format!("{head} {ended} {bytes}"));
}

#[expect(clippy::print_stdout, reason = "what a function prints is its log")]
fn println_to_log(line: &str) {
    println!("{line}");
}
