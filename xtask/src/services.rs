//! The services that the tests run against for real.
//!
//! Postgres: the one that a caller names, else the one on this machine if it lets us make databases, else a private
//! cluster that lives as long as the tests. RabbitMQ: only its programs are seen to, because the tests end brokers, start
//! them again and give them users, so that each starts one of its own (`tests/src/broker.rs`).

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::server::{signal, stop_hard};
use crate::step;

/// Where Debian and most others run it.
const LOCAL_URL: &str = "postgres://postgres@127.0.0.1:5432/postgres";
/// A new cluster is ready in about a second.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A Postgres server on which the tests may create databases.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) url: String,
    /// Kept to end our own cluster with the tests.
    _cluster: Option<Cluster>,
}

/// Finds or starts Postgres. `named` is the address that the caller asked for.
pub(crate) fn postgres(named: Option<String>, private: bool) -> Result<Postgres> {
    if let Some(url) = named {
        println!("Postgres: the one that TEST_POSTGRES_URL names");
        return Ok(Postgres { url, _cluster: None });
    }
    if !private && may_create_databases(LOCAL_URL) {
        println!("Postgres: the one on 127.0.0.1:5432; every test makes and drops its own database there");
        return Ok(Postgres {
            url: LOCAL_URL.to_owned(),
            _cluster: None,
        });
    }
    let programs = find_programs().map_or_else(install, Ok)?;
    let cluster = Cluster::start(&programs)?;
    println!(
        "Postgres: a private cluster on 127.0.0.1:{}, removed at the end",
        cluster.port
    );
    Ok(Postgres {
        url: format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port),
        _cluster: Some(cluster),
    })
}

fn may_create_databases(url: &str) -> bool {
    let name = format!("mayfly_probe_{}", std::process::id());
    let psql = |sql: String| {
        let mut command = Command::new("psql");
        command.args([
            "--no-psqlrc",
            "--no-password",
            "--quiet",
            "--dbname",
            url,
            "--command",
            &sql,
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|it| it.success())
    };
    psql(format!("CREATE DATABASE {name}")) && psql(format!("DROP DATABASE {name}"))
}

/// The folder with `initdb` and `postgres`; Debian keeps one per major version, outside of PATH.
fn find_programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    versions.sort();
    versions
        .into_iter()
        .rev()
        .find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
}

/// Sees to it that RabbitMQ is installed.
pub(crate) fn rabbitmq() -> Result<()> {
    let installed = || Path::new("/usr/lib/rabbitmq/lib").is_dir();
    if !installed() {
        install_package("RabbitMQ", "rabbitmq-server", "install rabbitmq-server")?;
    }
    if !installed() {
        bail!("Debian's package rabbitmq-server has no /usr/lib/rabbitmq/lib");
    }
    println!("RabbitMQ: tests start brokers of their own");
    Ok(())
}

fn install() -> Result<PathBuf> {
    let advice = "install PostgreSQL or set TEST_POSTGRES_URL to a server on which databases can be made";
    install_package("PostgreSQL", "postgresql", advice)?;
    find_programs().with_context(|| format!("Debian's package has no initdb: {advice}"))
}

fn install_package(what: &str, package: &str, advice: &str) -> Result<()> {
    if !is_root() {
        bail!("no {what} here and no right to install it: {advice}");
    }
    println!("no {what} here: installing Debian's");
    step::run("apt-get update", Command::new("apt-get").args(["update", "--quiet"]))?;
    let mut command = Command::new("apt-get");
    command.args(["install", "--yes", "--no-install-recommends", package]);
    let name = format!("apt-get install {package}");
    step::run(&name, command.env("DEBIAN_FRONTEND", "noninteractive")).with_context(|| advice.to_owned())
}

/// A cluster of our own, with its usual durability: `fsync` stays on, because crashes are among what is tested.
#[derive(Debug)]
struct Cluster {
    server: Child,
    port: u16,
    dir: PathBuf,
}

impl Cluster {
    /// It lives in the temporary directory, because its user may not be able to enter the repository's.
    fn start(programs: &Path) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("mayfly-postgres-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let user = if is_root() { Some(unprivileged_user()?) } else { None };
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(&dir, Some(uid), Some(gid))?;
        }
        let data = dir.join("data");
        let mut initdb = as_user(programs.join("initdb"), user);
        initdb.args([
            "--username",
            "postgres",
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--pgdata",
        ]);
        step::run("initdb", initdb.arg(&data).current_dir(&dir).stdout(Stdio::null()))?;

        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let log = File::create(dir.join("postgres.log"))?;
        let mut postgres = as_user(programs.join("postgres"), user);
        postgres
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-k", "", "-p", &port.to_string()]);
        let server = postgres
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut cluster = Self { server, port, dir };
        cluster.wait_until_ready(programs)?;
        Ok(cluster)
    }

    fn wait_until_ready(&mut self, programs: &Path) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < START_TIMEOUT {
            if let Some(status) = self.server.try_wait()? {
                let log = fs::read_to_string(self.dir.join("postgres.log")).unwrap_or_default();
                bail!("the private Postgres ended with {status}:\n{log}");
            }
            let mut probe = Command::new(programs.join("pg_isready"));
            probe.args(["--quiet", "--host", "127.0.0.1", "--port", &self.port.to_string()]);
            if probe.status()?.success() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!(
            "the private Postgres did not get ready within {} s",
            START_TIMEOUT.as_secs()
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGINT: end the sessions, write everything down, stop.
        let asked = Instant::now();
        if signal(&self.server, "INT").is_ok() {
            while matches!(self.server.try_wait(), Ok(None)) && asked.elapsed() < STOP_TIMEOUT {
                thread::sleep(Duration::from_millis(50));
            }
        }
        stop_hard(&mut self.server);
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// Postgres refuses to run as root.
fn unprivileged_user() -> Result<(u32, u32)> {
    for name in ["postgres", "nobody"] {
        if let (Ok(uid), Ok(gid)) = (id(&["-u", name]), id(&["-g", name])) {
            return Ok((uid, gid));
        }
    }
    bail!("there is neither a user postgres nor a user nobody to run Postgres as")
}

fn is_root() -> bool {
    id(&["-u"]).is_ok_and(|uid| uid == 0)
}

fn id(args: &[&str]) -> Result<u32> {
    let output = Command::new("id").args(args).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn as_user(program: PathBuf, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = user {
        command.gid(gid).uid(uid);
    }
    command
}
