//! The file that tells the client which server to talk to and with which token.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{CliError, ErrorKind, cause_text};

/// Only the owner reads the file: it holds tokens.
const FILE_MODE: u32 = 0o600;
/// Mode of folders that are made for it.
const DIR_MODE: u32 = 0o700;

/// The servers that this user knows.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    /// URL of the server that is used when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    /// By URL, without a slash at the end.
    #[serde(default)]
    servers: BTreeMap<String, Server>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Server {
    token: String,
}

impl Profile {
    /// Reads the file; one that does not exist is an empty profile.
    ///
    /// # Errors
    /// `profile_unreadable` when it is there but cannot be read or understood.
    pub(crate) fn load(path: &Path) -> Result<Self, CliError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(cause) => return Err(unreadable(path, &cause_text(&cause))),
        };
        // The parser's own report would show the line, and with it perhaps a token.
        toml::from_str(&text).map_err(|cause: toml::de::Error| unreadable(path, cause.message()))
    }

    /// Makes `url` the current server and keeps `token` for it. Other servers in the file stay.
    ///
    /// # Errors
    /// `profile_unreadable` when the file cannot be read, understood or written; it is then as it was before.
    pub(crate) fn save_server(path: &Path, url: &str, token: &str) -> Result<(), CliError> {
        let mut profile = Self::load(path)?;
        profile.current = Some(server_key(url).to_owned());
        profile.servers.insert(
            server_key(url).to_owned(),
            Server {
                token: token.to_owned(),
            },
        );
        let text = toml::to_string(&profile).map_err(|cause| unreadable(path, &cause_text(&cause)))?;
        write_atomically(path, text.as_bytes()).map_err(|cause| {
            let message = format!("cannot write the profile {}: {}", path.display(), cause_text(&cause));
            CliError::new(ErrorKind::Failed, "profile_unreadable", message)
                .hint("set MAYFLY_PROFILE to a file that you may write")
        })
    }

    /// URL of the server that is used when none is named.
    pub(crate) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Whether the server at `url` is used when none is named.
    pub(crate) fn is_current(&self, url: &str) -> bool {
        self.current() == Some(server_key(url))
    }

    /// The token for the server at `url`.
    pub(crate) fn token(&self, url: &str) -> Option<&str> {
        self.servers.get(server_key(url)).map(|server| server.token.as_str())
    }
}

fn unreadable(path: &Path, cause: &str) -> CliError {
    let message = format!("cannot read the profile {}: {cause}", path.display());
    CliError::new(ErrorKind::Failed, "profile_unreadable", message)
        .hint("correct or delete that file, or set both MAYFLY_URL and MAYFLY_TOKEN, which need no profile")
}

/// The same server with and without a slash at the end is one.
fn server_key(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// Writes beside the file and renames, so that a reader sees the old or the new text, never a part.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error says what is wrong; a file that cannot be deleted either adds nothing.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A folder of this test alone, gone at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("mayfly-profile-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn path(&self) -> PathBuf {
            self.0.join("mayfly/profile.toml")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_missing_file_is_an_empty_profile() {
        let scratch = Scratch::new("missing");
        assert_eq!(Profile::load(&scratch.path()).unwrap(), Profile::default());
    }

    #[test]
    fn saved_servers_are_found_again_and_others_stay() {
        let scratch = Scratch::new("saved");
        Profile::save_server(&scratch.path(), "http://127.0.0.1:8081/", "first").unwrap();
        Profile::save_server(&scratch.path(), "https://example.com", "second").unwrap();

        let profile = Profile::load(&scratch.path()).unwrap();
        assert_eq!(profile.current(), Some("https://example.com"));
        assert_eq!(profile.token("http://127.0.0.1:8081"), Some("first"));
        assert_eq!(profile.token("https://example.com/"), Some("second"));
        assert_eq!(profile.token("http://elsewhere"), None);

        let mode = fs::metadata(scratch.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        let files = fs::read_dir(scratch.path().parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "no temporary file is left");
    }

    #[test]
    fn a_broken_file_is_named_kept_and_its_token_not_shown() {
        let scratch = Scratch::new("broken");
        fs::create_dir_all(scratch.path().parent().unwrap()).unwrap();
        fs::write(scratch.path(), "token = mayfly_secret").unwrap();
        let error = Profile::save_server(&scratch.path(), "http://x", "t").unwrap_err();
        assert_eq!(error.code(), "profile_unreadable");
        assert!(
            error.message().contains("profile.toml") && !error.message().contains("mayfly_secret"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(scratch.path()).unwrap(), "token = mayfly_secret");
    }
}
