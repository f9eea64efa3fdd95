//! The event that stands for a request: an API Gateway event, payload format 2.0.
//!
//! Written from what it borrows, not through the type of `aws_lambda_events`: that one has fields of other sorts of requests,
//! which would have to be taken out again, and copies everything. The tests read each event with that type.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use mayfly_invoker_api::InvocationId;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::code::Code;
use crate::problem::Problem;

/// The route and stage of a function that is reached directly, in API Gateway's words.
const DEFAULT_ROUTE: &str = "$default";
/// What an event takes beside the body and the headers, in bytes, more or less.
const USUAL_BYTES: usize = 1_024;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'static str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    headers: Headers<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    request_context: Context<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    route_key: &'static str,
    stage: &'static str,
    #[serde(serialize_with = "shown")]
    request_id: InvocationId,
    api_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain_name: Option<Cow<'a, str>>,
    /// In milliseconds since 1970.
    time_epoch: i64,
    http: Http<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    source_ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
}

/// The event that stands for a request; `invocation` is its id and when it started, in milliseconds since 1970.
pub(crate) fn event(
    parts: &Parts,
    body: &[u8],
    peer: SocketAddr,
    invocation: (InvocationId, i64),
    function: &str,
) -> Result<Bytes, Problem> {
    let (id, started_at_ms) = invocation;
    let header = |name: HeaderName| parts.headers.get(name).map(text);
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let (body, is_base64_encoded) = match std::str::from_utf8(body) {
        Ok("") => (None, false),
        Ok(body) => (Some(Cow::Borrowed(body)), false),
        Err(_) => (Some(Cow::Owned(BASE64.encode(body))), true),
    };
    let event = Event {
        version: "2.0",
        route_key: DEFAULT_ROUTE,
        raw_path: path,
        raw_query_string: query,
        cookies: cookies(&parts.headers),
        headers: Headers(&parts.headers),
        query_string_parameters: pairs(query),
        request_context: Context {
            route_key: DEFAULT_ROUTE,
            stage: DEFAULT_ROUTE,
            request_id: id,
            api_id: function,
            domain_name: header(header::HOST),
            time_epoch: started_at_ms,
            http: Http {
                method: parts.method.as_str(),
                path,
                protocol: protocol(parts.version),
                source_ip: peer.ip(),
                user_agent: header(header::USER_AGENT),
            },
        },
        body,
        is_base64_encoded,
    };
    let mut written = Vec::with_capacity(USUAL_BYTES + event.body.as_ref().map_or(0, |body| body.len()));
    serde_json::to_writer(&mut written, &event).map_err(|error| {
        tracing::error!(%error, "a request could not be written as an event");
        Problem::new(Code::Internal, "the request could not be turned into an event")
    })?;
    Ok(written.into())
}

fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Headers may hold any bytes and JSON may not: what is no text is replaced.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// Cookies travel apart from the other headers.
fn cookies(headers: &HeaderMap) -> Vec<String> {
    let mut cookies = Vec::new();
    for value in headers.get_all(header::COOKIE).iter().map(text) {
        let given = value.split(';').map(str::trim).filter(|cookie| !cookie.is_empty());
        cookies.extend(given.map(str::to_owned));
    }
    cookies
}

/// Format 2.0 has one value per header: several are joined by commas.
struct Headers<'a>(&'a HeaderMap);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(headers) = self;
        let mut map = serializer.serialize_map(None)?;
        for name in headers.keys().filter(|name| **name != header::COOKIE) {
            let mut values = headers.get_all(name).iter().map(text);
            let first = values.next().unwrap_or_default();
            let joined = values.fold(first, |joined, value| joined + "," + value);
            map.serialize_entry(name.as_str(), &joined)?;
        }
        map.end()
    }
}

/// Query parameters, decoded; several values of one name are joined by commas.
fn pairs(query: &str) -> BTreeMap<Cow<'_, str>, Cow<'_, str>> {
    let mut pairs: BTreeMap<Cow<'_, str>, Cow<'_, str>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        pairs
            .entry(name)
            .and_modify(|values| {
                let values = values.to_mut();
                values.push(',');
                values.push_str(&value);
            })
            .or_insert(value);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
    use serde_json::Value;

    use super::*;

    fn event_of(request: http::Request<()>, body: &[u8]) -> Value {
        let id = InvocationId::new(1, [0; 10]);
        let peer = "192.0.2.7:1234".parse().unwrap();
        let bytes = event(&request.into_parts().0, body, peer, (id, 1_700_000_000_000), "shop").unwrap();
        // Whatever we send, Lambda's own type must be able to read.
        serde_json::from_slice::<ApiGatewayV2httpRequest>(&bytes).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_request_becomes_a_version_2_event() {
        let request = http::Request::post("/orders/7?a=1&a=2&b=x%20y")
            .header("cookie", "s=1; t=2")
            .header("x-tag", "one")
            .header("x-tag", "two")
            .body(())
            .unwrap();
        let event = event_of(request, br#"{"n":1}"#);
        assert_eq!(event["version"], "2.0");
        assert_eq!(event["rawPath"], "/orders/7");
        assert_eq!(event["rawQueryString"], "a=1&a=2&b=x%20y");
        assert_eq!(event["queryStringParameters"]["a"], "1,2");
        assert_eq!(event["queryStringParameters"]["b"], "x y");
        assert_eq!(event["cookies"], serde_json::json!(["s=1", "t=2"]));
        assert_eq!(event["headers"]["x-tag"], "one,two");
        assert_eq!(event["headers"].get("cookie"), None);
        assert_eq!(event["requestContext"]["http"]["method"], "POST");
        assert_eq!(event["requestContext"]["http"]["sourceIp"], "192.0.2.7");
        assert_eq!(event["body"], r#"{"n":1}"#);
        assert_eq!(event["isBase64Encoded"], false);
        assert_eq!(event.get("httpMethod"), None, "the type would say GET");
        assert!(
            event.as_object().unwrap().values().all(|value| !value.is_null()),
            "{event}"
        );
    }

    #[test]
    fn a_binary_body_travels_as_base64() {
        let event = event_of(http::Request::post("/").body(()).unwrap(), &[0xff, 0, 1]);
        assert_eq!(event["body"], "/wAB");
        assert_eq!(event["isBase64Encoded"], true);
    }

    #[test]
    fn headers_that_are_no_text_do_not_stop_a_request() {
        let request = http::Request::get("/")
            .header("x-name", HeaderValue::from_bytes(b"Ren\xe9").unwrap())
            .header("user-agent", HeaderValue::from_bytes(b"\xff").unwrap());
        let event = event_of(request.body(()).unwrap(), b"");
        assert_eq!(event["headers"]["x-name"], "Ren\u{fffd}");
        assert_eq!(event["requestContext"]["http"]["userAgent"], "\u{fffd}");
        assert_eq!(event.get("body"), None);
    }
}
