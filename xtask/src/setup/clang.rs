//! A C compiler for wasm: Debian's clang with its C library for WASI.
#![expect(
    clippy::print_stderr,
    reason = "standard error carries the progress; standard output is left to the results"
)]

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::{DEBIAN_WASI_LIBC, install_debian_packages, output_of};

/// Compiler, linker, C library, and what the compiler calls where the processor has no instruction.
const PACKAGES: [&str; 4] = ["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"];
const TARGET: [&str; 2] = ["--target=wasm32-wasi", "--sysroot=/usr"];

/// The command that compiles C to a core module that runs under WASI preview 1.
pub(crate) fn clang() -> Result<Command> {
    if is_complete() {
        eprintln!("clang can compile C for WASI");
    } else {
        install_debian_packages(&PACKAGES).context("install a clang that can compile for wasm32-wasi")?;
    }
    let mut clang = Command::new("clang");
    clang.args(TARGET);
    Ok(clang)
}

/// Each of the packages has brought its part.
fn is_complete() -> bool {
    let runtime = output_of(Command::new("clang").args(TARGET).arg("-print-libgcc-file-name"));
    runtime.is_ok_and(|file| Path::new(&file).exists())
        && output_of(Command::new("wasm-ld").arg("--version")).is_ok()
        && Path::new(DEBIAN_WASI_LIBC).join("crt1-command.o").exists()
}
