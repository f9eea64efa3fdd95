//! `fn serve`: the one place where controller, invoker and their parts are put together.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind as IoErrorKind, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mayfly_controller::clock::{Clock, SystemClock};
use mayfly_controller::ledger::{Ledger, LedgerLimits};
use mayfly_controller::store::{Database, Store, StoreError};
use mayfly_controller::{ArtifactFolder, Bounds, Controller, Parts, knows_token, make_admin_token};
use mayfly_invoker::Invoker;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::error::{CliError, ErrorKind, cause_text};
use crate::profile::Profile;
use crate::shutdown::Signals;
use crate::{output, runtime};

/// What the server keeps besides its database is its owner's alone.
const PRIVATE_DIR_MODE: u32 = 0o700;
const PRIVATE_FILE_MODE: u32 = 0o600;

/// Where and on what the server runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for everything the server keeps; else one of the user's own
    #[arg(long, env = "MAYFLY_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Address on which functions are called; port 0 takes a free one
    #[arg(
        long,
        env = "MAYFLY_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:8080"
    )]
    pub(crate) listen: SocketAddr,

    /// Address of the admin API; port 0 takes a free one
    #[arg(
        long,
        env = "MAYFLY_ADMIN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8081"
    )]
    pub(crate) admin: SocketAddr,

    /// Keep the state in this Postgres instead of a file, as postgres://USER:PASSWORD@HOST/NAME
    #[arg(long, env = "MAYFLY_DATABASE", value_name = "URL", hide_env_values = true)]
    pub(crate) database: Option<String>,

    /// How callers reach the functions' address, for the URLs that are shown
    #[arg(long, env = "MAYFLY_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
}

/// Serves until a signal, then drains.
///
/// # Errors
/// Why the server could not start, with what to do about it.
pub(crate) fn run(args: Args, profile: Option<PathBuf>) -> Result<(), CliError> {
    start_log();
    let runtime = runtime::start(&mut tokio::runtime::Builder::new_multi_thread())?;
    let served = runtime.block_on(serve(args, profile));
    // Whatever a second signal left behind is not waited for.
    runtime.shutdown_background();
    served
}

fn start_log() {
    let filter = EnvFilter::try_from_env("MAYFLY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

async fn serve(args: Args, profile: Option<PathBuf>) -> Result<(), CliError> {
    let mut signals =
        Signals::listen().map_err(|cause| failed("internal", format!("cannot listen for signals: {cause}")))?;
    let dir = DataDir::open(&args)?;
    let functions = bind("functions", args.listen).await?;
    let admin = bind("admin", args.admin).await?;
    let (functions_url, admin_url) = (url_of(&functions)?, url_of(&admin)?);
    let store = open_store(&args, &dir).await?;
    let parts = assemble(&args, &dir, store, &functions_url)?;
    introduce(profile, &parts, &admin_url).await?;

    let stop = CancellationToken::new();
    let running = Controller::create(parts).run(functions, admin, stop.clone());
    output::line(&format!("ready functions={functions_url} admin={admin_url}"))?;
    tokio::pin!(running);
    tokio::select! {
        () = &mut running => return Ok(()),
        () = signals.next() => {}
    }
    tracing::info!("stopping: running invocations are waited for; a second signal does not wait");
    stop.cancel();
    tokio::select! {
        () = &mut running => Ok(()),
        () = signals.next() => Err(failed("cancelled", "stopped before all running invocations had ended")),
    }
}

fn assemble(args: &Args, dir: &DataDir, store: Store, functions_url: &str) -> Result<Parts, CliError> {
    let unwritable = |cause: &dyn std::fmt::Display| data_dir_unwritable(&dir.path, cause);
    let artifacts = Arc::new(ArtifactFolder::open(&dir.path.join("artifacts")).map_err(|cause| unwritable(&cause))?);
    let ledger = Ledger::open(&dir.path.join("spool"), store.clone(), LedgerLimits::default())
        .map_err(|cause| unwritable(&cause))?;
    let compiler = std::env::current_exe()
        .map_err(|cause| failed("internal", format!("cannot find this program's own file: {cause}")))?;
    let config = mayfly_invoker::Config {
        cache_dir: dir.path.join("native"),
        cache_key: dir.cache_key()?,
        compiler_command: vec![compiler.into(), "compile".into()],
        bounds: mayfly_invoker::Bounds::default(),
    };
    let invoker = Invoker::create(config, artifacts.clone()).map_err(|cause| failed("internal", cause.to_string()))?;
    let public_url = args.public_url.as_deref().unwrap_or(functions_url);
    Ok(Parts {
        store,
        ledger,
        artifacts,
        invoker: Arc::new(invoker),
        clock: Arc::new(SystemClock),
        public_url: public_url.trim_end_matches('/').to_owned(),
        process: random()?,
        bounds: Bounds::default(),
    })
}

/// Sees to it that `fn` works on this machine at once: the profile gets a token that this server knows.
async fn introduce(profile_path: Option<PathBuf>, parts: &Parts, admin_url: &str) -> Result<(), CliError> {
    let Some(path) = profile_path else {
        tracing::warn!("this user has no folder for configuration: no client profile is written");
        return Ok(());
    };
    let profile = Profile::load(&path)?;
    if let Some(token) = profile.token(admin_url)
        && knows_token(&parts.store, token).await.map_err(database_unavailable)?
    {
        return Ok(());
    }
    let clock: &dyn Clock = &*parts.clock;
    let token = make_admin_token(&parts.store, clock, random()?, "profile")
        .await
        .map_err(database_unavailable)?;
    Profile::save_server(&path, admin_url, token.reveal())?;
    tracing::info!(profile = %path.display(), "made an admin token; `fn` on this machine uses it");
    Ok(())
}

async fn open_store(args: &Args, dir: &DataDir) -> Result<Store, CliError> {
    let database = match &args.database {
        None => Database::Sqlite {
            path: dir.path.join("mayfly.sqlite"),
        },
        Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Database::Postgres { url: url.clone() }
        }
        Some(_) => {
            return Err(CliError::usage("--database must be a URL that starts with postgres://")
                .hint("leave --database out to keep the state in a file of the data directory"));
        }
    };
    Store::open(&database).await.map_err(database_unavailable)
}

fn database_unavailable(error: StoreError) -> CliError {
    failed(
        "database_unavailable",
        format!("cannot use the database: {}", with_causes(&error)),
    )
    .hint("check that the database is running and that the URL, the user and the name in it are right")
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The folder of everything that the server keeps, held by this process alone.
struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    fn open(args: &Args) -> Result<Self, CliError> {
        let path = match &args.data_dir {
            Some(path) => path.clone(),
            None => dirs::data_dir()
                .map(|dir| dir.join("mayfly"))
                .ok_or_else(|| CliError::usage("this user has no folder for data").hint("name one with --data-dir"))?,
        };
        let unwritable = |cause: std::io::Error| data_dir_unwritable(&path, &cause_text(&cause));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_DIR_MODE)
            .create(&path)
            .map_err(unwritable)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(PRIVATE_FILE_MODE)
            .open(path.join("lock"))
            .map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(failed(
                "data_dir_in_use",
                format!("another server is using the data directory {}", path.display()),
            )
            .hint("stop that server, or name another folder with --data-dir")),
            Err(TryLockError::Error(cause)) => Err(unwritable(cause)),
        }
    }

    /// Proves that native code in the cache is ours. Made once; kept apart from the cache itself.
    fn cache_key(&self) -> Result<[u8; 32], CliError> {
        let path = self.path.join("native.key");
        let unwritable = |cause: std::io::Error| data_dir_unwritable(&self.path, &cause_text(&cause));
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| {
                failed(
                    "data_dir_unwritable",
                    format!("{} is damaged: it must hold 32 bytes", path.display()),
                )
                .hint("delete that file; functions are compiled again then")
            }),
            Err(cause) if cause.kind() == IoErrorKind::NotFound => {
                let key: [u8; 32] = random()?;
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(PRIVATE_FILE_MODE)
                    .open(&path)
                    .map_err(unwritable)?;
                std::io::Write::write_all(&mut file, &key)
                    .and_then(|()| file.sync_all())
                    .map_err(unwritable)?;
                Ok(key)
            }
            Err(cause) => Err(unwritable(cause)),
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|cause| failed("internal", format!("no random numbers: {cause}")))?;
    Ok(bytes)
}

async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, CliError> {
    TcpListener::bind(address).await.map_err(|cause| {
        let flag = if what == "admin" { "--admin" } else { "--listen" };
        let message = format!("cannot listen on {address} for {what}: {}", cause_text(&cause));
        match cause.kind() {
            IoErrorKind::AddrInUse => failed("port_in_use", message).hint(format!(
                "stop what uses that port, or choose another with {flag} ADDR:PORT"
            )),
            _ => {
                failed("port_in_use", message).hint(format!("choose an address of this machine with {flag} ADDR:PORT"))
            }
        }
    })
}

/// The URL under which this machine reaches the listener.
fn url_of(listener: &TcpListener) -> Result<String, CliError> {
    let mut address = listener
        .local_addr()
        .map_err(|cause| failed("internal", format!("cannot read the address of a listener: {cause}")))?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(format!("http://{address}"))
}

fn failed(code: &'static str, message: impl Into<String>) -> CliError {
    CliError::new(ErrorKind::Failed, code, message)
}

fn data_dir_unwritable(path: &Path, cause: &dyn std::fmt::Display) -> CliError {
    failed(
        "data_dir_unwritable",
        format!("cannot use the data directory {}: {cause}", path.display()),
    )
    .hint("give this user the right to write there, or name another folder with --data-dir")
}
