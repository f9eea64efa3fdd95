//! Objects looked at and read.

use std::ops::Range as Bytes;

use futures_util::TryStreamExt as _;
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::meta::{expires, header, strong, timestamp, user};
use super::scope;
use crate::storage::Storage;
use crate::store::StoredObject;

/// Of an object whose writer said nothing, as S3 has it.
const UNKNOWN_TYPE: &str = "binary/octet-stream";

/// What does not hold, of the conditions that a reader may name: in the order that RFC 9110 gives them.
pub(super) fn unmet(
    object: &StoredObject,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    if_modified_since: Option<&Timestamp>,
    if_unmodified_since: Option<&Timestamp>,
) -> Option<S3ErrorCode> {
    let fits = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == object.etag,
    };
    // Dates in headers have no parts of seconds.
    let modified = timestamp(object.modified_ms / 1_000 * 1_000);
    let is_changed = match (if_match, if_unmodified_since) {
        (Some(condition), _) => !fits(condition),
        (None, Some(since)) => modified > *since,
        (None, None) => false,
    };
    if is_changed {
        return Some(S3ErrorCode::PreconditionFailed);
    }
    let is_same = match (if_none_match, if_modified_since) {
        (Some(condition), _) => fits(condition),
        (None, Some(since)) => modified <= *since,
        (None, None) => false,
    };
    is_same.then_some(S3ErrorCode::NotModified)
}

/// Which bytes are wanted, and how a response says so.
fn part(object: &StoredObject, range: Option<&Range>) -> S3Result<(Bytes<u64>, Option<String>)> {
    match range {
        None => Ok((0..object.bytes, None)),
        Some(range) => {
            let bytes = range.check(object.bytes)?;
            if bytes.is_empty() {
                return Err(s3_error!(InvalidRange));
            }
            let said = format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, object.bytes);
            Ok((bytes, Some(said)))
        }
    }
}

fn is_of_no_version(version: Option<&String>, part_number: Option<i32>) -> S3Result<()> {
    if version.is_some_and(|version| version != "null") {
        return Err(s3_error!(NoSuchVersion));
    }
    if part_number.is_some() {
        return Err(s3_error!(
            NotImplemented,
            "objects are read by ranges of bytes, not by parts"
        ));
    }
    Ok(())
}

/// Says what does not hold; that something is unchanged with what tells so, as HTTP wants it.
fn refused(code: S3ErrorCode, object: &StoredObject) -> S3Error {
    let is_unchanged = code == S3ErrorCode::NotModified;
    let mut error = S3Error::from(code);
    if let Ok(etag) = http::HeaderValue::try_from(format!("\"{}\"", object.etag))
        && is_unchanged
    {
        error.set_headers(http::HeaderMap::from_iter([(http::header::ETAG, etag)]));
    }
    error
}

fn content_type(object: &StoredObject) -> String {
    header(&object.meta, "content-type").unwrap_or_else(|| UNKNOWN_TYPE.to_owned())
}

fn length(bytes: u64) -> S3Result<i64> {
    i64::try_from(bytes).map_err(S3Error::internal_error)
}

fn sum(object: &StoredObject, name: &str) -> Option<String> {
    object.meta.checksums.get(name).cloned()
}

pub(super) async fn head(
    storage: &Storage,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let (scope, input) = (scope(&request)?, request.input);
    is_of_no_version(input.version_id.as_ref(), input.part_number)?;
    let object = storage.find(&scope, &input.key).await?;
    let unmet = unmet(
        &object,
        input.if_match.as_ref(),
        input.if_none_match.as_ref(),
        input.if_modified_since.as_ref(),
        input.if_unmodified_since.as_ref(),
    );
    if let Some(code) = unmet {
        return Err(refused(code, &object));
    }
    let (bytes, content_range) = part(&object, input.range.as_ref())?;
    let meta = &object.meta;
    let is_whole = content_range.is_none() && input.checksum_mode.is_some();
    let proven = |name| sum(&object, name).filter(|_| is_whole);
    Ok(S3Response::new(HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(length(bytes.end - bytes.start)?),
        content_type: input.response_content_type.or_else(|| Some(content_type(&object))),
        content_encoding: input
            .response_content_encoding
            .or_else(|| header(meta, "content-encoding")),
        content_disposition: input
            .response_content_disposition
            .or_else(|| header(meta, "content-disposition")),
        content_language: input
            .response_content_language
            .or_else(|| header(meta, "content-language")),
        cache_control: input.response_cache_control.or_else(|| header(meta, "cache-control")),
        expires: input.response_expires.or_else(|| expires(meta)),
        checksum_crc32: proven("crc32"),
        checksum_crc32c: proven("crc32c"),
        checksum_crc64nvme: proven("crc64nvme"),
        checksum_sha1: proven("sha1"),
        checksum_sha256: proven("sha256"),
        e_tag: Some(strong(&object.etag)),
        last_modified: Some(timestamp(object.modified_ms)),
        metadata: user(meta),
        content_range,
        ..HeadObjectOutput::default()
    }))
}

pub(super) async fn get(
    storage: &Storage,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let (scope, input) = (scope(&request)?, request.input);
    is_of_no_version(input.version_id.as_ref(), input.part_number)?;
    let content = storage.content(&scope, &input.key).await?;
    let object = &content.object;
    let unmet = unmet(
        object,
        input.if_match.as_ref(),
        input.if_none_match.as_ref(),
        input.if_modified_since.as_ref(),
        input.if_unmodified_since.as_ref(),
    );
    if let Some(code) = unmet {
        return Err(refused(code, object));
    }
    let (bytes, content_range) = part(object, input.range.as_ref())?;
    let content_length = length(bytes.end - bytes.start)?;
    let stream = storage.open(&content, bytes).await?;
    let body = s3s::Body::http_body_unsync(StreamBody::new(stream.map_ok(Frame::data)));
    let meta = &object.meta;
    let is_whole = content_range.is_none() && input.checksum_mode.is_some();
    let proven = |name| sum(object, name).filter(|_| is_whole);
    // What the request wants in their places is put there by s3s.
    Ok(S3Response::new(GetObjectOutput {
        body: Some(body.into()),
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(content_length),
        content_type: Some(content_type(object)),
        content_encoding: header(meta, "content-encoding"),
        content_disposition: header(meta, "content-disposition"),
        content_language: header(meta, "content-language"),
        cache_control: header(meta, "cache-control"),
        expires: expires(meta),
        checksum_crc32: proven("crc32"),
        checksum_crc32c: proven("crc32c"),
        checksum_crc64nvme: proven("crc64nvme"),
        checksum_sha1: proven("sha1"),
        checksum_sha256: proven("sha256"),
        e_tag: Some(strong(&object.etag)),
        last_modified: Some(timestamp(object.modified_ms)),
        metadata: user(meta),
        content_range,
        ..GetObjectOutput::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{ContentId, ObjectMeta};

    #[test]
    fn conditions_hold_as_http_says() {
        let object = StoredObject {
            content: ContentId::from_bytes([0; 16]),
            bytes: 10,
            etag: "a".to_owned(),
            modified_ms: 1_700_000_000_999,
            meta: ObjectMeta::default(),
        };
        let etag = |text: &str| Some(ETagCondition::ETag(strong(text)));
        let any = Some(ETagCondition::Any);
        let at = |unix_ms: i64| Some(timestamp(unix_ms));
        let (same, before) = (1_700_000_000_000, 1_699_999_999_000);
        let (failed, unchanged) = (Some(S3ErrorCode::PreconditionFailed), Some(S3ErrorCode::NotModified));
        for (if_match, if_none_match, since, unmodified, expected) in [
            (None, None, None, None, None),
            (etag("a"), None, None, None, None),
            (any.clone(), None, None, None, None),
            (etag("b"), None, None, None, failed.clone()),
            (None, etag("a"), None, None, unchanged.clone()),
            (None, any, None, None, unchanged.clone()),
            (None, etag("b"), None, None, None),
            (None, None, at(same), None, unchanged.clone()),
            (None, None, at(before), None, None),
            (None, None, None, at(same), None),
            (None, None, None, at(before), failed.clone()),
            // An etag outweighs a date.
            (etag("a"), None, None, at(before), None),
            (None, etag("b"), at(same), None, None),
            (etag("b"), etag("a"), None, None, failed),
        ] {
            let found = unmet(
                &object,
                if_match.as_ref(),
                if_none_match.as_ref(),
                since.as_ref(),
                unmodified.as_ref(),
            );
            assert_eq!(
                found, expected,
                "{if_match:?} {if_none_match:?} {since:?} {unmodified:?}"
            );
        }
    }
}
