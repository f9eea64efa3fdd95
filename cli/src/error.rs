//! The one error of the command line: what went wrong, what to do next, and which exit code that makes.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// Why a command did not do what was asked. The text is for the person at the keyboard.
#[derive(Debug)]
pub(crate) struct CliError {
    kind: ErrorKind,
    /// Stable; `docs/errors` has a page for it.
    code: Cow<'static, str>,
    /// A lowercase sentence without a full stop.
    message: String,
    /// What to do next, most useful first.
    hints: Vec<String>,
    /// The invocation that failed, when there was one.
    invocation_id: Option<String>,
}

/// What scripts can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The function or the request failed.
    Failed,
    /// Wrong flags, wrong input.
    Usage,
    /// Nothing that speaks Mayfly's API answers at the address.
    Unreachable,
    /// The server knows what is wanted and says no: token, quota.
    Refused,
    /// Whoever read our output has read enough; not an error.
    BrokenPipe,
}

impl ErrorKind {
    /// The exit code of the process.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
        }
    }
}

impl CliError {
    /// An error of `kind` with its stable code and a lowercase sentence.
    pub(crate) fn new(kind: ErrorKind, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            hints: Vec::new(),
            invocation_id: None,
        }
    }

    /// Wrong flags or arguments.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, "usage", message)
    }

    /// A file that was named by the user and cannot be read.
    pub(crate) fn unreadable(what: impl fmt::Display, cause: &io::Error) -> Self {
        Self::new(
            ErrorKind::Usage,
            "file_not_found",
            format!("cannot read {what}: {}", cause_text(cause)),
        )
    }

    /// What became of our own output.
    pub(crate) fn from_output(cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::BrokenPipe => Self::new(ErrorKind::BrokenPipe, "internal", "the reader has gone"),
            _ => Self::new(
                ErrorKind::Failed,
                "internal",
                format!("cannot write the output: {}", cause_text(cause)),
            ),
        }
    }

    /// Adds a sentence that says what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a hint in the place of those that mention the same `subject` less exactly.
    pub(crate) fn hint_instead(mut self, subject: &str, hint: impl Into<String>) -> Self {
        self.hints.retain(|known| !known.contains(subject));
        self.hint(hint)
    }

    /// Names the invocation that failed.
    pub(crate) fn with_invocation(mut self, id: Option<String>) -> Self {
        self.invocation_id = id.or(self.invocation_id);
        self
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }

    pub(crate) fn invocation_id(&self) -> Option<&str> {
        self.invocation_id.as_deref()
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

/// The innermost cause in lowercase and without the number of the operating system.
pub(crate) fn cause_text(error: &(dyn std::error::Error + 'static)) -> String {
    let innermost = std::iter::successors(Some(error), |error| error.source()).last();
    let text = innermost.unwrap_or(error).to_string();
    let sentence = text.split(" (os error").next().unwrap_or_default();
    let mut characters = sentence.chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_exit_code_that_scripts_know() {
        let kinds = [
            (ErrorKind::BrokenPipe, 0),
            (ErrorKind::Failed, 1),
            (ErrorKind::Usage, 2),
            (ErrorKind::Unreachable, 3),
            (ErrorKind::Refused, 4),
        ];
        for (kind, code) in kinds {
            assert_eq!(kind.exit_code(), code);
        }
        assert_eq!(CliError::usage("no").kind().exit_code(), 2);
        assert_eq!(
            CliError::unreadable("x", &io::Error::from(io::ErrorKind::NotFound))
                .kind()
                .exit_code(),
            2
        );
        assert_eq!(
            CliError::from_output(&io::Error::from(io::ErrorKind::BrokenPipe))
                .kind()
                .exit_code(),
            0
        );
        assert_eq!(
            CliError::from_output(&io::Error::from(io::ErrorKind::StorageFull))
                .kind()
                .exit_code(),
            1
        );
    }

    #[test]
    fn causes_read_as_parts_of_a_sentence() {
        assert_eq!(
            cause_text(&io::Error::from_raw_os_error(2)),
            "no such file or directory"
        );
    }
}
