//! componentize-py, which turns Python into functions, and boto3, a client of S3, in a folder of their own.
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

/// What clients of S3 are tested with.
const BOTO3: &str = "1.44.5";

/// The program, installed when it is not there in the version that is wanted.
pub(crate) fn componentize_py() -> Result<PathBuf> {
    let program = tools().join("bin/componentize-py");
    let is_here = || {
        program.exists()
            && output_of(Command::new(&program).arg("--version"))
                .is_ok_and(|version| version.ends_with(COMPONENTIZE_PY))
    };
    install("componentize-py", COMPONENTIZE_PY, "70 MB", is_here)?;
    Ok(program)
}

/// A Python that has AWS's own client of S3, installed when it does not.
pub(crate) fn boto3() -> Result<()> {
    let python = tools().join("bin/python");
    let is_here = || {
        let version =
            "import importlib.util as u; print(__import__('boto3').__version__ if u.find_spec('boto3') else 'none')";
        python.exists() && output_of(Command::new(&python).args(["-c", version])).is_ok_and(|version| version == BOTO3)
    };
    install("boto3", BOTO3, "15 MB", is_here)
}

fn tools() -> PathBuf {
    paths::target().join("tools/python")
}

fn install(package: &str, version: &str, size: &str, is_here: impl Fn() -> bool) -> Result<()> {
    if is_here() {
        eprintln!("{package} is here");
        return Ok(());
    }
    let tools = tools();
    if !tools.join("bin/pip").exists() {
        if !can_make_environments() {
            install_debian_packages(&["python3", "python3-venv"]).context("install Python 3.10 or newer, with venv")?;
        }
        step::run(
            "python3 -m venv",
            Command::new("python3").args(["-m", "venv"]).arg(&tools),
        )?;
    }
    let mut install = Command::new(tools.join("bin/pip"));
    install.args(["install", "--quiet", &format!("{package}=={version}")]);
    step::run(&format!("pip install {package} ({size})"), &mut install)?;
    ensure!(is_here(), "pip has brought another {package}");
    Ok(())
}

/// Debian keeps what this needs in a package apart from Python itself.
fn can_make_environments() -> bool {
    let probe = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}
