//! Objects written, copied and deleted.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::flow::Flow;
use super::meta::{claimed, condition, described, refuse_what_is_not_done, strong, timestamp};
use super::reading::unmet;
use super::scope;
use crate::config::OBJECT_BYTES_MAX;
use crate::storage::blobs::Received;
use crate::storage::{Content, NewObject, Scope, Storage, StorageError};
use crate::store::Condition;

/// Objects that are deleted by one request, as S3 has it.
const DELETED_AT_ONCE_MAX: usize = 1_000;

/// How the body was announced, when it is whole: without the marks between its chunks.
fn announced_bytes(headers: &http::HeaderMap, content_length: Option<i64>) -> Option<u64> {
    let decoded = headers.get("x-amz-decoded-content-length");
    match decoded {
        Some(decoded) => decoded.to_str().ok()?.parse().ok(),
        None => content_length.and_then(|length| u64::try_from(length).ok()),
    }
}

/// What is announced is not more than an object may have: else all of it would come in vain.
pub(super) fn may_be_so_long(headers: &http::HeaderMap, content_length: Option<i64>) -> Result<(), StorageError> {
    match announced_bytes(headers, content_length) {
        Some(bytes) if bytes > OBJECT_BYTES_MAX => Err(StorageError::too_large()),
        _ => Ok(()),
    }
}

/// All the bytes that were announced have come: a body in chunks may end early and look well.
pub(super) fn is_whole(
    received: &Received,
    headers: &http::HeaderMap,
    content_length: Option<i64>,
) -> Result<(), StorageError> {
    match announced_bytes(headers, content_length) {
        Some(bytes) if bytes != received.blob.bytes => Err(StorageError::new(
            s3s::S3ErrorCode::IncompleteBody,
            format!("{bytes} bytes were announced, {} have come", received.blob.bytes),
        )),
        _ => Ok(()),
    }
}

pub(super) async fn put(
    storage: &Storage,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let scope = scope(&request)?;
    let input = &mut request.input;
    refuse_what_is_not_done!(input);
    if input.write_offset_bytes.is_some() {
        return Err(s3_error!(NotImplemented, "objects are written whole"));
    }
    let condition = condition(input.if_match.take(), input.if_none_match.take())?;
    let mut meta = described!(input).into_meta()?;
    let claimed = claimed!(input, &request.headers)?;
    scope.path(&input.key)?;
    may_be_so_long(&request.headers, input.content_length)?;
    storage.bucket_is_there(&scope).await?;
    let body = input.body.take().unwrap_or_else(|| s3s::Body::empty().into());
    let flow = request.extensions.get::<Arc<Flow>>().cloned();
    let received = storage.receive(Flow::taken(flow, body), claimed.hasher()).await?;
    is_whole(&received, &request.headers, input.content_length)?;
    let trailers = request.trailing_headers.as_ref();
    meta.checksums = claimed.prove(&received.checksums, received.md5, trailers)?;
    let checksums = received.checksums.clone();
    let new = NewObject { meta, condition };
    let object = storage
        .put_received(&scope, &input.key, new, received, "ObjectCreated:Put")
        .await?;
    Ok(S3Response::new(PutObjectOutput {
        e_tag: Some(strong(&object.etag)),
        checksum_crc32: checksums.checksum_crc32,
        checksum_crc32c: checksums.checksum_crc32c,
        checksum_crc64nvme: checksums.checksum_crc64nvme,
        checksum_sha1: checksums.checksum_sha1,
        checksum_sha256: checksums.checksum_sha256,
        ..PutObjectOutput::default()
    }))
}

pub(super) async fn copy(
    storage: &Storage,
    mut request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let scope = scope(&request)?;
    let input = &mut request.input;
    refuse_what_is_not_done!(input);
    let source = source(storage, &scope, &input.copy_source).await?;
    let is_unmet = unmet(
        &source.object,
        input.copy_source_if_match.as_ref(),
        input.copy_source_if_none_match.as_ref(),
        input.copy_source_if_modified_since.as_ref(),
        input.copy_source_if_unmodified_since.as_ref(),
    );
    if is_unmet.is_some() {
        return Err(StorageError::unmet().into());
    }
    let directive = input.metadata_directive.as_ref().map(MetadataDirective::as_str);
    let is_replaced = directive == Some(MetadataDirective::REPLACE);
    let mut meta = described!(input).into_meta()?;
    if is_replaced {
        meta.checksums = source.object.meta.checksums.clone();
    } else {
        meta = source.object.meta.clone();
    }
    let new = NewObject {
        meta,
        condition: condition_on_target(&request.headers)?,
    };
    let object = storage.copy(&scope, &source, &input.key, new).await?;
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(CopyObjectResult {
            e_tag: Some(strong(&object.etag)),
            last_modified: Some(timestamp(object.modified_ms)),
            ..CopyObjectResult::default()
        }),
        ..CopyObjectOutput::default()
    }))
}

/// S3 takes conditions on the target of a copy, too; s3s does not know them there.
fn condition_on_target(headers: &http::HeaderMap) -> S3Result<Condition> {
    let named = |name: http::HeaderName| {
        let value = headers
            .get(name)
            .map(|value| ETagCondition::parse_http_header(value.as_bytes()));
        value
            .transpose()
            .map_err(|_| s3_error!(InvalidArgument, "a condition is an etag or *"))
    };
    condition(named(http::header::IF_MATCH)?, named(http::header::IF_NONE_MATCH)?)
}

/// What is to be copied, which is in the bucket that the key opens.
pub(super) async fn source(storage: &Storage, scope: &Scope, source: &CopySource) -> S3Result<Content> {
    let CopySource::Bucket {
        bucket,
        key,
        version_id,
    } = source
    else {
        return Err(s3_error!(NotImplemented, "copies come from buckets"));
    };
    if version_id.as_deref().is_some_and(|version| version != "null") {
        return Err(s3_error!(NoSuchVersion));
    }
    if **bucket != *scope.bucket.as_str() {
        return Err(s3_error!(
            AccessDenied,
            "the source is in another bucket than this key opens"
        ));
    }
    Ok(storage.content(scope, key).await?)
}

pub(super) async fn delete(
    storage: &Storage,
    mut request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let scope = scope(&request)?;
    let input = &mut request.input;
    if input.version_id.as_deref().is_some_and(|version| version != "null") {
        return Err(s3_error!(NoSuchVersion));
    }
    if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
        return Err(not_a_condition());
    }
    let condition = condition(input.if_match.take(), None)?;
    let ended = storage.delete(&scope, vec![(input.key.clone(), condition)]).await?;
    for ended in ended {
        ended?;
    }
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(super) async fn delete_many(
    storage: &Storage,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let scope = scope(&request)?;
    let Delete { objects, quiet } = request.input.delete;
    if objects.is_empty() || objects.len() > DELETED_AT_ONCE_MAX {
        return Err(s3_error!(
            MalformedXML,
            "from 1 to {} objects are deleted at once",
            DELETED_AT_ONCE_MAX
        ));
    }
    let (mut keys, mut deleted, mut errors) = (Vec::with_capacity(objects.len()), Vec::new(), Vec::new());
    for object in objects {
        let is_old = object.version_id.as_deref().is_some_and(|version| version != "null");
        if object.size.is_some() || object.last_modified_time.is_some() {
            errors.push(error_of(object.key, not_a_condition()));
            continue;
        }
        match scope.path(&object.key) {
            Ok(_) if !is_old => {
                let condition = object
                    .e_tag
                    .map_or(Condition::None, |etag| Condition::Etag(etag.into_value()));
                keys.push((object.key, condition));
            }
            Ok(_) => errors.push(error_of(object.key, s3_error!(NoSuchVersion))),
            Err(error) => errors.push(error_of(object.key, error.into())),
        }
    }
    let names: Vec<String> = keys.iter().map(|(key, _)| key.clone()).collect();
    for (key, ended) in names.into_iter().zip(storage.delete(&scope, keys).await?) {
        match ended {
            Ok(_) => deleted.push(DeletedObject {
                key: Some(key),
                ..DeletedObject::default()
            }),
            Err(error) => errors.push(error_of(key, error.into())),
        }
    }
    let is_quiet = quiet.unwrap_or(false);
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: Some(deleted).filter(|_| !is_quiet),
        errors: Some(errors).filter(|errors| !errors.is_empty()),
        ..DeleteObjectsOutput::default()
    }))
}

fn not_a_condition() -> S3Error {
    s3_error!(
        NotImplemented,
        "deleting takes an etag as its condition, no size and no time"
    )
}

fn error_of(key: String, error: S3Error) -> s3s::dto::Error {
    s3s::dto::Error {
        code: Some(error.code().as_str().to_owned()),
        key: Some(key),
        message: error.message().map(str::to_owned),
        version_id: None,
    }
}
