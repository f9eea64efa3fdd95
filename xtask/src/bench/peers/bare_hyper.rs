//! An HTTP server that does nothing else: `tests/peers/src/bin/bare-hyper.rs`, part of the release build.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::paths;

pub(super) fn provide() -> Result<String> {
    ensure!(program().exists(), "the release build did not make bare-hyper");
    Ok("as in Cargo.lock".to_owned())
}

pub(super) fn serve(port: u16) -> Command {
    let mut command = Command::new(program());
    command.arg(format!("127.0.0.1:{port}"));
    command
}

fn program() -> PathBuf {
    paths::binary().with_file_name("bare-hyper")
}
