//! Runs one external command, says what it is and how long it took.
#![expect(
    clippy::print_stderr,
    reason = "standard error carries the progress; standard output is left to the results"
)]

use std::io::IsTerminal as _;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How often a log is told that a long step is still running. A terminal sees the command's own progress instead.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the command is looked at: shorter than a developer notices.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs `command` to its end; its output goes where ours goes.
pub(crate) fn run(title: &str, command: &mut Command) -> Result<()> {
    timed(title, command, None)
}

/// Like [`run`], but stops the command when it takes longer than `limit`.
pub(crate) fn run_within(limit: Duration, title: &str, command: &mut Command) -> Result<()> {
    timed(title, command, Some(limit))
}

fn timed(title: &str, command: &mut Command, limit: Option<Duration>) -> Result<()> {
    eprintln!("-> {title}");
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| {
        format!(
            "{title}: cannot start '{}': is it installed?",
            command.get_program().display()
        )
    })?;
    let status = wait(title, &mut child, began, limit)?;
    let took = began.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{title} failed after {took:.1} s with {status}; what it said is above");
    }
    eprintln!("   {title}: {took:.1} s");
    Ok(())
}

fn wait(title: &str, child: &mut Child, began: Instant, limit: Option<Duration>) -> Result<ExitStatus> {
    let mut next_beat = if std::io::stderr().is_terminal() {
        Duration::MAX
    } else {
        HEARTBEAT
    };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let elapsed = began.elapsed();
        if limit.is_some_and(|limit| elapsed >= limit) {
            child.kill()?;
            child.wait()?;
            bail!("{title} was stopped after {} s", elapsed.as_secs());
        }
        if elapsed >= next_beat {
            eprintln!("   {title}: running for {} s", elapsed.as_secs());
            next_beat += HEARTBEAT;
        }
        sleep(LOOK_EVERY);
    }
}
