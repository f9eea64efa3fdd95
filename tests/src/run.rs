//! Running the binary `fn` as a user would.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::repository;

/// Longest run of a command: a deployment compiles, and compiling JavaScript takes its time on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(180);

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Done {
    /// Standard output of a command that must have gone well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "the command failed: {self:?}");
        self.stdout
    }

    /// The one JSON document on standard output of a command that must have gone well.
    ///
    /// # Panics
    /// When it did not, or when there is anything else than one document.
    #[must_use]
    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("not one JSON document ({error}): {text}"))
    }

    /// Checks that it failed with this exit code, named this error code, and printed no answer.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn failed(&self, exit: i32, code: &str) {
        assert_eq!(self.code, exit, "wanted exit {exit} with {code}: {self:?}");
        assert!(
            self.stderr.contains(code),
            "wanted the code {code} on standard error: {self:?}"
        );
        assert!(self.stdout.is_empty(), "a failed command prints no answer: {self:?}");
    }
}

/// The release binary.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn fn_binary() -> PathBuf {
    let binary = repository()
        .join("target/release")
        .join(format!("fn{}", std::env::consts::EXE_SUFFIX));
    assert!(
        binary.exists(),
        "target/release/fn is missing; `cargo xtask test` builds it"
    );
    binary
}

/// The binary with a profile of its own and nothing of the developer's settings.
pub(crate) fn fn_command(profile: &Path) -> Command {
    let mut command = Command::new(fn_binary());
    for setting in [
        "URL",
        "TOKEN",
        "NAMESPACE",
        "DATA_DIR",
        "LOG",
        "LISTEN",
        "ADMIN",
        "DATABASE",
        "PUBLIC_URL",
        "ALLOW_PRIVATE_NETWORK",
        "INSTANCE_MEMORY",
    ] {
        command.env_remove(format!("MAYFLY_{setting}"));
    }
    command
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LOG")
        .env("MAYFLY_PROFILE", profile)
        .kill_on_drop(true);
    command
}

/// Runs `fn` to its end, with more environment and without standard input.
///
/// # Panics
/// When it does not end.
pub async fn run_fn(profile: &Path, environment: &[(&str, &str)], args: &[&str]) -> Done {
    let mut command = fn_command(profile);
    command
        .args(args)
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    finish(command, args).await
}

pub(crate) async fn finish(mut command: Command, args: &[&str]) -> Done {
    let output = timeout(RUN_MAX, command.output());
    let output = output
        .await
        .unwrap_or_else(|_| panic!("fn {args:?} did not end in {RUN_MAX:?}"));
    let output = output.expect("the binary can be started");
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
