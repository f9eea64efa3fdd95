//! HTTP/1.1 byte by byte: requests that no client library would send, and what comes back.

use std::time::Duration;

use mayfly_tests::WAIT_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long nothing may come before the server is taken to have said all; far less than what it waits for itself.
const QUIET: Duration = Duration::from_millis(300);

/// All that came back on one connection.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) text: String,
    /// Whether the server closed the connection.
    pub(super) closed: bool,
}

/// The address behind an http URL.
pub(super) fn address_of(url: &str) -> &str {
    url.strip_prefix("http://").expect("plain HTTP")
}

/// Sends `bytes`, waits up to `patience` for a first answer, and reads until the server closes or goes quiet.
pub(super) async fn talk(url: &str, bytes: &[u8], patience: Duration) -> Talk {
    let mut stream = TcpStream::connect(address_of(url)).await.expect("the server listens");
    // It may have refused and closed before all of it was sent.
    let _ = timeout(WAIT_MAX, stream.write_all(bytes))
        .await
        .expect("the server takes or refuses it");
    let mut answer = Vec::new();
    let mut closed = false;
    let mut wait = patience;
    while let Ok(read) = timeout(wait, stream.read_buf(&mut answer)).await {
        // A reset after an answer is a close, too.
        if matches!(read, Ok(0) | Err(_)) {
            closed = true;
            break;
        }
        wait = QUIET;
    }
    Talk {
        text: String::from_utf8_lossy(&answer).into_owned(),
        closed,
    }
}

impl Talk {
    /// The statuses of all answers.
    pub(super) fn statuses(&self) -> Vec<u16> {
        let heads = self.text.match_indices("HTTP/1.");
        heads
            .filter_map(|(at, _)| self.text[at..].split(' ').nth(1)?.get(..3)?.parse().ok())
            .collect()
    }
}
