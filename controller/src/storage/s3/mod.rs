//! Buckets as clients of S3 see them. What HTTP and XML say is read by the crate s3s, which also checks signatures; here is
//! what the operations do, and who may ask for them.

mod chunks;
mod flow;
mod gateway;
mod keys;
mod listing;
mod meta;
mod parts;
mod reading;
mod signed;
mod writing;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Result, s3_error};

use self::gateway::Gateway;
use super::{Scope, Storage};
use crate::body;
use crate::clock::{Clock, Ids};
use crate::code::Code;
use crate::config::S3_DOCUMENT_BYTES_MAX;
use crate::server::Answer;

pub(super) use self::flow::TOO_SLOW;
pub(crate) use self::keys::{Keys, ShownKey};

/// A document in the body of a request of a function, in bytes.
const OPEN_DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// What is read of a body that is refused, so that its sender sees why.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// The storage listener.
pub(crate) struct StorageDoor {
    service: S3Service,
    ids: Arc<Ids>,
    clock: Arc<dyn Clock>,
    storage: Storage,
}

impl StorageDoor {
    /// `url` is how clients reach it.
    pub(crate) fn new(storage: Storage, keys: Keys, url: &str) -> Self {
        let (ids, clock) = (Arc::clone(&storage.ids), Arc::clone(&storage.clock));
        let quiet = storage.clone();
        let mut builder = builder(storage, S3_DOCUMENT_BYTES_MAX);
        builder.set_auth(keys.clone());
        builder.set_access(keys);
        builder.set_host(Host(domain_of(url)));
        Self {
            service: builder.build(),
            ids,
            clock,
            storage: quiet,
        }
    }
}

/// The same operations without signatures, for those whose scope is known already.
pub(super) fn open_service(storage: Storage) -> S3Service {
    builder(storage, OPEN_DOCUMENT_BYTES_MAX).build()
}

fn builder(storage: Storage, document_bytes_max: usize) -> S3ServiceBuilder {
    let mut config = S3Config::default();
    config.xml_max_body_size = document_bytes_max;
    config.post_object_max_file_size = 0;
    let mut builder = S3ServiceBuilder::new(Gateway { storage });
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder
}

/// The operation's bucket and whose it is, which was found out before.
fn scope<T>(request: &S3Request<T>) -> S3Result<Scope> {
    let scope = request.extensions.get::<Scope>();
    scope.cloned().ok_or_else(|| s3_error!(AccessDenied))
}

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

impl Answer for StorageDoor {
    type Body = Body;

    /// A client that does not read is known by its connection, and only if that is not shared by a hundred answers.
    const SPEAKS_HTTP2: bool = false;

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if let Some(refused) = refusal(&request) {
            return answer_of(refused);
        }
        let asks_first = request.headers().contains_key(header::EXPECT);
        let (mut request, rest) = flow::watched(request);
        request.extensions_mut().insert(Peer(peer));
        let mut response = serve(&self.service, request).await;
        if !response.status().is_success() && !asks_first {
            body::discard(rest, DISCARDED_BYTES_MAX).await;
        }
        let id = self.ids.event(self.clock.unix_ms()).to_string();
        if let Ok(id) = HeaderValue::try_from(id) {
            response.headers_mut().insert("x-amz-request-id", id);
        }
        response
    }

    async fn quiet(&self) {
        self.storage.quiet().await;
    }
}

/// Has the service answer.
pub(super) async fn serve(service: &S3Service, request: Request<Body>) -> Response<Body> {
    match service.call(request).await {
        Ok(response) => with_carriage_returns(with_status(response)),
        Err(error) => {
            let error: s3s::StdError = error.into();
            tracing::error!(
                error = &*error as &dyn std::error::Error,
                "an S3 request could not be answered"
            );
            answer_of(s3_error!(InternalError))
        }
    }
}

/// A part of an object is one, also without its bytes: s3s says so for GET only.
fn with_status(mut response: Response<Body>) -> Response<Body> {
    if response.status() == StatusCode::OK && response.headers().contains_key(header::CONTENT_RANGE) {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// Those in the text of an XML document would be read as ends of lines; s3s writes them as they are.
fn with_carriage_returns(response: Response<Body>) -> Response<Body> {
    let content_type = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_xml = content_type.is_some_and(|value| value.starts_with(b"application/xml"));
    match response.body().bytes() {
        Some(bytes) if is_xml && bytes.contains(&b'\r') => {
            let text = String::from_utf8_lossy(&bytes).replace('\r', "&#13;");
            let (mut head, _) = response.into_parts();
            head.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(head, Body::from(text))
        }
        _ => response,
    }
}

pub(super) fn answer_of(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = Code::Internal.status();
        response
    })
}

/// What is not taken, whoever asks: signatures of version 2 prove too little, and forms of browsers would be kept in memory
/// before it is known whose they are.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<S3Error> {
    let begins = |name: header::HeaderName, with: &[u8]| {
        let value = request.headers().get(name).map(HeaderValue::as_bytes);
        value.is_some_and(|value| {
            value
                .get(..with.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(with))
        })
    };
    let query = request.uri().query().unwrap_or_default();
    let is_old_signature = |pair: &str| pair.starts_with("AWSAccessKeyId=") || pair.starts_with("Signature=");
    if begins(header::AUTHORIZATION, b"AWS ") || query.split('&').any(is_old_signature) {
        return Some(S3Error::with_message(
            S3ErrorCode::InvalidRequest,
            "only signatures of version 4 are taken: AWS4-HMAC-SHA256",
        ));
    }
    if request.method() == Method::POST && begins(header::CONTENT_TYPE, b"multipart/form-data") {
        return Some(S3Error::with_message(
            S3ErrorCode::NotImplemented,
            "uploads by a form are not taken: use PUT, which needs no form with a presigned URL",
        ));
    }
    None
}

/// The host's name in a URL, without the port; nothing for an address.
fn domain_of(url: &str) -> Option<String> {
    let authority = url.parse::<http::Uri>().ok()?.into_parts().authority?;
    let host = authority.host();
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    (!is_address).then(|| host.to_ascii_lowercase())
}

/// Finds the bucket in `BUCKET.domain`; in all other hosts it is in the path.
struct Host(Option<String>);

impl S3Host for Host {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        let domain = self.0.as_deref().unwrap_or("localhost");
        let bucket = name.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.'));
        let all = VirtualHost::new(host);
        Ok(match bucket {
            Some(bucket) if !bucket.is_empty() => all.with_bucket(bucket),
            _ => all,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_found_in_the_host_or_else_in_the_path() {
        let bucket = |url: &str, host: &str| {
            let parser = Host(domain_of(url));
            parser.parse_host_header(host).unwrap().bucket().map(str::to_owned)
        };
        let url = "https://s3.example.com:9000";
        assert_eq!(bucket(url, "photos.s3.example.com:9000").as_deref(), Some("photos"));
        assert_eq!(bucket(url, "photos.s3.example.com").as_deref(), Some("photos"));
        for host in [
            "s3.example.com",
            "photoss3.example.com",
            "other.example.com",
            "127.0.0.1:9000",
        ] {
            assert_eq!(bucket(url, host), None, "{host}");
        }
        assert_eq!(
            bucket("http://127.0.0.1:8082", "photos.localhost:8082").as_deref(),
            Some("photos")
        );
    }

    #[test]
    fn old_signatures_and_forms_are_refused() {
        let refused = |method: Method, uri: &str, name: &str, value: &str| {
            let request = Request::builder().method(method).uri(uri).header(name, value);
            refusal(&request.body(()).unwrap()).map(|error| error.code().clone())
        };
        let key = "AWS4-HMAC-SHA256 Credential=MF/20261130/us-east-1/s3/aws4_request";
        assert_eq!(refused(Method::GET, "/b/k", "authorization", key), None);
        let old = refused(Method::GET, "/b/k", "authorization", "aws MF:c2lnbmF0dXJl");
        assert_eq!(old, Some(S3ErrorCode::InvalidRequest));
        let old = refused(
            Method::GET,
            "/b/k?AWSAccessKeyId=MF&Signature=x&Expires=9",
            "accept",
            "*/*",
        );
        assert_eq!(old, Some(S3ErrorCode::InvalidRequest));
        let form = refused(Method::POST, "/b", "content-type", "Multipart/form-data; boundary=x");
        assert_eq!(form, Some(S3ErrorCode::NotImplemented));
    }
}
