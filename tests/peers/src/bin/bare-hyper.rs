//! What an HTTP server costs that does nothing else: `bare-hyper ADDR:PORT` answers every request as `hello-http` does.
//! `cargo xtask bench` holds Mayfly against it.
#![expect(clippy::print_stdout, reason = "says when it listens")]

use std::convert::Infallible;
use std::io;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).context("usage: bare-hyper ADDR:PORT")?;
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        tokio::spawn(serve(listener.accept().await?.0));
    }
}

/// A client that goes away is none of our business.
async fn serve(socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let answers = http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(hello));
    answers.await.map_err(io::Error::other)
}

async fn hello(_request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"Hello, WASI!\n"))))
}
