//! A connection to one of the addresses that were checked, with TLS where the scheme says so.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use mayfly_invoker_api::{Destination, Host};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error as HttpError;

/// What requests are written to and responses are read from.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// TLS with the certificates that this machine trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
pub(crate) fn tls() -> Result<TlsConnector, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of this machine cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(
            "this machine trusts no certificates, so functions cannot use https: install the package ca-certificates, or \
             set SSL_CERT_FILE"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects to the first address that answers. Each gets an equal share of the time that is left.
pub(crate) async fn connect(addresses: &[SocketAddr], by: Instant) -> Result<TcpStream, HttpError> {
    let mut failed = HttpError::DestinationUnavailable;
    for (index, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let shares = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = by.saturating_duration_since(now) / shares;
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small requests go out at once; an error means that the connection has ended, which is seen later.
                stream.set_nodelay(true).ok();
                return Ok(stream);
            }
            Ok(Err(error)) => failed = not_connected(&error),
            Err(_elapsed) => failed = HttpError::ConnectionTimeout,
        }
    }
    Err(failed)
}

fn not_connected(error: &io::Error) -> HttpError {
    match error.kind() {
        ErrorKind::ConnectionRefused => HttpError::ConnectionRefused,
        ErrorKind::TimedOut => HttpError::ConnectionTimeout,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => HttpError::DestinationIpUnroutable,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => HttpError::ConnectionTerminated,
        _ => HttpError::DestinationUnavailable,
    }
}

/// Proves that the other side is `destination`, and talks in private from then on.
pub(crate) async fn encrypt(
    connector: &TlsConnector,
    destination: &Destination,
    stream: TcpStream,
    by: Instant,
) -> Result<Box<dyn Stream>, HttpError> {
    let name = match &destination.host {
        Host::Ip(address) => ServerName::from(*address),
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| HttpError::HttpRequestUriInvalid)?,
    };
    match timeout_at(by, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(not_encrypted(&error)),
        Err(_elapsed) => Err(HttpError::ConnectionTimeout),
    }
}

fn not_encrypted(error: &io::Error) -> HttpError {
    let tls = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            HttpError::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => HttpError::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        Some(_) => HttpError::TlsProtocolError,
        None => HttpError::ConnectionTerminated,
    }
}
