//! Record batches as owned values, uncompressed: for the ledger, and for checkers that read a log raw. Which byte lies where
//! is `sluice-wire`'s knowledge.

use bytes::Bytes;
use sluice_wire::batch::{self, BatchHeader};

/// Attribute bits of the codec.
const CODEC: i16 = 0x07;

/// A record to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// Key.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// Who writes a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Producer id, -1 for none.
    pub producer_id: i64,
    /// Producer epoch, -1 for none.
    pub producer_epoch: i16,
    /// Sequence of the first record, -1 for none.
    pub base_sequence: i32,
}

impl ProducerStamp {
    /// No idempotence.
    pub const NONE: Self = Self { producer_id: -1, producer_epoch: -1, base_sequence: -1 };
}

/// A batch that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Offset of the first record (before compaction).
    pub base_offset: i64,
    /// Epoch of the leader that appended it.
    pub partition_leader_epoch: i32,
    /// Attribute bits.
    pub attributes: i16,
    /// Offset of the last record (before compaction).
    pub last_offset: i64,
    /// Timestamp of the first record.
    pub base_timestamp: i64,
    /// Largest timestamp.
    pub max_timestamp: i64,
    /// Who wrote it.
    pub producer: ProducerStamp,
    /// Count of records as the header says.
    pub record_count: i32,
    /// The records; `None` if they are compressed.
    pub records: Option<Vec<Record>>,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp: i64,
    /// Key.
    pub key: Option<Bytes>,
    /// Value.
    pub value: Option<Bytes>,
}

impl Batch {
    /// Whether it is a control batch (a transaction marker).
    pub fn is_control(&self) -> bool {
        self.attributes & batch::CONTROL != 0
    }

    /// Whether it is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & batch::TRANSACTIONAL != 0
    }
}

/// Puts records into one uncompressed batch, all with the same timestamp (milliseconds since the Unix epoch). Fails if there
/// are none, or they do not fit.
pub fn encode(records: &[NewRecord], timestamp: i64, producer: ProducerStamp) -> Result<Bytes, sluice_wire::WireError> {
    let records: Vec<_> = records.iter().map(|record| (record.key.as_deref(), record.value.as_deref())).collect();
    let stamp = (producer.producer_id, producer.producer_epoch, producer.base_sequence);
    batch::build_batch(&records, stamp, timestamp)
}

/// Reads the batches of a Fetch answer; the last one, if cut short, is left out.
pub fn decode(mut bytes: Bytes) -> Result<Vec<Batch>, String> {
    let mut batches = Vec::new();
    while let Some(header) = BatchHeader::parse(&bytes) {
        if !header.is_v2() {
            return Err(format!("the batch at offset {} has the old format {}", header.base_offset, header.magic));
        }
        let Some(size) = header.total_size() else {
            return Err(format!("the batch at offset {} has length {}", header.base_offset, header.batch_length));
        };
        if size > bytes.len() {
            break;
        }
        let whole = bytes.split_to(size);
        batches.push(one(&header, &whole)?);
    }
    Ok(batches)
}

fn one(header: &BatchHeader, whole: &Bytes) -> Result<Batch, String> {
    let bad = |what: String| format!("the batch at offset {}: {what}", header.base_offset);
    let last_offset = header
        .base_offset
        .checked_add(i64::from(header.last_offset_delta))
        .filter(|&last| last >= header.base_offset && last < i64::MAX)
        .ok_or_else(|| bad(format!("last offset delta {}", header.last_offset_delta)))?;
    let records = if header.attributes & CODEC == 0 {
        let read = batch::records(whole).map(|record| {
            record.map(|record| Record {
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.map(|key| whole.slice_ref(key)),
                value: record.value.map(|value| whole.slice_ref(value)),
            })
        });
        Some(read.collect::<Result<Vec<_>, _>>().map_err(|error| bad(error.to_string()))?)
    } else {
        None
    };
    Ok(Batch {
        base_offset: header.base_offset,
        partition_leader_epoch: header.partition_leader_epoch,
        attributes: header.attributes,
        last_offset,
        base_timestamp: header.base_timestamp,
        max_timestamp: header.max_timestamp,
        producer: ProducerStamp {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        },
        record_count: header.records_count,
        records,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &'static str, value: Option<&'static str>) -> NewRecord {
        NewRecord { key: Some(Bytes::from(key)), value: value.map(Bytes::from) }
    }

    #[test]
    fn what_is_written_is_read_and_a_cut_tail_is_left_out() {
        let stamp = ProducerStamp { producer_id: 7, producer_epoch: 3, base_sequence: 11 };
        let first = encode(&[record("a", Some("1")), record("b", None)], 1234, stamp).unwrap();
        let second = encode(&[record("c", Some(""))], 1235, ProducerStamp::NONE).unwrap();
        let mut bytes = [&first[..], &second[..], &first[..70]].concat();
        bytes[first.len()..first.len() + 8].copy_from_slice(&5i64.to_be_bytes());
        let batches = decode(Bytes::from(bytes)).unwrap();
        assert_eq!(batches.len(), 2);
        assert_eq!((batches[0].producer, batches[0].last_offset, batches[0].record_count), (stamp, 1, 2));
        let records = batches[0].records.as_ref().unwrap();
        assert_eq!((records[1].key.as_deref(), records[1].value.as_deref()), (Some(&b"b"[..]), None));
        let records = batches[1].records.as_ref().unwrap();
        assert_eq!((records[0].offset, records[0].value.as_deref()), (5, Some(&b""[..])));
    }

    #[test]
    fn compressed_batches_keep_their_header_only() {
        let mut bytes = encode(&[record("a", None)], 0, ProducerStamp::NONE).unwrap().to_vec();
        bytes[22] |= 4;
        let batches = decode(Bytes::from(bytes)).unwrap();
        assert_eq!(batches[0].records, None);
        assert_eq!(batches[0].record_count, 1);
    }

    #[test]
    fn nonsense_is_an_error_and_not_a_panic() {
        let good = encode(&[record("a", None)], 0, ProducerStamp::NONE).unwrap().to_vec();
        let broken = |at: usize, with: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            decode(Bytes::from(bytes))
        };
        assert!(broken(8, &3i32.to_be_bytes()).is_err(), "a length below the header's");
        assert!(broken(8, &(-1i32).to_be_bytes()).is_err(), "a negative length");
        assert!(broken(16, &[1]).is_err(), "an old format");
        assert!(broken(23, &(-2i32).to_be_bytes()).is_err(), "a negative last offset delta");
        assert!(broken(good.len() - 1, &[0x55]).is_err(), "a wrong CRC");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = decode(Bytes::from(bytes));
        }
    }
}
