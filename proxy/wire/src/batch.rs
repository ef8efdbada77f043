//! Record batches of format 2: the 61-byte header, patches in place, and a small uncompressed encoder and decoder for the
//! ledger and the tests. The payload of clients' batches is never looked into.

mod crc;
mod records;

pub use records::{KeyValue, Record, Records, build_batch, records};

use crate::WireError;
use crate::cursor::{pop, put};

/// Bytes of a batch header.
pub const HEADER: usize = 61;

/// Bytes of a batch before its length counts: base offset and the length itself.
pub const LENGTH_OVERHEAD: usize = 12;

// Where fields lie.
const LENGTH: usize = 8;
const EPOCH: usize = 12;
const MAGIC: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const PRODUCER_ID: usize = 43;

/// The length written over a batch that must not be read: larger than any answer, so that clients take it for cut short.
pub const CLIPPED_LENGTH: i32 = 1 << 30;

/// Attribute bit: part of a transaction.
pub const TRANSACTIONAL: i16 = 1 << 4;

/// Attribute bit: a marker.
pub const CONTROL: i16 = 1 << 5;

/// A view of a batch header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Leader epoch of the append.
    pub partition_leader_epoch: i32,
    /// Format; 2 for all fields but the first two to have their meaning.
    pub magic: i8,
    /// CRC-32C from the attributes to the end.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control.
    pub attributes: i16,
    /// Offset of the last record, from the first.
    pub last_offset_delta: i32,
    /// Milliseconds since the Unix epoch.
    pub base_timestamp: i64,
    /// Milliseconds since the Unix epoch.
    pub max_timestamp: i64,
    /// Producer id; -1 without.
    pub producer_id: i64,
    /// Producer epoch; -1 without.
    pub producer_epoch: i16,
    /// Sequence of the first record; -1 without.
    pub base_sequence: i32,
    /// Records.
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads the 61 bytes.
    pub fn read(bytes: &[u8; HEADER]) -> Self {
        let mut rest = bytes.as_slice();
        // The fields of a literal are evaluated in the order in which they stand: that of the wire.
        Self {
            base_offset: i64::from_be_bytes(pop(&mut rest)),
            batch_length: i32::from_be_bytes(pop(&mut rest)),
            partition_leader_epoch: i32::from_be_bytes(pop(&mut rest)),
            magic: i8::from_be_bytes(pop(&mut rest)),
            crc: u32::from_be_bytes(pop(&mut rest)),
            attributes: i16::from_be_bytes(pop(&mut rest)),
            last_offset_delta: i32::from_be_bytes(pop(&mut rest)),
            base_timestamp: i64::from_be_bytes(pop(&mut rest)),
            max_timestamp: i64::from_be_bytes(pop(&mut rest)),
            producer_id: i64::from_be_bytes(pop(&mut rest)),
            producer_epoch: i16::from_be_bytes(pop(&mut rest)),
            base_sequence: i32::from_be_bytes(pop(&mut rest)),
            records_count: i32::from_be_bytes(pop(&mut rest)),
        }
    }

    /// Reads the header at the start of `bytes`; `None` if fewer than 61.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(Self::read)
    }

    /// The 61 bytes.
    pub fn write(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        put(&mut bytes, 0, self.base_offset.to_be_bytes());
        put(&mut bytes, LENGTH, self.batch_length.to_be_bytes());
        put(&mut bytes, EPOCH, self.partition_leader_epoch.to_be_bytes());
        put(&mut bytes, MAGIC, self.magic.to_be_bytes());
        put(&mut bytes, CRC, self.crc.to_be_bytes());
        put(&mut bytes, ATTRIBUTES, self.attributes.to_be_bytes());
        put(&mut bytes, 23, self.last_offset_delta.to_be_bytes());
        put(&mut bytes, 27, self.base_timestamp.to_be_bytes());
        put(&mut bytes, 35, self.max_timestamp.to_be_bytes());
        put(&mut bytes, PRODUCER_ID, self.producer_id.to_be_bytes());
        put(&mut bytes, 51, self.producer_epoch.to_be_bytes());
        put(&mut bytes, 53, self.base_sequence.to_be_bytes());
        put(&mut bytes, 57, self.records_count.to_be_bytes());
        bytes
    }

    /// Part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// A marker.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Written by an idempotent (or transactional) producer.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Format 2: everything older has other fields after its length.
    pub fn is_v2(&self) -> bool {
        self.magic == 2
    }

    /// Bytes of the whole batch by its own length field; `None` if the field is too small for a header.
    pub fn total_size(&self) -> Option<usize> {
        let size = usize::try_from(self.batch_length).ok()?.checked_add(LENGTH_OVERHEAD)?;
        (size >= HEADER).then_some(size)
    }

    /// Sequence of the last record (-1 without a producer).
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 { -1 } else { add_sequence(self.base_sequence, self.last_offset_delta) }
    }
}

/// Adds to the base offset and, unless it is negative, to the leader epoch. Neither is covered by the CRC.
pub fn shift(header: &mut [u8; HEADER], offset: i64, epoch: i32) {
    shift_prefix(header, offset, epoch);
}

/// As [`shift`], for the first 16 bytes.
pub(crate) fn shift_prefix(bytes: &mut [u8], offset: i64, epoch: i32) {
    let mut rest = &*bytes;
    let base = i64::from_be_bytes(pop(&mut rest));
    let _length: [u8; 4] = pop(&mut rest);
    let leader_epoch = i32::from_be_bytes(pop(&mut rest));
    put(bytes, 0, base.wrapping_add(offset).to_be_bytes());
    if leader_epoch >= 0 {
        put(bytes, EPOCH, leader_epoch.wrapping_add(epoch).to_be_bytes());
    }
}

/// Flips one bit of the CRC: the broker will refuse the batch. Twice is not at all.
pub fn flip_crc_bit(header: &mut [u8; HEADER]) {
    if let Some(byte) = header.get_mut(CRC) {
        *byte ^= 0x80;
    }
}

/// Changes the producer id and the CRC with it, without the payload: CRC-32C is linear, so the CRC of the difference,
/// advanced over the rest of the batch, is what the CRC changes by. Refused if the length field is too small for a header
/// or the batch is not of format 2. A CRC that was wrong stays wrong.
pub fn set_producer_id(header: &mut [u8; HEADER], producer_id: i64) -> Result<(), WireError> {
    let seen = BatchHeader::read(header);
    let size = seen.total_size().filter(|_| seen.is_v2()).ok_or(WireError::Length {
        what: "a record batch of format 2",
        length: i64::from(seen.batch_length),
        limit: HEADER,
    })?;
    let after = size.saturating_sub(PRODUCER_ID.saturating_add(size_of::<i64>()));
    let difference = (seen.producer_id ^ producer_id).to_be_bytes();
    put(header, PRODUCER_ID, producer_id.to_be_bytes());
    put(header, CRC, (seen.crc ^ crc::of_difference(difference, after)).to_be_bytes());
    Ok(())
}

/// Marks the batch whose first bytes these are as longer than any answer, so that clients drop it and the rest as cut
/// short. `bytes` are at least the first 12; fewer are left alone.
pub fn clip(bytes: &mut [u8]) {
    put(bytes, LENGTH, CLIPPED_LENGTH.to_be_bytes());
}

/// A complete batch header of format 2 with no record behind it and with a wrong CRC: a broker answers either that it is
/// too large (sealed) or that it is corrupt (not sealed), and never appends it.
pub fn probe() -> [u8; HEADER] {
    let header = BatchHeader {
        base_offset: 0,
        batch_length: 49,
        partition_leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: 0,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: 1,
    };
    let mut bytes = header.write();
    let crc = crc32c::crc32c(bytes.get(ATTRIBUTES..).unwrap_or_default());
    put(&mut bytes, CRC, crc.to_be_bytes());
    flip_crc_bit(&mut bytes);
    bytes
}

/// The sequence `records` after `sequence`, modulo 2^31.
pub fn add_sequence(sequence: i32, records: i32) -> i32 {
    sequence.wrapping_add(records) & i32::MAX
}

/// The sequence that must follow `last`, the last one written (-1: none was): wraps from 2^31-1 to 0.
pub fn next_sequence(last: i32) -> i32 {
    add_sequence(last, 1)
}

/// Whether `a` lies after `b`, modulo 2^31 (the shorter way round decides).
pub fn sequence_after(a: i32, b: i32) -> bool {
    (1..1 << 30).contains(&(a.wrapping_sub(b) & i32::MAX))
}

#[cfg(test)]
mod tests;
