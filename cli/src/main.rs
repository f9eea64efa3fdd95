//! The binary `fn`: server and client of Mayfly.

mod api;
mod args;
mod client;
mod commands;
mod error;
mod output;
mod profile;
mod quantity;
mod serve;
mod shutdown;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;

fn main() -> ExitCode {
    // Err means that a provider is already there, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return output::wrong_use(&refusal),
    };
    let json = cli.global.json;
    output::set_color(cli.global.color);
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => output::error(&error, json),
    }
}
