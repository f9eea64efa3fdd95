//! How the ledger lies in the database: records of one version and one minute together, beside their sums.
//!
//! A row for each record would cost more than the call that it is about. A block is written once and holds what a bill
//! needs as columns; the records themselves are only unpacked for somebody who wants to see one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mayfly_invoker_api::{InvocationId, Logs, Start};

use super::StoreError;
use super::columns::number;
use crate::ledger::InvocationRecord;

/// The encoding of `records`: postcard, a list of [`InvocationRecord`] without logs.
const FORMAT: i64 = 1;
/// Records of one block: so many are unpacked to show a single one.
const RECORDS_MAX: usize = 1_024;
/// The longest time between the starts of two invocations in one block.
pub(super) const MINUTE_MS: i64 = 60_000;

/// One row of `usage_block`.
pub(super) struct Block {
    pub(super) namespace: String,
    pub(super) function: String,
    pub(super) version: i64,
    /// Minutes since 1970 in the ids: all of one block are of the same.
    pub(super) minute: i64,
    pub(super) first_id: InvocationId,
    pub(super) last_id: InvocationId,
    /// Of one and the same minute, and so of one day.
    pub(super) first_started_ms: i64,
    pub(super) last_started_ms: i64,
    pub(super) sums: Sums,
    pub(super) format: i64,
    pub(super) records: Vec<u8>,
}

/// What a number of invocations consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Sums {
    pub(super) invocations: i64,
    pub(super) failed: i64,
    pub(super) cold_starts: i64,
    pub(super) billed_ms: i64,
    pub(super) mib_ms: i64,
    pub(super) bytes_in: i64,
    pub(super) bytes_out: i64,
}

impl Sums {
    pub(super) fn of(record: &InvocationRecord) -> Result<Self, StoreError> {
        // Multiplied here, because SQLite would silently go on with a float when it overflows.
        let mib_ms = u64::from(record.memory_mib).checked_mul(record.billed_ms);
        Ok(Self {
            invocations: 1,
            failed: i64::from(record.error.is_some()),
            cold_starts: i64::from(record.start == Some(Start::Cold)),
            billed_ms: number("billed time", record.billed_ms)?,
            mib_ms: number("memory over time", mib_ms.unwrap_or(u64::MAX))?,
            bytes_in: number("size of the request", record.bytes_in)?,
            bytes_out: number("size of the response", record.bytes_out)?,
        })
    }

    /// `None` when a sum does not fit.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            invocations: self.invocations.checked_add(other.invocations)?,
            failed: self.failed.checked_add(other.failed)?,
            cold_starts: self.cold_starts.checked_add(other.cold_starts)?,
            billed_ms: self.billed_ms.checked_add(other.billed_ms)?,
            mib_ms: self.mib_ms.checked_add(other.mib_ms)?,
            bytes_in: self.bytes_in.checked_add(other.bytes_in)?,
            bytes_out: self.bytes_out.checked_add(other.bytes_out)?,
        })
    }
}

/// Whether the ledger can hold `record`.
///
/// # Errors
/// [`StoreError::OutOfRange`] names the number that is too large.
pub(crate) fn storable(record: &InvocationRecord) -> Result<(), StoreError> {
    number("duration", record.duration_us)?;
    number("queue time", record.queue_us)?;
    number("code time", record.code_us)?;
    number("init time", record.init_us)?;
    number("processor time", record.cpu_us)?;
    number("peak memory", record.memory_peak_bytes)?;
    Sums::of(record).map(drop)
}

/// The blocks for `records`; the same ones for the same records in the same order.
pub(super) fn blocks_of(records: &[InvocationRecord]) -> Result<Vec<Block>, StoreError> {
    let mut groups: BTreeMap<_, Vec<&InvocationRecord>> = BTreeMap::new();
    for record in records {
        storable(record)?;
        let of = (record.namespace.as_str(), record.function.as_str(), record.version);
        let when = (minute_of_id(record.id), record.started_at_ms.div_euclid(MINUTE_MS));
        groups.entry((of, when)).or_default().push(record);
    }
    let mut blocks = Vec::new();
    for records in groups.into_values() {
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let (sums, count) = sum_of_first(rest)?;
            blocks.push(block(&rest[..count], sums)?);
            rest = &rest[count..];
        }
    }
    Ok(blocks)
}

/// The sums of as many records as one block can hold, and how many those are.
fn sum_of_first(records: &[&InvocationRecord]) -> Result<(Sums, usize), StoreError> {
    let mut sums = Sums::default();
    for (count, record) in records.iter().enumerate() {
        match sums.plus(Sums::of(record)?) {
            Some(more) if count < RECORDS_MAX => sums = more,
            _ => return Ok((sums, count)),
        }
    }
    Ok((sums, records.len()))
}

fn block(records: &[&InvocationRecord], sums: Sums) -> Result<Block, StoreError> {
    let no_records = StoreError::OutOfRange("count of records");
    let (Some(first), Some(first_id), Some(last_id)) = (
        records.first(),
        records.iter().map(|record| record.id).min(),
        records.iter().map(|record| record.id).max(),
    ) else {
        return Err(no_records);
    };
    let started = || records.iter().map(|record| record.started_at_ms);
    let without_logs: Vec<_> = records.iter().map(|record| without_logs(record)).collect();
    Ok(Block {
        namespace: first.namespace.as_str().to_owned(),
        function: first.function.as_str().to_owned(),
        version: first.version.into(),
        minute: minute_of_id(first_id),
        first_id,
        last_id,
        first_started_ms: started().min().unwrap_or_default(),
        last_started_ms: started().max().unwrap_or_default(),
        sums,
        format: FORMAT,
        records: postcard::to_allocvec(&without_logs).map_err(|_| StoreError::OutOfRange("size of the records"))?,
    })
}

/// What was printed has a table of its own.
fn without_logs(record: &InvocationRecord) -> Cow<'_, InvocationRecord> {
    if record.logs.is_empty() {
        return Cow::Borrowed(record);
    }
    Cow::Owned(InvocationRecord {
        logs: Logs::default(),
        ..record.clone()
    })
}

/// The records of a block.
pub(super) fn unpack(format: i64, records: &[u8]) -> Result<Vec<InvocationRecord>, StoreError> {
    match format {
        FORMAT => postcard::from_bytes(records).map_err(|_| StoreError::Corrupt("usage records")),
        _ => Err(StoreError::Corrupt("format of usage records")),
    }
}

/// Minutes since 1970, as the id tells them.
pub(super) fn minute_of_id(id: InvocationId) -> i64 {
    id.unix_ms().div_euclid(MINUTE_MS)
}

/// A bound above the ids of all blocks that may hold ids below `id`.
pub(super) fn end_of_minute(id: InvocationId) -> InvocationId {
    let end_ms = minute_of_id(id).saturating_add(1).saturating_mul(MINUTE_MS);
    InvocationId::new(u64::try_from(end_ms).unwrap_or(0), [0xff; 10])
}
