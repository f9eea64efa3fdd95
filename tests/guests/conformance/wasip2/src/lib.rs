//! The conformance contract (`../../README.md`) on the bare interface, as the other guests of ours are written.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

/// What is read at once.
const PIECE_BYTES: u64 = 64 * 1024;
/// The most that one blocking write may hold.
const WRITE_BYTES_MAX: usize = 4096;

struct Echo;

wasip2::http::proxy::export!(Echo);

impl Guest for Echo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let response = OutgoingResponse::new(answer(&request));
        let body = response.body().expect("the body was not taken before");
        ResponseOutparam::set(out, Ok(response));
        let incoming = request.consume().expect("the body was not taken before");
        if !copy(&incoming, &body) {
            return;
        }
        let trailers = trailers(incoming);
        // An error means that the client has gone: there is nobody left to tell.
        let _ = OutgoingBody::finish(body, trailers);
    }
}

/// The head of the answer.
fn answer(request: &IncomingRequest) -> Fields {
    let fields = Fields::new();
    let put = |name: &str, value: &[u8]| fields.append(name, value).expect("the field came in and may go out");
    put("seen-method", method(&request.method()).as_bytes());
    put("seen-target", request.path_with_query().unwrap_or_default().as_bytes());
    for (name, value) in request.headers().entries() {
        if name == "bake" {
            put("set-cookie", &value);
        } else if name == "trailer" || name.starts_with("echo-") {
            put(&name, &value);
        }
    }
    fields
}

fn method(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
}

/// Sends every piece back before it asks for the next one; `false` when the client has gone.
fn copy(incoming: &IncomingBody, outgoing: &OutgoingBody) -> bool {
    let input = incoming.stream().expect("the stream was not taken before");
    let output = outgoing.write().expect("the stream was not taken before");
    while let Ok(piece) = input.blocking_read(PIECE_BYTES) {
        for part in piece.chunks(WRITE_BYTES_MAX) {
            if output.blocking_write_and_flush(part).is_err() {
                return false;
            }
        }
    }
    true
}

fn trailers(incoming: IncomingBody) -> Option<Fields> {
    let trailers = IncomingBody::finish(incoming);
    trailers.subscribe().block();
    let trailers = trailers.get().expect("they are here").expect("they are taken once");
    trailers.expect("the request is complete")
}
