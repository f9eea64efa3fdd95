//! From the bytes of an event to the author's types and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bindings::exports::mayfly::function::handler;
use crate::{Context, Error};

/// The event is not JSON, or not of the function's type.
const CODE_INVALID_EVENT: &str = "invalid_event";
/// The answer cannot be written as JSON.
const CODE_INVALID_ANSWER: &str = "invalid_answer";

/// Runs the author's function for one event.
///
/// # Errors
/// With the function's own error, or when the event is not of the function's type.
pub fn run<Event, Answer, Running>(
    event: &[u8],
    context: handler::Context,
    function: impl FnOnce(Event, Context) -> Running,
) -> Result<Vec<u8>, handler::Error>
where
    Event: FromEvent,
    Answer: Serialize,
    Running: Future<Output = Result<Answer, Error>>,
{
    let event = Event::from_event(event)?;
    let answer = wstd::runtime::block_on(function(event, context.into()))?;
    Ok(to_json(&answer)?)
}

/// What a function can take as its event: all that serde can read from JSON, and a [`Payload`] of it.
pub trait FromEvent: Sized {
    /// Reads the event.
    ///
    /// # Errors
    /// With the code `invalid_event` and the place in the document when it is not of this type.
    fn from_event(event: &[u8]) -> Result<Self, Error>;
}

impl<T: DeserializeOwned> FromEvent for T {
    fn from_event(event: &[u8]) -> Result<Self, Error> {
        from_json("event", event)
    }
}

/// The document that the function is for, whichever way it came: as the event itself or as the body of an HTTP request.
///
/// ```no_run
/// use mayfly_sdk::{Context, Error, Payload, handler};
///
/// handler!(sum);
///
/// async fn sum(Payload(numbers): Payload<Vec<f64>>, _context: Context) -> Result<f64, Error> {
///     Ok(numbers.iter().sum())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload<T>(pub T);

impl<T: DeserializeOwned> FromEvent for Payload<T> {
    fn from_event(event: &[u8]) -> Result<Self, Error> {
        let document = match serde_json::from_slice::<HttpEvent>(event) {
            Ok(http) if http.version == "2.0" => from_json("request's body", &http.body()?)?,
            // Another document; when it is not JSON at all, this says so.
            _ => from_json("event", event)?,
        };
        Ok(Self(document))
    }
}

/// As much of an API Gateway event, payload format 2.0, as it takes to recognise one and to find the body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpEvent {
    version: String,
    #[serde(rename = "requestContext")]
    _request_context: RequestContext,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
struct RequestContext {
    #[serde(rename = "http")]
    _http: serde::de::IgnoredAny,
}

impl HttpEvent {
    fn body(self) -> Result<Vec<u8>, Error> {
        let Some(body) = self.body.filter(|body| !body.is_empty()) else {
            return Err(Error::new(
                CODE_INVALID_EVENT,
                "the request has no body: send a JSON document",
            ));
        };
        if !self.is_base64_encoded {
            return Ok(body.into_bytes());
        }
        BASE64.decode(body).map_err(|error| {
            Error::new(
                CODE_INVALID_EVENT,
                format!("the request's body is not the base64 that it is said to be: {error}"),
            )
        })
    }
}

fn from_json<T: DeserializeOwned>(what: &str, text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text).map_err(|error| {
        Error::new(
            CODE_INVALID_EVENT,
            format!("the {what} is not what this function takes: {error}"),
        )
    })
}

fn to_json(answer: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(answer).map_err(|error| {
        Error::new(
            CODE_INVALID_ANSWER,
            format!("the answer cannot be written as JSON: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        quantity: u32,
    }

    fn http_event(body: &serde_json::Value, is_base64_encoded: bool) -> Vec<u8> {
        let event = serde_json::json!({
            "version": "2.0", "rawPath": "/", "headers": {"content-type": "application/json"},
            "requestContext": {"http": {"method": "POST", "path": "/"}, "stage": "$default"},
            "body": body, "isBase64Encoded": is_base64_encoded,
        });
        serde_json::to_vec(&event).unwrap()
    }

    fn refused(event: &[u8]) -> String {
        let error = Payload::<Order>::from_event(event).unwrap_err();
        assert_eq!(error.code(), "invalid_event");
        error.message().to_owned()
    }

    #[test]
    fn a_payload_comes_as_the_event_or_as_a_requests_body() {
        let plain = http_event(&r#"{"quantity": 3}"#.into(), false);
        let encoded = http_event(&"eyJxdWFudGl0eSI6IDN9".into(), true);
        for event in [br#"{"quantity": 3}"#.as_slice(), &plain, &encoded] {
            assert_eq!(Payload::from_event(event).unwrap(), Payload(Order { quantity: 3 }));
        }
    }

    #[test]
    fn a_document_that_only_looks_like_a_request_is_taken_as_it_is() {
        let event = br#"{"version": "2.0", "body": "x"}"#;
        let Payload(value) = Payload::<serde_json::Value>::from_event(event).unwrap();
        assert_eq!(value["body"], "x");
    }

    #[test]
    fn a_wrong_event_is_refused_with_its_place() {
        let wrong_type = refused(b"{\n \"quantity\": \"many\"}");
        assert!(wrong_type.contains("at line 2 column 19"), "{wrong_type}");
        let cut_short = refused(br#"{"quantity":"#);
        assert!(
            cut_short.contains("the event") && cut_short.contains("at line 1 column 12"),
            "{cut_short}"
        );
        let in_body = refused(&http_event(&"{}".into(), false));
        assert!(
            in_body.contains("request's body") && in_body.contains("missing field `quantity`"),
            "{in_body}"
        );
        assert!(refused(&http_event(&serde_json::Value::Null, false)).contains("no body"));
        assert!(refused(&http_event(&"?".into(), true)).contains("base64"));
    }

    #[test]
    fn an_answer_that_json_cannot_hold_is_an_error() {
        assert_eq!(
            to_json(&BTreeMap::from([((1, 2), 3)])).unwrap_err().code(),
            "invalid_answer"
        );
    }
}
