//! What holds for every request and every answer on their way through the platform: nothing is lost, and nobody speaks
//! in the platform's name.
//!
//! An input is `R` and a request, in lines: its method, its URI, header fields, an empty line, a body. Or it is `A` and
//! the answer of a function that does not speak HTTP. Or `H` and the header fields, in lines, of one that does.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use mayfly_invoker_api::{Gauge, InvocationId, Kind, Start};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::forward::{check_request, forwarded};
use super::gateway;
use super::respond::{name_invocation, payload_answer, strip_connection_headers};
use super::route::split;
use crate::ledger::Trigger;

const PEER: &str = "192.0.2.7:1234";
/// Framing and the connection, as RFC 9110 and HTTP/1.0 have them.
const OF_THE_CONNECTION: &str = "connection content-length keep-alive proxy-connection transfer-encoding upgrade";

/// A field of a message, as it was written.
type Field = (String, Vec<u8>);

/// Converts one request or one answer.
pub fn headers(input: &[u8]) {
    match input.split_first() {
        Some((b'R', rest)) => drop(request(rest)),
        Some((b'A', rest)) => answer(rest),
        Some((b'H', rest)) => drop(http_answer(rest)),
        _ => {}
    }
}

fn request(input: &[u8]) -> Option<()> {
    let (method, rest) = line(input);
    let (uri, mut rest) = line(rest);
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (field, after) = line(rest);
        rest = after;
        if field.is_empty() {
            break;
        }
        fields.push(read_field(field)?);
    }
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(method).ok()?;
    *request.uri_mut() = Uri::try_from(uri).ok()?;
    *request.headers_mut() = map(&fields)?;
    let hosts: Vec<_> = fields.iter().filter(|(name, _)| name == "host").collect();
    if check_request(&request).is_err() {
        return None;
    }
    assert!(hosts.len() <= 1 && *request.method() != Method::CONNECT);
    assert!(!hosts.is_empty() || request.uri().authority().is_some());
    let original = request.uri().clone();
    let (prefix, inner) = split(original.path())?.for_guest(&original).ok()?;
    let peer: SocketAddr = PEER.parse().expect("an address");
    let request = forwarded(request, prefix.clone(), inner, peer);
    check_uri(&original, &prefix, request.uri());

    let mut expected: Vec<Field> = fields.into_iter().filter(|(name, _)| !is_reserved(name)).collect();
    expected.push(("x-forwarded-prefix".to_owned(), prefix.as_bytes().to_owned()));
    expected.push(("x-forwarded-for".to_owned(), b"192.0.2.7".to_vec()));
    check_fields(request.headers(), &expected);
    check_event(&request.into_parts().0, rest, &expected);
    Some(())
}

/// The event has all that the request had.
fn check_event(parts: &http::request::Parts, body: &[u8], fields: &[Field]) {
    let id = InvocationId::new(1, [0; 10]);
    let peer = PEER.parse().expect("an address");
    let event = gateway::event(parts, body, peer, (id, 1_700_000_000_000), "shop").expect("every request has an event");
    let event: Value = serde_json::from_slice(&event).expect("a document");
    let http = &event["requestContext"]["http"];
    assert_eq!(http["method"], parts.method.as_str());
    assert_eq!(http["sourceIp"], "192.0.2.7");
    assert_eq!(event["rawPath"], parts.uri.path());
    assert_eq!(event["rawQueryString"], parts.uri.query().unwrap_or_default());

    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let given = event["headers"].as_object().expect("there are some");
    let mut names: Vec<_> = fields
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| *name != "cookie")
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(given.len(), names.len(), "{given:?}");
    for name in names {
        let values: Vec<_> = fields
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| text(value))
            .collect();
        assert_eq!(given[name], values.join(","), "{name}");
    }
    let cookies = fields
        .iter()
        .filter(|(name, _)| name == "cookie")
        .map(|(_, value)| text(value));
    let cookies: Vec<_> = cookies
        .collect::<Vec<_>>()
        .join(";")
        .split(';')
        .map(|cookie| cookie.trim().to_owned())
        .collect();
    let cookies: Vec<_> = cookies
        .into_iter()
        .filter(|cookie| !cookie.is_empty())
        .map(Value::from)
        .collect();
    assert_eq!(
        event
            .get("cookies")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
        cookies
    );

    let given = event
        .get("body")
        .map(|body| body.as_str().expect("a text"))
        .unwrap_or_default();
    if event["isBase64Encoded"] == true {
        assert_eq!(BASE64.decode(given).expect("base64"), body);
    } else {
        assert_eq!(given.as_bytes(), body);
    }
}

/// Prefix and rest are the path that the client has sent, and nothing in it leads elsewhere.
fn check_uri(original: &Uri, prefix: &HeaderValue, inner: &Uri) {
    assert_eq!(
        (inner.query(), inner.authority()),
        (original.query(), original.authority())
    );
    assert!(inner.path().starts_with('/'));
    let prefix = prefix.as_bytes();
    let rest = original
        .path()
        .as_bytes()
        .strip_prefix(prefix)
        .expect("it begins with that");
    assert!(inner.path().as_bytes() == rest || (rest.is_empty() && inner.path() == "/"));
    assert!(prefix.iter().filter(|byte| **byte == b'/').count() <= 2);
}

fn answer(answer: &[u8]) {
    let whole = Bytes::copy_from_slice(answer);
    for (kind, trigger) in [
        (Kind::Command, Trigger::Http),
        (Kind::Command, Trigger::Direct),
        (Kind::Event, Trigger::Direct),
    ] {
        let response = payload_answer(whole.clone(), kind, trigger).expect("is passed on as it is");
        assert_eq!((response.status().as_u16(), response.body()), (200, &whole));
        assert_eq!(response.headers().len(), 1, "a content type");
    }
    let Ok(response) = payload_answer(whole.clone(), Kind::Event, Trigger::Http) else {
        return;
    };
    assert!((200..600).contains(&response.status().as_u16()));
    let document: Option<Value> = serde_json::from_slice(answer).ok();
    match document.as_ref().and_then(|it| Some((it, it.get("statusCode")?))) {
        Some((document, status)) => check_shaped(document, status, &response),
        None => {
            // Grammar is enough: nobody here wants to know a number that is too large for programs.
            serde_json::from_slice::<IgnoredAny>(answer).expect("what is no document is no answer");
            let json = ("content-type".to_owned(), b"application/json".to_vec());
            assert_eq!((response.status().as_u16(), response.body()), (200, &whole));
            check_fields(response.headers(), &[json]);
        }
    }
    check_named(response.headers().clone());
}

/// The response says what the document says.
fn check_shaped(document: &Value, status: &Value, response: &Response<Bytes>) {
    assert_eq!(status.as_i64(), Some(i64::from(response.status().as_u16())));
    let mut expected = Vec::new();
    for list in ["headers", "multiValueHeaders"] {
        for (name, values) in document.get(list).and_then(Value::as_object).into_iter().flatten() {
            let values = values.as_array().cloned().unwrap_or_else(|| vec![values.clone()]);
            for value in values {
                // Bytes may be written as numbers. Nobody does.
                let Some(value) = value.as_str() else { return };
                expected.push((name.to_ascii_lowercase(), value.as_bytes().to_owned()));
            }
        }
    }
    for cookie in document.get("cookies").and_then(Value::as_array).into_iter().flatten() {
        let cookie = cookie.as_str().expect("text, or it is no answer");
        expected.push(("set-cookie".to_owned(), cookie.as_bytes().to_owned()));
    }
    if !expected.iter().any(|(name, _)| name == "content-type") {
        expected.push(("content-type".to_owned(), b"application/json".to_vec()));
    }
    expected.retain(|(name, _)| !is_of_the_connection(name));
    check_fields(response.headers(), &expected);
    if let Some(body) = document.get("body").and_then(Value::as_str) {
        let is_base64 = document.get("isBase64Encoded").is_some_and(|it| *it == true);
        let body = if is_base64 {
            BASE64.decode(body).expect("or it is no answer")
        } else {
            body.as_bytes().to_owned()
        };
        assert_eq!(response.body(), &body);
    }
}

fn http_answer(mut input: &[u8]) -> Option<()> {
    let mut fields = Vec::new();
    while !input.is_empty() {
        let (field, rest) = line(input);
        input = rest;
        fields.push(read_field(field)?);
    }
    let mut headers = map(&fields)?;
    strip_connection_headers(&mut headers);
    fields.retain(|(name, _)| !is_of_the_connection(name));
    check_fields(&headers, &fields);
    check_named(headers);
    Some(())
}

/// Who has answered, and how it was started, is the platform's word alone.
fn check_named(mut headers: HeaderMap) {
    let id = InvocationId::new(1, [7; 10]);
    let gauge = Gauge::default();
    gauge.set_start(Start::Cold);
    name_invocation(&mut headers, id, &gauge);
    let ids: Vec<_> = headers.get_all("mayfly-invocation-id").iter().collect();
    assert_eq!(ids, [id.to_string().as_str()]);
    let starts: Vec<_> = headers.get_all("mayfly-start").iter().collect();
    assert_eq!(starts, ["cold"]);
}

/// These fields, each with its values in their order, and no others; and none that could end its line.
fn check_fields(headers: &HeaderMap, expected: &[Field]) {
    assert_eq!(headers.len(), expected.len(), "{headers:?}");
    for (name, value) in headers {
        assert!(
            name.as_str()
                .bytes()
                .all(|byte| byte > b' ' && byte < 0x7f && byte != b':'),
            "{name:?}"
        );
        let may_be_in_a_line = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        assert!(value.as_bytes().iter().all(may_be_in_a_line), "{value:?}");
    }
    for name in headers.keys() {
        let given = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let values = expected.iter().filter(|(other, _)| *name == other.as_str());
        assert!(
            given.eq(values.map(|(_, value)| value.as_slice())),
            "{name}: {headers:?}"
        );
    }
}

fn is_reserved(name: &str) -> bool {
    ["mayfly-", "x-forwarded-"].iter().any(|ours| name.starts_with(ours)) || name == "forwarded"
}

fn is_of_the_connection(name: &str) -> bool {
    OF_THE_CONNECTION.split(' ').any(|field| field == name)
}

fn line(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n');
    end.map_or((input, &[]), |end| (&input[..end], &input[end + 1..]))
}

fn read_field(line: &[u8]) -> Option<Field> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?.to_ascii_lowercase();
    Some((name, line[colon + 1..].to_owned()))
}

fn map(fields: &[Field]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    Some(map)
}
