//! What an http guest promises, asked in the same words of every tool. All that is expected is made of what was sent.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use mayfly_tests::{Platform, Reply, WAIT_MAX};
use reqwest::{Method, RequestBuilder};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::wire::{Connection, Outgoing, Version};

/// More than events and commands may be sent, and more than any buffer on the way holds.
const LARGE_BYTES: usize = 10 << 20;

/// A guest, and where its tool falls short of the interface.
#[derive(Debug)]
pub(super) struct Guest {
    /// The file.
    pub(super) name: &'static str,
    /// Several values of one field reach the guest as one, with commas between them.
    pub(super) joins_values: bool,
    /// Trailers are lost in both directions.
    pub(super) drops_trailers: bool,
}

impl Guest {
    /// One that can do it all.
    pub(super) fn of(name: &'static str) -> Self {
        Self {
            name,
            joins_values: false,
            drops_trailers: false,
        }
    }
}

/// The guest is deployed as `/guest`.
pub(super) async fn keeps_the_contract(platform: &Platform, guest: &Guest) {
    let deployed = platform.deploy(guest.name, &["--name", "guest"]).await;
    assert_eq!(deployed["kind"], "http", "{deployed}");
    // First, because the second call of a function is a special one: while it is unknown whether its instances can be
    // used again, the platform keeps the request to send it a second time.
    trailers_come_back(platform, guest).await;
    methods_arrive(platform).await;
    paths_and_queries_arrive_as_they_were_sent(platform).await;
    fields_keep_their_values_and_their_order(platform, guest).await;
    bodies_come_back_byte_for_byte(platform).await;
    pieces_come_back_before_the_next_is_sent(platform).await;
    let usage = platform.usage_of("guest").await;
    assert_eq!(usage["errors"], 0, "{usage}");
}

async fn methods_arrive(platform: &Platform) {
    let methods = [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "PROPFIND",
        "Own-Method",
    ];
    for method in methods {
        let request = platform.request(Method::from_bytes(method.as_bytes()).expect("a method"), "/guest");
        let body = if ["GET", "HEAD"].contains(&method) {
            String::new()
        } else {
            format!("the body of {method}")
        };
        let answer = read(request.body(body.clone())).await;
        assert_eq!(
            (answer.header("seen-method"), answer.text()),
            (method, body),
            "{answer:?}"
        );
    }
}

async fn paths_and_queries_arrive_as_they_were_sent(platform: &Platform) {
    for target in [
        "/",
        "/a/b/",
        "/a%2Fb%20c/%C3%A9%00%ff/%7Euser",
        "/;v=1,2/@:!$&()*+=~-._",
        "//two//slashes",
        "/?",
        "/?a=1&a=2&a=&=&b",
        "/a?q=%26%3D%20+%c3%a9&url=http://h/?x",
        "/%3F?%3F=?/;:@",
    ] {
        let answer = platform.get(&format!("/guest{target}")).await;
        assert_eq!((answer.status, answer.header("seen-target")), (200, target));
    }
    // What follows the name may begin with the query; a path has a slash all the same.
    for (sent, seen) in [
        ("/guest", "/"),
        ("/guest?a=1", "/?a=1"),
        ("/@default/guest/a?b", "/a?b"),
    ] {
        let answer = platform.get(sent).await;
        assert_eq!((answer.status, answer.header("seen-target")), (200, seen));
    }
}

async fn fields_keep_their_values_and_their_order(platform: &Platform, guest: &Guest) {
    let sent: [(&str, &[u8]); 9] = [
        ("echo-many", b"third"),
        ("echo-other", b"between"),
        ("echo-many", b"first"),
        ("echo-empty", b""),
        ("echo-many", b"second"),
        ("echo-many", b"first"),
        ("echo-list", b"a, b;c=\"d, e\""),
        ("bake", b"session=1; Path=/; HttpOnly"),
        ("bake", b"theme=dark"),
    ];
    let mut request = platform.request(Method::GET, "/guest");
    for (name, value) in sent {
        request = request.header(name, HeaderValue::from_bytes(value).expect("a valid value"));
    }
    let answer = read(request.header("not-echoed", "x")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let values = |name: &str| -> Vec<&[u8]> { sent.iter().filter(|it| it.0 == name).map(|it| it.1).collect() };
    for name in ["echo-many", "echo-other", "echo-empty", "echo-list"] {
        let wanted = if guest.joins_values {
            vec![values(name).join(&b", "[..])]
        } else {
            values(name).into_iter().map(<[u8]>::to_vec).collect()
        };
        assert_eq!(values_of(&answer.headers, name), wanted, "{name}: {answer:?}");
    }
    assert_eq!(values_of(&answer.headers, "set-cookie"), values("bake"), "{answer:?}");
    assert!(!answer.headers.contains_key("not-echoed"), "{answer:?}");
}

async fn bodies_come_back_byte_for_byte(platform: &Platform) {
    for length in [0, 1, 256, 4097, 65_537, LARGE_BYTES] {
        let body = every_byte(length);
        let answer = platform.post("/guest", body.clone()).await;
        assert_eq!((answer.status, answer.body.len()), (200, length));
        assert!(answer.body == body, "a body of {length} bytes was changed");
    }
}

async fn pieces_come_back_before_the_next_is_sent(platform: &Platform) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let body = stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    let pieces = [1, 300, 5_000].map(every_byte);
    sender.send(pieces[0].clone()).await.expect("the request is open");
    let request = platform.request(Method::POST, "/guest");
    let answer = request.body(reqwest::Body::wrap_stream(body)).send();
    let mut answer = timeout(WAIT_MAX, answer)
        .await
        .expect("the head comes before the end of the request")
        .expect("the server answers")
        .bytes_stream();
    for (number, wanted) in pieces.iter().enumerate() {
        if number > 0 {
            sender.send(wanted.clone()).await.expect("the request is open");
        }
        let mut got = Vec::new();
        while got.len() < wanted.len() {
            let piece = timeout(WAIT_MAX, answer.next()).await.expect("not held back");
            got.extend(piece.expect("not the end").expect("unbroken"));
        }
        assert!(got == *wanted, "piece {number} was changed");
    }
    drop(sender);
    assert!(answer.next().await.is_none(), "the end of one is the end of the other");
}

async fn trailers_come_back(platform: &Platform, guest: &Guest) {
    for version in [Version::Two, Version::One] {
        let mut connection = Connection::open(&platform.functions, version).await;
        // Small ones are answered when all is here, large ones while they come; and trailers may be all that there is.
        for (length, counted) in [300, 0, 100_000]
            .into_iter()
            .flat_map(|length| [(length, true), (length, false)])
        {
            let body = every_byte(length);
            let sent = fields(&[("echo-sum", "1"), ("echo-tag", "b"), ("echo-tag", "a")]);
            let announced = fields(&[("trailer", "echo-sum, echo-tag")]);
            let outgoing = with_trailers(version, counted, &body, &sent);
            let answer = connection.post("/guest", announced, true, outgoing).await;
            let what = format!(
                "{length} bytes, HTTP/{version:?}, counted: {counted}: {:?}",
                answer.headers
            );
            assert_eq!((answer.status, answer.body.len()), (200, length), "{what}");
            assert!(answer.body == body, "changed: {what}");
            let wanted = (!guest.drops_trailers).then_some(sent);
            assert_eq!(answer.trailers, wanted, "{what}");
        }
        let plain = Full::new(every_byte(9)).boxed_unsync();
        let plain = connection.post("/guest", HeaderMap::new(), true, plain).await;
        assert_eq!((plain.status, plain.trailers), (200, None), "none are made up");
    }
    // A client of HTTP/1.1 that has not said that it takes trailers gets all but them.
    let mut connection = Connection::open(&platform.functions, Version::One).await;
    for length in [300, 100_000] {
        let (body, sent) = (every_byte(length), fields(&[("echo-sum", "1")]));
        let outgoing = with_trailers(Version::One, false, &body, &sent);
        let announced = fields(&[("trailer", "echo-sum")]);
        let answer = connection.post("/guest", announced, false, outgoing).await;
        assert_eq!((answer.status, answer.trailers), (200, None));
        assert!(answer.body == body, "a body of {length} bytes was changed");
    }
}

/// A body with trailers. `counted` says its length beforehand, which HTTP/1.1 cannot if there are trailers.
pub(super) fn with_trailers(version: Version, counted: bool, body: &Bytes, trailers: &HeaderMap) -> Outgoing {
    let trailers = trailers.clone();
    if counted && version == Version::Two {
        let body = Full::new(body.clone()).with_trailers(async { Some(Ok(trailers)) });
        return body.boxed_unsync();
    }
    let pieces = body
        .chunks(10_000)
        .map(|piece| Frame::data(Bytes::copy_from_slice(piece)));
    let frames: Vec<_> = pieces.chain([Frame::trailers(trailers)]).map(Ok).collect();
    BodyExt::boxed_unsync(StreamBody::new(stream::iter(frames)))
}

pub(super) fn fields(entries: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in entries {
        fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    fields
}

fn values_of<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

/// All values that a byte can have, then numbers, so that nothing can be missing or out of order.
pub(super) fn every_byte(length: usize) -> Bytes {
    let numbers = (0_u32..).flat_map(u32::to_be_bytes);
    (0..=u8::MAX).chain(numbers).take(length).collect()
}

pub(super) async fn read(request: RequestBuilder) -> Reply {
    let answer = request.send().await.expect("the server answers");
    Reply::read(answer).await.expect("the answer is complete")
}
