//! What becomes of a partition's fields, and where they lie.

use super::CURRENT_LEADER;
use crate::WireError;
use crate::cursor::{Cursor, put};

/// The fixed fields of a partition, as the broker sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// Error.
    pub error_code: i16,
    /// High watermark.
    pub high_watermark: i64,
    /// Last stable offset.
    pub last_stable_offset: i64,
    /// Log start (version 5 on; else -1).
    pub log_start_offset: i64,
}

/// What becomes of a fixed field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Field {
    /// As it came.
    #[default]
    Keep,
    /// The partition's shift is added, unless it is negative.
    Shift,
    /// Written over.
    Set(i64),
}

/// What to do with a partition. The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionPatch {
    /// Added to the batches' base offsets, the aborted transactions' first offsets, and fields that are `Field::Shift`.
    pub shift: i64,
    /// Added to leader epochs that are not negative.
    pub epoch_shift: i32,
    /// Replaces the error code.
    pub error_code: Option<i16>,
    /// High watermark.
    pub high_watermark: Field,
    /// Last stable offset.
    pub last_stable_offset: Field,
    /// Log start.
    pub log_start_offset: Field,
    /// Batches whose physical base offset is at or past it are hidden, unless the first batch is already.
    pub physical_end: Option<i64>,
    /// Added to node ids that are not negative.
    pub node_id_base: i32,
    /// The preferred read replica becomes -1.
    pub no_preferred_replica: bool,
}

/// Bytes of a partition's fields up to the aborted transactions.
pub(super) fn fixed_size(version: i16) -> usize {
    if version >= 5 { 30 } else { 22 }
}

pub(super) fn read_partition(version: i16, cursor: &mut Cursor<'_>) -> Result<Partition, WireError> {
    Ok(Partition {
        index: cursor.i32("a partition's index")?,
        error_code: cursor.i16("a partition's error")?,
        high_watermark: cursor.i64("a high watermark")?,
        last_stable_offset: cursor.i64("a last stable offset")?,
        log_start_offset: if version >= 5 { cursor.i64("a log start")? } else { -1 },
    })
}

pub(super) fn patch_partition(fields: &mut [u8], version: i16, patch: &PartitionPatch) {
    if let Some(error_code) = patch.error_code {
        put(fields, 4, error_code.to_be_bytes());
    }
    patch_field(fields, 6, patch.high_watermark, patch.shift);
    patch_field(fields, 14, patch.last_stable_offset, patch.shift);
    if version >= 5 {
        patch_field(fields, 22, patch.log_start_offset, patch.shift);
    }
}

fn patch_field(fields: &mut [u8], at: usize, field: Field, shift: i64) {
    match field {
        Field::Keep => {}
        Field::Shift => patch_offset(fields, at, shift),
        Field::Set(value) => put(fields, at, value.to_be_bytes()),
    }
}

/// Adds `shift` to the offset at `at`, unless that is negative: then it says "none".
pub(super) fn patch_offset(fields: &mut [u8], at: usize, shift: i64) {
    if let Some(bytes) = fields.get(at..).and_then(<[u8]>::first_chunk) {
        let offset = i64::from_be_bytes(*bytes);
        if offset >= 0 {
            put(fields, at, offset.wrapping_add(shift).to_be_bytes());
        }
    }
}

/// Adds `add` to the number at `at`, unless that is negative.
fn patch_number(fields: &mut [u8], at: usize, add: i32) {
    if let Some(bytes) = fields.get(at..).and_then(<[u8]>::first_chunk) {
        let number = i32::from_be_bytes(*bytes);
        if number >= 0 {
            put(fields, at, number.wrapping_add(add).to_be_bytes());
        }
    }
}

pub(super) fn patch_replica(field: &mut [u8], patch: &PartitionPatch) {
    if patch.no_preferred_replica {
        put(field, 0, (-1_i32).to_be_bytes());
    } else {
        patch_number(field, 0, patch.node_id_base);
    }
}

pub(super) fn patch_tag(fields: &mut [u8], tag: u32, patch: &PartitionPatch) {
    if tag == CURRENT_LEADER {
        patch_number(fields, 0, patch.node_id_base);
        patch_number(fields, 4, patch.epoch_shift);
    } else {
        patch_number(fields, 0, patch.epoch_shift);
        patch_offset(fields, 4, patch.shift);
    }
}
