//! `fn completions SHELL`.

use clap_complete::Shell;

use crate::error::CliError;
use crate::output;

#[derive(Debug, clap::Args)]
#[command(after_help = "For bash, once: fn completions bash > ~/.local/share/bash-completion/completions/fn")]
pub(crate) struct Args {
    /// Shell that the script is for
    shell: Shell,
}

pub(crate) fn run(args: &Args, mut command: clap::Command) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "fn", &mut script);
    output::bytes(&script)
}
