//! Who may ask: a key opens one bucket.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mayfly_invoker_api::{BucketName, Namespace};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use super::Peer;
use super::signed::covers;
use crate::Parts;
use crate::clock::{Clock, Random};
use crate::code::Code;
use crate::problem::Problem;
use crate::sealing::Seal;
use crate::storage::{Scope, StorageError};
use crate::store::{BucketKey, Store, StoreError};

/// What a key's name begins with.
const PREFIX: &str = "MF";
/// How long a key that another controller has replaced may still be taken.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Keys that are kept in memory.
const KNOWN_MAX: u64 = 10_000;

/// The keys to all buckets. A clone is cheap and means the same keys.
#[derive(Clone)]
pub(crate) struct Keys {
    store: Store,
    seal: Seal,
    random: Arc<dyn Random>,
    clock: Arc<dyn Clock>,
    known: moka::future::Cache<String, Arc<Grant>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// What a key opens.
struct Grant {
    namespace: Namespace,
    bucket: BucketName,
    secret: SecretKey,
}

/// Why there is no grant.
enum NoGrant {
    Unknown,
    Failed(StoreError),
    Sealed,
}

/// A key as its owner sees it.
pub(crate) struct ShownKey {
    pub(crate) access_key: String,
    pub(crate) secret: String,
    pub(crate) created_ms: i64,
}

impl Keys {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            store: parts.store.clone(),
            seal: parts.seal.clone(),
            random: Arc::clone(&parts.random),
            clock: Arc::clone(&parts.clock),
            known: moka::future::Cache::builder()
                .max_capacity(KNOWN_MAX)
                .time_to_live(AGE_MAX)
                .build(),
        }
    }

    /// The key to a bucket; made when somebody asks first.
    pub(crate) async fn of(&self, namespace: &Namespace, bucket: &BucketName) -> Result<ShownKey, Problem> {
        match self.store.bucket_key(namespace, bucket).await? {
            Some(key) => self.shown(key),
            None => self.make(namespace, bucket, false).await,
        }
    }

    /// A new key to a bucket. The one before it opens nothing any more.
    pub(crate) async fn rotate(&self, namespace: &Namespace, bucket: &BucketName) -> Result<ShownKey, Problem> {
        let key = self.make(namespace, bucket, true).await?;
        self.known.invalidate_all();
        Ok(key)
    }

    async fn make(&self, namespace: &Namespace, bucket: &BucketName, in_place: bool) -> Result<ShownKey, Problem> {
        let no_random = |error: std::io::Error| {
            tracing::error!(%error, "a key could not be made");
            Problem::new(Code::Internal, "a key could not be made")
        };
        let (name, secret) = (
            self.random.secret().map_err(no_random)?,
            self.random.secret().map_err(no_random)?,
        );
        let digits: String = name[..9].iter().map(|byte| format!("{byte:02X}")).collect();
        let secret = URL_SAFE_NO_PAD.encode(&secret[..30]);
        let key = BucketKey {
            access_key: format!("{PREFIX}{digits}"),
            namespace: namespace.clone(),
            bucket: bucket.clone(),
            secret: self
                .seal
                .seal(&purpose(namespace, bucket), &secret)
                .map_err(no_random)?,
            created_ms: self.clock.unix_ms(),
        };
        match self.store.set_bucket_key(&key, in_place).await? {
            Some(key) => self.shown(key),
            None => Err(StorageError::no_bucket().into()),
        }
    }

    fn shown(&self, key: BucketKey) -> Result<ShownKey, Problem> {
        let secret = self.seal.open(&purpose(&key.namespace, &key.bucket), &key.secret);
        Ok(ShownKey {
            access_key: key.access_key,
            secret: secret.map_err(|error| Problem::new(Code::Internal, error.to_string()))?,
            created_ms: key.created_ms,
        })
    }

    async fn grant(&self, access_key: &str) -> S3Result<Arc<Grant>> {
        // Nobody is asked for what cannot be a key.
        if !access_key.starts_with(PREFIX) || access_key.len() != PREFIX.len() + 18 {
            return Err(s3_error!(InvalidAccessKeyId));
        }
        let found = self.known.try_get_with(access_key.to_owned(), self.look_up(access_key));
        found.await.map_err(|why| match &*why {
            NoGrant::Unknown => s3_error!(InvalidAccessKeyId),
            NoGrant::Failed(error) => StorageError::Problem(Problem::from(error)).into(),
            NoGrant::Sealed => s3_error!(
                InternalError,
                "this server cannot read the key: its --secret-key-file differs"
            ),
        })
    }

    async fn look_up(&self, access_key: &str) -> Result<Arc<Grant>, NoGrant> {
        let key = self.store.key_named(access_key).await.map_err(NoGrant::Failed)?;
        let key = key.ok_or(NoGrant::Unknown)?;
        let secret = self.seal.open(&purpose(&key.namespace, &key.bucket), &key.secret);
        Ok(Arc::new(Grant {
            secret: secret.map_err(|_| NoGrant::Sealed)?.into(),
            namespace: key.namespace,
            bucket: key.bucket,
        }))
    }
}

fn purpose(namespace: &Namespace, bucket: &BucketName) -> String {
    format!("key of bucket {namespace}/{bucket}")
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        Ok(self.grant(access_key).await?.secret.clone())
    }
}

#[async_trait::async_trait]
impl S3Access for Keys {
    /// Whoever has signed works in the bucket of the key, and in no other one.
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = context.credentials() else {
            return Err(s3_error!(AccessDenied, "requests must be signed"));
        };
        covers(context.headers(), context.uri())?;
        let access_key = credentials.access_key.clone();
        let grant = self.grant(&access_key).await?;
        let bucket = context.s3_path().get_bucket_name();
        if bucket.is_some_and(|bucket| bucket != grant.bucket.as_str()) {
            return Err(s3_error!(AccessDenied, "this key opens another bucket"));
        }
        let peer = context.extensions_mut().get::<Peer>().map(|Peer(peer)| peer.ip());
        context.extensions_mut().insert(Scope {
            namespace: grant.namespace.clone(),
            bucket: grant.bucket.clone(),
            depth: 0,
            principal: access_key,
            peer,
        });
        Ok(())
    }
}
