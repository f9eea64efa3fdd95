//! What is shown while an upload is under way: nothing, unless somebody is looking.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// A bar on standard error while bytes are sent, a spinner after the last one. Clones are the same bar.
#[derive(Debug, Clone)]
pub(crate) struct UploadProgress {
    bar: ProgressBar,
    size_bytes: u64,
}

impl UploadProgress {
    /// A bar for `size_bytes`; invisible when standard error is not a terminal.
    pub(crate) fn start(size_bytes: u64) -> Self {
        let target = if stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(size_bytes), target);
        bar.set_style(style(
            "uploading {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        ));
        Self { bar, size_bytes }
    }

    /// Counts bytes that were handed to the connection.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
        if self.bar.position() >= self.size_bytes {
            self.bar.set_style(style("{spinner} compiling ({elapsed})"));
            self.bar.enable_steady_tick(TICK);
        }
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_templates_are_valid() {
        let progress = UploadProgress::start(10);
        progress.advance(4);
        progress.advance(6);
        progress.clear();
    }
}
