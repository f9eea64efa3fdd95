//! `wasmtime serve` of the same engine's version, built once from the registry into `target/tools`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::lint::cargo;
use crate::{paths, step};

/// The same as the engine inside of `fn`.
const VERSION: &str = "48.0.8";

pub(super) fn provide() -> Result<String> {
    let known = Command::new(program()).arg("--version").output();
    if known.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION)) {
        return Ok(VERSION.to_owned());
    }
    println!("building wasmtime-cli {VERSION} into target/tools; this takes about 15 minutes, once");
    let mut install = cargo();
    install.args(["install", "wasmtime-cli", "--version", VERSION, "--locked", "--root"]);
    install
        .arg(paths::target().join("tools"))
        .arg("--target-dir")
        .arg(paths::target().join("tools/build"));
    step::run("cargo install wasmtime-cli", &mut install)?;
    Ok(VERSION.to_owned())
}

/// Serves a component, or what [`compile`] has made of it.
pub(crate) fn serve(port: u16, component: &Path) -> Command {
    let mut command = Command::new(program());
    // `-S cli`: plain Rust, JavaScript and Python components import more than the proxy world.
    command.args(["serve", "-S", "cli", "--addr", &format!("127.0.0.1:{port}")]);
    if component.extension().is_some_and(|extension| extension == "cwasm") {
        command.arg("--allow-precompiled");
    }
    command.arg(component);
    command
}

/// Native code, made ahead of time.
pub(crate) fn compile(component: &Path, into: &Path) -> Result<()> {
    let mut command = Command::new(program());
    command.arg("compile").arg(component).arg("-o").arg(into);
    step::run("wasmtime compile", &mut command)
}

fn program() -> PathBuf {
    paths::target().join("tools/bin/wasmtime")
}
