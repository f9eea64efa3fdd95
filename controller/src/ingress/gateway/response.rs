//! The HTTP response that an answer stands for.

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lambda_events::encodings::Body as EventBody;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::code::Code;
use crate::problem::Problem;

/// The HTTP response that an event function's answer stands for: a document with `statusCode` is a response, any
/// other document is the body of a 200.
pub(crate) fn response(answer: Bytes) -> Result<Response<Bytes>, Problem> {
    let bad = |why: String| {
        Problem::new(
            Code::BadResponse,
            format!("the function's answer is not a response: {why}"),
        )
    };
    let text = std::str::from_utf8(&answer).map_err(|error| bad(format!("it is not text: {error}")))?;
    let no_document = |error: serde_json::Error| bad(format!("it is not a JSON document: {error}"));
    if has_status_code(text).map_err(no_document)? {
        let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(no_document)?;
        // The type wants the field that Lambda's own users leave out.
        fields.entry("cookies").or_insert_with(|| Value::Array(Vec::new()));
        let shaped: ApiGatewayV2httpResponse =
            serde_json::from_value(Value::Object(fields)).map_err(|error| bad(error.to_string()))?;
        return shaped_response(shaped).map_err(bad);
    }
    let mut response = Response::new(answer);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Whether the document is an object with that field. Looks through it and keeps nothing: most answers are long data, not
/// responses.
fn has_status_code(text: &str) -> serde_json::Result<bool> {
    #[derive(Deserialize)]
    struct Shape {
        #[serde(default, rename = "statusCode", deserialize_with = "is_there")]
        has_status_code: bool,
    }
    fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
        IgnoredAny::deserialize(value).map(|_| true)
    }
    if text.trim_ascii_start().starts_with('{') {
        serde_json::from_str(text).map(|shape: Shape| shape.has_status_code)
    } else {
        serde_json::from_str(text).map(|_: IgnoredAny| false)
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
        for answer in [r#" {"total":{"statusCode":3}}"#, "[1]", "\"x\"", "null"] {
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
            "\"\u{0}\"",
            "{\"a\":1} x",
            r#"{"statusCode":null}"#,
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
