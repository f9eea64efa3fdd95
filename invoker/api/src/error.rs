//! What can go wrong, told apart by whose fault it is: the function's or the platform's, never both in one kind.

/// Why an invocation did not end well.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct InvokeError {
    kind: InvokeErrorKind,
    /// A sentence for the function's owner. Never holds another tenant's data or a host path.
    message: String,
}

/// Every way in which an invocation can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvokeErrorKind {
    /// The guest hit an unreachable instruction, a panic, a stack overflow or another wasm trap.
    Trapped,
    /// The guest said itself that it failed: an `err` answer or an exit code that is not 0.
    Failed,
    /// The guest ended without an answer, or with one that cannot be read.
    BadResponse,
    /// The guest was refused memory or table space beyond its limit and did not survive that.
    MemoryExceeded,
    /// The time limit of the function was reached.
    DeadlineExceeded,
    /// The client went away before the end.
    Cancelled,
    /// No room to run one more instance now; nothing was started.
    Overloaded,
    /// The function has as many instances as it may have, all are busy, and so is its queue; nothing was started.
    ConcurrencyLimit,
    /// The artifact is missing or is not what its digest says; nothing was started.
    ArtifactUnavailable,
    /// A fault of the platform itself.
    Internal,
}

impl InvokeErrorKind {
    /// Whether the function is to blame; platform faults are never billed.
    #[must_use]
    pub fn is_function_fault(self) -> bool {
        match self {
            Self::Trapped | Self::Failed | Self::BadResponse | Self::MemoryExceeded | Self::DeadlineExceeded => true,
            Self::Cancelled
            | Self::Overloaded
            | Self::ConcurrencyLimit
            | Self::ArtifactUnavailable
            | Self::Internal => false,
        }
    }
}

impl InvokeError {
    /// An error of `kind` with a sentence for the function's owner.
    #[must_use]
    pub fn new(kind: InvokeErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Which kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> InvokeErrorKind {
        self.kind
    }
}

/// Why an artifact was refused at deploy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct PrepareError {
    kind: PrepareErrorKind,
    /// A sentence that says what was found and what was expected.
    message: String,
}

/// Every way in which an artifact can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrepareErrorKind {
    /// Not WebAssembly, cut short, or against the rules of the format.
    InvalidWasm,
    /// It imports something that the platform does not offer.
    UnsupportedImport,
    /// It exports nothing that the platform can call.
    NoUsableExport,
    /// Valid, but the compiler could not translate it.
    CompileFailed,
    /// Compiling took more time or memory than is allowed.
    CompileLimit,
    /// A fault of the platform itself.
    Internal,
}

impl PrepareError {
    /// An error of `kind` with a sentence for the deployer.
    #[must_use]
    pub fn new(kind: PrepareErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Which kind of refusal it was.
    #[must_use]
    pub fn kind(&self) -> PrepareErrorKind {
        self.kind
    }
}
