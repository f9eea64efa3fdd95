//! Objects in a bucket, by the API: for those who have no client of S3 at hand.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::admin::Admin;
use crate::admin::buckets::{BucketInPath, scope};
use crate::admin::extract::{InNamespace, Params, page_rows, time};
use crate::config::OBJECT_BYTES_MAX;
use crate::problem::{Problem, ProblemDocument};
use crate::storage::{NewObject, Page, StorageError};
use crate::store::{Condition, StoredObject};

/// An object, without its bytes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Object)]
pub(crate) struct ObjectView {
    key: String,
    bytes: u64,
    /// Tells its bytes from others, as S3 does.
    etag: String,
    modified_at: String,
}

/// One page of objects, in the order of the bytes of their keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Objects {
    objects: Vec<ObjectView>,
    /// With a delimiter: what keys begin with, up to and with it.
    folders: Vec<String>,
    /// Give this as `after` for the next page; null on the last one.
    next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// What keys begin with.
    #[serde(default)]
    prefix: String,
    /// What ends the name of a folder, mostly `/`.
    delimiter: Option<String>,
    /// Objects and folders of this page.
    limit: Option<u32>,
    /// The key or folder after which this page begins.
    after: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    /// The object's name in the bucket: any text of up to 1,024 bytes.
    key: String,
}

/// Lists objects.
#[utoipa::path(get, path = "/v1/ns/{ns}/buckets/{bucket}/objects",
    operation_id = "list_objects", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("bucket" = String, Path, description = "Bucket"), Wanted),
    responses((status = 200, body = Objects), (status = 404, body = ProblemDocument)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<BucketInPath>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Objects>, Problem> {
    let mut page = Page {
        prefix: wanted.prefix,
        delimiter: wanted.delimiter,
        from: Vec::new(),
        most: page_rows(wanted.limit, 100)? as usize,
    };
    if let Some(after) = &wanted.after {
        page.begin_after(after);
    }
    let listed = admin.storage.list(&scope(namespace, path.name()?), &page).await?;
    let last_key = listed.objects.last().map(|last| &last.key);
    let last = last_key.max(listed.folders.last()).cloned();
    Ok(Json(Objects {
        next: last.filter(|_| listed.next.is_some()),
        folders: listed.folders,
        objects: listed
            .objects
            .into_iter()
            .map(|object| ObjectView {
                key: object.key,
                bytes: object.bytes,
                etag: object.etag,
                modified_at: time(object.modified_ms),
            })
            .collect(),
    }))
}

/// Gives an object's bytes.
#[utoipa::path(get, path = "/v1/ns/{ns}/buckets/{bucket}/object",
    operation_id = "get_object", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("bucket" = String, Path, description = "Bucket"), Key),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, body = ProblemDocument)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<BucketInPath>,
    Params(Key { key }): Params<Key>,
) -> Result<Response, Problem> {
    let content = admin.storage.content(&scope(namespace, path.name()?), &key).await?;
    let stream = admin.storage.open(&content, 0..content.object.bytes).await?;
    let kept = |name: &str| {
        let value = content.object.meta.headers.get(name)?;
        HeaderValue::try_from(value).ok()
    };
    let mut headers = HeaderMap::new();
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kept("content-type").unwrap_or(octets));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.object.bytes));
    if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", content.object.etag)) {
        headers.insert(header::ETAG, etag);
    }
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// Writes an object, also in the place of another one. It is durable when this returns.
#[utoipa::path(put, path = "/v1/ns/{ns}/buckets/{bucket}/object",
    operation_id = "put_object", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("bucket" = String, Path, description = "Bucket"), Key),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = ObjectView), (status = 404, body = ProblemDocument),
        (status = 413, body = ProblemDocument)))]
pub(super) async fn put(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<BucketInPath>,
    Params(Key { key }): Params<Key>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ObjectView>, Problem> {
    let mut new = NewObject::default();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Some(content_type) = content_type {
        let kept = (header::CONTENT_TYPE.to_string(), content_type.to_owned());
        new.meta.headers.extend([kept]);
    }
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > OBJECT_BYTES_MAX) {
        return Err(StorageError::too_large().into());
    }
    let body = body.into_data_stream().map_err(Into::into);
    let scope = scope(namespace, path.name()?);
    let object = admin.storage.put(&scope, &key, new, body).await?;
    Ok(Json(view(key, &object)))
}

/// Deletes an object.
#[utoipa::path(delete, path = "/v1/ns/{ns}/buckets/{bucket}/object",
    operation_id = "delete_object", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("bucket" = String, Path, description = "Bucket"), Key),
    responses((status = 204, description = "It is gone"), (status = 404, body = ProblemDocument)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<BucketInPath>,
    Params(Key { key }): Params<Key>,
) -> Result<StatusCode, Problem> {
    let scope = scope(namespace, path.name()?);
    let ended = admin.storage.delete(&scope, vec![(key, Condition::None)]).await?;
    match ended.into_iter().next().transpose()? {
        Some(true) => Ok(StatusCode::NO_CONTENT),
        _ => Err(Problem::from(StorageError::no_object())),
    }
}

fn view(key: String, object: &StoredObject) -> ObjectView {
    ObjectView {
        key,
        bytes: object.bytes,
        etag: object.etag.clone(),
        modified_at: time(object.modified_ms),
    }
}
