//! Uploads in parts.

use std::sync::Arc;

use s3s::checksum::ChecksumHasher;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::flow::Flow;
use super::meta::{claimed, condition, described, refuse_what_is_not_done, strong, timestamp};
use super::reading::unmet;
use super::scope;
use super::writing::{is_whole, may_be_so_long, source};
use crate::storage::uploads::part_number;
use crate::storage::{Storage, StorageError};

/// Parts in one list, as S3 has it.
const LISTED_MAX: i32 = 1_000;

pub(super) async fn begin(
    storage: &Storage,
    mut request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let scope = scope(&request)?;
    let input = &mut request.input;
    refuse_what_is_not_done!(input);
    let meta = described!(input).into_meta()?;
    let id = storage.begin_upload(&scope, &input.key, meta).await?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        upload_id: Some(id.to_string()),
        ..CreateMultipartUploadOutput::default()
    }))
}

pub(super) async fn put(
    storage: &Storage,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let scope = scope(&request)?;
    let input = &mut request.input;
    if input.sse_customer_algorithm.is_some() {
        return Err(s3_error!(NotImplemented, "encryption of objects is not there"));
    }
    part_number(input.part_number)?;
    let upload = storage.upload(&scope, &input.key, &input.upload_id).await?;
    may_be_so_long(&request.headers, input.content_length)?;
    let claimed = claimed!(input, &request.headers)?;
    let body = input.body.take().unwrap_or_else(|| s3s::Body::empty().into());
    let flow = request.extensions.get::<Arc<Flow>>().cloned();
    let received = storage.receive(Flow::taken(flow, body), claimed.hasher()).await?;
    is_whole(&received, &request.headers, input.content_length)?;
    claimed.prove(&received.checksums, received.md5, request.trailing_headers.as_ref())?;
    let checksums = received.checksums.clone();
    let part = storage.put_part(&upload, input.part_number, received).await?;
    Ok(S3Response::new(UploadPartOutput {
        e_tag: Some(strong(&part.etag)),
        checksum_crc32: checksums.checksum_crc32,
        checksum_crc32c: checksums.checksum_crc32c,
        checksum_crc64nvme: checksums.checksum_crc64nvme,
        checksum_sha1: checksums.checksum_sha1,
        checksum_sha256: checksums.checksum_sha256,
        ..UploadPartOutput::default()
    }))
}

pub(super) async fn copy(
    storage: &Storage,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let (scope, input) = (scope(&request)?, request.input);
    part_number(input.part_number)?;
    let upload = storage.upload(&scope, &input.key, &input.upload_id).await?;
    let content = source(storage, &scope, &input.copy_source).await?;
    let is_unmet = unmet(
        &content.object,
        input.copy_source_if_match.as_ref(),
        input.copy_source_if_none_match.as_ref(),
        input.copy_source_if_modified_since.as_ref(),
        input.copy_source_if_unmodified_since.as_ref(),
    );
    if is_unmet.is_some() {
        return Err(StorageError::unmet().into());
    }
    let bytes = match &input.copy_source_range {
        None => 0..content.object.bytes,
        Some(range) => {
            let wrong = || s3_error!(InvalidArgument, "the range must be like bytes=0-1023");
            match Range::parse(range).map_err(|_| wrong())? {
                Range::Int {
                    first,
                    last: Some(last),
                } if first <= last && last < content.object.bytes => first..last + 1,
                Range::Int { last: Some(_), .. } => return Err(s3_error!(InvalidRange)),
                _ => return Err(wrong()),
            }
        }
    };
    let stream = storage.open(&content, bytes).await?;
    let stream = futures_util::TryStreamExt::map_err(stream, Into::into);
    let received = storage.receive(stream, ChecksumHasher::default()).await?;
    let part = storage.put_part(&upload, input.part_number, received).await?;
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(CopyPartResult {
            e_tag: Some(strong(&part.etag)),
            last_modified: Some(timestamp(part.written_ms)),
            ..CopyPartResult::default()
        }),
        ..UploadPartCopyOutput::default()
    }))
}

pub(super) async fn complete(
    storage: &Storage,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let (scope, input) = (scope(&request)?, request.input);
    let condition = condition(input.if_match, input.if_none_match)?;
    let sums = [
        input.checksum_crc32,
        input.checksum_crc32c,
        input.checksum_crc64nvme,
        input.checksum_sha1,
        input.checksum_sha256,
    ];
    if sums.iter().any(Option::is_some) {
        return Err(s3_error!(
            NotImplemented,
            "checksums of a whole object cannot be proven when it comes in parts: give those of the parts"
        ));
    }
    let announced = input.mpu_object_size.map(u64::try_from).transpose();
    let announced = announced.map_err(|_| s3_error!(InvalidArgument, "an object has no less than no bytes"))?;
    let upload = storage.upload(&scope, &input.key, &input.upload_id).await?;
    let named = input
        .multipart_upload
        .and_then(|upload| upload.parts)
        .unwrap_or_default();
    let wanted: Vec<(i32, Option<String>)> = named
        .into_iter()
        .map(|part| (part.part_number.unwrap_or(0), part.e_tag.map(ETag::into_value)))
        .collect();
    let object = storage.complete(&scope, upload, &wanted, announced, condition).await?;
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        key: Some(input.key),
        e_tag: Some(strong(&object.etag)),
        ..CompleteMultipartUploadOutput::default()
    }))
}

pub(super) async fn abort(
    storage: &Storage,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let (scope, input) = (scope(&request)?, request.input);
    let upload = storage.upload(&scope, &input.key, &input.upload_id).await?;
    storage.abort(&upload).await?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub(super) async fn list(
    storage: &Storage,
    request: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let (scope, input) = (scope(&request)?, request.input);
    let upload = storage.upload(&scope, &input.key, &input.upload_id).await?;
    let most = input.max_parts.unwrap_or(LISTED_MAX).clamp(0, LISTED_MAX);
    let after = u32::try_from(input.part_number_marker.unwrap_or(0)).unwrap_or(0);
    let limit = u32::try_from(most).unwrap_or(0);
    let mut parts = storage.parts(&upload, after, limit + 1).await?;
    let is_truncated = parts.len() > limit as usize;
    parts.truncate(limit as usize);
    let next = parts.last().filter(|_| is_truncated).map(|last| last.number);
    let shown = |part: &crate::store::StoredPart| {
        Ok(Part {
            part_number: Some(i32::try_from(part.number).map_err(s3s::S3Error::internal_error)?),
            size: Some(i64::try_from(part.bytes).map_err(s3s::S3Error::internal_error)?),
            e_tag: Some(strong(&part.etag)),
            last_modified: Some(timestamp(part.written_ms)),
            ..Part::default()
        })
    };
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: Some(most),
        is_truncated: Some(is_truncated),
        part_number_marker: input.part_number_marker,
        next_part_number_marker: next.and_then(|number| i32::try_from(number).ok()),
        parts: Some(parts.iter().map(shown).collect::<S3Result<_>>()?),
        ..ListPartsOutput::default()
    }))
}
