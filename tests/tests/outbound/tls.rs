//! `https`: whom functions believe.

use std::path::Path;
use std::{fs, io};

use mayfly_tests::{Answer, Database, Platform, ServeWith, Upstream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::{deploy, error_of, fetch};
use crate::{events, webhooks};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, key()).expect("a certificate")
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

/// A server's side of TLS, with a certificate for `name`.
fn certified(issuer: &Authority, name: &str) -> ServerConfig {
    let key = key();
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    let secret = PrivateKeyDer::try_from(key.serialize_der()).expect("a key that was just made");
    ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions that the provider knows")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .expect("the key of the certificate")
}

async fn platform_that_trusts(issuer: &Authority, file: &Path) -> io::Result<Platform> {
    fs::write(file, issuer.pem())?;
    let with = ServeWith {
        args: vec!["--allow-private-network".to_owned(), "127.0.0.0/8".to_owned()],
        environment: vec![("SSL_CERT_FILE", file.to_string_lossy().into_owned())],
    };
    let platform = Platform::start_with(Database::Sqlite, with).await;
    Ok(platform.expect("SQLite is always there"))
}

/// The port of a server that speaks no TLS.
async fn plain() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_proves_its_name_is_spoken_to() {
    let (trusted, stranger) = (authority(), authority());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let platform = platform_that_trusts(&trusted, &dir.path().join("ca.pem"))
        .await
        .expect("a folder that can be written");
    let hello = |_: &str| Answer::ok("in private");
    let named = Upstream::start_tls(certified(&trusted, "localhost"), hello).await;
    let addressed = Upstream::start_tls(certified(&trusted, "127.0.0.1"), hello).await;
    let other = Upstream::start_tls(certified(&trusted, "other.example"), hello).await;
    let unknown = Upstream::start_tls(certified(&stranger, "localhost"), hello).await;
    let plain = plain().await;
    let ports = [&named, &addressed, &other, &unknown].map(|it| it.address.port());
    let [named_port, addressed_port, other_port, unknown_port] = ports;
    let hosts: Vec<_> = ports
        .iter()
        .chain([&plain])
        .flat_map(|port| [format!("localhost:{port}"), format!("127.0.0.1:{port}")])
        .collect();
    deploy(&platform, &hosts.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await;
    for (host, port, error) in [
        ("localhost", named_port, ""),
        ("LOCALHOST.", named_port, ""),
        ("127.0.0.1", addressed_port, ""),
        ("127.0.0.1", named_port, "ErrorCode::TlsCertificateError"),
        ("localhost", other_port, "ErrorCode::TlsCertificateError"),
        ("localhost", unknown_port, "ErrorCode::TlsCertificateError"),
        ("localhost", plain, "ErrorCode::TlsProtocolError"),
    ] {
        let authority = format!("{host}:{port}");
        let result = fetch(&platform, json!({ "scheme": "https", "authority": authority })).await;
        assert_eq!(error_of(&result), error, "{authority}: {result}");
        let came = if error.is_empty() { "in private" } else { "" };
        assert_eq!(
            result["body"].as_str().unwrap_or_default(),
            came,
            "{authority}: {result}"
        );
    }
    for upstream in [&other, &unknown] {
        let sent = upstream.take_requests();
        assert!(
            sent.iter().all(|request| !request.contains("GET ")),
            "nothing was said: {sent:?}"
        );
    }
    let sent = named.take_requests();
    assert!(
        sent[0].contains(&format!("\r\nhost: localhost:{named_port}\r\n")),
        "{sent:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_believe_whom_functions_believe() {
    let (trusted, stranger) = (authority(), authority());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let platform = platform_that_trusts(&trusted, &dir.path().join("ca.pem"))
        .await
        .expect("a folder that can be written");
    let known = Upstream::start_tls(certified(&trusted, "localhost"), |_| Answer::ok("in private")).await;
    let unknown = Upstream::start_tls(certified(&stranger, "localhost"), |_| Answer::ok("reached")).await;
    let outcome = async |receiver: &Upstream, state: &str| {
        let url = format!("https://localhost:{}/", receiver.address.port());
        webhooks::deploy(&platform, &url, &["--max-attempts", "1"]).await;
        let id = events::hand_in(&platform, "work", &json!({"do": "log"}), &[]).await;
        events::in_state(&platform, &id, "succeeded").await;
        webhooks::told(&platform, state).await
    };
    let event = outcome(&known, "succeeded").await;
    assert_eq!(event["result"]["body"], "in private");
    let event = outcome(&unknown, "dead").await;
    let message = event["error_message"].as_str().expect("a message");
    assert!(message.contains("no certificate that this machine trusts"), "{message}");
    assert_eq!(unknown.take_requests().len(), 0);
}
