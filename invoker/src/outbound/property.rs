//! What holds for every request that a guest can think of, by a second opinion on each step: who may be spoken to,
//! which addresses are connected to, and what is written to them.
//!
//! An input has lines: the URI, the method, the allow list, the opened networks, what the resolver answers, and then
//! header fields. What cannot be read in a list is left out.

pub(crate) mod opinion;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt as _;
use mayfly_invoker_api::{
    AllowedHost, Body, Caller, Digest, Gauge, Isolation, Kind, Limits, OutgoingMessage, Refusal, SentMessage, Services,
    SnapshotMode, Target,
};
use tokio::time::Instant;

use self::opinion::{destination_of, is_opened, is_public, lets_through};
use super::resolve::open_addresses;
use super::*;
use crate::config::OUTBOUND_ADDRESSES_TRIED_MAX;

/// Fields that speak about the connection (RFC 9110 7.6.1, and what HTTP/1.0 knew), or to a proxy.
const OF_THE_CONNECTION: &str = "connection keep-alive te trailer transfer-encoding upgrade http2-settings \
    proxy-connection proxy-authenticate proxy-authorization";

/// Nothing is sent, so one is enough.
static TLS: LazyLock<TlsConnector> = LazyLock::new(|| connect::tls().expect("no certificates are no error"));

/// Says what it was told to, and remembers what it was asked.
#[derive(Debug)]
struct Scripted {
    answer: Vec<IpAddr>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Resolve for Scripted {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().expect("one thread").push(name.to_owned());
        Ok(self.answer.clone())
    }
}

/// A platform that answers nothing.
pub(super) struct NoServices;

#[async_trait]
impl Services for NoServices {
    async fn answer(&self, _caller: &Caller, _service: &str, _request: Request<Body>) -> http::Response<Body> {
        let nothing = http_body_util::Empty::new().map_err(|never| match never {});
        http::Response::new(nothing.boxed_unsync())
    }

    async fn send(
        &self,
        _caller: &Caller,
        _queue: &str,
        _messages: Vec<OutgoingMessage>,
    ) -> Result<Vec<SentMessage>, Refusal> {
        Ok(Vec::new())
    }
}

struct Case {
    request: Request<()>,
    allow: Vec<AllowedHost>,
    networks: Vec<PrivateNetwork>,
    resolver: Scripted,
}

/// Decides about one request.
pub fn outbound(input: &[u8]) {
    let Some(case) = Case::read(input) else { return };
    let allowance = case.allowance();
    let Some((host, port)) = destination_of(&case.request) else {
        assert!(allowance.admit(&case.request).is_err(), "{:?}", case.request.uri());
        return;
    };
    let naming = case
        .allow
        .iter()
        .map(|entry| entry.to_string())
        .filter(|entry| lets_through(entry, &host, port));
    let naming: Vec<_> = naming.collect();
    let admitted = match allowance.admit(&case.request) {
        Err(_) => return assert!(naming.is_empty(), "{naming:?} name {host}:{port}"),
        Ok(admitted) => admitted,
    };
    assert!(!naming.is_empty(), "nothing names {host}:{port}");
    let networks = if naming.iter().any(|entry| !entry.starts_with("*:") && entry != "*") {
        case.networks.as_slice()
    } else {
        &[]
    };
    assert_eq!(allowance.networks(&admitted), networks);
    check_addresses(&case, &admitted, &host, networks);
    check_written(&case.request, &admitted, &host, port);
}

impl Case {
    fn read(input: &[u8]) -> Option<Self> {
        let mut lines = input.split(|byte| *byte == b'\n');
        let mut line = || lines.next().unwrap_or_default();
        let uri = Uri::try_from(line()).ok()?;
        let method = Method::from_bytes(line()).ok()?;
        let (allow, networks, answer) = (list(line()), list(line()), list(line()));
        let mut headers = HeaderMap::new();
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (
                HeaderName::from_bytes(&line[..colon]),
                HeaderValue::from_bytes(&line[colon + 1..]),
            );
            headers.append(name.ok()?, value.ok()?);
        }
        let mut request = Request::new(());
        (*request.uri_mut(), *request.method_mut(), *request.headers_mut()) = (uri, method, headers);
        let resolver = Scripted {
            answer,
            asked: Mutex::default(),
        };
        Some(Self {
            request,
            allow,
            networks,
            resolver,
        })
    }

    fn allowance(&self) -> Allowance {
        let target = Target {
            namespace: "default".parse().expect("a name"),
            function: "greet".parse().expect("a name"),
            version: 1,
            artifact: Digest::from_bytes([1; 32]),
            config: Digest::from_bytes([2; 32]),
            kind: Kind::Http,
            limits: Limits {
                memory_bytes: 1 << 20,
                timeout: Duration::from_secs(1),
                requests_per_instance_max: 1,
                instances_max: 1,
                warm_min: 0,
            },
            isolation: Isolation::Auto,
            snapshot: SnapshotMode::Off,
            env: Vec::new(),
            allow_hosts: self.allow.clone(),
        };
        let outbound = Outbound {
            resolver: Box::new(SystemResolver::new()),
            private_networks: self.networks.clone(),
            tls: TLS.clone(),
        };
        let running = Running {
            outbound: Arc::new(outbound),
            services: Arc::new(NoServices),
            depth: 0,
            target: Arc::new(target),
            gauge: Arc::new(Gauge::default()),
            deadline: Instant::now(),
        };
        Allowance::begin(running, &Arc::default())
    }
}

/// All that can be read in a line with spaces.
fn list<T: std::str::FromStr>(line: &[u8]) -> Vec<T> {
    let line = std::str::from_utf8(line).unwrap_or_default();
    line.split(' ').filter_map(|word| word.parse().ok()).collect()
}

/// Connected to are addresses of this very host, all of them open.
fn check_addresses(case: &Case, admitted: &Admitted, host: &str, networks: &[PrivateNetwork]) {
    let destination = &admitted.route.destination;
    let found = open_addresses(&case.resolver, destination, networks)
        .now_or_never()
        .expect("nothing to wait for");
    let asked = case.resolver.asked.lock().expect("one thread").clone();
    let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let answered = match literal {
        Some(address) => {
            assert!(asked.is_empty(), "an address is not looked up");
            vec![address]
        }
        None => {
            assert_eq!(asked, [host], "what was matched is what is looked up, once");
            case.resolver.answer.clone()
        }
    };
    let mut open = answered;
    open.retain(|address| is_public(*address) || is_opened(*address, networks));
    open.truncate(OUTBOUND_ADDRESSES_TRIED_MAX);
    let found = found.unwrap_or_default();
    assert!(found.iter().all(|address| address.port() == destination.port));
    assert_eq!(
        found.iter().map(SocketAddr::ip).collect::<Vec<_>>(),
        open,
        "{host} {networks:?}"
    );
}

/// What is written names the host that was matched and no other, and keeps all else that the guest has said.
fn check_written(request: &Request<()>, admitted: &Admitted, host: &str, port: u16) {
    let Ok(written) = admitted.route.rewrite(request.clone()) else {
        return;
    };
    let uri = written.uri();
    assert!(uri.scheme().is_none() && uri.authority().is_none(), "{uri:?}");
    let asked = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let target = uri.path_and_query().expect("a path").as_str();
    assert!(
        target.starts_with('/') && target.ends_with(asked),
        "{target} for {asked}"
    );
    assert!(target.len() <= asked.len() + 1 && !target.bytes().any(|byte| byte <= b' ' || byte == 0x7f));
    assert_eq!(
        (written.method(), written.version()),
        (request.method(), http::Version::HTTP_11)
    );
    let standard = if request.uri().scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let host = if port == standard {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let hosts: Vec<_> = written.headers().get_all("host").iter().collect();
    assert_eq!(hosts, [host.as_str()]);
    let connections: Vec<_> = written.headers().get_all("connection").iter().collect();
    assert_eq!(connections, ["close"]);
    let lengths = request.headers().get_all("content-length").iter().count();
    for name in request.headers().keys().chain(written.headers().keys()) {
        let ours = ["host", "connection"].contains(&name.as_str());
        let is_dropped = OF_THE_CONNECTION.split_whitespace().any(|dropped| *name == dropped)
            || name.as_str().starts_with("proxy-")
            || (*name == "content-length" && lengths > 1);
        if ours {
            continue;
        }
        let sent = written.headers().get_all(name);
        if is_dropped {
            assert_eq!(sent.iter().count(), 0, "{name}");
        } else {
            assert!(sent.iter().eq(request.headers().get_all(name)), "{name}");
        }
    }
}
