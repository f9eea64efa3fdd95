//! One connection to the platform, by a client that knows trailers.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderMap, TE};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mayfly_tests::WAIT_MAX;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What is sent as a body, with its trailers.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// An answer with all that came after its head.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

/// Sends one request after the other. Closes with the test's runtime.
pub(super) struct Connection {
    host: String,
    sender: Sender,
}

enum Sender {
    One(http1::SendRequest<Outgoing>),
    Two(http2::SendRequest<Outgoing>),
}

impl Connection {
    pub(super) async fn open(url: &str, version: Version) -> Self {
        let host = url.strip_prefix("http://").expect("plain HTTP").to_owned();
        let stream = TcpStream::connect(&host).await.expect("the server listens");
        let stream = TokioIo::new(stream);
        let sender = match version {
            Version::One => {
                let (sender, connection) = http1::handshake(stream).await.expect("a connection");
                tokio::spawn(connection);
                Sender::One(sender)
            }
            Version::Two => {
                let shaken = http2::handshake(TokioExecutor::new(), stream).await;
                let (sender, connection) = shaken.expect("a connection");
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        };
        Self { host, sender }
    }

    /// POSTs `body` to `path`; `te` says that this client takes trailers.
    pub(super) async fn post(&mut self, path: &str, headers: HeaderMap, te: bool, body: Outgoing) -> Answer {
        let authority = match self.sender {
            Sender::One(_) => String::new(),
            Sender::Two(_) => format!("http://{}", self.host),
        };
        let mut request = Request::post(format!("{authority}{path}"))
            .body(body)
            .expect("a valid request");
        *request.headers_mut() = headers;
        if te {
            request
                .headers_mut()
                .insert(TE, "trailers".parse().expect("a valid value"));
        }
        if matches!(self.sender, Sender::One(_)) {
            request
                .headers_mut()
                .insert(HOST, self.host.parse().expect("a valid value"));
        }
        timeout(WAIT_MAX, self.exchange(request)).await.expect("an answer")
    }

    async fn exchange(&mut self, request: Request<Outgoing>) -> Answer {
        let sent: BoxFuture<'_, _> = match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await.expect("the connection is still open");
                Box::pin(sender.send_request(request))
            }
            Sender::Two(sender) => {
                sender.ready().await.expect("the connection is still open");
                Box::pin(sender.send_request(request))
            }
        };
        let response: Response<hyper::body::Incoming> = sent.await.expect("the server answers");
        let (head, body) = response.into_parts();
        let collected = body.collect().await.expect("the answer is complete");
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            trailers: collected.trailers().cloned(),
            body: collected.to_bytes(),
        }
    }
}
