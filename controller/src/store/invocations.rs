//! The ledger's records: written in blocks, read one by one or in pages.

use mayfly_invoker_api::{FunctionName, InvocationId, Namespace};

use super::blocks::{Block, blocks_of, end_of_minute, minute_of_id, unpack};
use super::columns::stored_id;
use super::logs::{LogRow, insert_logs};
use super::pool::{reading, writing};
use super::{Store, StoreError};
use crate::ledger::InvocationRecord;

/// Blocks that are fetched at once.
const BLOCKS_MAX: i64 = 8;

/// Records as the database takes them. Packing is the longer part of the work, and nothing for a thread that serves calls.
pub(crate) struct PackedRecords {
    pub(super) blocks: Vec<Block>,
    pub(super) logs: Vec<LogRow>,
}

impl PackedRecords {
    /// # Errors
    /// [`StoreError::OutOfRange`] when a number cannot be stored.
    pub(crate) fn of(records: &[InvocationRecord]) -> Result<Self, StoreError> {
        Ok(Self {
            blocks: blocks_of(records)?,
            logs: LogRow::of(records)?,
        })
    }
}

/// The records of one block, packed.
#[derive(sqlx::FromRow)]
struct Packed {
    last_id: Vec<u8>,
    format: i64,
    records: Vec<u8>,
}

impl Packed {
    fn unpack(&self) -> Result<Vec<InvocationRecord>, StoreError> {
        unpack(self.format, &self.records)
    }
}

macro_rules! select_page {
    ($and:literal) => {
        concat!(
            "SELECT last_id, format, records FROM usage_block \
             WHERE namespace = $1 AND function = $2 AND first_id < $3 AND last_id < $4 ",
            $and,
            "ORDER BY last_id DESC LIMIT $5"
        )
    };
}

/// Puts blocks into the ledger, inside a transaction.
macro_rules! insert_blocks {
    ($tx:ident, $segment:expr, $blocks:expr) => {
        for (part, block) in (0_i64..).zip($blocks) {
            let sums = &block.sums;
            sqlx::query(
                "INSERT INTO usage_block (segment, part, namespace, function, version, minute, first_id, last_id, \
                 first_started_ms, last_started_ms, invocations, failed, cold_starts, billed_ms, mib_ms, bytes_in, \
                 bytes_out, format, records) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
                 ON CONFLICT (segment, part) DO NOTHING",
            )
            .bind($segment)
            .bind(part)
            .bind(&block.namespace)
            .bind(&block.function)
            .bind(block.version)
            .bind(block.minute)
            .bind(block.first_id.as_bytes().as_slice())
            .bind(block.last_id.as_bytes().as_slice())
            .bind(block.first_started_ms)
            .bind(block.last_started_ms)
            .bind(sums.invocations)
            .bind(sums.failed)
            .bind(sums.cold_starts)
            .bind(sums.billed_ms)
            .bind(sums.mib_ms)
            .bind(sums.bytes_in)
            .bind(sums.bytes_out)
            .bind(block.format)
            .bind(&block.records)
            .execute(&mut *$tx)
            .await?;
        }
    };
}

pub(super) use insert_blocks;

impl Store {
    /// Adds records to the ledger, all or none. `segment` names these records for ever: when it is there already, nothing
    /// is changed.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] when a number cannot be stored, or when the database fails.
    pub async fn insert_records(&self, segment: &str, records: &[InvocationRecord]) -> Result<(), StoreError> {
        self.insert_packed(segment, &PackedRecords::of(records)?).await
    }

    /// The same, with records that were packed before.
    pub(crate) async fn insert_packed(&self, segment: &str, packed: &PackedRecords) -> Result<(), StoreError> {
        let PackedRecords { blocks, logs } = packed;
        if blocks.is_empty() {
            return Ok(());
        }
        writing!(self, |tx| {
            insert_blocks!(tx, segment, blocks);
            // Last, because it holds the one row that all who insert logs wait for.
            insert_logs!(tx, logs);
        });
        Ok(())
    }

    /// One invocation of the namespace with all that it printed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn invocation(
        &self,
        namespace: &Namespace,
        id: InvocationId,
    ) -> Result<Option<InvocationRecord>, StoreError> {
        const SQL: &str = "SELECT last_id, format, records FROM usage_block \
             WHERE namespace = $1 AND minute = $2 AND first_id <= $3 AND last_id >= $4 ORDER BY last_id LIMIT $5";
        let mut from = id;
        loop {
            let blocks = reading!(self, |db| sqlx::query_as::<_, Packed>(SQL)
                .bind(namespace.as_str())
                .bind(minute_of_id(id))
                .bind(id.as_bytes().as_slice())
                .bind(from.as_bytes().as_slice())
                .bind(BLOCKS_MAX)
                .fetch_all(db))?;
            for block in &blocks {
                let found = block.unpack()?.into_iter().find(|record| record.id == id);
                if let Some(record) = found {
                    let logs = self.logs_of(id).await?;
                    return Ok(Some(InvocationRecord { logs, ..record }));
                }
            }
            // The last one comes again, as the first of the next page.
            from = match blocks.last() {
                Some(last) if blocks.len() > 1 => stored_id(&last.last_id)?,
                _ => return Ok(None),
            };
        }
    }

    /// Up to `limit` invocations of a function that are older than `before`, newest first, without what they printed.
    /// `failed` picks those that failed, or those that did not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn invocations(
        &self,
        namespace: &Namespace,
        name: &FunctionName,
        before: Option<InvocationId>,
        failed: Option<bool>,
        limit: u32,
    ) -> Result<Vec<InvocationRecord>, StoreError> {
        // Three texts, because a database uses its index of the failed ones only when it sees the 0.
        let sql = match failed {
            None => select_page!(""),
            Some(true) => select_page!("AND failed > 0 "),
            Some(false) => select_page!("AND failed < invocations "),
        };
        // Ids are UUIDs of version 7, so none is as large as this one.
        let before = before.unwrap_or(InvocationId::from_bytes([0xff; 16]));
        let mut page = Page {
            records: Vec::new(),
            limit: limit as usize,
        };
        let mut below = end_of_minute(before).max(before);
        loop {
            let blocks = reading!(self, |db| sqlx::query_as::<_, Packed>(sql)
                .bind(namespace.as_str())
                .bind(name.as_str())
                .bind(before.as_bytes().as_slice())
                .bind(below.as_bytes().as_slice())
                .bind(BLOCKS_MAX)
                .fetch_all(db))?;
            for block in &blocks {
                below = stored_id(&block.last_id)?;
                if page.is_above(below) {
                    return Ok(page.records);
                }
                let wanted = |record: &InvocationRecord| {
                    record.id < before && failed.is_none_or(|failed| failed == record.error.is_some())
                };
                page.add(block.unpack()?.into_iter().filter(wanted));
            }
            if blocks.is_empty() {
                return Ok(page.records);
            }
        }
    }
}

/// The newest records that were found so far, newest first.
struct Page {
    records: Vec<InvocationRecord>,
    limit: usize,
}

impl Page {
    /// Full, with nothing in it that is older than `id`.
    fn is_above(&self, id: InvocationId) -> bool {
        self.records.len() >= self.limit && self.records.last().is_none_or(|oldest| oldest.id > id)
    }

    fn add(&mut self, records: impl Iterator<Item = InvocationRecord>) {
        self.records.extend(records);
        self.records.sort_unstable_by_key(|record| std::cmp::Reverse(record.id));
        self.records.truncate(self.limit);
    }
}
