//! What can go wrong with stored state. sqlx is only ever the source of an error, never its type.

use mayfly_invoker_api::{BucketName, Digest, Namespace};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, is busy, or has no room. The same call may succeed later.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] Source),
    /// The database's address cannot be read.
    #[error("the database URL is not valid: {0}; expected postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    InvalidUrl(#[source] Source),
    /// SQLite before 3.51.3 can lose committed data when a write-ahead log is reset.
    #[error("SQLite {found} is too old; build with SQLite 3.51.3 or newer")]
    TooOldSqlite {
        /// The version that was linked.
        found: String,
    },
    /// The tables were made by another version of the program.
    #[error("the database's tables do not fit this version of mayfly: {0}; use the newest version that ever ran on it")]
    ForeignSchema(#[source] Source),
    /// A function was to be deployed from an artifact that its namespace does not have.
    #[error("there is no artifact {0} in this namespace; upload it first")]
    MissingArtifact(Digest),
    /// Something was to be stored in a namespace that does not exist.
    #[error("there is no namespace '{0}'; create it first")]
    MissingNamespace(Namespace),
    /// A trigger was to wait for changes of a bucket that does not exist.
    #[error("there is no bucket named {0} in this namespace")]
    MissingBucket(BucketName),
    /// A number, or a sum of numbers, does not fit the 63 bits that a column has.
    #[error("{0} is too large to be stored or summed")]
    OutOfRange(&'static str),
    /// The database refused a value; trying again cannot help.
    #[error("the database refused a value: {0}")]
    Refused(#[source] Source),
    /// The answer would have more rows than are read at once.
    #[error("the answer has more than {0} rows")]
    TooManyRows(usize),
    /// A stored row cannot be understood.
    #[error("the stored {0} cannot be read")]
    Corrupt(&'static str),
    /// Anything else.
    #[error("the database failed: {0}")]
    Internal(#[source] Source),
}

impl StoreError {
    /// Whether the values given are to blame, so that the same call can never succeed.
    #[must_use]
    pub fn is_about_values(&self) -> bool {
        match self {
            Self::MissingArtifact(_)
            | Self::MissingNamespace(_)
            | Self::MissingBucket(_)
            | Self::OutOfRange(_)
            | Self::Refused(_) => true,
            Self::Unavailable(_)
            | Self::InvalidUrl(_)
            | Self::TooOldSqlite { .. }
            | Self::ForeignSchema(_)
            | Self::TooManyRows(_)
            | Self::Corrupt(_)
            | Self::Internal(_) => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(answer) => match Fault::of(answer.as_ref()) {
                Fault::Passing => Self::Unavailable(error.into()),
                Fault::Overflow => Self::OutOfRange("a sum"),
                Fault::Value => Self::Refused(error.into()),
                Fault::Other => Self::Internal(error.into()),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error.into()),
            sqlx::Error::Configuration(_) => Self::InvalidUrl(error.into()),
            _ => Self::Internal(error.into()),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(cause) | sqlx::migrate::MigrateError::ExecuteMigration(cause, _) => {
                cause.into()
            }
            other => Self::ForeignSchema(other.into()),
        }
    }
}

/// What an error code of a database means to us.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Passing,
    Overflow,
    Value,
    Other,
}

impl Fault {
    fn of(answer: &dyn sqlx::error::DatabaseError) -> Self {
        let code = answer.code().unwrap_or_default();
        if answer.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            Self::of_sqlite(&code, answer.message())
        } else {
            Self::of_postgres(&code)
        }
    }

    /// `code` is an extended result code; its low byte is the primary one.
    fn of_sqlite(code: &str, message: &str) -> Self {
        match code.parse::<u32>().map(|code| code & 0xff) {
            // BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN
            Ok(5 | 6 | 8 | 10 | 13 | 14) => Self::Passing,
            // TOOBIG, CONSTRAINT, MISMATCH
            Ok(18..=20) => Self::Value,
            // SQLite has no code of its own for a sum that does not fit.
            Ok(1) if message == "integer overflow" => Self::Overflow,
            _ => Self::Other,
        }
    }

    /// `code` is an SQLSTATE; its first two characters are the class.
    fn of_postgres(code: &str) -> Self {
        match code.get(..2) {
            _ if code == "22003" => Self::Overflow,
            // Data and integrity.
            Some("22" | "23") => Self::Value,
            // Connection, deadlock and serialisation, resources, object in use, operator's action, system.
            Some("08" | "40" | "53" | "55" | "57" | "58") => Self::Passing,
            // A standby, or a server that was told to refuse writes.
            _ if code == "25006" => Self::Passing,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn codes_of_both_databases_are_told_apart() {
        assert_eq!(Fault::of_sqlite("5", "database is locked"), Fault::Passing);
        assert_eq!(Fault::of_sqlite("2570", "disk I/O error"), Fault::Passing);
        assert_eq!(Fault::of_sqlite("2067", "UNIQUE constraint failed"), Fault::Value);
        assert_eq!(Fault::of_sqlite("1", "integer overflow"), Fault::Overflow);
        assert_eq!(Fault::of_sqlite("1", "no such table: x"), Fault::Other);
        assert_eq!(Fault::of_postgres("57P01"), Fault::Passing);
        assert_eq!(Fault::of_postgres("53300"), Fault::Passing);
        assert_eq!(Fault::of_postgres("22003"), Fault::Overflow);
        assert_eq!(Fault::of_postgres("22021"), Fault::Value);
        assert_eq!(Fault::of_postgres("25006"), Fault::Passing);
        assert_eq!(Fault::of_postgres("42P01"), Fault::Other);
    }
}
