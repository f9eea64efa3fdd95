//! A server that functions call: it keeps what it was sent, byte by byte, and answers as the test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What a connection is answered with.
#[derive(Debug, Clone)]
pub enum Answer {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// These bytes, then nothing more.
    Stall(Vec<u8>),
    /// The first bytes, then the second ones again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// Nothing until [`Upstream::release`], then these bytes.
    Held(Vec<u8>),
}

impl Answer {
    /// A plain answer with a body.
    #[must_use]
    pub fn ok(body: &str) -> Self {
        let length = body.len();
        Self::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes())
    }
}

/// Ends with the test's runtime.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    counts: Arc<Counts>,
    released: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: Mutex<Vec<String>>,
    opened: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

/// One connection among those that are open.
struct Opened(Arc<Counts>);

impl Upstream {
    /// Listens on a free port of 127.0.0.1. `answer` is given the request, head and body as they came.
    pub async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", None, answer).await
    }

    /// The same, with TLS.
    pub async fn start_tls(tls: ServerConfig, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", Some(TlsAcceptor::from(Arc::new(tls))), answer).await
    }

    /// The same, on any address.
    ///
    /// # Panics
    /// When the address is not free.
    pub async fn listen(
        address: &str,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (counts, released) = (Arc::<Counts>::default(), watch::Sender::new(false));
        let (counted, answer, release) = (Arc::clone(&counts), Arc::new(answer), released.subscribe());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let opened = Opened::count(&counted);
                let (tls, answer, release) = (tls.clone(), Arc::clone(&answer), release.clone());
                tokio::spawn(async move {
                    // An error is a client that went away, which is counted all the same.
                    drop(match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => talk(stream, &opened, &*answer, release).await,
                            Err(error) => Err(error),
                        },
                        None => talk(stream, &opened, &*answer, release).await,
                    });
                });
            }
        });
        Self {
            address,
            counts,
            released,
        }
    }

    /// Lets all connections go on that are held.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Takes the requests that came in so far.
    ///
    /// # Panics
    /// When a connection's task has panicked.
    #[must_use]
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.counts.requests.lock().expect("no task panics"))
    }

    /// Connections that were made so far.
    #[must_use]
    pub fn opened(&self) -> usize {
        self.counts.opened.load(SeqCst)
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(SeqCst)
    }

    /// The most connections that were open at once.
    #[must_use]
    pub fn most_open(&self) -> usize {
        self.counts.most_open.load(SeqCst)
    }
}

impl Opened {
    fn count(counts: &Arc<Counts>) -> Self {
        counts.opened.fetch_add(1, SeqCst);
        let open = counts.open.fetch_add(1, SeqCst) + 1;
        counts.most_open.fetch_max(open, SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    opened: &Opened,
    answer: &(dyn Fn(&str) -> Answer + Send + Sync),
    mut release: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let request = read_request(&mut stream).await?;
    opened.0.requests.lock().expect("no task panics").push(request.clone());
    match answer(&request) {
        Answer::Bytes(bytes) => stream.write_all(&bytes).await?,
        Answer::Stall(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            // Until the client goes; its end is an error too.
            stream.read_u8().await?;
        }
        Answer::Endless(first, again) => {
            stream.write_all(&first).await?;
            loop {
                stream.write_all(&again).await?;
            }
        }
        Answer::Held(bytes) => {
            let released = async { release.wait_for(|released| *released).await.is_ok() };
            let go_on = tokio::select! {
                released = released => released,
                _ = stream.read_u8() => false,
            };
            if go_on {
                stream.write_all(&bytes).await?;
            }
        }
    }
    stream.shutdown().await
}

/// Reads the head, and a body that is announced by its length or comes in chunks.
async fn read_request(stream: &mut (impl AsyncRead + Send + Unpin)) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split("\r\ncontent-length: ").nth(1);
            let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
            let complete = if head.contains("\r\ntransfer-encoding: chunked") {
                body.ends_with("0\r\n\r\n")
            } else {
                body.len() >= length.unwrap_or(0)
            };
            if complete {
                return Ok(text);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
