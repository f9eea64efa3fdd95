//! One request and its response, over a connection of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Fuse, FusedFuture};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody};

use super::address::PrivateNetwork;
use super::allowance::{Admitted, Allowance};
use super::body::{RequestBody, ResponseBody};
use super::connect::{Stream, connect, encrypt};
use super::request::Route;
use super::resolve::open_addresses;
use super::{Outbound, Sent, failure};
use crate::config::{
    OUTBOUND_CONNECT_TIME, OUTBOUND_HEAD_BYTES_MAX, OUTBOUND_HEADERS_MAX, OUTBOUND_INTERIM_MAX,
    OUTBOUND_RESPONSE_BYTES_MAX,
};

/// What moves the body of a response along; it is polled until it has ended.
pub(super) type Connection = Fuse<http1::Connection<TokioIo<Box<dyn Stream>>, RequestBody>>;

/// How long the parts of an exchange may take; none of them is longer than the invocation.
struct Patience {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Patience {
    fn new(options: RequestOptions, remaining: Duration) -> Self {
        let at_most = |wanted: Option<Duration>| wanted.unwrap_or(remaining).min(remaining);
        Self {
            connect: at_most(Some(options.connect_timeout.unwrap_or(OUTBOUND_CONNECT_TIME))),
            first_byte: at_most(options.first_byte_timeout),
            between_bytes: at_most(options.between_bytes_timeout),
        }
    }
}

/// Sends `request` and returns the response as soon as its head is there. What comes with it moves the rest along and
/// has to be polled until it ends.
pub(crate) async fn send(
    allowance: Arc<Allowance>,
    admitted: Admitted,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Sent, HttpError> {
    let patience = Patience::new(options, allowance.remaining());
    let request = admitted.route.rewrite(request)?.map(RequestBody::new);
    let connect_by = Instant::now() + patience.connect;
    let place = allowance.connection(connect_by).await?;
    let networks = allowance.networks(&admitted);
    let stream = open(allowance.outbound(), &admitted.route, networks, connect_by)
        .await
        .inspect_err(|error| {
            if matches!(error, HttpError::DestinationIpProhibited) {
                allowance.note_prohibited(&admitted);
            }
        })?;
    let (response, connection) = ask(stream, request, patience.first_byte).await?;
    let response = bounded(response, patience.between_bytes)?;
    let ended = allowance.ended();
    let rest = async move {
        if !connection.is_terminated() {
            // How it ended is told by the body; with the invocation it just ends.
            drop(ended.run_until_cancelled_owned(connection).await);
        }
        drop(place);
        Ok(())
    };
    Ok((response, Box::new(rest)))
}

/// Looks the host up, checks what was found, connects to that.
pub(super) async fn open(
    outbound: &Outbound,
    route: &Route,
    networks: &[PrivateNetwork],
    by: Instant,
) -> Result<Box<dyn Stream>, HttpError> {
    let looking_up = open_addresses(&*outbound.resolver, &route.destination, networks);
    let addresses = timeout_at(by, looking_up)
        .await
        .map_err(|_elapsed| HttpError::DnsTimeout)??;
    let stream = connect(&addresses, by).await?;
    if route.tls {
        encrypt(&outbound.tls, &route.destination, stream, by).await
    } else {
        Ok(Box::new(stream))
    }
}

/// Sends a request over a connection of its own. Gives the head of the response, whose body comes while the connection is
/// polled.
pub(super) async fn ask(
    stream: Box<dyn Stream>,
    request: Request<RequestBody>,
    first_byte: Duration,
) -> Result<(Response<Incoming>, Connection), HttpError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(OUTBOUND_HEADERS_MAX)
        .max_header_size(OUTBOUND_HEAD_BYTES_MAX)
        .max_buf_size(OUTBOUND_HEAD_BYTES_MAX)
        .handshake::<_, RequestBody>(TokioIo::new(stream))
        .await
        .map_err(|error| failure::before_head(&error))?;
    let mut connection = connection.fuse();
    let head = timeout(first_byte, head(&mut sender, &mut connection, request)).await;
    let response = head.map_err(|_elapsed| HttpError::ConnectionReadTimeout)??;
    Ok((response, connection))
}

/// The head of the response. The connection moves only while it is polled.
async fn head(
    sender: &mut http1::SendRequest<RequestBody>,
    connection: &mut (impl FusedFuture<Output = hyper::Result<()>> + Unpin),
    mut request: Request<RequestBody>,
) -> Result<Response<Incoming>, HttpError> {
    let too_many = interim_bound(&mut request);
    let mut sending = std::pin::pin!(sender.send_request(request));
    let answered = tokio::select! {
        biased;
        () = too_many.cancelled() => return Err(HttpError::HttpProtocolError),
        response = &mut sending => response,
        ended = connection => match ended {
            Ok(()) => sending.await,
            Err(error) => Err(error),
        },
    };
    if too_many.is_cancelled() {
        // The connection may have ended in the same moment.
        return Err(HttpError::HttpProtocolError);
    }
    answered.map_err(|error| failure::before_head(&error))
}

/// Ends when more heads have come that are not the response's than may; hyper takes any number of them.
fn interim_bound(request: &mut Request<RequestBody>) -> CancellationToken {
    let too_many = CancellationToken::new();
    let (seen, bound) = (AtomicUsize::new(0), too_many.clone());
    hyper::ext::on_informational(request, move |_| {
        if seen.fetch_add(1, Relaxed) >= OUTBOUND_INTERIM_MAX {
            bound.cancel();
        }
    });
    too_many
}

fn bounded(response: Response<Incoming>, between_bytes: Duration) -> Result<Response<WasiBody>, HttpError> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(HttpError::HttpUpgradeFailed);
    }
    let announced = response.body().size_hint().lower();
    if announced > OUTBOUND_RESPONSE_BYTES_MAX {
        return Err(HttpError::HttpResponseBodySize(Some(announced)));
    }
    Ok(response.map(|body| ResponseBody::new(body, between_bytes).boxed_unsync()))
}
