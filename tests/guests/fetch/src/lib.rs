//! Sends the requests that it is told to send, and tells what came of them.

mod exchange;
mod plan;

use std::net::{TcpStream, ToSocketAddrs, UdpSocket};

use serde_json::{Value, json};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::StreamError;

use crate::exchange::Exchange;
use crate::plan::Plan;

/// The most that one blocking write may hold.
const WRITE_BYTES_MAX: usize = 4096;
const READ_BYTES: u64 = 64 * 1024;

struct Fetch;

wasip2::http::proxy::export!(Fetch);

impl Guest for Fetch {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.as_str() {
            "/sockets" => answer(out, &sockets()),
            "/stream" => stream(&plan_of(&request).requests[0], out),
            _ => answer(out, &run(&plan_of(&request))),
        }
    }
}

fn plan_of(request: &IncomingRequest) -> Plan {
    let body = request.consume().expect("the body was not taken before");
    let stream = body.stream().expect("the stream was not taken before");
    let mut text = Vec::new();
    while let Ok(piece) = stream.blocking_read(READ_BYTES) {
        text.extend(piece);
    }
    serde_json::from_slice(&text).expect("a plan")
}

/// One after the other, or all at once; `leave` leaves everything open.
fn run(plan: &Plan) -> Value {
    if plan.at_once {
        let begun: Vec<_> = plan.requests.iter().map(Exchange::begin).collect();
        return begun.into_iter().map(|it| finish(it, plan.leave)).collect();
    }
    let all = plan
        .requests
        .iter()
        .map(|request| finish(Exchange::begin(request), plan.leave));
    let results: Vec<_> = all.collect();
    assert!(!plan.trap, "the plan asked for this trap");
    Value::Array(results)
}

fn finish(begun: Result<Exchange, String>, leave: bool) -> Value {
    match begun {
        Ok(exchange) if leave => exchange.leave(),
        Ok(exchange) => exchange.finish(),
        Err(error) => json!({ "error": error }),
    }
}

fn answer(out: ResponseOutparam, value: &Value) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("the body was not taken before");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream was not taken before");
    let text = value.to_string();
    let written = text
        .as_bytes()
        .chunks(WRITE_BYTES_MAX)
        .all(|piece| stream.blocking_write_and_flush(piece).is_ok());
    drop(stream);
    if written {
        // An error means that the client has gone.
        let _ = OutgoingBody::finish(body, None);
    }
}

/// Passes a response on, piece by piece.
fn stream(request: &plan::Request, out: ResponseOutparam) {
    let exchange = Exchange::begin(request).expect("the request can be made");
    let (status, incoming) = exchange.response().expect("a response");
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("the status is a valid one");
    let body = response.body().expect("the body was not taken before");
    ResponseOutparam::set(out, Ok(response));
    let to = body.write().expect("the stream was not taken before");
    let from = incoming.stream().expect("the stream was not taken before");
    loop {
        match from.blocking_read(WRITE_BYTES_MAX as u64) {
            Ok(piece) => to.blocking_write_and_flush(&piece).expect("a client"),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => panic!("{}", error.to_debug_string()),
        }
    }
    drop(to);
    OutgoingBody::finish(body, None).expect("a client");
}

/// Tries what the standard library offers beside HTTP.
fn sockets() -> Value {
    let told = |result: std::io::Result<()>| result.map_or_else(|error| error.to_string(), |()| "allowed".to_owned());
    json!({
        "tcp": told(TcpStream::connect("127.0.0.1:80").map(drop)),
        "udp_bind": told(UdpSocket::bind("127.0.0.1:0").map(drop)),
        "udp_send": told(UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", "127.0.0.1:53").map(drop))),
        "listen": told(std::net::TcpListener::bind("127.0.0.1:0").map(drop)),
        "lookup": told(("localhost", 80).to_socket_addrs().map(drop)),
    })
}
