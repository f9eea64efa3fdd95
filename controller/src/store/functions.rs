//! Functions and their immutable, numbered versions.

use std::collections::{BTreeMap, BTreeSet};

use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{AllowedHost, Digest, FunctionName, Isolation, Kind, Namespace, SnapshotMode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::columns::{from_json, json, parsed, stored};
use super::pool::{reading, writing};
use super::{Store, StoreError};
use crate::config::INSTANCES_MAX;
use crate::events::Destination;
use crate::sealing::Sealed;

/// How a function is run; part of its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FunctionConfig {
    /// Memory that one instance may use, in MiB.
    pub memory_mib: u32,
    /// Time that one invocation may take, in milliseconds.
    pub timeout_ms: u64,
    /// Environment variables of the function.
    pub env: BTreeMap<String, String>,
    /// Which invocations may share an instance: `auto`, `function`, `invocation`, or `key:HEADER`.
    #[schema(value_type = String)]
    pub isolation: Isolation,
    /// Invocations that one instance serves before it is replaced.
    pub max_requests_per_instance: u32,
    /// Instances that are kept warm although nobody calls.
    pub min_warm: u32,
    /// Instances that may be alive at once; more calls wait.
    pub max_instances: u32,
    /// Hosts that the function may send requests to: `HOST` (ports 80 and 443), `HOST:PORT`, `*.DOMAIN`, or `*` for any
    /// public host.
    #[schema(value_type = Vec<String>)]
    pub allow_hosts: BTreeSet<AllowedHost>,
    /// Whether the function's init function is run once, at deploy: `auto`, `on` or `off`.
    #[schema(value_type = String)]
    pub snapshot: SnapshotMode,
    /// How often and when an event is tried again that the function could not handle.
    #[schema(value_type = Object)]
    pub retry: RetryPolicy,
    /// What gets an event's outcome when the function has handled it: `function:NAME`, `queue:NAME`, the URL of a webhook,
    /// or `amqp://USER:PASSWORD@HOST:5672/VHOST?exchange=NAME&routing_key=KEY`. A password is shown as `***`, and stays as it
    /// is when what was shown is deployed again.
    #[schema(value_type = Option<String>)]
    pub on_success: Option<Destination>,
    /// The same when it was given up.
    #[schema(value_type = Option<String>)]
    pub on_failure: Option<Destination>,
    /// What these take to be reached, in a column of its own: whoever shows a configuration cannot show them.
    #[serde(skip)]
    pub secrets: DestinationSecrets,
}

/// The URLs of brokers that outcomes go to, with their passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationSecrets {
    /// Of `on_success`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<Sealed>,
    /// Of `on_failure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Sealed>,
}

impl DestinationSecrets {
    /// What they are sealed for.
    #[must_use]
    pub fn purpose(namespace: &Namespace, function: &FunctionName) -> String {
        format!("destination of {namespace}/{function}")
    }
}

impl Default for FunctionConfig {
    fn default() -> Self {
        Self {
            memory_mib: 128,
            timeout_ms: 30_000,
            env: BTreeMap::new(),
            isolation: Isolation::Auto,
            max_requests_per_instance: 1_000,
            allow_hosts: BTreeSet::new(),
            min_warm: 0,
            max_instances: INSTANCES_MAX,
            snapshot: SnapshotMode::Auto,
            retry: RetryPolicy::default(),
            on_success: None,
            on_failure: None,
            secrets: DestinationSecrets::default(),
        }
    }
}

impl FunctionConfig {
    /// sha256 of the configuration; equal for equal configurations and only for those.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Canonical: the fields have one order, the map is sorted, and serde_json adds no space.
        let json = serde_json::to_vec(self).expect("numbers and strings always have a JSON form");
        Digest::from_bytes(Sha256::digest(json).into())
    }
}

/// One immutable deployment of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Owner of the function.
    pub namespace: Namespace,
    /// The function.
    pub name: FunctionName,
    /// Counts from 1 and never repeats, not even after the function was deleted.
    pub number: u32,
    /// How the function is called.
    pub kind: Kind,
    /// The wasm bytes.
    pub artifact: Digest,
    /// Size of the wasm, in bytes.
    pub size_bytes: u64,
    /// How it is run.
    pub config: FunctionConfig,
    /// sha256 of `config`.
    pub config_digest: Digest,
    /// When it was deployed, in milliseconds since 1970.
    pub created_at_ms: i64,
}

/// What a deployment led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The version that is now the latest.
    pub version: Version,
    /// `false` when the latest version was exactly this one already.
    pub changed: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    namespace: String,
    function: String,
    number: i64,
    kind: String,
    artifact: String,
    size_bytes: i64,
    config: String,
    config_digest: String,
    secrets: String,
    created_at_ms: i64,
}

impl Row {
    fn is(&self, artifact: &str, config_digest: &str, secrets: &str) -> bool {
        self.artifact == artifact && self.config_digest == config_digest && self.secrets == secrets
    }
}

/// Selects versions that are not deleted; conditions on `f` (function) and `v` (version) follow.
macro_rules! select_versions {
    ($rest:literal) => {
        concat!(
            "SELECT v.namespace, v.function, v.number, a.kind, v.artifact, a.size_bytes, v.config, v.config_digest, \
             v.secrets, v.created_at_ms FROM function f \
             JOIN version v ON v.namespace = f.namespace AND v.function = f.name \
             JOIN artifact a ON a.namespace = v.namespace AND a.digest = v.artifact ",
            $rest
        )
    };
}

const LATEST: &str = select_versions!(
    "WHERE f.namespace = $1 AND f.name = $2 AND v.number = f.latest_version AND f.deleted_at_ms IS NULL"
);

impl Store {
    /// Makes `artifact` with `config` the function's latest version, unless it is that already.
    ///
    /// # Errors
    /// [`StoreError::MissingArtifact`] when the namespace lacks the artifact, or when the database fails.
    pub async fn deploy(
        &self,
        namespace: &Namespace,
        name: &FunctionName,
        artifact: Digest,
        config: &FunctionConfig,
        now_ms: i64,
    ) -> Result<Deployed, StoreError> {
        const ARTIFACT: &str = "SELECT COUNT(*) FROM artifact WHERE namespace = $1 AND digest = $2";
        // Changes nothing when the function is there, but holds its row: whoever deploys or deletes the same function
        // waits here until this transaction ends, and then sees what it did.
        const HOLD: &str = "INSERT INTO function (namespace, name, latest_version) VALUES ($1, $2, 0) \
             ON CONFLICT (namespace, name) DO UPDATE SET latest_version = function.latest_version \
             RETURNING latest_version";
        const INSERT: &str = "INSERT INTO version \
             (namespace, function, number, artifact, config, config_digest, secrets, created_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        const POINT: &str =
            "UPDATE function SET latest_version = $3, deleted_at_ms = NULL WHERE namespace = $1 AND name = $2";
        let artifact_text = artifact.to_string();
        let config_digest = config.digest().to_string();
        let secrets = json("secrets", &config.secrets)?;
        let config = json("configuration", config)?;
        let (changed, row) = writing!(self, |tx| {
            let found: i64 = sqlx::query_scalar(ARTIFACT)
                .bind(namespace.as_str())
                .bind(&artifact_text)
                .fetch_one(&mut *tx)
                .await?;
            if found == 0 {
                return Err(StoreError::MissingArtifact(artifact));
            }
            let number: i64 = sqlx::query_scalar(HOLD)
                .bind(namespace.as_str())
                .bind(name.as_str())
                .fetch_one(&mut *tx)
                .await?;
            let latest: Option<Row> = sqlx::query_as(LATEST)
                .bind(namespace.as_str())
                .bind(name.as_str())
                .fetch_optional(&mut *tx)
                .await?;
            match latest {
                Some(row) if row.is(&artifact_text, &config_digest, &secrets) => (false, row),
                _ => {
                    sqlx::query(INSERT)
                        .bind(namespace.as_str())
                        .bind(name.as_str())
                        .bind(number + 1)
                        .bind(&artifact_text)
                        .bind(&config)
                        .bind(&config_digest)
                        .bind(&secrets)
                        .bind(now_ms)
                        .execute(&mut *tx)
                        .await?;
                    sqlx::query(POINT)
                        .bind(namespace.as_str())
                        .bind(name.as_str())
                        .bind(number + 1)
                        .execute(&mut *tx)
                        .await?;
                    let made = sqlx::query_as(LATEST)
                        .bind(namespace.as_str())
                        .bind(name.as_str())
                        .fetch_one(&mut *tx)
                        .await?;
                    (true, made)
                }
            }
        });
        Ok(Deployed {
            version: row.try_into()?,
            changed,
        })
    }

    /// The latest version of a function.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn function(&self, namespace: &Namespace, name: &FunctionName) -> Result<Option<Version>, StoreError> {
        let row = reading!(self, |db| sqlx::query_as::<_, Row>(LATEST)
            .bind(namespace.as_str())
            .bind(name.as_str())
            .fetch_optional(db))?;
        row.map(Version::try_from).transpose()
    }

    /// One version of a function that is not deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn version(
        &self,
        namespace: &Namespace,
        name: &FunctionName,
        number: u32,
    ) -> Result<Option<Version>, StoreError> {
        const SQL: &str =
            select_versions!("WHERE f.namespace = $1 AND f.name = $2 AND v.number = $3 AND f.deleted_at_ms IS NULL");
        let row = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace.as_str())
            .bind(name.as_str())
            .bind(i64::from(number))
            .fetch_optional(db))?;
        row.map(Version::try_from).transpose()
    }

    /// The latest versions of up to `limit` functions whose names follow `after`, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn functions(
        &self,
        namespace: &Namespace,
        after: Option<&FunctionName>,
        limit: u32,
    ) -> Result<Vec<Version>, StoreError> {
        const SQL: &str = select_versions!(
            "WHERE f.namespace = $1 AND f.name > $2 AND v.number = f.latest_version AND f.deleted_at_ms IS NULL \
             ORDER BY f.name LIMIT $3"
        );
        // No name is empty, so every name follows the empty text.
        let after = after.map_or("", FunctionName::as_str);
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace.as_str())
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(Version::try_from).collect()
    }

    /// The latest versions of up to `limit` functions of all namespaces that follow `after`, by namespace and name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn all_functions(
        &self,
        after: Option<(&Namespace, &FunctionName)>,
        limit: u32,
    ) -> Result<Vec<Version>, StoreError> {
        const SQL: &str = select_versions!(
            "WHERE (f.namespace, f.name) > ($1, $2) AND v.number = f.latest_version AND f.deleted_at_ms IS NULL \
             ORDER BY f.namespace, f.name LIMIT $3"
        );
        let (namespace, name) = after.map_or(("", ""), |(namespace, name)| (namespace.as_str(), name.as_str()));
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace)
            .bind(name)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(Version::try_from).collect()
    }

    /// The latest versions of up to `limit` functions of all namespaces: those called last first, then those that were
    /// never called, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recent_functions(&self, limit: u32) -> Result<Vec<Version>, StoreError> {
        // An invocation's id begins with its time, so that the greatest is the last one.
        const SQL: &str = select_versions!(
            "WHERE v.number = f.latest_version AND f.deleted_at_ms IS NULL \
             ORDER BY (SELECT b.last_id FROM usage_block b WHERE b.namespace = f.namespace AND b.function = f.name \
             ORDER BY b.last_id DESC LIMIT 1) DESC NULLS LAST, v.created_at_ms DESC, f.name LIMIT $1"
        );
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(Version::try_from).collect()
    }

    /// Up to `limit` versions of a function, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions(
        &self,
        namespace: &Namespace,
        name: &FunctionName,
        limit: u32,
    ) -> Result<Vec<Version>, StoreError> {
        const SQL: &str = select_versions!("WHERE f.namespace = $1 AND f.name = $2 ORDER BY v.number DESC LIMIT $3");
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace.as_str())
            .bind(name.as_str())
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(Version::try_from).collect()
    }

    /// Deletes a function with all its versions and triggers; `false` when there was none. Usage, logs and events stay.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_function(
        &self,
        namespace: &Namespace,
        name: &FunctionName,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        const MARK: &str = "UPDATE function SET deleted_at_ms = $3 \
             WHERE namespace = $1 AND name = $2 AND deleted_at_ms IS NULL";
        // Its triggers would fire at nothing, and at another function that is given the same name later.
        const DELETE: [&str; 2] = [
            "DELETE FROM version WHERE namespace = $1 AND function = $2",
            "DELETE FROM event_trigger WHERE namespace = $1 AND function = $2",
        ];
        let marked = writing!(self, |tx| {
            let marked = sqlx::query(MARK)
                .bind(namespace.as_str())
                .bind(name.as_str())
                .bind(now_ms)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if marked > 0 {
                for sql in DELETE {
                    sqlx::query(sql)
                        .bind(namespace.as_str())
                        .bind(name.as_str())
                        .execute(&mut *tx)
                        .await?;
                }
            }
            marked
        });
        Ok(marked > 0)
    }
}

impl TryFrom<Row> for Version {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            namespace: parsed("namespace", &row.namespace)?,
            name: parsed("function name", &row.function)?,
            number: stored("number of a version", row.number)?,
            kind: Kind::from_name(&row.kind).ok_or(StoreError::Corrupt("kind of an artifact"))?,
            artifact: parsed("digest of an artifact", &row.artifact)?,
            size_bytes: stored("size of an artifact", row.size_bytes)?,
            config: FunctionConfig {
                secrets: from_json("secrets", &row.secrets)?,
                ..from_json("configuration", &row.config)?
            },
            config_digest: parsed("digest of a configuration", &row.config_digest)?,
            created_at_ms: row.created_at_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::FunctionConfig;

    #[test]
    fn what_is_left_out_has_defaults_and_what_is_unknown_is_refused() {
        let config: FunctionConfig = serde_json::from_str(r#"{"timeout_ms":5}"#).unwrap();
        assert_eq!((config.memory_mib, config.timeout_ms, config.env.len()), (128, 5, 0));
        assert_eq!(
            serde_json::from_str::<FunctionConfig>("{}").unwrap(),
            FunctionConfig::default()
        );
        assert!(serde_json::from_str::<FunctionConfig>(r#"{"memory":1}"#).is_err());
    }

    #[test]
    fn the_digest_depends_on_what_is_said_and_not_on_how() {
        let digest = |json: &str| serde_json::from_str::<FunctionConfig>(json).unwrap().digest();
        let config = digest(r#"{"env":{"A":"1","B":"2"},"memory_mib":64}"#);
        assert_eq!(
            config,
            digest(r#"{"memory_mib":64,"timeout_ms":30000,"env":{"B":"2","A":"1"}}"#)
        );
        for other in [
            r#"{"env":{"A":"1","B":"2"}}"#,
            r#"{"memory_mib":64,"env":{"A":"2","B":"1"}}"#,
        ] {
            assert_ne!(config, digest(other));
        }
    }
}
