//! After a start: gets the code of functions that will be called before they are called.

use std::collections::HashSet;
use std::sync::Arc;

use mayfly_invoker_api::{CodeKey, Invoke};
use tokio_util::sync::CancellationToken;

use crate::config::{PREFETCHED_BYTES_MAX, PREFETCHED_FUNCTIONS_MAX};
use crate::store::Store;

/// Tells the invoker which code to load: that of the functions that were called last. One after the other, so that calls
/// that come meanwhile have the machine.
pub(crate) async fn prefetch_recent(store: Store, invoker: Arc<dyn Invoke>, stop: CancellationToken) {
    let recent = match store.recent_functions(PREFETCHED_FUNCTIONS_MAX).await {
        Ok(recent) => recent,
        // Not needed: the first call of each function loads its code.
        Err(error) => return tracing::warn!(%error, "no code is loaded before it is asked for"),
    };
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for function in recent {
        let key = CodeKey::new(function.artifact, function.config.snapshot);
        if !seen.insert(key) {
            continue;
        }
        if stop.is_cancelled() || bytes >= PREFETCHED_BYTES_MAX {
            break;
        }
        match invoker.prefetch(key).await {
            Ok(prepared) => bytes += prepared.code_bytes,
            Err(error) => tracing::warn!(digest = %function.artifact, %error, "code could not be loaded beforehand"),
        }
    }
}
