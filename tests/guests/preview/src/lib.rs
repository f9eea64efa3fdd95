//! A function of WASI 0.3: sends back what it gets, piece by piece, and misbehaves when told to.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response};
use wasip3::wit_bindgen::{StreamResult, spawn_local};
use wasip3::{wit_future, wit_stream};

/// More than a test waits for.
const NEVER_NS: u64 = 3_600_000_000_000;
/// Memory that is taken at a time, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Requests that this instance has had.
static REQUESTS: AtomicU32 = AtomicU32::new(0);

struct Preview;

wasip3::http::service::export!(Preview);

impl Guest for Preview {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
        let target = request.get_path_with_query().unwrap_or_default();
        match target.split('?').next().unwrap_or_default() {
            "/count" => Ok(text(number.to_string())),
            "/fail" => Err(ErrorCode::ConfigurationError),
            "/hoard" => hoard(),
            "/pass-on" => Ok(pass_on(request)),
            "/sleep" => {
                wait_for(NEVER_NS).await;
                Ok(text("awake".to_owned()))
            }
            "/spin" => loop {
                black_box(());
            },
            "/spin-after-answer" => {
                spawn_local(async {
                    loop {
                        black_box(());
                    }
                });
                Ok(text("answered".to_owned()))
            }
            "/trap" => panic!("told to"),
            _ => Ok(echo(request, &target)),
        }
    }
}

/// The request's method, target and headers as headers, its body and trailers as they come.
fn echo(request: Request, target: &str) -> Response {
    let headers = Fields::new();
    let add = |name: &str, value: &[u8]| headers.append(name, value).expect("a header that came can go");
    add("x-method", method_of(&request).as_bytes());
    add("x-target", target.as_bytes());
    for (name, value) in request.get_headers().copy_all() {
        if name.starts_with("x-") || name == "trailer" {
            add(&name, &value);
        }
    }
    let (arrived_sender, arrived) = wit_future::new(|| Ok(()));
    // Nothing is wrong with it.
    drop(arrived_sender);
    let (mut source, source_trailers) = Request::consume_body(request, arrived);
    let (mut sink, body) = wit_stream::new();
    let (trailers_sender, trailers) = wit_future::new(|| Ok(None));
    spawn_local(async move {
        loop {
            let (status, piece) = source.read(Vec::with_capacity(PIECE_BYTES)).await;
            let left = sink.write_all(piece).await;
            if !left.is_empty() {
                // The client has gone.
                return;
            }
            if status == StreamResult::Dropped {
                break;
            }
        }
        drop(sink);
        // The same: nobody waits for them any more.
        let _unwanted = trailers_sender.write(source_trailers.await).await;
    });
    Response::new(headers, Some(body), trailers).0
}

/// The request's body as it comes, without touching it: the guest ends at once.
fn pass_on(request: Request) -> Response {
    let (arrived_sender, arrived) = wit_future::new(|| Ok(()));
    // Nothing is wrong with it.
    drop(arrived_sender);
    let (source, trailers) = Request::consume_body(request, arrived);
    Response::new(Fields::new(), Some(source), trailers).0
}

fn method_of(request: &Request) -> String {
    match request.get_method() {
        Method::Get => "GET".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Other(other) => other,
        other => format!("{other:?}"),
    }
}

/// Takes memory until there is no more.
fn hoard() -> ! {
    let mut all = Vec::new();
    loop {
        all.push(black_box(vec![1_u8; PIECE_BYTES]));
    }
}

/// An answer that is written after it was returned.
fn text(text: String) -> Response {
    let (mut body_sender, body) = wit_stream::new();
    let (trailers_sender, trailers) = wit_future::new(|| Ok(None));
    drop(trailers_sender);
    spawn_local(async move {
        // What is left was not wanted: the client has gone.
        let _left = body_sender.write_all(text.into_bytes()).await;
    });
    Response::new(Fields::new(), Some(body), trailers).0
}
