//! Requests to one server with one token, and what every answer has in common.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use super::{Connection, failure};
use crate::error::CliError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest document that is read from a server, in bytes.
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 << 20;

/// A server and a token.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    base: Url,
    /// Marked as sensitive, so that nothing prints it.
    authorization: Option<HeaderValue>,
}

impl Transport {
    /// Prepares to talk to a server; nothing is sent yet.
    ///
    /// # Errors
    /// When the URL or the token cannot be one.
    pub(super) fn new(connection: &Connection) -> Result<Self, CliError> {
        let base = parse_url(&connection.url)?;
        let authorization = connection.token.as_deref().map(bearer).transpose()?;
        // A redirect is never followed: the answer of a function may be one, and the token is for this server only.
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if base.scheme() == "http" {
            // Without this, a machine that has no certificate authorities installed could not even use plain HTTP.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|cause| failure::of_transport(&base, &cause))?;
        Ok(Self {
            http,
            base,
            authorization,
        })
    }

    /// The address of the server.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// A request for a path under the address of the server.
    pub(super) fn request<'a>(&self, method: Method, path: impl IntoIterator<Item = &'a str>) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    fn url<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http URL has a path")
            .pop_if_empty()
            .extend(path);
        url
    }

    /// The document that answers a request.
    pub(super) async fn document<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CliError> {
        let mut response = self.accepted(request).await?;
        let body = failure::body_of(&self.base, &mut response, DOCUMENT_BYTES_MAX).await?;
        serde_json::from_slice(&body).map_err(|_| failure::not_ours(&self.base, response.status()))
    }

    /// The answer, if it says that the request was done.
    pub(super) async fn accepted(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = self.send(request).await?;
        self.accept(response).await
    }

    /// The same for an answer that is already here.
    pub(super) async fn accept(&self, mut response: Response) -> Result<Response, CliError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let body = failure::body_of(&self.base, &mut response, DOCUMENT_BYTES_MAX).await?;
        let problem = failure::of_problem(status, content_type.as_ref(), &body);
        Err(self.with_token_hint(problem.unwrap_or_else(|| failure::not_ours(&self.base, status))))
    }

    /// Says where a token would be looked for, when there is none.
    pub(super) fn with_token_hint(&self, error: CliError) -> CliError {
        if error.code() != "unauthorized" || self.authorization.is_some() {
            return error;
        }
        error.hint(format!("no token is known for {}; set MAYFLY_TOKEN", self.base))
    }

    /// The answer, whatever it says.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        request
            .send()
            .await
            .map_err(|cause| failure::of_transport(&self.base, &cause))
    }
}

fn parse_url(text: &str) -> Result<Url, CliError> {
    let parsed = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    parsed.ok_or_else(|| {
        CliError::usage(format!("'{text}' is no server address"))
            .hint("write it like http://127.0.0.1:8081, in --url, MAYFLY_URL or the profile")
    })
}

fn bearer(token: &str) -> Result<HeaderValue, CliError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
        CliError::usage("the token has characters that no token has").hint("copy it again into MAYFLY_TOKEN")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(url: &str, token: &str) -> Result<Transport, CliError> {
        // Fails when another test was first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connection = Connection {
            url: url.to_owned(),
            token: Some(token.to_owned()),
        };
        Transport::new(&connection)
    }

    #[test]
    fn paths_are_built_under_any_base() {
        for (base, expected) in [
            ("http://h:1", "http://h:1/v1/a%20b%2Fc"),
            ("http://h:1/", "http://h:1/v1/a%20b%2Fc"),
            ("https://h/mayfly/", "https://h/mayfly/v1/a%20b%2Fc"),
        ] {
            let transport = Transport {
                base: parse_url(base).unwrap(),
                ..transport("http://h", "t").unwrap()
            };
            assert_eq!(transport.url(["v1", "a b/c"]).as_str(), expected);
        }
    }

    #[test]
    fn what_is_no_server_address_is_wrong_use() {
        for url in ["", "localhost:8081", "ftp://h", "unix:/x", "http://"] {
            assert_eq!(transport(url, "t").unwrap_err().kind().exit_code(), 2, "{url}");
        }
    }

    #[test]
    fn this_machine_is_reached_without_a_proxy() {
        for (url, loopback) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&parse_url(url).unwrap()), loopback, "{url}");
        }
    }

    #[test]
    fn the_token_is_never_printed() {
        let transport = transport("http://h", "mayfly_secret").unwrap();
        assert!(!format!("{transport:?}").contains("mayfly_secret"));
    }
}
