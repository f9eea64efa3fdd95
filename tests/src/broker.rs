//! A RabbitMQ broker of a test's own, because tests end it, start it again, and give it users.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lapin::{Connection, ConnectionProperties};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::database::environment;

/// An Erlang machine on a busy computer takes its time.
const START_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);
/// How long a connection may take to be made, and how often it is tried.
const CONNECT_MAX: Duration = Duration::from_secs(10);
const CONNECTS_MAX: u32 = 3;

/// A broker on a free port, with a data directory of its own.
#[derive(Debug)]
pub struct Broker {
    // Dropped first, before what it uses.
    server: Option<Child>,
    program: PathBuf,
    dir: TempDir,
    port: u16,
    dist_port: u16,
}

impl Broker {
    /// Starts a new one; `None` when RabbitMQ is not installed and nobody requires it.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn start() -> Option<Self> {
        let Some(program) = find_program() else {
            assert!(
                environment("REQUIRE_SERVICES").is_none(),
                "REQUIRE_SERVICES is set but there is no rabbitmq-server; run `cargo xtask test`"
            );
            eprintln!("skipped: rabbitmq-server is not installed");
            return None;
        };
        let mut broker = Self {
            server: None,
            program,
            dir: tempfile::tempdir().expect("a temporary folder"),
            port: free_port(),
            dist_port: free_port(),
        };
        broker.write_config();
        broker.start_again().await;
        Some(broker)
    }

    /// Its address, for the user that it has from the start.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("guest", "guest")
    }

    /// Its address for another user.
    #[must_use]
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}/%2f", self.port)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn connect(&self) -> Connection {
        for _ in 0..CONNECTS_MAX {
            if let Some(connection) = self.try_connect().await {
                return connection;
            }
        }
        panic!("the broker does not answer");
    }

    /// A client that connects while a broker begins or ends may wait for ever for what will not come.
    async fn try_connect(&self) -> Option<Connection> {
        let url = self.url();
        let connecting = Connection::connect(&url, ConnectionProperties::default());
        timeout(CONNECT_MAX, connecting).await.ok()?.ok()
    }

    /// `kill -9`: all of it ends at once.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        if self.server.is_some() {
            self.signal(Signal::KILL);
        }
        if let Some(mut server) = self.server.take() {
            server.wait().expect("our own child can be waited for");
        }
    }

    /// Holds all of it still until `resume`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after `pause`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("the broker runs");
        let group = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
        kill_process_group(group.expect("a process has an id"), signal).expect("our own children can be signalled");
    }

    /// Starts it again on the same data and port.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn start_again(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("output"))
            .expect("the log can be written");
        let mut command = Command::new(&self.program);
        let dir = self.dir.path();
        command
            .current_dir(dir)
            .env("HOME", dir)
            .env("RABBITMQ_NODENAME", format!("mayfly-{}@localhost", self.port))
            .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir)
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("plugins"))
            .env("RABBITMQ_PID_FILE", dir.join("pid"))
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            // So that the whole of it can be ended: the program is a script that starts another one.
            .process_group(0);
        self.server = Some(command.spawn().expect("rabbitmq-server can be started"));
        let began = tokio::time::Instant::now();
        while self.try_connect().await.is_none() {
            let log = || fs::read_to_string(dir.join("output")).unwrap_or_default();
            assert!(began.elapsed() < START_MAX, "RabbitMQ does not get ready:\n{}", log());
            tokio::time::sleep(POLL).await;
        }
    }

    fn write_config(&self) {
        let dir = self.dir.path();
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nlog.file = {}\nlog.file.level = warning\n",
            self.port,
            dir.join("log").display()
        );
        fs::write(dir.join("rabbitmq.conf"), config).expect("the folder can be written");
        fs::write(dir.join("plugins"), "[].").expect("the folder can be written");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian's; what is in PATH is a wrapper that changes the user.
fn find_program() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/rabbitmq/lib").ok()?.flatten();
    let mut programs: Vec<PathBuf> = versions
        .map(|entry| entry.path().join("sbin/rabbitmq-server"))
        .collect();
    programs.sort();
    programs.into_iter().rev().find(|program| Path::exists(program))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it has an address").port()
}
