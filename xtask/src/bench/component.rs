//! The components that are measured, and copies of them that no cache can take for each other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bench::peers;
use crate::{guests, paths};

/// A component whose bytes differ from those of every other copy, but which does the same.
pub(crate) fn copy(component: &Path, number: u32) -> Result<PathBuf> {
    let bytes = fs::read(component).with_context(|| format!("cannot read {}", component.display()))?;
    let name = component.file_stem().unwrap_or_default().to_string_lossy();
    let file = peers::dir()?.join(format!("{name}-{number}.wasm"));
    fs::write(&file, with_section(bytes, &format!("bench copy {number}")))?;
    Ok(file)
}

/// Adds a custom section, which means nothing to anybody: its id, its length, the length of its name, its name.
fn with_section(mut component: Vec<u8>, name: &str) -> Vec<u8> {
    let mut section = leb128(name.len());
    section.extend(name.as_bytes());
    component.push(0);
    component.extend(leb128(section.len()));
    component.extend(section);
    component
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

/// `bench/guests/hello_python.py` as a component.
pub(crate) fn python() -> Result<PathBuf> {
    guests::python(&paths::root().join("bench/guests/hello_python.py"), "hello-python")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_groups_of_seven_bits() {
        assert_eq!(leb128(0), [0]);
        assert_eq!(leb128(127), [0x7f]);
        assert_eq!(leb128(128), [0x80, 1]);
        assert_eq!(leb128(624_485), [0xe5, 0x8e, 0x26]);
    }

    #[test]
    fn a_copy_has_one_more_section() {
        assert_eq!(with_section(vec![9, 9], "ab"), [9, 9, 0, 3, 2, b'a', b'b']);
    }
}
