//! A `fn serve` of our own, for `demo` and `bench`: free ports, a data directory under `target`, its own profile.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context, Result, bail};

use crate::paths;

/// A start includes making the database and its tables, and may be one under valgrind.
const READY_TIMEOUT: Duration = Duration::from_secs(180);
/// The server itself gives calls 30 s to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(45);

/// A running server; killed when dropped, so that no failure leaves one behind.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    dir: PathBuf,
    /// Base address of the functions listener.
    pub(crate) functions: String,
    /// Base address of the admin listener.
    pub(crate) admin: String,
}

/// How a server is started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Launch<'a> {
    /// Everything it writes is in `target/NAME`.
    pub(crate) name: &'a str,
    /// Go on with what is there, instead of emptying the folder first.
    pub(crate) keep: bool,
    /// A program with its arguments that is to run the server: `taskset`, `valgrind`.
    pub(crate) under: &'a [&'a str],
    /// More arguments of `fn serve`.
    pub(crate) args: &'a [&'a str],
}

impl Server {
    /// Starts the release binary with everything it writes in `target/NAME`, emptied first.
    pub(crate) fn start(name: &str) -> Result<Self> {
        Self::launch(Launch {
            name,
            ..Launch::default()
        })
    }

    pub(crate) fn launch(launch: Launch<'_>) -> Result<Self> {
        let name = launch.name;
        let dir = paths::target().join(name);
        if !launch.keep {
            empty(&dir).with_context(|| format!("cannot empty target/{name}"))?;
        }
        let log = File::create(dir.join("server.log"))?;
        let mut child = program(launch.under, &dir)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--storage",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(dir.join("data"))
            .args(launch.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start fn serve")?;
        let ready = ready_line(&mut child);
        let mut server = Self {
            child,
            dir,
            functions: String::new(),
            admin: String::new(),
        };
        let line = ready.with_context(|| format!("the server did not get ready; see target/{name}/server.log"))?;
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(("functions", url)) => url.clone_into(&mut server.functions),
                Some(("admin", url)) => url.clone_into(&mut server.admin),
                _ => {}
            }
        }
        Ok(server)
    }

    /// Runs a client command in the repository's root and gives its standard output; its standard error goes to the
    /// terminal.
    pub(crate) fn call(&self, args: &[&str]) -> Result<String> {
        let mut command = client(&self.dir);
        let output = command
            .args(args)
            .current_dir(paths::root())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            bail!("fn {} ended with {}", args.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The token that the server has put into the profile.
    pub(crate) fn token(&self) -> Result<String> {
        let text = fs::read_to_string(self.dir.join("profile.toml"))?;
        let profile: toml::Table = toml::from_str(&text).context("the profile is not TOML")?;
        let token = profile
            .get("servers")
            .and_then(|servers| servers.get(&self.admin)?.get("token")?.as_str());
        Ok(token.context("the profile has no token of this server")?.to_owned())
    }

    /// Asks the server to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        signal(&self.child, "TERM")?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "the server ended with {status}");
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("the server did not stop within {} s", STOP_TIMEOUT.as_secs())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop_hard(&mut self.child);
    }
}

/// Ends a child that may have ended already; there is nobody left to tell when that fails.
pub(crate) fn stop_hard(child: &mut Child) {
    if child.kill().is_ok() {
        child.wait().ok();
    }
}

/// Sends a signal to a child of ours by its process id; std can only kill.
pub(crate) fn signal(child: &Child, name: &str) -> Result<()> {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status()?;
    anyhow::ensure!(status.success(), "kill -s {name} failed");
    Ok(())
}

fn empty(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(dir),
    }
}

fn client(dir: &Path) -> Command {
    program(&[], dir)
}

/// The release binary, run by the program that `under` names.
fn program(under: &[&str], dir: &Path) -> Command {
    let mut command = match under {
        [] => Command::new(paths::binary()),
        [runner, args @ ..] => {
            let mut command = Command::new(runner);
            command.args(args).arg(paths::binary());
            command
        }
    };
    command.env("MAYFLY_PROFILE", dir.join("profile.toml"));
    for ours in [
        "MAYFLY_URL",
        "MAYFLY_TOKEN",
        "MAYFLY_NAMESPACE",
        "MAYFLY_DATABASE",
        "MAYFLY_PUBLIC_URL",
        "RUST_BACKTRACE",
    ] {
        command.env_remove(ours);
    }
    command
}

fn ready_line(child: &mut Child) -> Result<String> {
    let stdout = child.stdout.take().context("standard output is a pipe")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        // Reads to the end, so that the server never writes into a closed pipe.
        for line in lines.filter(|line| line.starts_with("ready ")) {
            sender.send(line).ok();
        }
    });
    receiver
        .recv_timeout(READY_TIMEOUT)
        .context("no line `ready ...` on its standard output")
}
