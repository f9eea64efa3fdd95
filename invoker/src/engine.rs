//! The one wasmtime engine of a process.
//!
//! Two engines are built from the same code-generation settings: one that serves, with pooled memory, and one that
//! only compiles, in a child process that has little address space. Their code is interchangeable.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

use crate::config::{
    Bounds, CORE_INSTANCES_PER_COMPONENT_MAX, FIBER_STACK_BYTES, INIT_GROWTH_BYTES, MEMORIES_PER_COMPONENT_MAX,
    MEMORY_BYTES_MAX, MEMORY_KEPT_BYTES, STACK_KEPT_BYTES, TABLE_ELEMENTS_MAX, TABLE_KEPT_BYTES,
    TABLES_PER_COMPONENT_MAX, WASM_STACK_BYTES, Wasi,
};

/// An engine that only compiles.
pub(crate) fn compiling(wasi: Wasi) -> Result<Engine> {
    Engine::new(&code_settings(wasi))
}

/// An engine that runs a guest's init function in a compiling process: as the others do, but in little address space.
pub(crate) fn initialising() -> Result<Engine> {
    // A guest of 0.3 cannot be made here, and then every instance runs its init function.
    let mut config = code_settings(Wasi::Stable);
    config
        .memory_reservation(0)
        .memory_reservation_for_growth(INIT_GROWTH_BYTES)
        .memory_guard_size(0)
        .memory_init_cow(false);
    Engine::new(&config)
}

/// The engine that runs guests; its clock is a [`Ticker`](crate::ticker::Ticker).
pub(crate) fn serving(bounds: &Bounds, wasi: Wasi) -> Result<Engine> {
    let mut config = code_settings(wasi);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(bounds)));
    Engine::new(&config)
}

/// Changes whenever code made by another build or for another processor would not run here.
pub(crate) fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// All that shapes native code or what a guest may contain. Proposals that no supported language needs stay off.
fn code_settings(wasi: Wasi) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(wasi == Wasi::WithPreview)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .async_stack_zeroing(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_custom_page_sizes(false);
    config
}

fn pool(bounds: &Bounds) -> PoolingAllocationConfig {
    let instances = bounds.instances_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        // Only counters: measured, one componentize-py guest needs more than 30.
        .total_core_instances(instances.saturating_mul(32))
        .total_memories(instances.saturating_mul(2))
        .total_tables(instances.saturating_mul(16))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_tables_per_module(8)
        // At once: slots that wait to be given back in one go hold on to memory that nobody counts any more, as many times
        // the largest guest as the batch is long, and whoever fills the batch waits for all of them.
        .decommit_batch_size(1)
        .async_stack_keep_resident(STACK_KEPT_BYTES)
        .max_memory_size(usize::try_from(MEMORY_BYTES_MAX).unwrap_or(usize::MAX))
        .table_elements(TABLE_ELEMENTS_MAX);
    if reset_in_place() {
        pool.pagemap_scan(Enabled::Auto);
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            // Without the scan this would clear so much memory for every instance, whatever it has touched.
            pool.linear_memory_keep_resident(MEMORY_KEPT_BYTES)
                .table_keep_resident(TABLE_KEPT_BYTES);
        }
    }
    pool
}

/// Whether the pages that an instance has written may be found by a scan and cleared, which spares the kernel most of the
/// work for a fresh instance. The scan does not see pages that were swapped out: with swap they could reach the next
/// instance, so there it stays off.
fn reset_in_place() -> bool {
    let swaps = std::fs::read_to_string("/proc/swaps");
    // The first line is the heading.
    swaps.is_ok_and(|swaps| swaps.lines().count() <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_the_compiling_engine_runs_on_the_serving_one() {
        let bounds = Bounds {
            instances_max: 2,
            ..Bounds::default()
        };
        for wasi in [Wasi::Stable, Wasi::WithPreview] {
            let (compiling, serving) = (compiling(wasi).unwrap(), serving(&bounds, wasi).unwrap());
            assert_eq!(compatibility(&compiling), compatibility(&serving), "{wasi:?}");
        }
    }
}
