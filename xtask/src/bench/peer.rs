//! The peer: `wasmtime serve` of the same engine's version, built once from the registry into `target/tools`.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::lint::cargo;
use crate::server::stop_hard;
use crate::{paths, step};

/// The same as the engine inside of `fn`.
pub(crate) const VERSION: &str = "48.0.8";
/// What `wasmtime serve` does by itself: a new instance for every request.
pub(crate) const FRESH: &str = "wasmtime serve";
/// With instances that live on, which is what a warm call is.
pub(crate) const REUSED: &str = "wasmtime serve, reusing instances";

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running `wasmtime serve`.
pub(crate) struct Peer {
    child: Child,
    pub(crate) url: String,
}

/// Makes sure that the peer is there.
pub(crate) fn provide() -> Result<()> {
    let known = Command::new(program()).arg("--version").output();
    if known.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION)) {
        println!("wasmtime {VERSION} is in target/tools");
        return Ok(());
    }
    println!("building wasmtime-cli {VERSION} into target/tools; this takes about 15 minutes, once");
    let mut install = cargo();
    install.args(["install", "wasmtime-cli", "--version", VERSION, "--locked", "--root"]);
    install
        .arg(paths::target().join("tools"))
        .arg("--target-dir")
        .arg(paths::target().join("tools/build"));
    step::run("cargo install wasmtime-cli", &mut install)
}

impl Peer {
    pub(crate) fn start(variant: &str) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = Command::new(program());
        // `-S cli`: our example is a plain Rust component, whose standard library imports more than the proxy world.
        command
            .args(["serve", "-S", "cli", "--addr", &format!("127.0.0.1:{port}")])
            .env_remove("RUST_BACKTRACE");
        if variant == REUSED {
            command.args(["--max-instance-reuse-count", "1000000"]);
        }
        let child = command
            .arg(paths::guest("hello-http"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start wasmtime serve")?;
        let mut peer = Self {
            child,
            url: format!("http://127.0.0.1:{port}/"),
        };
        peer.wait_until_ready()?;
        Ok(peer)
    }

    /// It says on standard error when it listens.
    fn wait_until_ready(&mut self) -> Result<()> {
        let stderr = self.child.stderr.take().context("standard error is a pipe")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            for line in lines.filter(|line| line.starts_with("Serving HTTP")) {
                sender.send(line).ok();
            }
        });
        receiver
            .recv_timeout(START_TIMEOUT)
            .context("wasmtime serve did not say that it listens")?;
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        stop_hard(&mut self.child);
    }
}

fn program() -> std::path::PathBuf {
    paths::target().join("tools/bin/wasmtime")
}
