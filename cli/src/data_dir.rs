//! The folder of everything that a server keeps.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind as IoErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{CliError, ErrorKind, cause_text};

/// The folder of everything that the server keeps, held by this process alone.
pub(crate) struct DataDir {
    pub(crate) path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens the folder, or one of the user's own, and makes it if it is not there.
    ///
    /// # Errors
    /// `data_dir_unwritable`, or `data_dir_in_use` when another server has it.
    pub(crate) fn open(named: Option<&Path>) -> Result<Self, CliError> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => dirs::data_dir()
                .map(|dir| dir.join("mayfly"))
                .ok_or_else(|| CliError::usage("this user has no folder for data").hint("name one with --data-dir"))?,
        };
        let unwritable = |cause: std::io::Error| data_dir_unwritable(&path, &cause_text(&cause));
        fs::create_dir_all(&path).map_err(unwritable)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(failed(
                "data_dir_in_use",
                format!("another server is using the data directory {}", path.display()),
            )
            .hint("stop that server, or name another folder with --data-dir")),
            Err(TryLockError::Error(cause)) => Err(unwritable(cause)),
        }
    }

    /// Proves that native code in the cache is ours. Made once; kept apart from the cache itself.
    pub(crate) fn cache_key(&self) -> Result<[u8; 32], CliError> {
        self.key("native.key", "delete that file; functions are compiled again then")
    }

    /// Seals what the database must not show, such as passwords of brokers. Servers of one database share it.
    pub(crate) fn secret_key(&self, named: Option<&Path>) -> Result<[u8; 32], CliError> {
        let Some(path) = named else {
            let hint = "put a copy of it back; or delete it, and make the triggers with passwords again";
            return self.key("secrets.key", hint);
        };
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|cause| CliError::unreadable(&name, &cause))?;
        bytes.try_into().map_err(|bytes: Vec<u8>| {
            CliError::usage(format!("{name} has {} bytes; a key has 32", bytes.len()))
                .hint(format!("make one with: head -c 32 /dev/urandom > {name}"))
        })
    }

    fn key(&self, name: &str, hint_if_damaged: &str) -> Result<[u8; 32], CliError> {
        let path = self.path.join(name);
        let unwritable = |cause: std::io::Error| data_dir_unwritable(&self.path, &cause_text(&cause));
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| {
                failed(
                    "data_dir_unwritable",
                    format!("{} is damaged: it must hold 32 bytes", path.display()),
                )
                .hint(hint_if_damaged)
            }),
            Err(cause) if cause.kind() == IoErrorKind::NotFound => {
                let key: [u8; 32] = random()?;
                // Beside it and renamed: a key that was cut short would keep every later server from starting.
                let unfinished = path.with_extension("key.new");
                let mut file = File::create(&unfinished).map_err(unwritable)?;
                file.write_all(&key)
                    .and_then(|()| file.sync_all())
                    .and_then(|()| fs::rename(&unfinished, &path))
                    .map_err(unwritable)?;
                Ok(key)
            }
            Err(cause) => Err(unwritable(cause)),
        }
    }
}

impl DataDir {
    /// A name for this process, which no other has, and that of the last process that worked here: it has ended, because
    /// only one can hold the folder.
    ///
    /// # Errors
    /// `data_dir_unwritable`.
    pub(crate) fn succeed(&self) -> Result<([u8; 6], Option<[u8; 6]>), CliError> {
        let path = self.path.join("process");
        let unwritable = |cause: std::io::Error| data_dir_unwritable(&self.path, &cause_text(&cause));
        let predecessor = match fs::read(&path) {
            // Of a name that was cut short, others find out by themselves that its process is dead.
            Ok(bytes) => bytes.try_into().ok(),
            Err(cause) if cause.kind() == IoErrorKind::NotFound => None,
            Err(cause) => return Err(unwritable(cause)),
        };
        let process = random()?;
        fs::write(&path, process).map_err(unwritable)?;
        Ok((process, predecessor))
    }
}

/// Random bytes from the system.
///
/// # Errors
/// When the system has none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|cause| failed("internal", format!("no random numbers: {cause}")))?;
    Ok(bytes)
}

/// The folder, or something in it, cannot be used.
pub(crate) fn data_dir_unwritable(path: &Path, cause: &dyn std::fmt::Display) -> CliError {
    failed(
        "data_dir_unwritable",
        format!("cannot use the data directory {}: {cause}", path.display()),
    )
    .hint("give this user the right to write there, or name another folder with --data-dir")
}

fn failed(code: &'static str, message: impl Into<String>) -> CliError {
    CliError::new(ErrorKind::Failed, code, message)
}
