//! Native code: its name, what is known of it, and what became of loading it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, ParseError};

/// Whether a function's init function is run once, at deploy, and every instance begins with what it left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// If there is an init function and it gets by without the host; else it is run in every new instance.
    #[default]
    Auto,
    /// It must be: a deployment that cannot have it is refused.
    On,
    /// Never: it is run in every new instance.
    Off,
}

impl SnapshotMode {
    /// The mode as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl FromStr for SnapshotMode {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::Auto, Self::On, Self::Off]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| ParseError::new("snapshot must be auto, on or off"))
    }
}

/// Names native code: what it is made of, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeKey {
    /// The wasm bytes.
    pub artifact: Digest,
    /// Whether the component may be initialised before it is compiled.
    pub snapshot: bool,
}

impl CodeKey {
    /// The code for a version that is deployed with this mode.
    #[must_use]
    pub fn new(artifact: Digest, mode: SnapshotMode) -> Self {
        Self {
            artifact,
            snapshot: mode != SnapshotMode::Off,
        }
    }
}

/// When the init function of a component is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// It has none.
    Absent,
    /// In every new instance, for this reason.
    PerInstance {
        /// A sentence's end that says what was in the way of a snapshot.
        reason: String,
    },
    /// It was run at deploy; what it left is in the code.
    Snapshot {
        /// Processor time that it took, in microseconds: about what every new instance is spared.
        init_us: u64,
    },
}

/// What is known of an artifact once it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// How its function is called.
    pub kind: Kind,
    /// Size of the native code that was made of it, in bytes.
    pub code_bytes: u64,
    /// When it is initialised.
    pub init: Init,
}

/// How often code was had, and from where, since the invoker started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodeCounters {
    /// A compiling process made it.
    pub compiled: u64,
    /// It was loaded from the cache on disk.
    pub loaded: u64,
    /// It was in memory.
    pub found: u64,
    /// Entries of the cache on disk that were not authentic; each was removed.
    pub rejected: u64,
}
