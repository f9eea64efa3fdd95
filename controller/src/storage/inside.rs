//! Buckets as functions reach them: `BUCKET.s3.mayfly.internal`, which their allow lists name. What they ask for are the
//! operations of S3, without signatures: the platform knows who asks.

use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt as _;
use mayfly_invoker_api::{Body, BucketName, Caller, InvokeError, InvokeErrorKind};
use s3s::service::S3Service;
use s3s::{S3Error, s3_error};

use super::s3::{answer_of, open_service, refusal, serve};
use super::{Scope, Storage};
use crate::code::Code;

/// Answers requests of functions.
pub(crate) struct Inside {
    service: S3Service,
}

impl Inside {
    pub(crate) fn new(storage: Storage) -> Self {
        Self {
            service: open_service(storage),
        }
    }

    /// Answers a request to a bucket.
    pub(crate) async fn answer(&self, caller: &Caller, bucket: &str, request: Request<Body>) -> Response<Body> {
        let response = match prepared(caller, bucket, request) {
            Ok(request) => serve(&self.service, request).await,
            Err(error) => answer_of(error),
        };
        response.map(|body| {
            let body = body
                .map_err(|_| InvokeError::new(InvokeErrorKind::Internal, "the object could not be read to its end"));
            body.boxed_unsync()
        })
    }
}

/// The request as it would come to the storage listener, and whose it is.
fn prepared(caller: &Caller, bucket: &str, request: Request<Body>) -> Result<Request<s3s::Body>, S3Error> {
    let bucket: BucketName = bucket.parse().map_err(|_| s3_error!(InvalidBucketName))?;
    if request.headers().contains_key(header::AUTHORIZATION) {
        let mut error = s3_error!(
            InvalidRequest,
            "a function's requests to a bucket are not signed: leave out the credentials"
        );
        error.set_status_code(Code::InvalidParameter.status());
        return Err(error);
    }
    if let Some(refused) = refusal(&request) {
        return Err(refused);
    }
    let payload = request.headers().get("x-amz-content-sha256").map(HeaderValue::as_bytes);
    if payload.is_some_and(|payload| payload.starts_with(b"STREAMING-")) {
        return Err(s3_error!(
            InvalidRequest,
            "a function sends bodies as they are, not in chunks of AWS"
        ));
    }
    let path_and_query = request.uri().path_and_query().map_or("/", |whole| whole.as_str());
    let uri: Uri = format!("/{bucket}{path_and_query}")
        .parse()
        .map_err(|_| s3_error!(InvalidURI))?;
    let (mut head, body) = request.into_parts();
    head.uri = uri;
    head.extensions = http::Extensions::new();
    // The bucket is in the path now.
    head.headers.remove(header::HOST);
    let target = &caller.target;
    head.extensions.insert(Scope {
        namespace: target.namespace.clone(),
        bucket,
        depth: caller.depth.saturating_add(1),
        principal: format!("function:{}", target.function),
        peer: None,
    });
    Ok(Request::from_parts(head, s3s::Body::http_body_unsync(body)))
}
