//! Finds, or installs, what turns Rust, JavaScript, Python and C into functions.
#![expect(
    clippy::print_stderr,
    reason = "standard error carries the progress; standard output is left to the results"
)]

mod clang;
mod python;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{paths, step};

pub(crate) use clang::clang;
pub(crate) use python::{boto3, componentize_py};

/// Components, and the older core modules that the platform turns into components itself.
const TARGETS: [&str; 2] = ["wasm32-wasip2", "wasm32-wasip1"];
/// Without a network, rustup would try for minutes.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);
/// Debian's second Rust, kept new for its browsers: compiler, cargo, source of `std`, linker driver for components.
const DEBIAN_PACKAGES: [&str; 6] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "rust-web-llvm",
    "wasi-libc",
    "lld",
];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld";
const DEBIAN_STD: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
const DEBIAN_WASI_LIBC: &str = "/usr/lib/wasm32-wasi";
/// The oldest Node.js that componentize-js runs on.
const NODE_MAJOR_MIN: u32 = 18;

/// How a guest is entered, which decides how it is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A library, called through its exports.
    Cdylib,
    /// A program with a `main`.
    Bin,
}

/// A Rust that builds for [`TARGETS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The Rust that runs us has the targets.
    Active,
    /// Debian's, which has to build `std` first.
    Debian,
}

/// The guest toolchain of this machine, installed when there is none.
pub(crate) fn guest_toolchain() -> Result<Toolchain> {
    if active_has_targets()? {
        eprintln!("the active Rust has the targets {}", TARGETS.join(" and "));
        return Ok(Toolchain::Active);
    }
    // Before rustup, so that a machine without a network does not wait for it every time.
    if debian_missing().is_empty() {
        eprintln!("using Debian's {DEBIAN_RUSTC} with a standard library of our own making");
        return Ok(Toolchain::Debian);
    }
    if program_exists("rustup") {
        let mut add = Command::new("rustup");
        add.args(["target", "add"]).args(TARGETS).env_remove("RUST_BACKTRACE");
        match step::run_within(RUSTUP_LIMIT, "rustup target add", &mut add) {
            Ok(()) if active_has_targets()? => return Ok(Toolchain::Active),
            Ok(()) => eprintln!("rustup added the targets to another toolchain than the active one"),
            Err(error) => eprintln!("{error:#}"),
        }
    }
    install_debian_packages(&DEBIAN_PACKAGES).context(
        "functions need a Rust for wasm: run 'rustup target add wasm32-wasip2 wasm32-wasip1' where there is a network",
    )?;
    match debian_missing().first() {
        Some(missing) => bail!("Debian's packages are installed, but there is no {}", missing.display()),
        None => Ok(Toolchain::Debian),
    }
}

impl Toolchain {
    /// The command that builds one package of the workspace; the file comes to lie in [`Toolchain::output`].
    pub(crate) fn build(self, package: &str, target: &str, shape: Shape) -> Command {
        let mut cargo = match self {
            Self::Active => Command::new(active_cargo()),
            Self::Debian => Command::new(DEBIAN_CARGO),
        };
        cargo.current_dir(paths::root()).env("CARGO_TARGET_DIR", build_dir());
        cargo
            .args(["rustc", "--locked", "--profile", "guest"])
            .args(["--target", target, "--package", package]);
        // Neither the developer's flags nor what `cargo run` set for us may reach the guests.
        for name in [
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "LD_LIBRARY_PATH",
        ] {
            cargo.env_remove(name);
        }
        match self {
            // Set, though empty: this one goes before every other source of flags.
            Self::Active => cargo.env("CARGO_ENCODED_RUSTFLAGS", ""),
            Self::Debian => debian_arguments(&mut cargo, shape),
        };
        cargo
    }

    /// The folder of what was built for `target`.
    pub(crate) fn output(target: &str) -> PathBuf {
        build_dir().join(target).join("guest")
    }
}

/// Beside the host's build, which it would otherwise lock out and make stale.
fn build_dir() -> PathBuf {
    paths::target().join("guest-build")
}

fn debian_arguments(cargo: &mut Command, shape: Shape) -> &mut Command {
    let mut path = OsString::from("/usr/bin:");
    path.push(env::var_os("PATH").unwrap_or_default());
    cargo
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("PATH", path)
        .env("RUSTC", DEBIAN_RUSTC);
    // Building `std` is a feature of nightly compilers; this makes a stable one take it.
    cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
    // Debian's compiler comes without the C library that others bring along, and does not know Debian's linker by name.
    cargo.env(
        "CARGO_ENCODED_RUSTFLAGS",
        format!("-Clink-self-contained=no\x1f-L{DEBIAN_WASI_LIBC}"),
    );
    cargo.env("CARGO_TARGET_WASM32_WASIP1_LINKER", DEBIAN_LINKER);
    let start = match shape {
        Shape::Cdylib => "crt1-reactor.o",
        Shape::Bin => "crt1-command.o",
    };
    cargo.args([
        "--",
        &format!("-Clink-arg={DEBIAN_WASI_LIBC}/{start}"),
        "-Clink-arg=-lc",
    ])
}

/// The cargo that runs us, so that both builds agree on the version.
fn active_cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn active_has_targets() -> Result<bool> {
    let sysroot = output_of(Command::new("rustc").args(["--print", "sysroot"]))?;
    let has = |target: &&str| {
        Path::new(&sysroot)
            .join("lib/rustlib")
            .join(target)
            .join("lib")
            .is_dir()
    };
    Ok(TARGETS.iter().all(has))
}

fn debian_missing() -> Vec<PathBuf> {
    // Only the new packages have this file, so it also tells Debian's old `rustc` from the one that we need.
    let component_linker = format!(
        "/usr/lib/rustlib/{}-unknown-linux-gnu/bin/wasm-component-ld",
        env::consts::ARCH
    );
    let crt1 = format!("{DEBIAN_WASI_LIBC}/crt1-reactor.o");
    [
        DEBIAN_CARGO,
        DEBIAN_RUSTC,
        DEBIAN_LINKER,
        DEBIAN_STD,
        &crt1,
        &component_linker,
    ]
    .into_iter()
    .map(PathBuf::from)
    .filter(|file| !file.exists())
    .collect()
}

/// componentize-js in a folder of its own, installed when it is not there; returns that folder.
pub(crate) fn javascript() -> Result<PathBuf> {
    if !node_is_new_enough() || !program_exists("npm") {
        install_debian_packages(&["nodejs", "npm"])
            .with_context(|| format!("install Node.js {NODE_MAJOR_MIN} or newer, with npm"))?;
    }
    let source = paths::root().join("tests/guests/js");
    let dir = paths::target().join("tools/js");
    // npm writes the second file last, so both together say that all of it is there.
    let wanted = fs::read(source.join("package.json"))?;
    let complete = dir.join("node_modules/.package-lock.json").exists()
        && fs::read(dir.join("package.json")).is_ok_and(|installed| installed == wanted);
    if complete {
        eprintln!("componentize-js is here");
        return Ok(dir);
    }
    fs::create_dir_all(&dir)?;
    for file in ["package.json", "package-lock.json", ".npmrc"] {
        fs::copy(source.join(file), dir.join(file)).with_context(|| format!("copying {file}"))?;
    }
    step::run(
        "npm install componentize-js (400 MB)",
        Command::new("npm").arg("install").current_dir(&dir),
    )?;
    Ok(dir)
}

fn node_is_new_enough() -> bool {
    let Ok(version) = output_of(Command::new("node").arg("--version")) else {
        return false;
    };
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major >= NODE_MAJOR_MIN)
}

/// Installs what is not here; nothing that is installed is started.
pub(crate) fn install_debian_packages(packages: &[&str]) -> Result<()> {
    if !program_exists("apt-get") {
        bail!("there is no apt-get here to install {}", packages.join(" "));
    }
    eprintln!("installing Debian's packages {}", packages.join(" "));
    let install = || {
        let mut install = as_root("apt-get");
        install
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages);
        step::run("apt-get install", &mut install)
    };
    if install().is_ok() {
        return Ok(());
    }
    // Most often it fails because the machine has never fetched the lists, or has old ones.
    step::run("apt-get update", as_root("apt-get").args(["update", "--quiet"]))?;
    install()
}

/// A command that runs as root, through sudo when we do not.
fn as_root(program: &str) -> Command {
    let is_root = output_of(Command::new("id").arg("-u")).is_ok_and(|uid| uid == "0");
    let mut command = Command::new(if is_root { "env" } else { "sudo" });
    // At run level 1, packages start no servers of theirs.
    command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", program]);
    command
}

pub(crate) fn program_exists(program: &str) -> bool {
    let probe = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}

fn output_of(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start '{name}'"))?;
    if !output.status.success() {
        bail!("'{name}' failed with {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
