//! `fn serve`: the one place where controller, invoker and their parts are put together.

use std::io::{ErrorKind as IoErrorKind, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mayfly_controller::clock::{SystemClock, SystemRandom};
use mayfly_controller::ledger::{Ledger, LedgerLimits};
use mayfly_controller::sealing::Seal;
use mayfly_controller::store::{Database, Store, StoreError};
use mayfly_controller::{
    ArtifactFolder, BlobFolder, Bounds, Controller, Listeners, Parts, knows_token, make_admin_token,
};
use mayfly_invoker::{Invoker, PrivateNetwork, Wasi};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::data_dir::{DataDir, data_dir_unwritable, random};
use crate::error::{CliError, ErrorKind, cause_text};
use crate::profile::Profile;
use crate::quantity::{parse_memory_mib, parse_seconds};
use crate::shutdown::Signals;
use crate::{machine, output, runtime};

// Every memory limit that the API takes has to fit the invoker's slots.
const _: () = assert!((mayfly_controller::MEMORY_MIB_MAX as u64) << 20 == mayfly_invoker::MEMORY_BYTES_MAX);

/// How long the end of a process that did not want to wait may take.
const DROP_TIME_MAX: Duration = Duration::from_secs(1);
/// Threads for files, and for names that are looked up (half of them at most, each for as long as the name's server is
/// silent).
const BLOCKING_THREADS_MAX: usize = 64;
/// Stack of every thread, in bytes: of address space; memory is only taken for what a thread uses.
const STACK_BYTES: usize = 256 << 20;
/// File descriptors that are not for connections of clients: databases, files, compilers, the engine.
const DESCRIPTORS_RESERVED: u64 = 256;
/// Files of objects that may be open at once.
const OPEN_OBJECTS_MIN: u32 = 16;
const OPEN_OBJECTS_MAX: u32 = 512;
/// Of the machine's memory, instances get one part in so many, unless they are given something else.
const INSTANCE_MEMORY_SHARE: u64 = 2;
/// The least and the most that this may come to, in bytes.
const INSTANCE_MEMORY_MIN: u64 = 64 << 20;
const INSTANCE_MEMORY_MAX: u64 = 8 << 30;

/// Calls at once, unless the operator wants another number.
const MAX_CONCURRENCY: u32 = 900;
/// Instances beside those of running calls, so that some stay warm when all that may run do.
const INSTANCES_SPARE: u32 = 100;

/// Warnings of `wasmtime_wasi_http` are about what guests do, so that a guest could fill the disk with them.
/// `s3s` has an error for each request that is refused, and `lapin` shows whole messages that are returned; what is wrong with
/// us is said where it happens.
const LOG_FILTER_DEFAULT: &str = "info,wasmtime_wasi_http=error,s3s=off,lapin=off";

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

    /// Address on which clients of S3 find the buckets; port 0 takes a free one
    #[arg(
        long,
        env = "MAYFLY_STORAGE",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8082"
    )]
    pub(crate) storage: SocketAddr,

    /// How clients of S3 reach that address, for the credentials that are shown
    #[arg(long, env = "MAYFLY_STORAGE_URL", value_name = "URL")]
    pub(crate) storage_url: Option<String>,

    /// Folder for the objects of buckets; else one in the data directory. Servers of one Postgres need the same, shared
    #[arg(long, env = "MAYFLY_OBJECTS_DIR", value_name = "DIR")]
    pub(crate) objects_dir: Option<PathBuf>,

    /// Keep the state in this Postgres instead of a file, as postgres://USER:PASSWORD@HOST/NAME
    #[arg(long, env = "MAYFLY_DATABASE", value_name = "URL", hide_env_values = true)]
    pub(crate) database: Option<String>,

    /// How callers reach the functions' address, for the URLs that are shown
    #[arg(long, env = "MAYFLY_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,

    /// Calls that may run at once; more are refused. Each takes 4 GiB of address space, not of memory
    #[arg(long, env = "MAYFLY_MAX_CONCURRENCY", value_name = "N", default_value_t = MAX_CONCURRENCY,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) max_concurrency: u32,

    /// Events of one namespace that may wait; more are refused
    #[arg(long, env = "MAYFLY_MAX_BACKLOG", value_name = "N", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) max_backlog: u64,

    /// How long an event that was delivered can be seen, with its result, such as 1h or 7d
    #[arg(long, env = "MAYFLY_KEEP_RESULTS", value_name = "TIME", default_value = "1d", value_parser = parse_seconds)]
    pub(crate) keep_results: u32,

    /// Memory of all instances together, running and warm, such as 512MiB or 4GiB; else half of the machine's, at most 8GiB
    #[arg(long, env = "MAYFLY_INSTANCE_MEMORY", value_name = "SIZE", value_parser = parse_memory_mib)]
    pub(crate) instance_memory: Option<u32>,

    /// Network that is not public and that functions may reach if their allow lists name the host, and webhooks, too, such
    /// as 10.0.0.0/8; may be repeated
    #[arg(
        long,
        env = "MAYFLY_ALLOW_PRIVATE_NETWORK",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub(crate) allow_private_network: Vec<PrivateNetwork>,

    /// File with the 32 bytes that passwords of brokers and keys of buckets are encrypted with; else one in the data directory. Servers of one
    /// Postgres need the same
    #[arg(long, env = "MAYFLY_SECRET_KEY_FILE", value_name = "FILE")]
    pub(crate) secret_key_file: Option<PathBuf>,

    /// Take http functions of WASI 0.3 too. It is a preview, and every call of every function costs a little more for it
    #[arg(long = "wasi-0-3", env = "MAYFLY_WASI_0_3")]
    pub(crate) wasi_0_3: bool,

    /// Record nothing: for measuring what recording costs. There are no invocations, logs or usage to see, and nothing
    /// can be billed
    #[arg(long, hide = true)]
    pub(crate) no_usage: bool,
}

/// Serves until a signal, then drains.
///
/// # Errors
/// Why the server could not start, with what to do about it.
pub(crate) fn run(args: Args, profile: Option<PathBuf>) -> Result<(), CliError> {
    start_log();
    give_threads_deep_stacks();
    // Whatever is written is the owner's alone, in whatever folder: environments, logs and tokens' hashes are in it.
    umask(Mode::RWXG | Mode::RWXO);
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime::start(threads.max_blocking_threads(BLOCKING_THREADS_MAX))?;
    let served = runtime.block_on(serve(args, profile));
    // What a second signal left behind is not waited for, but dropped: that is when its usage is recorded.
    runtime.shutdown_timeout(DROP_TIME_MAX);
    served
}

/// A message of RabbitMQ may have lists in lists, as many as fit its frame, and lapin reads and drops them one inside of the
/// other.
#[expect(unsafe_code, reason = "there is no other way to tell threads that a library starts")]
fn give_threads_deep_stacks() {
    // SAFETY: this is the program's only thread so far, so nobody reads the environment meanwhile.
    unsafe { std::env::set_var("RUST_MIN_STACK", STACK_BYTES.to_string()) };
}

fn start_log() {
    let filter = EnvFilter::try_from_env("MAYFLY_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_FILTER_DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

async fn serve(args: Args, profile: Option<PathBuf>) -> Result<(), CliError> {
    let mut signals =
        Signals::listen().map_err(|cause| failed("internal", format!("cannot listen for signals: {cause}")))?;
    let dir = DataDir::open(args.data_dir.as_deref())?;
    let functions = bind("functions", args.listen).await?;
    let admin = bind("admin", args.admin).await?;
    let storage = bind("storage", args.storage).await?;
    let (functions_url, admin_url, storage_url) = (url_of(&functions)?, url_of(&admin)?, url_of(&storage)?);
    let store = open_store(&args, &dir).await?;
    let fresh: String = random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let installation = store.installation(&fresh).await.map_err(database_unavailable)?;
    let parts = assemble(&args, &dir, store, &installation, (&functions_url, &storage_url))?;
    introduce(profile, &parts, &admin_url).await?;

    let stop = CancellationToken::new();
    let listeners = Listeners {
        functions,
        admin,
        storage,
    };
    let running = Controller::create(parts).run(listeners, stop.clone());
    output::line(&format!(
        "ready functions={functions_url} admin={admin_url} storage={storage_url}"
    ))?;
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

fn assemble(
    args: &Args,
    dir: &DataDir,
    store: Store,
    installation: &str,
    (functions_url, storage_url): (&str, &str),
) -> Result<Parts, CliError> {
    let descriptors = descriptors();
    let unwritable = |cause: &dyn std::fmt::Display| data_dir_unwritable(&dir.path, cause);
    let artifacts = Arc::new(ArtifactFolder::open(&dir.path.join("artifacts")).map_err(|cause| unwritable(&cause))?);
    let objects_dir = args.objects_dir.clone().unwrap_or_else(|| dir.path.join("objects"));
    let open_objects_max = open_objects_max(descriptors);
    let blobs = BlobFolder::open(&objects_dir, installation, open_objects_max);
    let blobs = Arc::new(blobs.map_err(|cause| data_dir_unwritable(&objects_dir, &cause))?);
    let ledger = Ledger::open(&dir.path.join("spool"), store.clone(), LedgerLimits::default())
        .map_err(|cause| unwritable(&cause))?;
    let ledger = if args.no_usage {
        tracing::warn!("--no-usage: what is called is neither recorded nor billed");
        ledger.discarding()
    } else {
        ledger
    };
    let compiler = std::env::current_exe()
        .map_err(|cause| failed("internal", format!("cannot find this program's own file: {cause}")))?;
    let config = mayfly_invoker::Config {
        cache_dir: dir.path.join("native"),
        cache_key: dir.cache_key()?,
        compiler_command: vec![compiler.into(), "compile".into()],
        private_networks: args.allow_private_network.clone(),
        wasi: wasi(args.wasi_0_3),
        bounds: mayfly_invoker::Bounds {
            instances_max: args.max_concurrency + INSTANCES_SPARE.min(args.max_concurrency),
            instance_memory_bytes: instance_memory_bytes(args.instance_memory),
            ..mayfly_invoker::Bounds::default()
        },
    };
    let invoker = Invoker::create(config, artifacts.clone()).map_err(|cause| failed("internal", cause.to_string()))?;
    let public_url = args.public_url.as_deref().unwrap_or(functions_url);
    let storage_url = args.storage_url.as_deref().unwrap_or(storage_url);
    let (process, predecessor) = dir.succeed()?;
    Ok(Parts {
        store,
        ledger,
        artifacts,
        blobs,
        invoker: Arc::new(invoker),
        clock: Arc::new(SystemClock),
        seal: Seal::new(
            &dir.secret_key(args.secret_key_file.as_deref())?,
            Arc::new(SystemRandom),
        ),
        random: Arc::new(SystemRandom),
        public_url: public_url.trim_end_matches('/').to_owned(),
        storage_url: storage_url.trim_end_matches('/').to_owned(),
        process,
        predecessor,
        bounds: Bounds {
            invocations_in_flight_max: args.max_concurrency as usize,
            connections_max: connections_max(Bounds::default().connections_max, descriptors),
            events_in_flight_max: events_in_flight_max(args.max_concurrency),
            backlog_events_max: args.max_backlog,
            result_kept: Duration::from_secs(args.keep_results.into()),
            ..Bounds::default()
        },
    })
}

/// Of the calls that may run at once, those that deliver events: half, so that events never keep callers out.
fn events_in_flight_max(max_concurrency: u32) -> u32 {
    (max_concurrency / 2).max(1)
}

/// Which guests are taken.
pub(crate) fn wasi(with_preview: bool) -> Wasi {
    if with_preview { Wasi::WithPreview } else { Wasi::Stable }
}

/// Memory for instances: what was asked for, else a share of what there is.
fn instance_memory_bytes(asked_mib: Option<u32>) -> u64 {
    match (asked_mib, machine::memory_bytes()) {
        (Some(mib), _) => u64::from(mib) << 20,
        (None, Some(bytes)) => (bytes / INSTANCE_MEMORY_SHARE).clamp(INSTANCE_MEMORY_MIN, INSTANCE_MEMORY_MAX),
        (None, None) => mayfly_invoker::Bounds::default().instance_memory_bytes,
    }
}

/// Connections of one listener, as far as there are descriptors for those of all and for everything else.
fn connections_max(wanted: usize, descriptors: u64) -> usize {
    let rest = descriptors.saturating_sub(DESCRIPTORS_RESERVED + u64::from(open_objects_max(descriptors)));
    wanted.min(usize::try_from(rest / 3).unwrap_or(wanted).max(1))
}

/// Files of objects that are open at once, as far as there are descriptors.
fn open_objects_max(descriptors: u64) -> u32 {
    u32::try_from(descriptors / 8).map_or(OPEN_OBJECTS_MAX, |most| most.clamp(OPEN_OBJECTS_MIN, OPEN_OBJECTS_MAX))
}

/// Descriptors that this process may have; as many as the system lets it.
fn descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(_) => limit.current.unwrap_or(most),
    }
}

/// Sees to it that `fn` works on this machine at once: the profile gets a token that this server knows, and this server
/// becomes the one that is used when none is named. A server runs as well without a client's profile.
async fn introduce(profile_path: Option<PathBuf>, parts: &Parts, admin_url: &str) -> Result<(), CliError> {
    let Some(path) = profile_path else {
        tracing::warn!(
            "this user has no folder for configuration: set MAYFLY_PROFILE to have a client profile written"
        );
        return Ok(());
    };
    let profile = match Profile::load(&path) {
        Ok(profile) => profile,
        Err(error) => {
            tracing::warn!(%error, "the client profile is left as it is");
            return Ok(());
        }
    };
    let known = match profile.token(admin_url) {
        Some(token) if knows_token(&parts.store, token).await.map_err(database_unavailable)? => Some(token.to_owned()),
        _ => None,
    };
    if known.is_some() && profile.is_current(admin_url) {
        return Ok(());
    }
    let token = match known {
        Some(token) => token,
        None => make_admin_token(&parts.store, &*parts.clock, random()?, "profile")
            .await
            .map_err(database_unavailable)?
            .reveal()
            .to_owned(),
    };
    match Profile::save_server(&path, admin_url, &token) {
        Ok(()) => tracing::info!(profile = %path.display(), "`fn` on this machine uses this server from now on"),
        Err(error) => tracing::warn!(%error, "`fn` on this machine does not know this server"),
    }
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
        format!("cannot use the database: {error}"),
    )
    .hint("with --database: check that it runs and that the URL, the user and the name in it are right; without: mayfly.sqlite in the data directory is damaged, bring back a copy")
}

async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, CliError> {
    TcpListener::bind(address).await.map_err(|cause| {
        let flag = match what {
            "admin" => "--admin",
            "storage" => "--storage",
            _ => "--listen",
        };
        let message = format!("cannot listen on {address} for {what}: {}", cause_text(&cause));
        match cause.kind() {
            IoErrorKind::AddrInUse => failed("port_in_use", message).hint(format!(
                "stop what uses that port, or choose another with {flag} ADDR:PORT"
            )),
            _ => failed("cannot_listen", message).hint(format!(
                "choose an address and a port that this user may listen on with {flag} ADDR:PORT"
            )),
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
