//! Connections to brokers. What a broker says, or does not say, costs no more than is written here.

use std::sync::Arc;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Between two signs of life on a connection, in seconds.
const HEARTBEAT_SECONDS: u16 = 10;
/// The longest frame, in bytes: 32 of them have room in the memory of a connection, twice. It is RabbitMQ's own.
const FRAME_BYTES: u32 = 128 << 10;
/// What a client says first.
const GREETING: &[u8] = b"AMQP\0\0\x09\x01";
/// How long a broker may take to answer that.
const GREETING_TIME_MAX: Duration = Duration::from_secs(5);
/// Connections that are being made at once. Each has a thread of its own, which ends when the broker says or closes something.
const CONNECTING_MAX: usize = 64;

/// Longest reason that is shown, in characters.
const REASON_CHARS_MAX: usize = 256;

/// Why nothing comes of a broker at the moment, for people.
#[derive(Debug)]
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

/// Makes connections. A clone is cheap and counts the same ones.
#[derive(Clone)]
pub(crate) struct Connector {
    places: Arc<Semaphore>,
}

impl Connector {
    pub(crate) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(CONNECTING_MAX)),
        }
    }

    /// Connects to the broker that `url` names, as a client named `name`.
    pub(super) async fn connect(&self, url: &str, name: String) -> Result<Connection, Trouble> {
        // It was read before it was sealed.
        let mut uri: AMQPUri = url
            .parse()
            .map_err(|_| Trouble::new("the URL of the broker cannot be read"))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        uri.query.frame_max = Some(uri.query.frame_max.map_or(FRAME_BYTES, |bytes| bytes.min(FRAME_BYTES)));
        match timeout(GREETING_TIME_MAX, greet(&uri)).await {
            Ok(answered) => answered.map_err(|error| Trouble::new(&format!("no connection to the broker: {error}")))?,
            Err(_) => return Err(Trouble::new("no connection to the broker: it does not answer")),
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Trouble::new("this server waits for too many brokers that do not answer; it is tried again")
        })?;
        // Connecting cannot be ended from outside: whoever no longer waits leaves it behind, and its place with it.
        let connecting = tokio::spawn(async move {
            let properties = ConnectionProperties::default().with_connection_name(name.into());
            let connected = Connection::connect_uri(uri, properties).await;
            drop(place);
            connected
        });
        match connecting.await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(Trouble::new("the client of RabbitMQ has failed")),
        }
    }
}

/// Fails when nobody is there, or one who says nothing: a thread would wait for them for as long as they like. With TLS only
/// the former is found out.
async fn greet(uri: &AMQPUri) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
    if uri.scheme == AMQPScheme::AMQP {
        stream.write_all(GREETING).await?;
        stream.read_u8().await?;
    }
    Ok(())
}
