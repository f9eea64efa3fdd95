//! Where things lie in this repository.

use std::path::{Path, PathBuf};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Everything that can be made again.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The product.
pub(crate) fn binary() -> PathBuf {
    target()
        .join("release")
        .join(format!("fn{}", std::env::consts::EXE_SUFFIX))
}

/// A built guest, for instance `hello-http`.
pub(crate) fn guest(name: &str) -> PathBuf {
    target().join("guests").join(format!("{name}.wasm"))
}
