//! After a start: the invoker is told which functions want instances kept warm.

use std::sync::Arc;
use std::time::Duration;

use crate::Parts;
use crate::config::PAGE_ROWS_MAX;
use crate::ingress::target_of;
use crate::store::StoreError;

/// Pause before a database that is away is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Looks through all functions, once; as often as it takes while the database is away.
pub(crate) async fn restore(parts: Parts) {
    while let Err(error) = try_restore(&parts).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "no instance is kept warm yet");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn try_restore(parts: &Parts) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let from = after.as_ref().map(|(namespace, name)| (namespace, name));
        let versions = parts.store.all_functions(from, PAGE_ROWS_MAX).await?;
        let Some(last) = versions.last() else { return Ok(()) };
        after = Some((last.namespace.clone(), last.name.clone()));
        for version in versions.into_iter().filter(|version| version.config.min_warm > 0) {
            parts.invoker.deployed(Arc::new(target_of(version))).await;
        }
    }
}
