//! Everything that is printed: data to standard output, everything else to standard error.

mod escape;
mod progress;
mod table;

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::json;

use crate::args::Color;
use crate::error::{CliError, ErrorKind};

pub(crate) use escape::{StreamEscaper, escape_line, escape_lines};
pub(crate) use progress::Progress;
pub(crate) use table::Table;

const ERROR_STYLE: Style = AnsiColor::Red.on_default().bold();
const HINT_STYLE: Style = AnsiColor::Cyan.on_default().bold();
const CODE_STYLE: Style = Style::new().dimmed();

/// Width of the names in [`Fields`], in characters.
const FIELD_NAME_WIDTH: usize = 10;

/// Names and values, one pair per line.
#[derive(Debug, Default)]
pub(crate) struct Fields(String);

impl Fields {
    /// Adds a pair; an empty name continues the one before.
    pub(crate) fn add(&mut self, name: &str, value: impl AsRef<str>) {
        self.0 += &format!("{name:FIELD_NAME_WIDTH$} {}\n", escape_line(value.as_ref()));
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// Prints a line of text.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    lines(&format!("{text}\n"))
}

/// Prints text that has its line breaks.
pub(crate) fn lines(text: &str) -> Result<(), CliError> {
    bytes(text.as_bytes())
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|cause| CliError::from_output(&cause))
}

/// Prints a table, as wide as the terminal when there is one.
pub(crate) fn table(table: Table) -> Result<(), CliError> {
    line(&table.render(terminal_width()))
}

/// Prints a table of prose, broken to the width of the terminal when there is one.
pub(crate) fn prose_table(table: Table) -> Result<(), CliError> {
    line(&table.render_wrapped(terminal_width()))
}

/// Prints one JSON document, for people's eyes on a terminal and on one line elsewhere.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), CliError> {
    if stdout_is_terminal() {
        json_text(serde_json::to_string_pretty(value))
    } else {
        json_line(value)
    }
}

/// Prints one JSON document on one line.
pub(crate) fn json_line<T: Serialize>(value: &T) -> Result<(), CliError> {
    json_text(serde_json::to_string(value))
}

fn json_text(text: serde_json::Result<String>) -> Result<(), CliError> {
    line(&escape::escape_json(
        text.map_err(|cause| CliError::from_output(&cause.into()))?,
    ))
}

/// Whether a person sees what is printed.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Says something beside the data. A standard error that is gone is no reason to stop.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", text.trim_end());
}

/// Asks for a yes; only on a terminal, where somebody can answer.
///
/// # Errors
/// When there is nobody to ask.
pub(crate) fn confirm(question: &str, how_to_skip: &str) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(CliError::usage("this needs a confirmation, and there is no terminal to ask on").hint(how_to_skip));
    }
    let mut stderr = anstream::stderr().lock();
    let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    asked
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(|cause| CliError::from_output(&cause))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Decides for the whole process whether messages are coloured.
pub(crate) fn set_color(color: Color) {
    let choice = match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Prints why a command failed and gives its exit code.
pub(crate) fn error(error: &CliError, as_json: bool) -> ExitCode {
    let code = error.kind().exit_code();
    if code != 0 {
        note(&if as_json { error_json(error) } else { error_text(error) });
    }
    ExitCode::from(code)
}

fn error_text(error: &CliError) -> String {
    let mut text = format!(
        "{ERROR_STYLE}error:{ERROR_STYLE:#} {}\n",
        escape_lines(error.message()).collect::<Vec<_>>().join("\n  ")
    );
    if let Some(id) = error.invocation_id() {
        text += &format!("invocation: {}\n", escape_line(id));
    }
    for hint in error.hints() {
        text += &format!("{HINT_STYLE}hint:{HINT_STYLE:#} {}\n", escape_line(hint));
    }
    let code = escape_line(error.code());
    text + &format!("{CODE_STYLE}code: {code} (fn explain {code}){CODE_STYLE:#}")
}

fn error_json(error: &CliError) -> String {
    let document = json!({
        "error": {
            "code": error.code(),
            "message": error.message(),
            "hints": error.hints(),
            "invocation_id": error.invocation_id(),
            "exit_code": error.kind().exit_code(),
        }
    });
    escape::escape_json(document.to_string())
}

/// Prints what the parser of `command` has to say: help that was asked for, or what is wrong.
pub(crate) fn wrong_use(mut command: clap::Command, refusal: &clap::Error) -> ExitCode {
    if refusal.kind() == clap::error::ErrorKind::MissingSubcommand {
        note(&command.render_help().ansi().to_string());
        return ExitCode::from(ErrorKind::Usage.exit_code());
    }
    let as_json = std::env::args_os().any(|argument| argument == "--json");
    if !refusal.use_stderr() || !as_json {
        // It knows best where to print itself, and there is nowhere to report that it could not.
        let _ = refusal.print();
        return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(ErrorKind::Usage.exit_code()));
    }
    let rendered = refusal.render().to_string();
    let message = rendered.trim().strip_prefix("error: ").unwrap_or(rendered.trim());
    error(&CliError::usage(message), as_json)
}

/// Width of the terminal that standard output is, in characters.
fn terminal_width() -> Option<u16> {
    comfy_table::Table::new().width()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> CliError {
        CliError::new(ErrorKind::Failed, "function_trapped", "it trapped\n\x1b[2J")
            .with_invocation(Some("0199".to_owned()))
            .hint("see fn logs a")
    }

    #[test]
    fn errors_say_what_to_do_and_cannot_clear_the_screen() {
        let text = anstream::adapter::strip_str(&error_text(&failure())).to_string();
        let expected = "error: it trapped\n  \\x1b[2J\ninvocation: 0199\nhint: see fn logs a\n\
                        code: function_trapped (fn explain function_trapped)";
        assert_eq!(text, expected);
    }

    #[test]
    fn errors_are_documents_too() {
        let document: serde_json::Value = serde_json::from_str(&error_json(&failure())).unwrap();
        assert_eq!(document["error"]["code"], "function_trapped");
        assert_eq!(document["error"]["invocation_id"], "0199");
        assert_eq!(document["error"]["hints"][0], "see fn logs a");
        assert_eq!(document["error"]["exit_code"], 1);
    }
}
