//! A listener: accepts connections, serves HTTP/1.1 and HTTP/2 on them, and drains them at the end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Bounds, HEAD_BYTES_MAX, HEADERS_MAX, HTTP2_STREAMS_MAX};

/// How long a draining server still answers on connections that are in use before it closes idle ones: a request that
/// was already on its way gets its answer, with the word that it was the last.
const LAST_REQUESTS_TIME: Duration = Duration::from_millis(250);
/// How long the last bytes of the last answer may take when nothing else is under way.
const LAST_BYTES_TIME: Duration = Duration::from_secs(5);
/// How an HTTP/2 connection begins.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pause between two looks at a preface that has come in part.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);
/// Pause after the kernel refused a connection, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers the requests of all connections of a listener.
pub(crate) trait Answer: Send + Sync + 'static {
    type Body: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// Whether its clients may speak HTTP/2.
    const SPEAKS_HTTP2: bool = true;

    fn answer(&self, request: Request<Incoming>, peer: SocketAddr)
    -> impl Future<Output = Response<Self::Body>> + Send;

    /// Waits until no answer is still being made after its head.
    fn quiet(&self) -> impl Future<Output = ()> + Send;
}

/// Serves until `stop`, then until all accepted requests are answered or the drain time is over.
pub(crate) async fn serve<A: Answer>(listener: TcpListener, answer: Arc<A>, bounds: &Bounds, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(bounds.connections_max));
    let connections = TaskTracker::new();
    let server = Arc::new(Server {
        answer,
        builder: builder(bounds, A::SPEAKS_HTTP2),
        head_time_max: bounds.head_time_max,
        write_time_max: bounds.write_time_max,
        stop: stop.clone(),
        requests: TaskTracker::new(),
    });
    let accepting = async {
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let (stream, peer) = accept(&listener).await;
            connections.spawn(Arc::clone(&server).connection(stream, peer, permit));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop.cancelled() => {}
    }
    // What the kernel has accepted for us is ours to answer.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            break;
        };
        connections.spawn(Arc::clone(&server).connection(stream, peer, permit));
    }
    drop(listener);
    connections.close();
    // A client may keep its connection open for as long as it likes; it is waited for only while there is work on it.
    let idle = async {
        tokio::time::sleep(LAST_REQUESTS_TIME).await;
        server.requests.close();
        server.requests.wait().await;
        server.answer.quiet().await;
        tokio::time::sleep(LAST_BYTES_TIME).await;
    };
    tokio::select! {
        () = connections.wait() => {}
        () = idle => tracing::info!(open = connections.len(), "connections without work are closed"),
        () = tokio::time::sleep(bounds.drain_time_max) => {
            tracing::warn!(open = connections.len(), "drain time is over: connections are cut");
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn builder(bounds: &Bounds, speaks_http2: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    if !speaks_http2 {
        builder = builder.http1_only();
    }
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_time_max)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

struct Server<A> {
    answer: Arc<A>,
    builder: Builder<TokioExecutor>,
    head_time_max: Duration,
    write_time_max: Duration,
    stop: CancellationToken,
    /// One token for each request that has no head of an answer yet.
    requests: TaskTracker,
}

impl<A: Answer> Server<A> {
    /// Waits until it is clear which version of HTTP the client speaks: hyper's own time limits begin only then.
    async fn speaks(&self, stream: &TcpStream) -> bool {
        let version = async {
            let mut start = [0; HTTP2_PREFACE.len()];
            loop {
                let known = stream.peek(&mut start).await.unwrap_or(0);
                let undecided = known > 0 && known < start.len() && HTTP2_PREFACE.starts_with(&start[..known]);
                if !undecided {
                    return known > 0;
                }
                // What has come stays readable, so there is nothing to wait for but time.
                tokio::time::sleep(PREFACE_PAUSE).await;
            }
        };
        tokio::select! {
            spoken = tokio::time::timeout(self.head_time_max, version) => spoken.unwrap_or(false),
            () = self.draining() => false,
        }
    }

    async fn draining(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LAST_REQUESTS_TIME).await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, _permit: OwnedSemaphorePermit) {
        if !self.speaks(&stream).await {
            tracing::debug!(%peer, "a connection said nothing in time");
            return;
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let service = service_fn(|request: Request<Incoming>| {
            let server = Arc::clone(&self);
            async move {
                let _under_way = server.requests.token();
                let version = request.version();
                let asks_first = request.headers().contains_key(header::EXPECT);
                let mut response = server.answer.answer(request, peer).await;
                // Who asked first whether to send a body, and is refused, may send it or not: nobody can know what comes next.
                let is_unclear = asks_first && response.status().as_u16() >= 400;
                if version == Version::HTTP_11 && (server.stop.is_cancelled() || is_unclear) {
                    response
                        .headers_mut()
                        .insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_time_max));
        let stream = TokioIo::new(Box::pin(stream));
        let mut connection = pin!(self.builder.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.draining() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error, "connection ended with an error");
        }
    }
}
