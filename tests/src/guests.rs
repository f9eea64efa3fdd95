//! Functions to deploy: examples, misbehaving ones, and small ones written as text.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the repository")
}

/// The built guest of that name.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    let file = repository().join("target/guests").join(format!("{name}.wasm"));
    assert!(
        file.exists(),
        "target/guests/{name}.wasm is missing; `cargo xtask test` builds the guests"
    );
    file
}

/// Its bytes.
#[must_use]
pub fn guest_bytes(name: &str) -> Vec<u8> {
    fs::read(guest(name)).expect("a built guest can be read")
}

/// Translates a guest of `tests/guests/wat` into a file in `dir`.
///
/// # Panics
/// When there is no such guest.
#[must_use]
pub fn guest_from_wat(dir: &Path, name: &str) -> PathBuf {
    let text = repository().join("tests/guests/wat").join(name).with_extension("wat");
    let wasm = wat::parse_file(&text).unwrap_or_else(|error| panic!("{error}"));
    let file = dir.join(name).with_extension("wasm");
    fs::write(&file, wasm).expect("the test's folder can be written");
    file
}
