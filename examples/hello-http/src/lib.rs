//! Answers every request with one line: the smallest standard `wasi:http` function, with nothing of Mayfly in it.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    // Nothing here can panic, and what prints a panic is left out of the file: it has a third of the size.
    fn handle(_request: IncomingRequest, response_out: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(response_out, Ok(response));

        let Ok(stream) = body.write() else { return };
        // An error means that the client has gone: there is nobody left to tell.
        let written = stream.blocking_write_and_flush(b"Hello, WASI!\n");
        drop(stream);
        if written.is_ok() {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}
