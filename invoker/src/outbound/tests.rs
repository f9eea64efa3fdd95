//! What needs a resolver that lies; the rest is tested over real processes in `tests/tests/outbound.rs`.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Empty};
use mayfly_invoker_api::{Digest, Gauge, Isolation, Kind, Limits, SnapshotMode, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::property::NoServices;
use super::*;

/// Gives its answers in turn.
#[derive(Debug)]
struct Fickle {
    answers: Vec<Vec<IpAddr>>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Resolve for Fickle {
    async fn addresses(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        let asked = self.asked.fetch_add(1, SeqCst);
        Ok(self.answers[asked % self.answers.len()].clone())
    }
}

/// A server on an address that is open, a canary on the same port of one that is closed, and a name that leads to both.
struct Trap {
    outbound: Arc<Outbound>,
    port: u16,
    asked: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    caught: Arc<AtomicUsize>,
}

impl Trap {
    async fn set(answers: &[&[&str]]) -> Self {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = open.local_addr().unwrap().port();
        let canary = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let answers = answers
            .iter()
            .map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect())
            .collect();
        let outbound = Outbound {
            resolver: Box::new(Fickle {
                answers,
                asked: Arc::clone(&asked),
            }),
            private_networks: vec!["127.0.0.1/32".parse().unwrap()],
            tls: connect::tls().unwrap(),
        };
        Self {
            outbound: Arc::new(outbound),
            port,
            asked,
            served: serve(open),
            caught: serve(canary),
        }
    }

    async fn request(&self) -> Result<(), HttpError> {
        let authority = format!("rebind.example:{}", self.port);
        let allowance = self.allowance(&authority);
        let request = http::Request::get(format!("http://{authority}/"));
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = request.body(body).unwrap();
        let admitted = allowance.admit(&request)?;
        let sent = exchange::send(allowance, admitted, request, RequestOptions::default()).await;
        sent.map(|(response, _rest)| assert_eq!(response.status(), 204))
    }

    fn allowance(&self, allowed: &str) -> Arc<Allowance> {
        let target = Target {
            namespace: "default".parse().unwrap(),
            function: "greet".parse().unwrap(),
            version: 1,
            artifact: Digest::from_bytes([1; 32]),
            config: Digest::from_bytes([2; 32]),
            kind: Kind::Http,
            limits: Limits {
                memory_bytes: 1 << 20,
                timeout: Duration::from_secs(10),
                requests_per_instance_max: 1,
                instances_max: 1,
                warm_min: 0,
            },
            isolation: Isolation::Auto,
            snapshot: SnapshotMode::Off,
            env: Vec::new(),
            allow_hosts: vec![allowed.parse().unwrap()],
        };
        let running = Running {
            outbound: Arc::clone(&self.outbound),
            services: Arc::new(NoServices),
            depth: 0,
            target: Arc::new(target),
            gauge: Arc::new(Gauge::default()),
            deadline: Instant::now() + Duration::from_secs(10),
        };
        Arc::new(Allowance::begin(running, &Arc::default()))
    }
}

/// Answers every connection and counts them.
fn serve(listener: TcpListener) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, SeqCst);
            let mut head = [0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            assert!(read > 0);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
        }
    });
    count
}

#[tokio::test]
async fn a_name_that_changes_its_mind_never_leads_inside() {
    let trap = Trap::set(&[&["127.0.0.1"], &["127.0.0.2"]]).await;
    let mut prohibited = 0;
    for _ in 0..1_000 {
        match trap.request().await {
            Ok(()) => {}
            Err(HttpError::DestinationIpProhibited) => prohibited += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(trap.asked.load(SeqCst), 1_000, "each request looks up once");
    assert_eq!((trap.served.load(SeqCst), prohibited), (500, 500));
    assert_eq!(trap.caught.load(SeqCst), 0);
}

#[tokio::test]
async fn of_many_addresses_only_the_open_ones_are_tried() {
    let trap = Trap::set(&[&["127.0.0.2", "::ffff:127.0.0.2", "0.0.0.0", "127.0.0.1"]]).await;
    for _ in 0..100 {
        trap.request().await.unwrap();
    }
    assert_eq!((trap.served.load(SeqCst), trap.caught.load(SeqCst)), (100, 0));
    let nothing = Trap::set(&[&[]]).await;
    assert!(matches!(nothing.request().await, Err(HttpError::DnsError { .. })));
}
