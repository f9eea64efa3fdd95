//! Where an event is.

/// Where an event is between its acceptance and its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventState {
    /// Waits for its time or for its turn.
    Queued,
    /// Waits for the end of another one with the same order key.
    Held,
    /// An attempt is under way.
    Leased,
    /// The function has done it.
    Succeeded,
    /// All attempts are used up.
    Dead,
    /// It became too old.
    Expired,
    /// Somebody stopped it.
    Cancelled,
}

impl EventState {
    const ALL: [Self; 7] = [
        Self::Queued,
        Self::Held,
        Self::Leased,
        Self::Succeeded,
        Self::Dead,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The name used in the API and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it ended without success.
    #[must_use]
    pub fn is_undelivered(self) -> bool {
        matches!(self, Self::Dead | Self::Expired)
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}
