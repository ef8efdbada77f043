//! Uncompressed records: encoder and decoder for the ledger and the tests.

use bytes::Bytes;

use super::{BatchHeader, HEADER, LENGTH_OVERHEAD};
use crate::WireError;
use crate::cursor::{Cursor, check_count, put, put_uvarint, wide};

/// Attribute bits of the compression codec.
const CODEC: i16 = 0b111;

/// One record, borrowed from its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
    /// Of its batch.
    pub producer_id: i64,
    /// Of its batch.
    pub producer_epoch: i16,
    /// Its own sequence; -1 without.
    pub sequence: i32,
    /// Leader epoch of its batch.
    pub leader_epoch: i32,
    /// In a transaction.
    pub is_transactional: bool,
    /// A marker.
    pub is_control: bool,
}

/// Key and value of a record to build.
pub type KeyValue<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Iterator over the records of a Fetch answer's record bytes (or of one batch); see [`records`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    batch: Option<Batch<'a>>,
}

/// The batch that is being read.
#[derive(Debug, Clone)]
struct Batch<'a> {
    header: BatchHeader,
    payload: Cursor<'a>,
    left: u32,
    index: i32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.batch.as_mut().filter(|batch| batch.left > 0) {
                let record = batch.record();
                if record.is_err() {
                    self.batch = None;
                    self.rest = &[];
                }
                return Some(record);
            }
            match self.open() {
                Ok(Some(batch)) => self.batch = Some(batch),
                Ok(None) => return None,
                Err(error) => {
                    self.batch = None;
                    self.rest = &[];
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<'a> Records<'a> {
    /// The next batch; `None` at the end, or where the last batch is cut short.
    fn open(&mut self) -> Result<Option<Batch<'a>>, WireError> {
        let Some(header) = BatchHeader::parse(self.rest) else {
            self.rest = &[];
            return Ok(None);
        };
        if !header.is_v2() {
            return Err(WireError::Message(format!("record batch of format {}, not 2", header.magic)));
        }
        let size = header.total_size().ok_or(WireError::Length {
            what: "a record batch",
            length: i64::from(header.batch_length),
            limit: self.rest.len(),
        })?;
        let Some((batch, rest)) = self.rest.split_at_checked(size) else {
            self.rest = &[];
            return Ok(None);
        };
        self.rest = rest;
        if crc32c::crc32c(batch.get(super::ATTRIBUTES..).unwrap_or_default()) != header.crc {
            return Err(WireError::Message("the CRC of a record batch is wrong".to_owned()));
        }
        if header.attributes & CODEC != 0 {
            return Err(WireError::Message("a compressed record batch: only plain ones are read here".to_owned()));
        }
        let payload = batch.get(HEADER..).unwrap_or_default();
        // A record has at least seven bytes.
        let count = u32::try_from(header.records_count).ok();
        let left = check_count(count, 7, payload.len(), "records")?;
        Ok(Some(Batch { header, payload: Cursor::new(payload), left, index: 0 }))
    }
}

impl<'a> Batch<'a> {
    fn record(&mut self) -> Result<Record<'a>, WireError> {
        let length = length(self.payload.varint("a record")?)?.unwrap_or(0);
        let mut fields = Cursor::new(self.payload.take(length, "a record")?);
        fields.i8("a record's attributes")?;
        let timestamp = fields.varlong("a record's timestamp")?;
        let delta = fields.varint("a record's offset")?;
        let key = bytes(&mut fields)?;
        let value = bytes(&mut fields)?;
        let headers = length_of(&mut fields)?.unwrap_or(0);
        for _ in 0..headers {
            bytes(&mut fields)?;
            bytes(&mut fields)?;
        }
        if fields.remaining() > 0 {
            return Err(WireError::Trailing { count: fields.remaining() });
        }
        let header = &self.header;
        let sequence =
            if header.base_sequence < 0 { -1 } else { super::add_sequence(header.base_sequence, self.index) };
        self.left = self.left.saturating_sub(1);
        self.index = self.index.saturating_add(1);
        Ok(Record {
            offset: header.base_offset.wrapping_add(i64::from(delta)),
            timestamp: header.base_timestamp.wrapping_add(timestamp),
            key,
            value,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            sequence,
            leader_epoch: header.partition_leader_epoch,
            is_transactional: header.is_transactional(),
            is_control: header.is_control(),
        })
    }
}

fn length(declared: i32) -> Result<Option<usize>, WireError> {
    match usize::try_from(declared) {
        Ok(length) => Ok(Some(length)),
        Err(_) if declared == -1 => Ok(None),
        Err(_) => {
            Err(WireError::Length { what: "a part of a record", length: i64::from(declared), limit: i32::MAX as usize })
        }
    }
}

fn length_of(fields: &mut Cursor<'_>) -> Result<Option<usize>, WireError> {
    length(fields.varint("a part of a record")?)
}

fn bytes<'a>(fields: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, WireError> {
    match length_of(fields)? {
        Some(length) => fields.take(length, "a part of a record").map(Some),
        None => Ok(None),
    }
}

/// The records in `bytes`: any number of uncompressed batches of format 2, the last of which may be cut short (it is left
/// out). A compressed or older batch is an error; after an error the iterator ends. CRCs are checked.
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { rest: bytes, batch: None }
}

/// One uncompressed, non-transactional batch. `producer`: id, epoch, base sequence; (-1, -1, -1) without idempotence. All
/// records get `timestamp` (milliseconds since the Unix epoch).
pub fn build_batch(records: &[KeyValue<'_>], producer: (i64, i16, i32), timestamp: i64) -> Result<Bytes, WireError> {
    let too_many = || WireError::Count { what: "records", count: wide(records.len()), remaining: i32::MAX as usize };
    let count = i32::try_from(records.len()).map_err(|_| too_many())?;
    let last_offset_delta = count.checked_sub(1).filter(|last| *last >= 0).ok_or_else(too_many)?;
    let mut batch = vec![0; HEADER];
    let mut record = Vec::new();
    for (delta, (key, value)) in (0..count).zip(records) {
        record.clear();
        record.push(0);
        put_varint(&mut record, 0);
        put_varint(&mut record, delta);
        put_bytes(&mut record, *key)?;
        put_bytes(&mut record, *value)?;
        put_varint(&mut record, 0);
        put_varint(&mut batch, crate::frame::length(record.len())?);
        batch.extend_from_slice(&record);
    }
    let header = BatchHeader {
        base_offset: 0,
        batch_length: crate::frame::length(batch.len().saturating_sub(LENGTH_OVERHEAD))?,
        partition_leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id: producer.0,
        producer_epoch: producer.1,
        base_sequence: producer.2,
        records_count: count,
    };
    put(&mut batch, 0, header.write());
    let crc = crc32c::crc32c(batch.get(super::ATTRIBUTES..).unwrap_or_default());
    put(&mut batch, super::CRC, crc.to_be_bytes());
    Ok(batch.into())
}

fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_uvarint(out, ((value << 1) ^ (value >> 31)).cast_unsigned());
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<(), WireError> {
    let Some(bytes) = bytes else {
        put_varint(out, -1);
        return Ok(());
    };
    put_varint(out, crate::frame::length(bytes.len())?);
    out.extend_from_slice(bytes);
    Ok(())
}
