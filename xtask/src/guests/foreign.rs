//! Functions made by tools that are not Rust's: Python by componentize-py, C by clang.
#![expect(
    clippy::print_stderr,
    reason = "standard error carries the progress; standard output is left to the results"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::guests::{is_newer, javascript_wit, publish};
use crate::{paths, setup, step};

/// A Python module as an http component of the given name, against the interfaces that the scripts have, too.
pub(crate) fn python(source: &Path, name: &str) -> Result<PathBuf> {
    let program = setup::componentize_py()?;
    let wit = javascript_wit(&setup::javascript()?)?;
    let built = paths::target().join("tools/python").join(name).with_extension("wasm");
    if is_newer(&built, &[source, &program, &wit.join("world.wit")])? {
        eprintln!("{name} is fresh");
        return publish(&built, name);
    }
    let (Some(dir), Some(module)) = (source.parent(), source.file_stem()) else {
        bail!("{} is not a Python module", source.display());
    };
    let mut build = Command::new(program);
    build.arg("-d").arg(wit).args(["-w", "http", "componentize"]);
    build.arg(module).arg("-p").arg(dir).arg("-o").arg(&built);
    step::run(&format!("componentize {name} (takes about 15 s)"), &mut build)?;
    publish(&built, name)
}

/// A C file as a command of the given name. Quick enough to be done every time.
pub(super) fn c(source: &Path, name: &str) -> Result<PathBuf> {
    let guests = paths::target().join("guests");
    fs::create_dir_all(&guests).with_context(|| format!("making {}", guests.display()))?;
    let guest = paths::guest(name);
    let mut clang = setup::clang()?;
    clang
        .args(["-Os", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&guest)
        .arg(source);
    step::run(&format!("clang {}", source.display()), &mut clang)?;
    Ok(guest)
}
