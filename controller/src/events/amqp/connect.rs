//! Connections to brokers. What a broker says, or does not say, costs no more than is written here.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use tokio::net::lookup_host;
use tokio::time::timeout;

/// Between two signs of life on a connection, in seconds.
const HEARTBEAT_SECONDS: u16 = 10;
/// The longest frame, in bytes: 32 of them have room in the memory of a connection, twice. It is RabbitMQ's own.
const FRAME_BYTES: u32 = 128 << 10;
/// How long it may take until a broker has let us in.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest reason that is shown, in characters.
const REASON_CHARS_MAX: usize = 256;

/// Why nothing comes of a broker at the moment, for people.
#[derive(Debug, Clone)]
pub(super) struct Trouble(pub(super) String);

impl Trouble {
    pub(super) fn new(reason: &str) -> Self {
        Self(reason.chars().take(REASON_CHARS_MAX).collect())
    }
}

impl From<lapin::Error> for Trouble {
    fn from(error: lapin::Error) -> Self {
        Self::new(&match error.kind() {
            ErrorKind::ProtocolError(error) => error.get_message().to_string(),
            ErrorKind::IOError(error) => format!("no connection to the broker: {error}"),
            ErrorKind::MissingHeartbeatError => "the broker has not been heard of for a while".to_owned(),
            ErrorKind::InvalidConnectionState(_) | ErrorKind::InvalidChannelState(..) => {
                "the connection to the broker has ended".to_owned()
            }
            _ => error.to_string(),
        })
    }
}

/// Connects to the broker that `url` names, as a client named `name`.
pub(super) async fn connect(url: &str, name: String) -> Result<Connection, Trouble> {
    // It was read before it was sealed.
    let mut uri: AMQPUri = url
        .parse()
        .map_err(|_| Trouble::new("the URL of the broker cannot be read"))?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    // Whatever it says: a broker that may choose could take all memory.
    uri.query.frame_max = Some(FRAME_BYTES);
    let attempt = Attempt::default();
    let socket = Arc::clone(&attempt.socket);
    let connecting = Connection::connector(
        uri,
        lapin::runtime::default_runtime()?,
        async move |uri: AMQPUri, runtime| {
            let opening = async {
                let addresses = addresses(&uri).await?;
                let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    socket.is(plain.get_ref().as_fd().try_clone_to_owned()?.into())?;
                }
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => {
                        let config = OwnedTLSConfig::default();
                        stream.into_tls(&uri.authority.host, config.as_ref()).await
                    }
                }
            };
            let opened = timeout(CONNECT_TIME_MAX, opening).await;
            Ok(opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?)
        },
        ConnectionProperties::default().with_connection_name(name.into()),
    );
    match timeout(CONNECT_TIME_MAX, connecting).await {
        Ok(connected) => {
            let connection = connected?;
            attempt.socket.forget();
            Ok(connection)
        }
        Err(_) => Err(Trouble::new("no connection to the broker: it does not answer")),
    }
}

async fn addresses(uri: &AMQPUri) -> io::Result<Vec<SocketAddr>> {
    let found = lookup_host((uri.authority.host.as_str(), uri.authority.port)).await?;
    Ok(found.collect())
}

/// A connection that is being made. Whoever no longer waits for it ends it: the client has a thread for each, which would wait
/// for as long as the other side says nothing.
#[derive(Default)]
struct Attempt {
    socket: Arc<Socket>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.socket.close();
    }
}

/// The socket of a connection, beside the client that has it.
#[derive(Default)]
struct Socket(Mutex<SocketState>);

#[derive(Default)]
enum SocketState {
    #[default]
    Opening,
    Open(TcpStream),
    /// It is the client's alone, or nobody's.
    Over,
}

impl Socket {
    fn is(&self, stream: TcpStream) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, SocketState::Over) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        *state = SocketState::Open(stream);
        Ok(())
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = SocketState::Over;
    }

    fn close(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let SocketState::Open(stream) = &*state {
            // It fails when it is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        *state = SocketState::Over;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
        names.filter(|name| name.starts_with("lapin")).count()
    }

    #[tokio::test]
    async fn a_broker_that_says_nothing_leaves_nothing_behind() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = tokio::spawn(async move {
            let mut said = [Vec::new(), Vec::new()];
            for said in &mut said {
                let (mut stream, _) = listener.accept().await.unwrap();
                // Until the other side has had enough.
                stream.read_to_end(said).await.unwrap();
            }
            said
        });
        for scheme in ["amqp", "amqps"] {
            let url = format!("{scheme}://a:b@{address}/x");
            let reason = connect(&url, "test".to_owned()).await.unwrap_err().0;
            assert!(!reason.is_empty() && !reason.contains("a:b"), "{reason}");
        }
        let closed = timeout(Duration::from_secs(10), silent).await;
        let said = closed.expect("both sockets are closed").unwrap();
        assert!(said.iter().all(|said| !said.is_empty()));
        let began = Instant::now();
        while threads() > 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "{} threads wait", threads());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
