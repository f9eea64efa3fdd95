//! Which events are taken one after the other.

use std::fmt;

use mayfly_invoker_api::{FunctionName, Namespace};

use crate::ledger::Trigger;
use crate::store::StoreError;
use crate::store::columns::parsed;

/// A row of events: those of a function, or those that came to it through one of its queue triggers, which has a size of
/// batches and a number of batches at once of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Whose.
    pub namespace: Namespace,
    /// What they run.
    pub function: FunctionName,
    /// The queue trigger.
    pub trigger: Option<String>,
}

impl Lane {
    /// That of an event.
    #[must_use]
    pub fn of(namespace: &Namespace, function: &FunctionName, source: Trigger, trigger: Option<&str>) -> Self {
        Self {
            namespace: namespace.clone(),
            function: function.clone(),
            trigger: trigger.filter(|_| source == Trigger::Queue).map(str::to_owned),
        }
    }

    /// As it was written into the column `lane`, which the database makes of others; the migrations say how.
    pub(super) fn of_column(text: &str) -> Result<Self, StoreError> {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().ok_or(StoreError::Corrupt("lane of an event"));
        Ok(Self {
            namespace: parsed("namespace", next()?)?,
            function: parsed("function name", next()?)?,
            trigger: next().ok().map(str::to_owned),
        })
    }
}

impl fmt::Display for Lane {
    /// As in the column.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.function)?;
        self.trigger.iter().try_for_each(|trigger| write!(f, "/{trigger}"))
    }
}
