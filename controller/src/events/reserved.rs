//! Events that come into the table with a change of something else, in its transaction.

use std::sync::Arc;

use mayfly_invoker_api::Namespace;

use crate::code::Code;
use crate::events::Events;
use crate::problem::Problem;
use crate::store::{NewEvent, StoreError};

/// Events that are counted as waiting, although they are not there yet. Those that do not come are counted no longer when
/// this is dropped.
pub(crate) struct Reserved {
    all: Arc<Events>,
    namespace: Namespace,
    events: Vec<NewEvent>,
}

impl Reserved {
    /// Counts the events that are to follow from a change.
    ///
    /// # Errors
    /// `backlog_full` when there are too many.
    pub(crate) fn new(all: &Arc<Events>, namespace: &Namespace, events: Vec<NewEvent>) -> Result<Self, Problem> {
        all.backlog.enter(namespace, events.len(), payload_bytes(&events))?;
        Ok(Self {
            all: Arc::clone(all),
            namespace: namespace.clone(),
            events,
        })
    }

    /// Makes the change; `made` says of each event whether it has come into the table with it. It goes on when whoever asked
    /// for it has gone away: else it could be made, and nobody would know that there is an event to be delivered. `held` is
    /// let go of when it has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn change<T: Send + 'static, M: FnMut(&NewEvent) -> bool>(
        mut self,
        held: impl Send + 'static,
        transaction: impl Future<Output = Result<T, StoreError>> + Send + 'static,
        made: impl FnOnce(&T) -> M + Send + 'static,
    ) -> Result<T, Problem> {
        let changing = tokio::spawn(async move {
            let ended = transaction.await;
            if let Ok(ended) = &ended {
                self.have_arrived(made(ended));
            }
            drop((self, held));
            ended
        });
        let ended = changing.await.map_err(|error| {
            tracing::error!(%error, "a change did not end well");
            Problem::new(Code::Internal, "the change was not made")
        })?;
        Ok(ended?)
    }

    fn have_arrived(&mut self, mut made: impl FnMut(&NewEvent) -> bool) {
        let (arrived, not): (Vec<_>, Vec<_>) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|event| made(event));
        self.events = not;
        self.all.metrics.accepted(&arrived);
        for event in &arrived {
            self.all.wakeups.wake(event.lane(), event.due_ms);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let bytes = payload_bytes(&self.events);
        self.all.backlog.leave(&self.namespace, self.events.len(), bytes);
    }
}

fn payload_bytes(events: &[NewEvent]) -> usize {
    events.iter().map(|event| event.payload.len()).sum()
}
