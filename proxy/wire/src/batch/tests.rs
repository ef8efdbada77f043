use proptest::prelude::*;

use super::*;

fn valid(bytes: &[u8]) -> bool {
    crc32c::crc32c(&bytes[ATTRIBUTES..]) == BatchHeader::parse(bytes).unwrap().crc
}

/// A batch whose payload is not records: nothing here looks at it.
fn opaque(payload: &[u8]) -> Vec<u8> {
    let mut bytes = probe().to_vec();
    bytes.extend_from_slice(payload);
    let length = i32::try_from(bytes.len() - LENGTH_OVERHEAD).unwrap();
    put(&mut bytes, LENGTH, length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
    put(&mut bytes, CRC, crc.to_be_bytes());
    bytes
}

fn header_of(bytes: &mut [u8]) -> &mut [u8; HEADER] {
    bytes.first_chunk_mut().unwrap()
}

#[test]
fn a_header_is_what_its_bytes_say() {
    let batch = build_batch(&[(Some(b"k"), Some(b"v")), (None, None)], (7, 3, 40), 1_700_000_000_000).unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!(header.write(), batch[..HEADER]);
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 3, 40));
    assert_eq!((header.records_count, header.last_offset_delta, header.last_sequence()), (2, 1, 41));
    assert_eq!((header.base_timestamp, header.max_timestamp), (1_700_000_000_000, 1_700_000_000_000));
    assert_eq!(header.total_size(), Some(batch.len()));
    assert!(header.is_v2() && header.has_producer() && !header.is_transactional() && !header.is_control());
    assert!(valid(&batch));
    assert_eq!(BatchHeader::parse(&batch[..60]), None);
}

#[test]
fn records_come_back_with_offsets_and_sequences() {
    let mut first = build_batch(&[(Some(b"a"), Some(b"1")), (Some(b"b"), None)], (7, 3, i32::MAX), 5).unwrap().to_vec();
    shift(header_of(&mut first), 100, 4);
    let second = build_batch(&[(None, Some(b"2"))], (-1, -1, -1), 6).unwrap();
    let mut all = first.clone();
    all.extend_from_slice(&second);
    let found: Vec<_> = records(&all).map(Result::unwrap).collect();
    assert_eq!(found.iter().map(|record| record.offset).collect::<Vec<_>>(), [100, 101, 0]);
    assert_eq!(found.iter().map(|record| record.sequence).collect::<Vec<_>>(), [i32::MAX, 0, -1]);
    assert_eq!(found[0].key, Some(b"a".as_slice()));
    assert_eq!(found[1].value, None);
    assert_eq!(found[2].timestamp, 6);
    // Cut short: the last batch is left out, at whatever byte.
    for cut in 0..second.len() {
        assert_eq!(records(&all[..first.len() + cut]).count(), 2, "{cut}");
    }
}

#[test]
fn the_probe_is_a_header_with_a_wrong_crc_only() {
    let mut probe = probe();
    assert!(!valid(&probe));
    let header = BatchHeader::read(&probe);
    assert_eq!((header.base_offset, header.magic, header.attributes), (0, 2, 0));
    assert_eq!(header.total_size(), Some(HEADER));
    flip_crc_bit(&mut probe);
    assert!(valid(&probe));
}

#[test]
fn offsets_and_epochs_move_without_the_crc() {
    let mut batch = build_batch(&[(None, Some(b"v"))], (-1, -1, -1), 0).unwrap().to_vec();
    shift(header_of(&mut batch), 1000, 1024);
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!((header.base_offset, header.partition_leader_epoch), (1000, -1), "an unset epoch stays unset");
    put(&mut batch, EPOCH, 3_i32.to_be_bytes());
    shift(header_of(&mut batch), -1000, 1024);
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!((header.base_offset, header.partition_leader_epoch), (0, 1027));
    assert!(valid(&batch));
    clip(&mut batch);
    assert_eq!(BatchHeader::parse(&batch).unwrap().batch_length, 1 << 30);
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(next_sequence(-1), 0);
    assert_eq!(next_sequence(i32::MAX), 0);
    assert_eq!(add_sequence(i32::MAX - 1, 3), 1);
    assert!(sequence_after(1, 0) && !sequence_after(0, 1) && !sequence_after(5, 5));
    assert!(sequence_after(0, i32::MAX) && !sequence_after(i32::MAX, 0));
}

#[test]
fn a_batch_that_is_too_short_or_old_gets_no_other_producer() {
    let mut short = probe();
    put(&mut short, LENGTH, 48_i32.to_be_bytes());
    let before = short;
    assert!(set_producer_id(&mut short, 1).is_err());
    let mut old = probe();
    put(&mut old, MAGIC, [1]);
    assert!(set_producer_id(&mut old, 1).is_err());
    assert_eq!(short, before);
}

#[test]
fn the_patched_crc_is_the_computed_one_for_large_batches() {
    for size in [0, 1, 7, 8, 4096, 65_537, 1 << 20] {
        let payload: Vec<u8> = (0..size).map(|index| u8::try_from(index * 31 % 251).unwrap()).collect();
        let mut batch = opaque(&payload);
        set_producer_id(header_of(&mut batch), 0xc | 3 << 48 | 5 << 56).unwrap();
        assert_eq!(BatchHeader::parse(&batch).unwrap().producer_id, 0xc | 3 << 48 | 5 << 56);
        assert!(valid(&batch), "{size}");
    }
}

proptest! {
    #[test]
    fn the_patched_crc_is_the_computed_one(
        payload in proptest::collection::vec(any::<u8>(), 0..2000),
        producer_id in any::<i64>(),
        then in any::<i64>(),
    ) {
        let mut batch = opaque(&payload);
        set_producer_id(header_of(&mut batch), producer_id).unwrap();
        prop_assert!(valid(&batch));
        set_producer_id(header_of(&mut batch), then).unwrap();
        prop_assert!(valid(&batch));
        flip_crc_bit(header_of(&mut batch));
        set_producer_id(header_of(&mut batch), producer_id).unwrap();
        prop_assert!(!valid(&batch), "a wrong CRC stays wrong");
    }

    #[test]
    fn what_is_built_is_read(
        records in proptest::collection::vec(
            (proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
             proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300))), 1..40),
        producer in (0_i64..i64::MAX, 0_i16..i16::MAX, 0_i32..i32::MAX),
    ) {
        let borrowed: Vec<_> = records.iter().map(|(key, value)| (key.as_deref(), value.as_deref())).collect();
        let batch = build_batch(&borrowed, producer, 9).unwrap();
        let found: Vec<_> = super::records(&batch).map(Result::unwrap).collect();
        prop_assert_eq!(found.len(), records.len());
        for (record, (key, value)) in found.iter().zip(&borrowed) {
            prop_assert_eq!((record.key, record.value), (*key, *value));
        }
    }

    #[test]
    fn hostile_records_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), fix in any::<bool>()) {
        if fix && bytes.len() >= HEADER {
            let length = i32::try_from(bytes.len() - LENGTH_OVERHEAD).unwrap();
            put(&mut bytes, LENGTH, length.to_be_bytes());
            put(&mut bytes, MAGIC, [2]);
            put(&mut bytes, ATTRIBUTES, [0, 0]);
            put(&mut bytes, 57, [0, 0, 0, 20]);
            let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
            put(&mut bytes, CRC, crc.to_be_bytes());
        }
        let _ = super::records(&bytes).count();
    }
}
