//! `deno serve` and `workerd`, both from npm, with a script that answers as `hello-http` does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bench::machine::first_line;
use crate::{paths, setup, step};

const DENO: &str = "2.9.6";
const WORKERD: &str = "1.20261117.1";

const SCRIPT: &str = "export default { fetch() { return new Response('Hello, WASI!\\n'); } };\n";

pub(super) fn provide_deno() -> Result<String> {
    provide("deno", DENO, &deno_program())
}

pub(super) fn provide_workerd() -> Result<String> {
    provide("workerd", WORKERD, &workerd_program())
}

pub(super) fn deno(port: u16) -> Result<Command> {
    let script = super::dir()?.join("hello.js");
    fs::write(&script, SCRIPT)?;
    let mut command = Command::new(deno_program());
    command
        .args([
            "serve",
            "--no-config",
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ])
        .arg(script)
        .env("DENO_NO_UPDATE_CHECK", "1")
        .env("DENO_DIR", super::dir()?.join("deno"));
    Ok(command)
}

pub(super) fn workerd(port: u16) -> Result<Command> {
    let dir = super::dir()?;
    fs::write(dir.join("hello.js"), SCRIPT)?;
    fs::write(
        dir.join("workerd.capnp"),
        format!(
            "using Workerd = import \"/workerd/workerd.capnp\";\n\
             const config :Workerd.Config = (\n\
             \x20 services = [(name = \"main\", worker = (modules = [(name = \"hello\", esModule = embed \"hello.js\")], \
             compatibilityDate = \"2026-01-01\"))],\n\
             \x20 sockets = [(name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\")],\n);\n"
        ),
    )?;
    let mut command = Command::new(workerd_program());
    command.arg("serve").arg(dir.join("workerd.capnp"));
    Ok(command)
}

/// The program itself: the one in `.bin` is a script that would stay between us and the server.
fn provide(package: &str, version: &str, program: &Path) -> Result<String> {
    let dir = tools();
    let is_there = || {
        let package =
            fs::read_to_string(dir.join("node_modules").join(package).join("package.json")).unwrap_or_default();
        program.exists() && package.contains(&format!("\"version\": \"{version}\""))
    };
    if !is_there() {
        if !setup::program_exists("npm") {
            setup::install_debian_packages(&["nodejs", "npm"])?;
        }
        fs::create_dir_all(&dir)?;
        fs::write(
            dir.join("package.json"),
            "{ \"name\": \"js-peers\", \"private\": true }\n",
        )?;
        let mut install = Command::new("npm");
        install.current_dir(&dir).args(["install", "--no-audit", "--no-fund"]);
        // Both at once: npm would remove what the file above does not ask for.
        install.args([format!("deno@{DENO}"), format!("workerd@{WORKERD}")]);
        step::run("npm install deno workerd", &mut install)?;
    }
    ensure!(is_there(), "npm has brought no {package} {version} for this machine");
    let said = first_line(&program.to_string_lossy(), &["--version"]);
    let said = said.split_whitespace().nth(1).context("it does not say its version")?;
    Ok(said.to_owned())
}

fn tools() -> PathBuf {
    paths::target().join("tools/js-peers")
}

fn deno_program() -> PathBuf {
    tools().join("node_modules/@deno/linux-x64-glibc/deno")
}

fn workerd_program() -> PathBuf {
    tools().join("node_modules/@cloudflare/workerd-linux-64/bin/workerd")
}
