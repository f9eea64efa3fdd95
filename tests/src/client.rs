//! HTTP as a client of a function or of the API sees it.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, Response};
use serde_json::Value;

use crate::WAIT_MAX;

/// A client that shares no connection with another one.
///
/// # Panics
/// Never in practice: the settings are fixed.
#[must_use]
pub fn http_client() -> Client {
    // The second caller finds it installed, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder()
        .timeout(WAIT_MAX)
        .no_proxy()
        .build()
        .expect("the settings of the client are valid")
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers of the answer.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Bytes,
}

impl Reply {
    /// Reads an answer to its end.
    ///
    /// # Errors
    /// When the connection breaks before that.
    pub async fn read(response: Response) -> Result<Self, reqwest::Error> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        Ok(Self {
            status,
            headers,
            body: response.bytes().await?,
        })
    }

    /// The value of a header; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The id of the invocation that made this answer.
    ///
    /// # Panics
    /// When the answer does not name it.
    #[must_use]
    pub fn invocation_id(&self) -> String {
        let id = self.header("mayfly-invocation-id");
        assert!(!id.is_empty(), "no mayfly-invocation-id: {self:?}");
        id.to_owned()
    }

    /// Checks that this is a problem document with that status and code, and that it tells what to do.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "wanted {code}: {self:?} {}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("urn:mayfly:error:{code}"));
        assert_eq!(problem["status"], status);
        for text in ["title", "detail", "hint"] {
            assert!(
                problem[text].as_str().is_some_and(|text| !text.is_empty()),
                "no {text}: {problem}"
            );
        }
        problem
    }
}
