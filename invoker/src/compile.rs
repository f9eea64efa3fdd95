//! Compiling, in a process of its own: the memory and the time that a hostile file may eat are bounded there, and a crash
//! of the compiler is not a crash of the server. The process runs as the server's user; it is no wall against a file that
//! takes the compiler over.
//!
//! The parent sends the wasm bytes on standard input, and on the command line `--snapshot` when the component may be
//! initialised first and `--wasi-0-3` when it may be built for that version. The child answers with one line of JSON, the [`Verdict`], and,
//! if that is good, with the native code until end of file.

use std::io::{Read, Write};
use std::process::{ExitCode, Stdio};

use mayfly_invoker_api::{Init, Kind, PrepareError, PrepareErrorKind};
use rustix::process::{Resource, Rlimit, getpid, setpriority_process, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use wasmtime::component::Component;

use crate::config::{
    CODE_PIECE_BYTES, COMPILE_CPU_SECONDS_MAX, COMPILE_MEMORY_BYTES_MAX, COMPILE_OUTPUT_BYTES_MAX, Config,
    REASON_CHARS_MAX, Wasi,
};
use crate::guest::GuestPre;
use crate::inspect::{self, Inspected};
use crate::sealed::{Sealed, Unsealed};
use crate::snapshot::{self, Snapshot};
use crate::{engine, state};

/// Longest first line of the child, in bytes.
const VERDICT_BYTES_MAX: u64 = 64 << 10;
/// Longest sentence in it, in characters; a file can have names of 100,000, and JSON writes some as six bytes.
const MESSAGE_CHARS_MAX: usize = 4_000;
/// How much other work of the machine goes before compiling.
const NICENESS: i32 = 10;

/// Native code and what kind of guest is in it.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) kind: Kind,
    pub(crate) init: Init,
    pub(crate) code: Sealed,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Compiled { kind: Kind, init: Init, code_bytes: u64 },
    InvalidWasm(String),
    UnsupportedImport(String),
    NoUsableExport(String),
    CompileFailed(String),
}

/// Compiles `wasm` in a child process; with `snapshot`, what its init function leaves, if that can be had.
pub(crate) async fn compile(config: &Config, wasm: &[u8], snapshot: bool) -> Result<Compiled, PrepareError> {
    let compiled = compile_once(config, wasm, snapshot).await;
    match compiled {
        // The component was compiled when it was accepted: what has grown too large is what its init function left.
        Err(error) if snapshot && error.kind() == PrepareErrorKind::CompileLimit => {
            let mut plain = compile_once(config, wasm, false).await?;
            if let Init::PerInstance { reason } = &mut plain.init {
                "compiling what the init function left took more time or memory than is allowed".clone_into(reason);
            }
            Ok(plain)
        }
        other => other,
    }
}

async fn compile_once(config: &Config, wasm: &[u8], snapshot: bool) -> Result<Compiled, PrepareError> {
    let mut child = spawn(config, snapshot)?;
    let answer = tokio::time::timeout(config.bounds.compile_time_max, converse(&mut child, wasm)).await;
    // It has said all that will be heard of it.
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "compiling process could not be ended");
    }
    match answer {
        Ok(Ok(compiled)) => compiled,
        // It closed its pipes before it had said anything useful: it ran into one of its limits.
        Ok(Err(error)) => {
            tracing::warn!(%error, "compiling process gave no answer");
            Err(over_limit())
        }
        Err(_elapsed) => Err(over_limit()),
    }
}

fn over_limit() -> PrepareError {
    PrepareError::new(
        PrepareErrorKind::CompileLimit,
        "compiling took more time or memory than is allowed; make the module or its largest function smaller",
    )
}

fn internal(error: impl std::fmt::Display) -> PrepareError {
    tracing::error!(%error, "compiling process could not be used");
    PrepareError::new(
        PrepareErrorKind::Internal,
        "the compiler could not be started; see the server's log",
    )
}

fn spawn(config: &Config, snapshot: bool) -> Result<Child, PrepareError> {
    let (program, arguments) = config
        .compiler_command
        .split_first()
        .ok_or_else(|| internal("no compiler command is configured"))?;
    Command::new(program)
        .args(arguments)
        .args(snapshot.then_some("--snapshot"))
        .args((config.wasi == Wasi::WithPreview).then_some("--wasi-0-3"))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(internal)
}

async fn converse(child: &mut Child, wasm: &[u8]) -> std::io::Result<Result<Compiled, PrepareError>> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("the child has no pipes"));
    };
    // The child reads everything before it writes, so one end after the other cannot block.
    stdin.write_all(wasm).await?;
    drop(stdin);
    let mut stdout = BufReader::new(stdout.take(COMPILE_OUTPUT_BYTES_MAX));
    let mut line = String::new();
    (&mut stdout).take(VERDICT_BYTES_MAX).read_line(&mut line).await?;
    let verdict: Verdict = serde_json::from_str(&line)?;
    let (kind, init, code_bytes) = match verdict.into_result() {
        Ok(compiled) => compiled,
        Err(refused) => return Ok(Err(refused)),
    };
    let mut code = Unsealed::create()?;
    let mut piece = vec![0; CODE_PIECE_BYTES];
    loop {
        match stdout.read(&mut piece).await? {
            0 => break,
            // A file in memory: it keeps nobody waiting.
            length => code.write_all(&piece[..length])?,
        }
    }
    let code = code.seal()?;
    if code.len() != code_bytes {
        return Err(std::io::Error::other("the native code was cut short"));
    }
    Ok(Ok(Compiled { kind, init, code }))
}

impl Verdict {
    fn into_result(self) -> Result<(Kind, Init, u64), PrepareError> {
        use PrepareErrorKind as K;
        let (kind, message) = match self {
            Self::Compiled { kind, init, code_bytes } => return Ok((kind, init, code_bytes)),
            Self::InvalidWasm(message) => (K::InvalidWasm, message),
            Self::UnsupportedImport(message) => (K::UnsupportedImport, message),
            Self::NoUsableExport(message) => (K::NoUsableExport, message),
            Self::CompileFailed(message) => (K::CompileFailed, message),
        };
        Err(PrepareError::new(kind, message))
    }

    fn refused(error: &PrepareError) -> Self {
        let message = error.to_string().chars().take(MESSAGE_CHARS_MAX).collect();
        match error.kind() {
            PrepareErrorKind::InvalidWasm => Self::InvalidWasm(message),
            PrepareErrorKind::UnsupportedImport => Self::UnsupportedImport(message),
            PrepareErrorKind::NoUsableExport => Self::NoUsableExport(message),
            PrepareErrorKind::CompileFailed | PrepareErrorKind::CompileLimit | PrepareErrorKind::Internal => {
                Self::CompileFailed(message)
            }
        }
    }
}

/// The whole life of a compiling process: standard input to standard output.
#[must_use]
pub fn compile_child_main(snapshot: bool, wasi: Wasi) -> ExitCode {
    match child_main(snapshot, wasi) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn child_main(snapshot: bool, wasi: Wasi) -> std::io::Result<()> {
    confine()?;
    let mut wasm = Vec::new();
    std::io::stdin().lock().read_to_end(&mut wasm)?;
    let (verdict, code) = match compile_here(wasm, snapshot, wasi) {
        Ok((kind, init, code)) => (
            Verdict::Compiled {
                kind,
                init,
                code_bytes: code.len() as u64,
            },
            code,
        ),
        Err(refused) => (Verdict::refused(&refused), Vec::new()),
    };
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, &verdict)?;
    stdout.write_all(b"\n")?;
    stdout.write_all(&code)?;
    stdout.flush()
}

/// Sets the limits before a single foreign byte is read.
fn confine() -> std::io::Result<()> {
    let limit = |most| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::As, limit(COMPILE_MEMORY_BYTES_MAX))?;
    setrlimit(Resource::Cpu, limit(COMPILE_CPU_SECONDS_MAX))?;
    setrlimit(Resource::Core, limit(0))?;
    setrlimit(Resource::Fsize, limit(0))?;
    setpriority_process(Some(getpid()), NICENESS)?;
    Ok(())
}

fn compile_here(wasm: Vec<u8>, snapshot: bool, wasi: Wasi) -> Result<(Kind, Init, Vec<u8>), PrepareError> {
    let failed = |error: wasmtime::Error| PrepareError::new(PrepareErrorKind::CompileFailed, format!("{error:#}"));
    let Inspected {
        component,
        kind,
        has_init,
    } = inspect::inspect(wasm, wasi)?;
    let (init, component) = if has_init {
        initialised(component, snapshot)
    } else {
        (Init::Absent, component)
    };
    let engine = engine::compiling(wasi).map_err(failed)?;
    let component = Component::new(&engine, &component).map_err(failed)?;
    // Linking here tells of imports and exports that have a known name and another shape.
    let refused = |kind| move |error: wasmtime::Error| PrepareError::new(kind, format!("{error:#}"));
    let pre = state::linker(&engine, wasi)
        .and_then(|linker| linker.instantiate_pre(&component))
        .map_err(refused(PrepareErrorKind::UnsupportedImport))?;
    GuestPre::new(pre, kind, &init).map_err(refused(PrepareErrorKind::NoUsableExport))?;
    let code = component.serialize().map_err(failed)?;
    Ok((kind, init, code))
}

/// The component that is to be compiled instead of `component`, and what that means for its init function.
fn initialised(component: Vec<u8>, snapshot: bool) -> (Init, Vec<u8>) {
    if !snapshot {
        let reason = "snapshots are switched off for this version".to_owned();
        return (Init::PerInstance { reason }, component);
    }
    match snapshot::take(&component) {
        Ok(Snapshot { component, init_us }) => (Init::Snapshot { init_us }, component),
        Err(reason) => {
            let reason = reason.chars().take(REASON_CHARS_MAX).collect();
            (Init::PerInstance { reason }, component)
        }
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod property;
