//! HTTP for functions that do not speak HTTP: API Gateway v2 events in, API Gateway v2 responses out.
//!
//! The shapes are those of `aws_lambda_events`, so handlers and fixtures written for AWS Lambda carry over.

use std::collections::HashMap;
use std::net::SocketAddr;

use aws_lambda_events::apigw::{
    ApiGatewayV2httpRequest, ApiGatewayV2httpRequestContext, ApiGatewayV2httpRequestContextHttpDescription,
    ApiGatewayV2httpResponse,
};
use aws_lambda_events::encodings::Body as EventBody;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use mayfly_invoker_api::InvocationId;
use serde_json::Value;

use crate::code::Code;
use crate::problem::Problem;

/// The route and stage of a function that is reached directly, in API Gateway's words.
const DEFAULT_ROUTE: &str = "$default";

/// Fields of `ApiGatewayV2httpRequest` that belong to requests to authorizers.
const OF_AUTHORIZERS: [&str; 5] = [
    "type",
    "methodArn",
    "httpMethod",
    "identitySource",
    "authorizationToken",
];

/// The event that stands for a request; `invocation` is its id and when it started, in milliseconds since 1970.
pub(crate) fn event(
    parts: &Parts,
    body: &[u8],
    peer: SocketAddr,
    invocation: (InvocationId, i64),
    function: &str,
) -> Result<Bytes, Problem> {
    let (id, started_at_ms) = invocation;
    let text = |name: HeaderName| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default();

    let mut http = ApiGatewayV2httpRequestContextHttpDescription::default();
    http.method = parts.method.clone();
    http.path = Some(path.clone());
    http.protocol = Some(format!("{:?}", parts.version));
    http.source_ip = Some(peer.ip().to_string());
    http.user_agent = text(header::USER_AGENT);

    let mut context = ApiGatewayV2httpRequestContext::default();
    context.route_key = Some(DEFAULT_ROUTE.to_owned());
    context.stage = Some(DEFAULT_ROUTE.to_owned());
    context.request_id = Some(id.to_string());
    context.apiid = Some(function.to_owned());
    context.domain_name = text(header::HOST);
    context.time_epoch = started_at_ms;
    context.http = http;

    let mut event = ApiGatewayV2httpRequest::default();
    event.version = Some("2.0".to_owned());
    event.route_key = Some(DEFAULT_ROUTE.to_owned());
    event.raw_path = Some(path);
    event.raw_query_string = Some(query.to_owned());
    event.cookies = cookies(&parts.headers);
    event.headers = joined(&parts.headers);
    event.query_string_parameters = pairs(query).into();
    event.request_context = context;
    if !body.is_empty() {
        match std::str::from_utf8(body) {
            Ok(body) => event.body = Some(body.to_owned()),
            Err(_) => {
                event.body = Some(BASE64.encode(body));
                event.is_base64_encoded = true;
            }
        }
    }
    written(&event).map_err(|error| {
        tracing::error!(%error, "a request could not be written as an event");
        Problem::new(Code::Internal, "the request could not be turned into an event")
    })
}

/// The type also holds what custom authorizers get; API Gateway sends none of that, and no nulls, in a request.
fn written(event: &ApiGatewayV2httpRequest) -> serde_json::Result<Bytes> {
    let mut document = serde_json::to_value(event)?;
    if let Value::Object(fields) = &mut document {
        fields.retain(|name, value| !value.is_null() && !OF_AUTHORIZERS.contains(&name.as_str()));
    }
    if let Some(Value::Object(context)) = document.get_mut("requestContext") {
        context.retain(|_, value| !value.is_null());
        if let Some(Value::Object(http)) = context.get_mut("http") {
            http.retain(|_, value| !value.is_null());
        }
    }
    serde_json::to_vec(&document).map(Bytes::from)
}

/// Cookies travel apart from the other headers.
fn cookies(headers: &HeaderMap) -> Option<Vec<String>> {
    let cookies: Vec<String> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .map(|cookie| cookie.trim().to_owned())
        .filter(|cookie| !cookie.is_empty())
        .collect();
    (!cookies.is_empty()).then_some(cookies)
}

/// Format 2.0 has one value per header: several are joined by commas.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let mut joined = HeaderMap::with_capacity(headers.keys_len());
    for name in headers.keys().filter(|name| **name != header::COOKIE) {
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(value) = HeaderValue::from_bytes(&values.join(&b","[..])) {
            joined.insert(name.clone(), value);
        }
    }
    joined
}

/// Query parameters, decoded; several values of one name are joined by commas.
fn pairs(query: &str) -> HashMap<String, String> {
    let mut pairs: HashMap<String, String> = HashMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        pairs
            .entry(name.into_owned())
            .and_modify(|values| {
                values.push(',');
                values.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    pairs
}

/// The HTTP response that an event function's answer stands for: a document with `statusCode` is a response, any
/// other document is the body of a 200.
pub(crate) fn response(answer: Bytes) -> Result<Response<Bytes>, Problem> {
    let bad = |why: String| {
        Problem::new(
            Code::BadResponse,
            format!("the function's answer is not a response: {why}"),
        )
    };
    let document: Value =
        serde_json::from_slice(&answer).map_err(|error| bad(format!("it is not a JSON document: {error}")))?;
    match document {
        Value::Object(mut fields) if fields.contains_key("statusCode") => {
            // The type wants the field that Lambda's own users leave out.
            fields.entry("cookies").or_insert_with(|| Value::Array(Vec::new()));
            let shaped: ApiGatewayV2httpResponse =
                serde_json::from_value(Value::Object(fields)).map_err(|error| bad(error.to_string()))?;
            shaped_response(shaped).map_err(bad)
        }
        _ => {
            let mut response = Response::new(answer);
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(response)
        }
    }
}

fn shaped_response(shaped: ApiGatewayV2httpResponse) -> Result<Response<Bytes>, String> {
    let body = match shaped.body {
        None | Some(EventBody::Empty) => Bytes::new(),
        Some(EventBody::Text(text)) if shaped.is_base64_encoded => BASE64
            .decode(text)
            .map(Bytes::from)
            .map_err(|error| format!("its body is not base64: {error}"))?,
        Some(EventBody::Text(text)) => Bytes::from(text),
        Some(EventBody::Binary(bytes)) => Bytes::from(bytes),
        Some(_) => return Err("its body is of an unknown sort".to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = u16::try_from(shaped.status_code)
        .ok()
        .filter(|status| (200..600).contains(status))
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or_else(|| format!("{} is not an HTTP status", shaped.status_code))?;
    let headers = response.headers_mut();
    for (name, value) in shaped.headers.iter().chain(&shaped.multi_value_headers) {
        headers.append(name, value.clone());
    }
    for cookie in shaped.cookies {
        let value = HeaderValue::try_from(cookie).map_err(|_| "a cookie has characters that no header may have")?;
        headers.append(header::SET_COOKIE, value);
    }
    headers
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    Ok(response)
}

/// What kind of text or data a command's answer is.
pub(crate) fn content_type(answer: &[u8]) -> HeaderValue {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(answer).is_ok();
    HeaderValue::from_static(match std::str::from_utf8(answer) {
        Ok(_) if is_json => "application/json",
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
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

    fn answered(answer: &'static str) -> Result<Response<Bytes>, Problem> {
        response(Bytes::from_static(answer.as_bytes()))
    }

    #[test]
    fn an_answer_with_a_status_code_is_a_response() {
        let response = answered(
            r#"{"statusCode":201,"headers":{"X-A":"1"},"multiValueHeaders":{"x-b":["2","3"]},
                "cookies":["c=1"],"body":"/wAB","isBase64Encoded":true}"#,
        )
        .unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["x-a"], "1");
        assert_eq!(response.headers().get_all("x-b").iter().count(), 2);
        assert_eq!(response.headers()["set-cookie"], "c=1");
        assert_eq!(&response.body()[..], [0xff, 0, 1]);
    }

    #[test]
    fn any_other_document_is_the_body() {
        for answer in [r#"{"total":3}"#, "[1]", "\"x\"", "null"] {
            let response = answered(answer).unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.body()[..]),
                (200, answer.as_bytes())
            );
            assert_eq!(response.headers()["content-type"], "application/json");
        }
    }

    #[test]
    fn what_is_neither_is_the_functions_fault() {
        for answer in [
            "",
            "{",
            r#"{"statusCode":"x"}"#,
            r#"{"statusCode":99}"#,
            r#"{"statusCode":1000}"#,
            r#"{"statusCode":200,"body":"%","isBase64Encoded":true}"#,
            r#"{"statusCode":200,"cookies":["a\nb"]}"#,
        ] {
            assert_eq!(answered(answer).unwrap_err().code, Code::BadResponse, "{answer}");
        }
    }
}
