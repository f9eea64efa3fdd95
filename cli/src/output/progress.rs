//! What is shown while bytes go over the line: nothing, unless somebody is looking.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// A bar on standard error, or a count when nobody knows how many bytes there are; after the last one of an upload, a
/// spinner. Clones are the same bar.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// How many there are, when something is done with them afterwards: what.
    afterwards: Option<(u64, &'static str)>,
}

impl Progress {
    /// For bytes that are sent, and for what the server does with them `afterwards`.
    pub(crate) fn upload(size_bytes: Option<u64>, afterwards: &'static str) -> Self {
        Self {
            bar: bar("uploading", size_bytes),
            afterwards: size_bytes.map(|size_bytes| (size_bytes, afterwards)),
        }
    }

    /// For bytes that are received.
    pub(crate) fn download(size_bytes: Option<u64>) -> Self {
        Self {
            bar: bar("downloading", size_bytes),
            afterwards: None,
        }
    }

    /// Counts bytes that were handed on.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
        if let Some((size_bytes, afterwards)) = self.afterwards
            && self.bar.position() >= size_bytes
        {
            self.bar.set_message(afterwards);
            self.bar.set_style(style("{spinner} {msg} ({elapsed})"));
            self.bar.enable_steady_tick(TICK);
        }
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Invisible when standard error is not a terminal.
fn bar(what: &'static str, size_bytes: Option<u64>) -> ProgressBar {
    let target = if stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let template = match size_bytes {
        Some(_) => "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        None => "{prefix} {spinner} {binary_bytes} {binary_bytes_per_sec}",
    };
    ProgressBar::with_draw_target(size_bytes, target)
        .with_style(style(template))
        .with_prefix(what)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_templates_are_valid() {
        for progress in [
            Progress::upload(Some(10), "compiling"),
            Progress::upload(None, "storing"),
            Progress::download(Some(10)),
        ] {
            progress.advance(4);
            progress.advance(6);
            progress.clear();
        }
    }
}
