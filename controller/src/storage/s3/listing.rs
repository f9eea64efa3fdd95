//! Lists: of the bucket, of its objects, of uploads to it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::meta::{strong, timestamp};
use super::scope;
use crate::storage::objects::is_sayable;
use crate::storage::{Listed, Page, Scope, Storage};
use crate::store::ContentId;

/// Objects and folders in one list, as S3 has it.
const LISTED_MAX: i32 = 1_000;

/// Writes keys as the client wants them.
#[derive(Debug, Clone, Copy)]
struct Writer {
    is_encoded: bool,
}

impl Writer {
    fn new(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { is_encoded: false }),
            Some(EncodingType::URL) => Ok(Self { is_encoded: true }),
            Some(_) => Err(s3_error!(InvalidArgument, "keys are encoded with `url` or not at all")),
        }
    }

    fn text(self, text: &str) -> String {
        if !self.is_encoded {
            return text.to_owned();
        }
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        encoded.replace('+', "%20").replace("%2F", "/")
    }
}

pub(super) async fn buckets(storage: &Storage, scope: &Scope) -> S3Result<S3Response<ListBucketsOutput>> {
    let bucket = storage.bucket(scope).await?;
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(vec![Bucket {
            name: Some(bucket.name.to_string()),
            creation_date: Some(timestamp(bucket.created_ms)),
            ..Bucket::default()
        }]),
        owner: Some(Owner {
            display_name: Some(scope.namespace.to_string()),
            id: Some(scope.namespace.to_string()),
        }),
        ..ListBucketsOutput::default()
    }))
}

/// A list repeats what it was asked for, which a document in XML must be able to say.
fn can_be_repeated(texts: [Option<&String>; 3]) -> S3Result<()> {
    if texts.into_iter().flatten().all(|text| is_sayable(text)) {
        return Ok(());
    }
    Err(s3_error!(InvalidArgument, "no key has such characters"))
}

fn most(asked: Option<i32>) -> S3Result<i32> {
    match asked {
        Some(negative @ ..0) => Err(s3_error!(
            InvalidArgument,
            "max-keys must not be negative, as {} is",
            negative
        )),
        asked => Ok(asked.unwrap_or(LISTED_MAX).min(LISTED_MAX)),
    }
}

/// From the first key on.
fn page(prefix: Option<&String>, delimiter: Option<&String>, most: i32) -> Page {
    Page {
        prefix: prefix.cloned().unwrap_or_default(),
        delimiter: delimiter.cloned(),
        from: Vec::new(),
        most: usize::try_from(most).unwrap_or(0),
    }
}

fn contents(listed: &Listed, writer: Writer) -> S3Result<(Vec<Object>, Vec<CommonPrefix>)> {
    let objects = listed.objects.iter().map(|object| {
        Ok(Object {
            key: Some(writer.text(&object.key)),
            size: Some(i64::try_from(object.bytes).map_err(S3Error::internal_error)?),
            e_tag: Some(strong(&object.etag)),
            last_modified: Some(timestamp(object.modified_ms)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Object::default()
        })
    });
    let folders = listed.folders.iter().map(|folder| CommonPrefix {
        prefix: Some(writer.text(folder)),
    });
    Ok((objects.collect::<S3Result<_>>()?, folders.collect()))
}

pub(super) async fn objects_v2(
    storage: &Storage,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let (scope, input) = (scope(&request)?, request.input);
    let writer = Writer::new(input.encoding_type.as_ref())?;
    can_be_repeated([
        input.prefix.as_ref(),
        input.delimiter.as_ref(),
        input.start_after.as_ref(),
    ])?;
    let most = most(input.max_keys)?;
    let mut page = page(input.prefix.as_ref(), input.delimiter.as_ref(), most);
    if let Some(token) = &input.continuation_token {
        let from = URL_SAFE_NO_PAD.decode(token);
        page.from = from.map_err(|_| s3_error!(InvalidArgument, "the continuation token is not one of ours"))?;
    } else if let Some(seen) = &input.start_after {
        page.begin_after(seen);
    }
    let listed = storage.list(&scope, &page).await?;
    let (objects, folders) = contents(&listed, writer)?;
    let count = objects.len() + folders.len();
    // With room for nothing there is no next page either, as S3 has it.
    let next = listed.next.filter(|_| most > 0);
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(writer.text(&page.prefix)),
        delimiter: input.delimiter.as_deref().map(|delimiter| writer.text(delimiter)),
        max_keys: Some(most),
        key_count: i32::try_from(count).ok(),
        is_truncated: Some(next.is_some()),
        continuation_token: input.continuation_token,
        next_continuation_token: next.map(|next| URL_SAFE_NO_PAD.encode(next)),
        start_after: input.start_after.as_deref().map(|seen| writer.text(seen)),
        contents: Some(objects),
        common_prefixes: Some(folders),
        encoding_type: input.encoding_type,
        ..ListObjectsV2Output::default()
    }))
}

pub(super) async fn objects(
    storage: &Storage,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let (scope, input) = (scope(&request)?, request.input);
    let writer = Writer::new(input.encoding_type.as_ref())?;
    can_be_repeated([input.prefix.as_ref(), input.delimiter.as_ref(), input.marker.as_ref()])?;
    let most = most(input.max_keys)?;
    let mut page = page(input.prefix.as_ref(), input.delimiter.as_ref(), most);
    if let Some(marker) = input.marker.as_deref().filter(|marker| !marker.is_empty()) {
        page.begin_after(marker);
    }
    let listed = storage.list(&scope, &page).await?;
    let (objects, folders) = contents(&listed, writer)?;
    let is_truncated = listed.next.is_some() && most > 0;
    let last_key = listed.objects.last().map(|last| &last.key);
    let last = last_key.max(listed.folders.last()).filter(|_| is_truncated);
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(writer.text(&page.prefix)),
        delimiter: input.delimiter.as_deref().map(|delimiter| writer.text(delimiter)),
        max_keys: Some(most),
        is_truncated: Some(is_truncated),
        marker: Some(writer.text(input.marker.as_deref().unwrap_or_default())),
        next_marker: last.map(|last| writer.text(last)),
        contents: Some(objects),
        common_prefixes: Some(folders),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    }))
}

pub(super) async fn uploads(
    storage: &Storage,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let (scope, input) = (scope(&request)?, request.input);
    if input.delimiter.is_some() {
        return Err(s3_error!(NotImplemented, "uploads are listed without a delimiter"));
    }
    let writer = Writer::new(input.encoding_type.as_ref())?;
    can_be_repeated([input.prefix.as_ref(), input.key_marker.as_ref(), None])?;
    let most = most(input.max_uploads)?;
    let limit = u32::try_from(most).unwrap_or(0);
    let key_marker = input.key_marker.clone().unwrap_or_default();
    let id_marker = input.upload_id_marker.as_deref().filter(|_| !key_marker.is_empty());
    let id_marker = match id_marker {
        Some(id) => id
            .parse()
            .map_err(|_| s3_error!(InvalidArgument, "this is no upload's id"))?,
        // Without it all uploads of that key have been seen.
        None if !key_marker.is_empty() => ContentId::from_bytes([0xff; 16]),
        None => ContentId::from_bytes([0; 16]),
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let (mut found, is_truncated) = storage
        .uploads(&scope, &prefix, (&key_marker, id_marker), limit)
        .await?;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| is_truncated);
    let (next_key, next_id) = last.map(|last| (writer.text(&last.key), last.id.to_string())).unzip();
    let shown = found.iter().map(|upload| MultipartUpload {
        key: Some(writer.text(&upload.key)),
        upload_id: Some(upload.id.to_string()),
        initiated: Some(timestamp(upload.created_ms)),
        ..MultipartUpload::default()
    });
    Ok(S3Response::new(ListMultipartUploadsOutput {
        uploads: Some(shown.collect()),
        bucket: Some(input.bucket),
        prefix: Some(writer.text(&prefix)),
        key_marker: input.key_marker.as_deref().map(|key| writer.text(key)),
        upload_id_marker: input.upload_id_marker,
        max_uploads: Some(most),
        is_truncated: Some(is_truncated),
        next_key_marker: next_key,
        next_upload_id_marker: next_id,
        encoding_type: input.encoding_type,
        ..ListMultipartUploadsOutput::default()
    }))
}
