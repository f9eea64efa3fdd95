//! The binary `fn`: server and client of Mayfly.

mod api;
mod args;
mod client;
mod commands;
mod data_dir;
mod error;
mod machine;
mod output;
mod profile;
mod quantity;
mod runtime;
mod serve;
mod session;
mod shutdown;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::commands::Cli;

/// A call makes and drops dozens of small values on whatever thread has time; the system's allocator is slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Err means that a provider is already there, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return output::wrong_use(Cli::command(), &refusal),
    };
    let json = cli.global.json;
    output::set_color(cli.global.color);
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => output::error(&error, json),
    }
}
