//! The servers beside which ours is measured, each got from its registry and run on loopback with `hello-http` or its like.

mod bare_hyper;
mod javascript;
mod nginx;
pub(crate) mod wasmtime;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::server::{signal, stop_hard};
use crate::{http, paths};

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a server that starts is tried; short beside the start of any process.
const TRY_EVERY: Duration = Duration::from_micros(200);
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A server that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// What `wasmtime serve` does by itself: a new instance for every request.
    Wasmtime,
    /// With instances that live on, which is what a warm call is.
    WasmtimeReusing,
    BareHyper,
    Nginx,
    Deno,
    Workerd,
}

impl Peer {
    pub(crate) const ALL: [Self; 6] = [
        Self::Wasmtime,
        Self::WasmtimeReusing,
        Self::BareHyper,
        Self::Nginx,
        Self::Deno,
        Self::Workerd,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wasmtime => "wasmtime serve",
            Self::WasmtimeReusing => "wasmtime serve, reusing instances",
            Self::BareHyper => "bare hyper, no wasm",
            Self::Nginx => "nginx, 2 workers",
            Self::Deno => "deno serve",
            Self::Workerd => "workerd",
        }
    }

    /// Makes sure that it is here; says which version.
    pub(crate) fn provide(self) -> Result<String> {
        match self {
            Self::Wasmtime | Self::WasmtimeReusing => wasmtime::provide(),
            Self::BareHyper => bare_hyper::provide(),
            Self::Nginx => nginx::provide(),
            Self::Deno => javascript::provide_deno(),
            Self::Workerd => javascript::provide_workerd(),
        }
    }

    pub(crate) fn start(self) -> Result<Running> {
        let port = free_port()?;
        let command = match self {
            Self::Wasmtime => wasmtime::serve(port, &paths::guest("hello-http")),
            Self::WasmtimeReusing => {
                let mut command = wasmtime::serve(port, &paths::guest("hello-http"));
                command.args(["--max-instance-reuse-count", "1000000"]);
                command
            }
            Self::BareHyper => bare_hyper::serve(port),
            Self::Nginx => nginx::serve(port)?,
            Self::Deno => javascript::deno(port)?,
            Self::Workerd => javascript::workerd(port)?,
        };
        Running::start(command, port, "/")
    }
}

/// A running peer.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub(crate) url: String,
    /// From the start of the process to the first byte of its first good answer, in milliseconds.
    pub(crate) first_answer_ms: f64,
}

impl Running {
    pub(crate) fn start(mut command: Command, port: u16, path: &str) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let name = Path::new(&name)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let log = File::create(dir()?.join(format!("{name}.log")))?;
        let began = Instant::now();
        let child = command
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut running = Self {
            child,
            url: format!("http://127.0.0.1:{port}{path}"),
            first_answer_ms: 0.0,
        };
        while !running.answers(began)? {
            ensure!(began.elapsed() < START_TIMEOUT, "{name} did not answer");
            if let Some(status) = running.child.try_wait()? {
                bail!("{name} ended with {status}; see target/bench/{name}.log");
            }
            thread::sleep(TRY_EVERY);
        }
        Ok(running)
    }

    /// Whether it answers yet; that nobody listens is no error.
    fn answers(&mut self, began: Instant) -> Result<bool> {
        let tried = Instant::now();
        let Ok(answer) = http::get(&self.url) else {
            return Ok(false);
        };
        ensure!(answer.status == 200, "{} answers with {}", self.url, answer.status);
        self.first_answer_ms = (tried - began + answer.first_byte).as_secs_f64() * 1000.0;
        Ok(true)
    }
}

impl Drop for Running {
    /// Asked first, because what is killed cannot end its own children.
    fn drop(&mut self) {
        let asked = Instant::now();
        if signal(&self.child, "TERM").is_ok() {
            while asked.elapsed() < STOP_TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        stop_hard(&mut self.child);
    }
}

/// Where peers find what they serve and leave what they say.
pub(crate) fn dir() -> Result<PathBuf> {
    let dir = paths::target().join("bench");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
