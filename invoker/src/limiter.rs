//! Memory and table limits, summed over everything in one store: a component may hold many memories.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mayfly_invoker_api::Gauge;
use wasmtime::{ResourceLimiter, Result};

use crate::config::{
    CORE_INSTANCES_PER_COMPONENT_MAX, MEMORIES_PER_COMPONENT_MAX, TABLE_ELEMENTS_TOTAL_MAX, TABLES_PER_COMPONENT_MAX,
};

/// Counts what the memories and tables of one store hold and refuses what goes past the limit.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes_max: usize,
    memory_bytes: usize,
    /// The growth that was granted last, to be taken back when the engine could not carry it out.
    last_growth_bytes: usize,
    table_elements: usize,
    refused: bool,
    /// What was taken since the pool has last counted it.
    growth: Option<Growth>,
    /// Of the invocation that is running.
    gauge: Option<Arc<Gauge>>,
}

impl Limiter {
    pub(crate) fn new(memory_bytes_max: u64) -> Self {
        Self {
            memory_bytes_max: usize::try_from(memory_bytes_max).unwrap_or(usize::MAX),
            memory_bytes: 0,
            last_growth_bytes: 0,
            table_elements: 0,
            refused: false,
            growth: None,
            gauge: None,
        }
    }

    /// From now on what the guest takes is added to `total`, until it is counted.
    pub(crate) fn watch(&mut self, total: &Arc<AtomicU64>) {
        let mut growth = Growth::new(total);
        growth.add(self.memory_bytes as u64);
        self.growth = Some(growth);
    }

    /// Size of all memories together, which counts elsewhere from now on.
    pub(crate) fn count_memory_bytes(&mut self) -> u64 {
        if let Some(growth) = &mut self.growth {
            growth.take_back(u64::MAX);
        }
        self.memory_bytes as u64
    }

    /// Size of all memories together.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes as u64
    }

    /// From now on the guest's memory counts for this invocation.
    pub(crate) fn begin(&mut self, gauge: &Arc<Gauge>) {
        self.refused = false;
        gauge.note_memory_bytes(self.memory_bytes as u64);
        self.gauge = Some(Arc::clone(gauge));
    }

    pub(crate) fn end(&mut self) {
        self.gauge = None;
    }

    /// Whether the guest was refused space in this invocation; if it then dies, that is why.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }
}

/// One guest's part of what all have taken since it was last counted.
#[derive(Debug)]
struct Growth {
    total: Arc<AtomicU64>,
    bytes: u64,
}

impl Growth {
    fn new(total: &Arc<AtomicU64>) -> Self {
        Self {
            total: Arc::clone(total),
            bytes: 0,
        }
    }

    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.total.fetch_add(bytes, Relaxed);
    }

    fn take_back(&mut self, at_most: u64) {
        let bytes = self.bytes.min(at_most);
        self.bytes -= bytes;
        self.total.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.take_back(u64::MAX);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let growth = desired.saturating_sub(current);
        let total = self.memory_bytes.saturating_add(growth);
        if total > self.memory_bytes_max {
            self.refused = true;
            return Ok(false);
        }
        self.memory_bytes = total;
        self.last_growth_bytes = growth;
        if let Some(watched) = &mut self.growth {
            watched.add(growth as u64);
        }
        if let Some(gauge) = &self.gauge {
            gauge.note_memory_bytes(total as u64);
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        let growth = std::mem::take(&mut self.last_growth_bytes);
        self.memory_bytes = self.memory_bytes.saturating_sub(growth);
        if let Some(watched) = &mut self.growth {
            watched.take_back(growth as u64);
        }
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS_TOTAL_MAX {
            self.refused = true;
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_PER_COMPONENT_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_PER_COMPONENT_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_PER_COMPONENT_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_summed() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.refused());
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert!(limiter.refused());
        assert_eq!(limiter.memory_bytes, 100);
    }

    #[test]
    fn each_invocation_has_its_own_peak_and_its_own_refusal() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(60, 101, None).unwrap());
        let gauge = Arc::new(Gauge::default());
        limiter.begin(&gauge);
        assert!(!limiter.refused());
        assert_eq!(gauge.memory_peak_bytes(), 60);
        assert!(limiter.memory_growing(60, 70, None).unwrap());
        assert_eq!(gauge.memory_peak_bytes(), 70);
        limiter.end();
        assert!(limiter.memory_growing(70, 80, None).unwrap());
        assert_eq!(gauge.memory_peak_bytes(), 70);
    }

    #[test]
    fn a_modules_own_maximum_is_not_our_refusal() {
        let mut limiter = Limiter::new(100);
        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!limiter.refused());
    }

    #[test]
    fn what_is_taken_is_seen_until_it_is_counted() {
        let total = Arc::new(AtomicU64::new(0));
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 10, None).unwrap());
        limiter.watch(&total);
        assert!(limiter.memory_growing(10, 60, None).unwrap());
        assert_eq!(total.load(Relaxed), 60);
        limiter.memory_grow_failed(wasmtime::Error::msg("no pages")).unwrap();
        assert_eq!(total.load(Relaxed), 10);
        assert_eq!(limiter.count_memory_bytes(), 10);
        assert_eq!(total.load(Relaxed), 0);
        assert!(limiter.memory_growing(10, 30, None).unwrap());
        assert_eq!(total.load(Relaxed), 20);
        drop(limiter);
        assert_eq!(total.load(Relaxed), 0);
    }

    #[test]
    fn growth_that_failed_is_taken_back() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no pages")).unwrap();
        assert_eq!(limiter.memory_bytes, 0);
    }
}
