//! From the request that a client sent to the one that a guest sees.

use std::net::SocketAddr;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use mayfly_invoker_api::Body;

use crate::code::Code;
use crate::ingress::respond_async;
use crate::problem::Problem;

/// What is refused before anybody is asked for it: a request that no guest could be given.
pub(crate) fn check_request(request: &Request<Body>) -> Result<(), Problem> {
    if *request.method() == Method::CONNECT {
        return Err(Problem::new(
            Code::MethodNotAllowed,
            "functions are no proxies: CONNECT is refused",
        ));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Problem::new(
            Code::InvalidParameter,
            "the request has more than one Host header",
        ));
    }
    match host {
        Some(host) if Authority::try_from(host.as_bytes()).is_err() => Err(Problem::new(
            Code::InvalidParameter,
            "the Host header is not a host and a port",
        )),
        None if request.uri().authority().is_none() && request.version() >= Version::HTTP_11 => {
            Err(Problem::new(Code::InvalidParameter, "the request names no host"))
        }
        _ => Ok(()),
    }
}

/// The request as the guest will see it.
pub(crate) fn forwarded(
    mut request: Request<Body>,
    prefix: HeaderValue,
    inner: Uri,
    peer: SocketAddr,
) -> Request<Body> {
    *request.uri_mut() = inner;
    strip_foreign_headers(&mut request);
    if request.version() < Version::HTTP_11 {
        // HTTP/1.0 knows no such header, and guests expect one.
        let host = request.headers_mut().entry(header::HOST);
        host.or_insert(HeaderValue::from_static("localhost"));
    }
    request.headers_mut().insert("x-forwarded-prefix", prefix);
    if let Ok(peer) = HeaderValue::try_from(peer.ip().to_string()) {
        request.headers_mut().insert("x-forwarded-for", peer);
    }
    request
}

/// The URI as the guest sees it: scheme and authority stay, the prefix goes.
pub(crate) fn inner_uri(uri: &Uri, rest: &str) -> Result<Uri, Problem> {
    let rest = if rest.is_empty() { "/" } else { rest };
    let path_and_query: Result<PathAndQuery, _> = match uri.query() {
        Some(query) => format!("{rest}?{query}").try_into(),
        None => rest.try_into(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.map_err(|error| Problem::new(Code::RouteNotFound, error.to_string()))?);
    Uri::from_parts(parts).map_err(|error| Problem::new(Code::RouteNotFound, error.to_string()))
}

/// Headers that only the platform may set. What a client says of an event that it hands in is read, and taken away, where
/// the event is made.
fn strip_foreign_headers(request: &mut Request<Body>) {
    let headers = request.headers_mut();
    let is_wish = |name: &HeaderName| respond_async::WISHES.contains(name);
    let keeps_wishes = respond_async::preferred(headers);
    let foreign: Vec<_> = headers
        .keys()
        .filter(|name| is_ours(name.as_str()) && !(keeps_wishes && is_wish(name)))
        .cloned()
        .collect();
    for name in foreign {
        headers.remove(name);
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("mayfly-") || name.starts_with("x-forwarded-") || name == "forwarded"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_sees_the_rest_and_the_query() {
        let uri: Uri = "/hello/a?x=1&x=2".parse().unwrap();
        assert_eq!(inner_uri(&uri, "/a").unwrap(), "/a?x=1&x=2");
        let uri: Uri = "/hello?x".parse().unwrap();
        assert_eq!(inner_uri(&uri, "").unwrap(), "/?x");
    }
}
