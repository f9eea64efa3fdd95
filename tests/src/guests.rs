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

/// Translates a guest written as text into a file in `dir`.
#[must_use]
pub fn guest_from_wat(dir: &Path, name: &str, text: &str) -> PathBuf {
    let file = dir.join(format!("{name}.wasm"));
    let wasm = wat::parse_str(text).expect("the text of the guest is valid");
    fs::write(&file, wasm).expect("the test's folder can be written");
    file
}
