//! Everything that judges the code without running it.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::paths;
use crate::summary::Summary;

/// Cheapest first. All in the release profile, the only one that is ever built here.
pub(crate) fn run(summary: &mut Summary) -> Result<()> {
    summary.run("format (cargo fmt)", cargo().args(["fmt", "--all", "--check"]))?;
    deny(summary)?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--release",
        "--",
        "-D",
        "warnings",
    ];
    summary.run("lints (cargo clippy)", cargo().args(clippy))?;
    let doc = ["doc", "--workspace", "--no-deps", "--release"];
    summary.run(
        "documentation (cargo doc)",
        cargo().args(doc).env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// Needs a tool that takes minutes to build, so it is asked for and not installed.
fn deny(summary: &mut Summary) -> Result<()> {
    let title = "licences, bans, sources (cargo deny)";
    let found = cargo()
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !found.success() {
        summary.skip(title, "cargo-deny is not installed (cargo install cargo-deny --locked)");
        return Ok(());
    }
    summary.run(
        title,
        cargo().args(["deny", "--all-features", "check", "bans", "licenses", "sources"]),
    )?;
    // Needs the network, and new advisories are not the fault of the change at hand.
    let advisories = summary.run("advisories (cargo deny)", cargo().args(["deny", "check", "advisories"]));
    if let Err(error) = advisories {
        println!("this does not fail the run, but wants to be looked at: {error:#}");
    }
    Ok(())
}

/// `cargo` in the repository's root, as if a developer had typed it. What `cargo xtask` tells us about our own package is
/// taken away: some build scripts look at it, and everything above them would be compiled anew.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(paths::root());
    for (name, _) in std::env::vars_os() {
        let about_us = ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix));
        if about_us {
            command.env_remove(name);
        }
    }
    command
}
