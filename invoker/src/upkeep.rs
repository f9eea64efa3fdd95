//! What is done for the pool beside the calls: room is made, and what is wanted warm is made.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::code::Reuse;
use crate::config::{CODE_WAIT_MAX, UPKEEP_INTERVAL, UPKEEP_RETRY};
use crate::instance::{Instance, InstanceLease};
use crate::pool::{Version, anonymous_bytes};
use crate::run::Host;

/// Gives up what is idle for too long or has no room, until the host is dropped.
pub(crate) async fn tend(host: Weak<Host>) {
    let mut ticks = interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What this process holds without any instance.
    let without = anonymous_bytes();
    loop {
        ticks.tick().await;
        let Some(host) = host.upgrade() else { return };
        let resident = anonymous_bytes()
            .zip(without)
            .map(|(now, without)| now.saturating_sub(without + not_of_instances(&host)));
        host.pool.tend(resident);
    }
}

/// Memory that came later and is not in any instance: slots that are kept for the next one. Native code is not among the
/// pages that are counted: it is mapped.
fn not_of_instances(host: &Host) -> u64 {
    let bytes = host.engine.pooling_allocator_metrics().map_or(0, |slots| {
        slots.unused_memory_bytes_resident()
            + slots.unused_table_bytes_resident()
            + slots.unused_stack_bytes_resident().unwrap_or(0)
    });
    bytes as u64
}

/// Makes what is wanted warm and missing, until the host is dropped. One after the other: calls go first.
pub(crate) async fn keep_warm(host: Weak<Host>) {
    let mut failed = HashMap::new();
    loop {
        let Some(host) = host.upgrade() else { return };
        let missing = host.pool.missing();
        failed.retain(|version, at: &mut Instant| missing.contains(version) && at.elapsed() < UPKEEP_RETRY);
        for version in missing {
            if !failed.contains_key(&version) && make_missing(&host, &version).await.is_err() {
                failed.insert(version, Instant::now());
            }
        }
        // Rings at a deployment; what has worn out is seen at the next look.
        let rung = timeout(UPKEEP_INTERVAL, host.upkeep.notified()).await;
        drop(rung);
    }
}

/// Why an instance could not be made; it was logged.
struct NotMade;

async fn make_missing(host: &Arc<Host>, version: &Version) -> Result<(), NotMade> {
    while let Some(lease) = host.pool.lease_missing(version) {
        let lease = Arc::new(lease);
        let made = make(host, version, &lease).await;
        match made {
            Ok(Some(instance)) => instance.put(&lease),
            Ok(None) => host.pool.let_go(|other| other == version),
            Err(reason) => {
                let target = &version.0;
                tracing::warn!(
                    function = %target.function, version = target.version, reason,
                    "an instance that is to be kept warm could not be made"
                );
                return Err(NotMade);
            }
        }
    }
    Ok(())
}

/// `None` if an instance can serve only once, so that there is nothing to keep.
async fn make(host: &Arc<Host>, version: &Version, lease: &Arc<InstanceLease>) -> Result<Option<Instance>, String> {
    let target = &version.0;
    let code = timeout(CODE_WAIT_MAX, host.codes.get(target.code())).await;
    let code = code
        .map_err(|_late| "its code is still being compiled".to_owned())?
        .map_err(|error| error.to_string())?;
    if code.reuse() == Reuse::Never {
        tracing::info!(
            function = %target.function, version = target.version,
            "its instances serve one call each: none is kept warm"
        );
        return Ok(None);
    }
    let _clock_ticks = host.ticker.enter();
    let made = Instance::create_unused(host, &code, target, lease);
    let made = timeout(target.limits.timeout, made).await;
    made.map_err(|_late| "it did not start within the function's time limit".to_owned())?
        .map(Some)
        .map_err(|error| format!("{error:#}"))
}
