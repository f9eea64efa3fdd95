//! From what a guest asks for to what is sent, as far as that can be said without looking at the network.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Uri};
use mayfly_invoker_api::{Destination, WebhookUrl};
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error as HttpError};

use crate::config::OUTBOUND_TARGET_BYTES_MAX;

/// Where a request goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Destination,
    /// Whether it goes there in private.
    pub(crate) tls: bool,
}

impl Route {
    /// Reads the route of a request; its URI is not looked at a second time.
    pub(crate) fn of<B>(request: &Request<B>) -> Result<Self, HttpError> {
        // Would turn an allowed proxy into a door to everywhere.
        if request.method() == Method::CONNECT {
            return Err(HttpError::HttpRequestMethodInvalid);
        }
        let uri = request.uri();
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(HttpError::HttpProtocolError),
        };
        let authority = uri.authority().ok_or(HttpError::HttpRequestUriInvalid)?;
        let destination = Destination::parse(authority.as_str(), standard_port(tls))
            .map_err(|_not_plain| HttpError::HttpRequestUriInvalid)?;
        Ok(Self { destination, tls })
    }

    /// The route to a URL that was read already.
    pub(crate) fn to(url: &WebhookUrl) -> Self {
        Self {
            destination: url.destination().clone(),
            tls: url.tls(),
        }
    }

    /// The value of the `host` field.
    fn host(&self) -> String {
        if self.destination.port == standard_port(self.tls) {
            self.destination.host.to_string()
        } else {
            self.destination.to_string()
        }
    }

    /// Makes a request what is written to a connection of this route: a path, our `host`, and no field that speaks
    /// about the connection.
    pub(crate) fn rewrite<B>(&self, request: Request<B>) -> Result<Request<B>, HttpError> {
        let (mut parts, body) = request.into_parts();
        parts.uri = Uri::from(target(parts.uri.path_and_query())?);
        drop_hop_by_hop(&mut parts.headers);
        let host = HeaderValue::try_from(self.host()).map_err(|_| HttpError::HttpRequestUriInvalid)?;
        parts.headers.insert(HOST, host);
        // One request each: whoever answers need not wait for another.
        parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        parts.version = http::Version::HTTP_11;
        parts.extensions.clear();
        Ok(Request::from_parts(parts, body))
    }
}

fn standard_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// A path with its query, and never a whole URI, which would name another host to a proxy.
fn target(path: Option<&PathAndQuery>) -> Result<PathAndQuery, HttpError> {
    let text = path.map_or("/", PathAndQuery::as_str);
    if text.len() > OUTBOUND_TARGET_BYTES_MAX {
        return Err(HttpError::HttpRequestUriTooLong);
    }
    let target = match text.as_bytes().first() {
        None => "/".to_owned(),
        Some(b'/') => text.to_owned(),
        Some(b'?') => format!("/{text}"),
        Some(_) => return Err(HttpError::HttpRequestUriInvalid),
    };
    PathAndQuery::try_from(target).map_err(|_| HttpError::HttpRequestUriInvalid)
}

/// Also those that guests cannot set: what is sent is decided here, not by the engine's list.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let is_dropped = |name: &HeaderName| {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
            || *name == TE
            || *name == TRAILER
            || name.as_str().starts_with("proxy-")
    };
    let dropped: Vec<_> = headers.keys().filter(|name| is_dropped(name)).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
    // Two lengths are none.
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        headers.remove(CONTENT_LENGTH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request<()> {
        Request::get(uri).body(()).unwrap()
    }

    fn sent(uri: &str) -> Option<(String, String)> {
        let request = request(uri);
        let request = Route::of(&request).ok()?.rewrite(request).ok()?;
        let host = request.headers()[HOST].to_str().unwrap().to_owned();
        Some((request.uri().to_string(), host))
    }

    #[test]
    fn a_request_names_a_path_and_the_checked_host() {
        for (uri, target, host) in [
            ("http://example.com/a?b=c", "/a?b=c", "example.com"),
            ("http://EXAMPLE.com.:80/", "/", "example.com"),
            ("https://example.com:443/", "/", "example.com"),
            ("http://example.com:443/", "/", "example.com:443"),
            ("https://example.com:8443?q", "/?q", "example.com:8443"),
            ("http://[::ffff:127.0.0.1]:81/", "/", "127.0.0.1:81"),
            ("http://[2001:DB8::1]/", "/", "[2001:db8::1]"),
            ("http://example.com//evil.example/", "//evil.example/", "example.com"),
            (
                "http://example.com/http://evil.example/",
                "/http://evil.example/",
                "example.com",
            ),
        ] {
            assert_eq!(sent(uri), Some((target.to_owned(), host.to_owned())), "{uri}");
        }
        for uri in [
            "http://user@example.com/",
            "http://a:b@example.com/",
            "ftp://example.com/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://[fe80::1%25eth0]/",
            "http://example.com:0/",
            "/path",
        ] {
            if let Ok(uri) = uri.parse::<Uri>() {
                let request = Request::get(uri).body(()).unwrap();
                assert!(Route::of(&request).is_err(), "{}", request.uri());
            }
        }
    }

    #[test]
    fn a_target_is_a_path() {
        for text in ["*", "x", "http://evil.example/"] {
            // The parser takes all of these for paths.
            if let Ok(path) = PathAndQuery::try_from(text) {
                assert!(target(Some(&path)).is_err(), "{text}");
            }
        }
        let long = format!("/{}", "a".repeat(OUTBOUND_TARGET_BYTES_MAX));
        let long = PathAndQuery::try_from(long).unwrap();
        assert!(matches!(target(Some(&long)), Err(HttpError::HttpRequestUriTooLong)));
    }

    #[test]
    fn what_speaks_about_the_connection_is_not_sent_on() {
        let request = Request::post("http://example.com/")
            .header("host", "evil.example")
            .header("connection", "keep-alive, x-secret")
            .header("keep-alive", "timeout=5")
            .header("proxy-authorization", "Basic x")
            .header("proxy-anything", "x")
            .header("te", "trailers")
            .header("trailer", "x")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "websocket")
            .header("http2-settings", "x")
            .header("content-length", "1")
            .header("content-length", "2")
            .header("authorization", "Bearer x")
            .header("x-own", "1")
            .body(())
            .unwrap();
        let sent = Route::of(&request).unwrap().rewrite(request).unwrap();
        let mut fields: Vec<_> = sent
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                ("authorization", "Bearer x"),
                ("connection", "close"),
                ("host", "example.com"),
                ("x-own", "1")
            ]
        );
    }

    #[test]
    fn tunnels_are_refused() {
        let request = Request::connect("http://example.com/").body(()).unwrap();
        assert!(matches!(Route::of(&request), Err(HttpError::HttpRequestMethodInvalid)));
    }
}
