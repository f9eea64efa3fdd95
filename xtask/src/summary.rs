//! What was done and how long it took, for the last lines that a developer reads.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::step;

/// The steps of one `cargo xtask` command, in the order in which they ended.
#[derive(Debug)]
pub(crate) struct Summary {
    steps: Vec<(String, String)>,
    started: Instant,
}

impl Summary {
    pub(crate) fn new() -> Self {
        Self {
            steps: Vec::new(),
            started: Instant::now(),
        }
    }

    /// Runs one command; its output goes to the terminal.
    pub(crate) fn run(&mut self, title: &str, command: &mut Command) -> Result<()> {
        let began = Instant::now();
        let result = step::run(title, command);
        self.note(title, began.elapsed(), result.is_ok());
        result
    }

    /// Runs a piece of work that prints what it does.
    pub(crate) fn part<T>(&mut self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n== {title}");
        let began = Instant::now();
        let result = work();
        self.note(title, began.elapsed(), result.is_ok());
        result
    }

    /// A step that this machine cannot do.
    pub(crate) fn skip(&mut self, title: &str, reason: &str) {
        println!("\n== {title}: skipped, {reason}");
        self.steps.push((format!("{title}: {reason}"), "skipped".to_owned()));
    }

    pub(crate) fn print(&self) {
        println!("\n== Summary");
        for (title, result) in &self.steps {
            println!("{result:>10}  {title}");
        }
        println!("{:>10}  in all", seconds(self.started.elapsed()));
    }

    fn note(&mut self, title: &str, took: Duration, well: bool) {
        let failed = if well { "" } else { " FAILED" };
        self.steps
            .push((title.to_owned(), format!("{}{failed}", seconds(took))));
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
