//! Reading and writing objects of buckets of the function's namespace.
//!
//! They do not leave the platform: the request goes to `BUCKET.s3.mayfly.internal`, which the function is deployed with
//! (`fn deploy --allow-host photos.s3.mayfly.internal`). It is a plain request of S3 without a signature, because the
//! platform knows which function asks. An object that is written while the function handles an event is one step further
//! in that event's row, so that a circle of functions comes to an end.

use wstd::http::request::Builder;
use wstd::http::{Body, Client, Request, StatusCode};

use crate::Error;

/// The bucket cannot be one: its name would lead the request to another host.
const CODE_INVALID_BUCKET_NAME: &str = "invalid_bucket_name";
/// The key cannot be one: without a key, the request would be about the bucket itself.
const CODE_INVALID_KEY: &str = "invalid_key";

/// A bucket, whether it is there or not.
///
/// ```no_run
/// use mayfly_sdk::{Error, bucket::Bucket};
///
/// async fn shout(key: &str) -> Result<(), Error> {
///     let notes = Bucket::named("notes");
///     let text = String::from_utf8(notes.get(key).await?)?;
///     notes.put(&format!("loud/{key}"), text.to_uppercase(), "text/plain").await
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    name: String,
}

impl Bucket {
    /// The one of this name. Nothing is asked yet.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Reads an object whole; it has to fit into the instance's memory.
    ///
    /// # Errors
    /// With `object_not_found`, `bucket_not_found`, another code of S3 in lower case, or `not_reached` when the platform
    /// could not be asked.
    pub async fn get(&self, key: &str) -> Result<Vec<u8>, Error> {
        self.ask(Request::get(self.address(key)?), Body::empty()).await
    }

    /// Writes an object, in place of the one that is there; it is durable when this returns.
    ///
    /// # Errors
    /// With `bucket_not_found`, another code of S3 in lower case, or `not_reached` when the platform could not be asked.
    pub async fn put(&self, key: &str, bytes: impl Into<Vec<u8>>, content_type: &str) -> Result<(), Error> {
        let bytes = bytes.into();
        // With its length, a body that is cut off on the way is none.
        let request = Request::put(self.address(key)?)
            .header("content-length", bytes.len())
            .header("content-type", content_type);
        self.ask(request, Body::from(bytes)).await?;
        Ok(())
    }

    /// Deletes an object. One that is not there is no error.
    ///
    /// # Errors
    /// With `bucket_not_found`, another code of S3 in lower case, or `not_reached` when the platform could not be asked.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.ask(Request::delete(self.address(key)?), Body::empty()).await?;
        Ok(())
    }

    fn address(&self, key: &str) -> Result<String, Error> {
        let name = &self.name;
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(Error::new(
                CODE_INVALID_BUCKET_NAME,
                format!("'{name}' is no name of a bucket: it has characters of a-z, 0-9 and '-'"),
            ));
        }
        if key.is_empty() {
            return Err(Error::new(CODE_INVALID_KEY, "a key has at least one character"));
        }
        Ok(format!("http://{name}.s3.mayfly.internal/{}", path(key)))
    }

    async fn ask(&self, request: Builder, body: Body) -> Result<Vec<u8>, Error> {
        let name = &self.name;
        let not_reached = |why: &dyn std::fmt::Display| {
            let hint = format!("deploy the function with --allow-host {name}.s3.mayfly.internal");
            Error::new(
                "not_reached",
                format!("the bucket '{name}' was not reached: {why}; {hint}"),
            )
        };
        let request = request.body(body)?;
        let answer = Client::new().send(request).await.map_err(|error| not_reached(&error))?;
        let status = answer.status();
        let mut body = answer.into_body();
        let contents = body.bytes_contents().await.map_err(|error| not_reached(&error))?;
        if !status.is_success() {
            return Err(refusal(status, &String::from_utf8_lossy(&contents)));
        }
        // Now nobody else has the bytes, and they need not be copied.
        drop(body);
        Ok(contents.into())
    }
}

/// A key as the path of an address.
fn path(key: &str) -> String {
    let segments = key.split('/').map(|segment| match segment {
        // Readers of addresses take these for ways up and down, and leave them out.
        "." | ".." => segment.replace('.', "%2E"),
        _ => percent_encoded(segment),
    });
    segments.collect::<Vec<_>>().join("/")
}

fn percent_encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What the platform says when it refuses, in the XML of S3.
fn refusal(status: StatusCode, xml: &str) -> Error {
    let Some(code) = between(xml, "<Code>", "</Code>") else {
        return Error::new(
            "failed",
            format!("the bucket gave no reason beside its status, {status}"),
        );
    };
    let message = between(xml, "<Message>", "</Message>").unwrap_or_else(|| format!("the bucket refused: {code}"));
    let code = match code.as_str() {
        "NoSuchKey" => "object_not_found".to_owned(),
        "NoSuchBucket" => "bucket_not_found".to_owned(),
        _ => code.to_ascii_lowercase(),
    };
    Error::new(code, message)
}

/// The text of the first such element.
fn between(xml: &str, open: &str, close: &str) -> Option<String> {
    let (_, rest) = xml.split_once(open)?;
    let (text, _) = rest.split_once(close)?;
    Some(unescaped(text))
}

fn unescaped(text: &str) -> String {
    // The ampersand last, so that what it makes is not read as another entity.
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (entity, character)| {
        text.replace(entity, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_or_key_that_is_none_is_not_asked_for() {
        for name in [
            "",
            "Photos",
            "a.b",
            "evil.example/",
            "user@photos",
            "photos:81",
            "photos#",
        ] {
            let error = Bucket::named(name).address("key").unwrap_err();
            assert_eq!(error.code(), "invalid_bucket_name", "{name}");
        }
        let error = Bucket::named("photos").address("").unwrap_err();
        assert_eq!(error.code(), "invalid_key");
    }

    #[test]
    fn a_key_keeps_its_slashes_and_dots_and_nothing_else_that_means_something() {
        for (key, expected) in [
            ("raw/picture-1_a.b~.jpg", "raw/picture-1_a.b~.jpg"),
            ("a b+c?d#e%2F&f=g", "a%20b%2Bc%3Fd%23e%252F%26f%3Dg"),
            ("größe/日", "gr%C3%B6%C3%9Fe/%E6%97%A5"),
            ("/a//b/", "/a//b/"),
            ("../a/./b/..", "%2E%2E/a/%2E/b/%2E%2E"),
            ("...", "..."),
            (".hidden/..a", ".hidden/..a"),
            ("line\nbreak\0\\\"", "line%0Abreak%00%5C%22"),
        ] {
            assert_eq!(path(key), expected, "{key}");
        }
    }

    #[test]
    fn every_key_makes_an_address() {
        let photos = Bucket::named("photos");
        for key in (0..=0x2FF).filter_map(char::from_u32).chain(['😀']) {
            let address = photos.address(&format!("{key}/{key}{key}")).unwrap();
            let request = Request::get(&address).body(()).unwrap();
            assert_eq!(request.uri().host(), Some("photos.s3.mayfly.internal"), "{address}");
            assert_eq!(request.uri().query(), None, "{address}");
            assert_eq!(request.uri().to_string(), address);
        }
    }

    #[test]
    fn a_refusal_tells_its_code_and_message() {
        for (code, expected) in [
            ("NoSuchKey", "object_not_found"),
            ("NoSuchBucket", "bucket_not_found"),
            ("EntityTooLarge", "entitytoolarge"),
            ("recursion_detected", "recursion_detected"),
        ] {
            let xml = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
                 <Message>&lt;a&gt; &amp;&quot;b&quot; isn&apos;t &amp;lt;</Message><Resource>/x</Resource></Error>"
            );
            let error = refusal(StatusCode::NOT_FOUND, &xml);
            assert_eq!(
                (error.code(), error.message()),
                (expected, r#"<a> &"b" isn't &lt;"#),
                "{code}"
            );
        }
    }

    #[test]
    fn a_refusal_without_words_still_is_one() {
        let silent = refusal(StatusCode::BAD_REQUEST, "<Error><Code>Weird</Code></Error>");
        assert_eq!(silent.to_string(), "weird: the bucket refused: Weird");
        for text in ["", "<Error><Code>cut off", "</Code><Code>", "<html>"] {
            let error = refusal(StatusCode::BAD_GATEWAY, text);
            assert_eq!(error.code(), "failed");
            assert!(error.message().contains("502"), "{error}");
        }
    }
}
