//! Attempts to get to where functions must not get.

use mayfly_tests::{Answer, Database, Platform, Upstream};
use serde_json::{Value, json};

use super::{carry_out, deploy, error_of, fetch, log, open_platform};

/// A server that nobody may reach.
async fn canary(address: &str) -> Upstream {
    Upstream::listen(address, None, |_| Answer::ok("caught")).await
}

/// What came of a GET to each of these.
async fn fetch_all(platform: &Platform, authorities: &[String]) -> Vec<(String, Value)> {
    let mut results = Vec::new();
    // As many as one call may send.
    for some in authorities.chunks(50) {
        let requests: Vec<_> = some.iter().map(|it| json!({ "authority": it })).collect();
        let came = carry_out(platform, &json!({ "requests": requests })).await;
        results.extend(some.iter().cloned().zip(came));
    }
    results
}

/// Spellings of addresses under which a program could reach this machine itself.
const THIS_MACHINE: &str = "\
    127.0.0.1 127.0.0.1. 127.1.2.3 localhost localhost. LOCALHOST 0.0.0.0 [::] [::1] [0:0:0:0:0:0:0:1] \
    [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] \
    [2002:7f00:1::] [2001:0:7f00:1::] [::ffff:0.0.0.0] 0177.0.0.1 0177.0.0.01 2130706433 017700000001 0x7f000001 \
    0x7f.1 127.1 127.0.1 0 127.0.0.0x1 [::1%25lo] [fe80::1%25lo] user@127.0.0.1 example.com@127.0.0.1";

/// Cloud metadata, in some spellings, and one address of each range that is not public.
const NOT_PUBLIC: &str = "\
    169.254.169.254 169.254.170.2 [fd00:ec2::254] [fd20:ce::254] 100.100.100.200 168.63.129.16 \
    [::ffff:169.254.169.254] [64:ff9b::a9fe:a9fe] [2002:a9fe:a9fe::] 2852039166 0xa9fea9fe 10.0.0.1 172.16.0.1 \
    192.168.0.1 100.64.0.1 198.18.0.1 192.0.2.1 203.0.113.1 224.0.0.1 255.255.255.255 240.0.0.1 [fe80::1] \
    [fec0::1] [fc00::1] [ff02::1] [2001:db8::1]";

/// The list says yes to everything; the addresses decide.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_private_address_is_reached_in_any_spelling() {
    let platform = Platform::start(Database::Sqlite).await.expect("SQLite is always there");
    let canaries = [
        canary("127.0.0.1:0").await,
        canary("0.0.0.0:0").await,
        canary("[::1]:0").await,
    ];
    let ports: Vec<_> = canaries.iter().map(|it| it.address.port()).collect();
    let any: Vec<_> = ports.iter().map(|port| format!("*:{port}")).collect();
    let mut hosts: Vec<_> = any.iter().map(String::as_str).collect();
    hosts.push("*");
    let named: Vec<_> = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0", "[::]"]
        .iter()
        .flat_map(|host| ports.iter().map(move |port| format!("{host}:{port}")))
        .collect();
    hosts.extend(named.iter().map(String::as_str));
    deploy(&platform, &hosts, &[]).await;

    let every_port = |host: &str| ports.iter().map(|port| format!("{host}:{port}")).collect::<Vec<_>>();
    let mut authorities: Vec<_> = THIS_MACHINE.split_whitespace().flat_map(every_port).collect();
    authorities.extend(NOT_PUBLIC.split_whitespace().map(str::to_owned));
    let results = fetch_all(&platform, &authorities).await;
    assert!(results.len() > 120);
    for (authority, result) in results {
        let refused = [
            "ErrorCode::DestinationIpProhibited",
            "ErrorCode::HttpRequestUriInvalid",
            "the authority is refused",
        ];
        assert!(refused.contains(&error_of(&result)), "{authority}: {result}");
    }
    for canary in canaries {
        assert_eq!(canary.opened(), 0, "{}: {:?}", canary.address, canary.take_requests());
    }
    assert!(log(&platform).await.contains("its address is not a public one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opened_network_opens_no_other() {
    let platform = super::platform_with(&["--allow-private-network", "127.0.0.1"]).await;
    let open = Upstream::start(|_| Answer::ok("reached")).await;
    let closed = canary(&format!("127.0.0.2:{}", open.address.port())).await;
    let authorities = [open.address.to_string(), closed.address.to_string()];
    deploy(&platform, &[&authorities[0], &authorities[1]], &[]).await;
    let results = fetch_all(&platform, &authorities).await;
    assert_eq!(results[0].1["body"], "reached", "{results:?}");
    assert_eq!(
        error_of(&results[1].1),
        "ErrorCode::DestinationIpProhibited",
        "{results:?}"
    );
    assert_eq!(closed.opened(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_that_are_not_written_exactly_stop_the_server() {
    let platform = Platform::start(Database::Sqlite).await.expect("SQLite is always there");
    for network in ["10.1.2.3/8", "localhost", "10.0.0.0/33", "::ffff:10.0.0.0/104", ""] {
        let done = platform.serve_again(&["--allow-private-network", network]).await;
        assert_eq!(done.code, 2, "{network}: {done:?}");
    }
}

/// What goes out is made of what was checked, whatever the function asks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_names_a_path_and_the_checked_host() {
    let platform = open_platform().await;
    let upstream = Upstream::start(|_| Answer::ok("")).await;
    let port = upstream.address.port();
    let authority = format!("127.0.0.1:{port}");
    deploy(&platform, &[&authority], &[]).await;
    let authorities = [
        authority.clone(),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[::FFFF:7f00:1]:{port}"),
        format!("127.0.0.1.:{port}"),
        format!("evil.example@127.0.0.1:{port}"),
        format!("127.0.0.1:{port}@evil.example"),
    ];
    let paths = [
        json!("/"),
        json!(""),
        json!("?a=b"),
        json!("//evil.example/"),
        json!("/http://evil.example/"),
        json!("/%0d%0aHost:%20x"),
        json!("http://evil.example/"),
        json!("evil.example"),
        json!("*"),
        json!("/a b"),
        json!("/a\r\nhost: evil.example\r\n\r\n"),
        json!("/\u{0}"),
        json!("/#fragment"),
        json!("/é"),
        Value::Null,
    ];
    let headers = [
        json!([]),
        json!([["host", "evil.example"]]),
        json!([["te", "trailers"], ["trailer", "x"], ["x-own", "1"]]),
        json!([["proxy-foo", "x"], ["x-own", "a"], ["x-own", "b"]]),
        json!([["connection", "x-own"], ["x-own", "1"]]),
        json!([["x-own", "a\r\nhost: evil.example"]]),
    ];
    let methods = ["GET", "POST", "DELETE", "CONNECT", "X"];
    let (mut asked, mut answered) = (0, 0);
    for method in methods {
        for (number, authority) in authorities.iter().enumerate() {
            let mut requests = Vec::new();
            for path in &paths {
                let headers = &headers[(number + requests.len()) % headers.len()];
                requests.push(json!({ "method": method, "authority": authority, "path": path, "headers": headers }));
            }
            asked += requests.len();
            let results = carry_out(&platform, &json!({ "requests": requests })).await;
            answered += results.iter().filter(|result| result["status"] == 200).count();
        }
    }
    let sent = upstream.take_requests();
    assert!(asked >= 450 && answered >= 60, "{answered} of {asked}");
    assert_eq!(sent.len(), answered, "each request is sent once");
    for request in sent {
        check_what_was_sent(&request, &authority);
    }
}

fn check_what_was_sent(request: &str, authority: &str) {
    let (head, body) = request.split_once("\r\n\r\n").expect("a whole head");
    let mut lines = head.split("\r\n");
    let line: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = line[..] else {
        panic!("{request}")
    };
    assert!(["GET", "POST", "DELETE", "X"].contains(&method), "{request}");
    assert!(target.starts_with('/'), "{request}");
    let fields: Vec<_> = lines.map(|line| line.split_once(": ").expect("a field")).collect();
    let hosts: Vec<_> = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
        .collect();
    assert_eq!(hosts, [&("host", authority)], "{request}");
    for (name, value) in &fields {
        let known = ["host", "connection", "x-own", "content-length", "transfer-encoding"];
        assert!(known.contains(name), "{request}");
        assert!(*name != "connection" || *value == "close", "{request}");
    }
    assert!(["", "0\r\n\r\n"].contains(&body), "nothing follows: {request}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_the_functions_own_business() {
    let platform = open_platform().await;
    let canary = canary("127.0.0.1:0").await;
    let location = format!("http://{}/", canary.address);
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let upstream = Upstream::start(move |_| Answer::Bytes(redirect.clone().into_bytes())).await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[&authority], &[]).await;
    let result = fetch(&platform, json!({ "authority": authority })).await;
    assert_eq!(result["status"], 302, "{result}");
    assert!(result["headers"].to_string().contains(&location), "{result}");
    assert_eq!(canary.opened(), 0);
}

/// An operator's open network is for HTTP to listed hosts, not for sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_and_lookups_are_denied() {
    let platform = open_platform().await;
    deploy(&platform, &["*"], &[]).await;
    let answer = platform.post("/fetch/sockets", r#"{"requests":[]}"#).await;
    let told = answer.json();
    for what in ["tcp", "udp_bind", "udp_send", "listen", "lookup"] {
        let told = told[what].as_str().expect("an error");
        assert!(told != "allowed", "{what}: {told}");
    }
    assert_eq!(
        told["tcp"].as_str().map(|text| text.contains("denied")),
        Some(true),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_schemes_are_not_spoken() {
    let platform = open_platform().await;
    let upstream = canary("127.0.0.1:0").await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[&authority], &[]).await;
    for scheme in ["ftp", "file", "ws", "HTTPX", "", "http:"] {
        let result = fetch(&platform, json!({ "authority": authority, "scheme": scheme })).await;
        assert!(!error_of(&result).is_empty(), "{scheme}: {result}");
    }
    assert_eq!(upstream.opened(), 0);
}
