//! `fn logs NAME [-f]`.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use mayfly_invoker_api::FunctionName;
use tokio::time::Instant;

use crate::api::LogEntry;
use crate::error::{CliError, ErrorKind};
use crate::output;
use crate::session::Session;

/// How often `-f` asks for more.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Entries asked for at once while following.
const FOLLOW_ENTRIES_MAX: usize = 100;
/// How long `-f` waits for a server that is gone.
const OUTAGE_MAX: Duration = Duration::from_secs(10 * 60);
/// Last digits of an invocation's id, which tell two of them apart on the screen.
const ID_DIGITS_SHOWN: usize = 8;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A line shows the time, the last digits of the invocation's id, the stream and the text; control \
characters of the text are written out. --json has everything exactly; with -f it prints one document per line."
)]
pub(crate) struct Args {
    /// Name of the function
    pub(super) name: FunctionName,

    /// Go on with what is printed from now on, until ctrl-c
    #[arg(short, long)]
    follow: bool,

    /// How many of the newest entries to begin with
    #[arg(long, value_name = "N", default_value = "100", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    limit: usize,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    if args.follow {
        return tokio::select! {
            result = follow(session, args) => result,
            // Also when no handler could be installed: then ctrl-c ends the process by itself.
            Ok(()) = tokio::signal::ctrl_c() => Ok(()),
        };
    }
    let entries = session.client.logs(&args.name, args.limit, None).await?.entries;
    if session.json {
        return output::json(&entries);
    }
    if entries.is_empty() {
        output::note(&format!("{} has printed nothing", args.name));
    }
    print(&entries, false)
}

async fn follow(session: &Session, args: &Args) -> Result<(), CliError> {
    let page = session.client.logs(&args.name, args.limit, None).await?;
    print(&page.entries, session.json)?;
    let mut cursor = page.next;
    let mut outage_start: Option<Instant> = None;
    loop {
        match session.client.logs(&args.name, FOLLOW_ENTRIES_MAX, Some(&cursor)).await {
            Ok(page) => {
                if outage_start.take().is_some() {
                    output::note("the server is back");
                }
                print(&page.entries, session.json)?;
                let more = page.entries.len() == FOLLOW_ENTRIES_MAX && page.next != cursor;
                cursor = page.next;
                if more {
                    continue;
                }
            }
            Err(error) => wait_out(error, &mut outage_start)?,
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Takes a failure that a restart of the server explains; gives back every other one.
fn wait_out(error: CliError, outage_start: &mut Option<Instant>) -> Result<(), CliError> {
    let restarting = matches!(error.code(), "shutting_down" | "overloaded" | "ledger_unavailable");
    if error.kind() != ErrorKind::Unreachable && !restarting {
        return Err(error);
    }
    match outage_start {
        None => {
            output::note(&format!("{}; waiting for it", output::escape_line(error.message())));
            *outage_start = Some(Instant::now());
            Ok(())
        }
        Some(start) if start.elapsed() > OUTAGE_MAX => Err(error),
        Some(_) => Ok(()),
    }
}

fn print(entries: &[LogEntry], json_lines: bool) -> Result<(), CliError> {
    if json_lines {
        return entries.iter().try_for_each(output::json_line);
    }
    output::lines(&entries.iter().map(text).collect::<String>())
}

/// Every line of an entry with the same beginning, so that no text can pose as an entry of its own.
fn text(entry: &LogEntry) -> String {
    let id = entry.invocation_id.chars().count().saturating_sub(ID_DIGITS_SHOWN);
    let id: String = entry.invocation_id.chars().skip(id).collect();
    let prefix = output::escape_line(&format!("{} {id} {}", entry.at, entry.stream));
    output::escape_lines(&entry.text)
        .map(|line| format!("{prefix}  {line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> LogEntry {
        LogEntry {
            at: "2026-10-02T12:13:14.123Z".to_owned(),
            invocation_id: "0199a0b0-0000-7000-8000-0000deadbeef".to_owned(),
            version: 1,
            stream: "stdout".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn no_text_can_pose_as_another_entry() {
        let forged = "one\n2026-10-02T12:13:15.000Z 12345678 stdout  \x1b[31mtwo\r\n";
        let prefix = "2026-10-02T12:13:14.123Z deadbeef stdout  ";
        let expected = format!("{prefix}one\n{prefix}2026-10-02T12:13:15.000Z 12345678 stdout  \\x1b[31mtwo\n");
        assert_eq!(text(&entry(forged)), expected);
        assert_eq!(text(&entry("")), format!("{prefix}\n"));
    }

    #[test]
    fn only_outages_are_waited_out() {
        let mut start = None;
        let gone = || CliError::new(ErrorKind::Unreachable, "server_unreachable", "gone");
        assert!(wait_out(gone(), &mut start).is_ok() && start.is_some());
        assert!(wait_out(gone(), &mut start).is_ok());
        assert!(wait_out(CliError::new(ErrorKind::Failed, "shutting_down", "soon"), &mut start).is_ok());
        assert!(wait_out(CliError::new(ErrorKind::Refused, "unauthorized", "no"), &mut start).is_err());
        assert!(wait_out(CliError::new(ErrorKind::Failed, "function_not_found", "no"), &mut start).is_err());
    }
}
