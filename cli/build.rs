//! Puts the pages of docs/errors into the binary, for `fn explain`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    let out_dir = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let pages_dir = Path::new(&manifest_dir).join("../docs/errors");
    println!("cargo::rerun-if-changed={}", pages_dir.display());

    let mut table = String::from("&[\n");
    for (code, path) in pages(&pages_dir)? {
        writeln!(table, "    ({code:?}, include_str!({path:?})),").expect("writing to a string cannot fail");
    }
    table.push_str("]\n");
    fs::write(Path::new(&out_dir).join("error_pages.rs"), table)
}

/// Every page with its code, sorted. Files that are not named like a code (README.md) are not pages.
fn pages(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).map_err(|cause| io::Error::other(format!("{}: {cause}", dir.display())))?;
    for entry in entries {
        let path = entry?.path();
        let code = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_code = code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_code && path.extension().is_some_and(|extension| extension == "md") {
            found.push((code, path));
        }
    }
    found.sort();
    Ok(found)
}
