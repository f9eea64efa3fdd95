//! Buckets: made, looked at, deleted; and the keys with which clients of S3 come in.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use mayfly_invoker_api::{BucketName, Namespace};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::{Document, InNamespace, PageByName, Params, invalid_parameter, page_rows, time};
use crate::code::Code;
use crate::config::BUCKETS_MAX;
use crate::problem::{Problem, ProblemDocument};
use crate::storage::{Scope, ShownKey, StorageError};
use crate::store::{Bucket, BucketDeletion};

/// A bucket to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBucket {
    /// Unique in the namespace; three characters or more.
    name: String,
}

/// A bucket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Bucket)]
pub(crate) struct BucketView {
    name: String,
    namespace: String,
    created_at: String,
    /// Of a bucket that is shown alone: how many objects are in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<u64>,
    /// The same: their bytes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The same: the triggers that wait for changes of its objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    triggers: Option<Vec<String>>,
}

/// One page of buckets, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Buckets {
    buckets: Vec<BucketView>,
    /// Give this as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// What a client of S3 comes in with. Without a Debug form, so that no log shows it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Credentials {
    /// Where clients of S3 find the bucket.
    endpoint: String,
    bucket: String,
    access_key_id: String,
    secret_access_key: String,
    created_at: String,
}

#[derive(Deserialize)]
pub(super) struct BucketInPath {
    bucket: String,
}

impl BucketInPath {
    /// A name that no bucket can have is one that none has.
    pub(super) fn name(&self) -> Result<BucketName, Problem> {
        self.bucket.parse().map_err(|_| StorageError::no_bucket().into())
    }
}

impl From<Bucket> for BucketView {
    fn from(bucket: Bucket) -> Self {
        Self {
            name: bucket.name.to_string(),
            namespace: bucket.namespace.to_string(),
            created_at: time(bucket.created_ms),
            objects: None,
            bytes: None,
            triggers: None,
        }
    }
}

/// Makes a bucket.
#[utoipa::path(post, path = "/v1/ns/{ns}/buckets",
    operation_id = "create_bucket", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace")), request_body = NewBucket,
    responses((status = 201, body = BucketView), (status = 400, body = ProblemDocument),
        (status = 409, description = "There is a bucket of that name", body = ProblemDocument)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Document(new): Document<NewBucket>,
) -> Result<(StatusCode, Json<BucketView>), Problem> {
    let name: BucketName = new
        .name
        .parse()
        .map_err(|error| Problem::new(Code::InvalidName, format!("{error}")))?;
    let store = &admin.parts.store;
    if store.count_buckets(&namespace).await? >= BUCKETS_MAX {
        return Err(invalid_parameter(format!(
            "a namespace has at most {BUCKETS_MAX} buckets"
        )));
    }
    let bucket = Bucket {
        namespace,
        name,
        created_ms: admin.parts.clock.unix_ms(),
    };
    if !store.insert_bucket(&bucket).await? {
        return Err(Problem::new(
            Code::BucketExists,
            format!("there is a bucket named {} in this namespace", bucket.name),
        ));
    }
    Ok((StatusCode::CREATED, Json(bucket.into())))
}

/// Lists the buckets.
#[utoipa::path(get, path = "/v1/ns/{ns}/buckets",
    operation_id = "list_buckets", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), PageByName),
    responses((status = 200, body = Buckets), (status = 400, body = ProblemDocument)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Params(page): Params<PageByName>,
) -> Result<Json<Buckets>, Problem> {
    let limit = page_rows(page.limit, 100)?;
    let after: Option<BucketName> = page
        .after
        .map(|name| name.parse())
        .transpose()
        .map_err(invalid_parameter)?;
    let after = after.as_ref().map_or("", BucketName::as_str);
    let found = admin.parts.store.buckets(&namespace, after, limit).await?;
    let full = found.len() == limit as usize;
    let next = found.last().filter(|_| full).map(|last| last.name.to_string());
    Ok(Json(Buckets {
        buckets: found.into_iter().map(BucketView::from).collect(),
        next,
    }))
}

/// Shows a bucket, and counts what is in it.
#[utoipa::path(get, path = "/v1/ns/{ns}/buckets/{bucket}",
    operation_id = "get_bucket", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("bucket" = String, Path, description = "Bucket")),
    responses((status = 200, body = BucketView), (status = 404, body = ProblemDocument)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<BucketInPath>,
) -> Result<Json<BucketView>, Problem> {
    let bucket = find(&admin, &namespace, &path.name()?).await?;
    let store = &admin.parts.store;
    let (objects, bytes) = store.measure_bucket(&namespace, &bucket.name).await?;
    let triggers = store.watchers(&namespace, &bucket.name).await?;
    Ok(Json(BucketView {
        objects: Some(objects),
        bytes: Some(bytes),
        triggers: Some(triggers.into_iter().map(|trigger| trigger.name).collect()),
        ..bucket.into()
    }))
}

/// Deletes a bucket that is empty and that no trigger waits for.
#[utoipa::path(delete, path = "/v1/ns/{ns}/buckets/{bucket}",
    operation_id = "delete_bucket", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("bucket" = String, Path, description = "Bucket")),
    responses((status = 204, description = "It is gone"), (status = 404, body = ProblemDocument),
        (status = 409, description = "It has objects, uploads or triggers", body = ProblemDocument)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<BucketInPath>,
) -> Result<StatusCode, Problem> {
    let name = path.name()?;
    let store = &admin.parts.store;
    let in_use = |what: String| Problem::new(Code::BucketInUse, what);
    if let Some(trigger) = store.watchers(&namespace, &name).await?.first() {
        return Err(in_use(format!(
            "the trigger {} waits for changes of {name}: delete it first",
            trigger.name
        )));
    }
    match store.delete_bucket(&namespace, &name).await? {
        BucketDeletion::Deleted => Ok(StatusCode::NO_CONTENT),
        BucketDeletion::Missing => Err(StorageError::no_bucket().into()),
        BucketDeletion::InUse => Err(in_use(format!(
            "there are objects or unfinished uploads in {name}: delete them first"
        ))),
    }
}

/// Shows the key with which clients of S3 work in the bucket. It is made when somebody asks first.
#[utoipa::path(get, path = "/v1/ns/{ns}/buckets/{bucket}/credentials",
    operation_id = "get_bucket_credentials", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("bucket" = String, Path, description = "Bucket")),
    responses((status = 200, body = Credentials), (status = 404, body = ProblemDocument)))]
pub(super) async fn credentials(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<BucketInPath>,
) -> Result<Response, Problem> {
    let bucket = path.name()?;
    let key = admin.keys.of(&namespace, &bucket).await?;
    Ok(shown(&admin, &bucket, key))
}

/// Makes a new key. The one before it opens nothing any more.
#[utoipa::path(post, path = "/v1/ns/{ns}/buckets/{bucket}/credentials/rotate",
    operation_id = "rotate_bucket_credentials", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("bucket" = String, Path, description = "Bucket")),
    responses((status = 200, body = Credentials), (status = 404, body = ProblemDocument)))]
pub(super) async fn rotate(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Path(path): Path<BucketInPath>,
) -> Result<Response, Problem> {
    let bucket = path.name()?;
    let key = admin.keys.rotate(&namespace, &bucket).await?;
    Ok(shown(&admin, &bucket, key))
}

fn shown(admin: &Admin, bucket: &BucketName, key: ShownKey) -> Response {
    let view = Credentials {
        endpoint: admin.parts.storage_url.clone(),
        bucket: bucket.to_string(),
        access_key_id: key.access_key,
        secret_access_key: key.secret,
        created_at: time(key.created_ms),
    };
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ([no_store], Json(view)).into_response()
}

/// The bucket of that name.
pub(super) async fn find(admin: &Admin, namespace: &Namespace, name: &BucketName) -> Result<Bucket, Problem> {
    let found = admin.parts.store.bucket(namespace, name).await?;
    found.ok_or_else(|| StorageError::no_bucket().into())
}

/// What the API does in a bucket.
pub(super) fn scope(namespace: Namespace, bucket: BucketName) -> Scope {
    Scope {
        namespace,
        bucket,
        depth: 0,
        principal: "api".to_owned(),
        peer: None,
    }
}
