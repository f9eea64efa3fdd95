//! A TCP proxy that counts what a client sends through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

/// Passes connections on and counts; ends with the test's runtime.
#[derive(Debug)]
pub struct CountingProxy {
    /// Base address to give to the client.
    pub url: String,
    sent_bytes: Arc<AtomicU64>,
}

impl CountingProxy {
    /// Listens on a free port in front of `url`.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn in_front_of(url: &str) -> Self {
        let target = url.strip_prefix("http://").expect("an http:// address").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let sent_bytes = Arc::new(AtomicU64::new(0));
        let counter = sent_bytes.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, target.clone(), counter.clone()));
            }
        });
        Self {
            url: format!("http://{address}"),
            sent_bytes,
        }
    }

    /// Bytes that clients have sent since the last call, HTTP heads included.
    #[must_use]
    pub fn take_sent_bytes(&self) -> u64 {
        self.sent_bytes.swap(0, Ordering::SeqCst)
    }
}

async fn pass_on(client: TcpStream, target: String, sent_bytes: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let upstream = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = client_read.read(&mut buffer).await {
            sent_bytes.fetch_add(count as u64, Ordering::SeqCst);
            if server_write.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        server_write.shutdown().await.ok();
    };
    let downstream = async {
        copy(&mut server_read, &mut client_write).await.ok();
        client_write.shutdown().await.ok();
    };
    tokio::join!(upstream, downstream);
}
