//! componentize-py, which turns Python into functions, in a folder of its own.
#![expect(
    clippy::print_stderr,
    reason = "standard error carries the progress; standard output is left to the results"
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::setup::{install_debian_packages, output_of};
use crate::{paths, step};

const COMPONENTIZE_PY: &str = "0.25.1";

/// The program, installed when it is not there in the version that is wanted.
pub(crate) fn componentize_py() -> Result<PathBuf> {
    let tools = paths::target().join("tools/python");
    let program = tools.join("bin/componentize-py");
    let is_here = || {
        program.exists()
            && output_of(Command::new(&program).arg("--version"))
                .is_ok_and(|version| version.ends_with(COMPONENTIZE_PY))
    };
    if is_here() {
        eprintln!("componentize-py is here");
        return Ok(program);
    }
    if !can_make_environments() {
        install_debian_packages(&["python3", "python3-venv"]).context("install Python 3.10 or newer, with venv")?;
    }
    step::run(
        "python3 -m venv",
        Command::new("python3").args(["-m", "venv"]).arg(&tools),
    )?;
    let mut install = Command::new(tools.join("bin/pip"));
    install.args(["install", "--quiet", &format!("componentize-py=={COMPONENTIZE_PY}")]);
    step::run("pip install componentize-py (70 MB)", &mut install)?;
    ensure!(is_here(), "pip has brought another componentize-py");
    Ok(program)
}

/// Debian keeps what this needs in a package apart from Python itself.
fn can_make_environments() -> bool {
    let probe = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}
