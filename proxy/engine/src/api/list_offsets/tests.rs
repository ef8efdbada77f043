use sluice_mesh::chain::{Chain, CutPoint, NewHome};
use sluice_mesh::model::ClusterIndex;
use sluice_mesh::name::ClusterName;
use uuid::Uuid;

use super::*;

/// A: 0..100, then B: virtual 100..150, then A again from physical 100.
fn chain() -> ChainModel {
    let (a, b) = (ClusterName::new("a").unwrap(), ClusterName::new("b").unwrap());
    let first = Chain::single(a.clone(), Uuid::from_u128(1));
    let to = |cluster, id, physical_start, generation| NewHome {
        cluster,
        topic_id: Uuid::from_u128(id),
        physical_start,
        generation,
    };
    let second = first.append(CutPoint { physical_end: 100, last_epoch: 3 }, to(b, 2, 0, 1)).unwrap();
    let chain = second.append(CutPoint { physical_end: 50, last_epoch: 1030 }, to(a, 1, 100, 2)).unwrap();
    ChainModel { chain, clusters: vec![ClusterIndex(0), ClusterIndex(1), ClusterIndex(0)] }
}

fn at(offset: i64, timestamp: i64) -> Fact {
    Fact::Offset { offset, timestamp, epoch: 2 }
}

fn offset(found: Result<Found, i16>) -> Result<i64, i16> {
    found.map(|found| found.offset)
}

#[test]
fn the_end_is_the_last_segments() {
    let found = stitched(&chain(), 2, &[at(130, -1)], None, facts::LATEST).unwrap();
    assert_eq!((found.offset, found.epoch), (180, 2050));
    assert_eq!(offset(stitched(&chain(), 2, &[Fact::Error(6)], None, facts::LATEST)), Err(6));
    assert_eq!(offset(stitched(&chain(), 2, &[Fact::Silent], None, facts::LATEST)), Err(code::LEADER_NOT_AVAILABLE));
}

#[test]
fn the_start_is_the_first_living_segments() {
    let start = |facts: &[Fact]| offset(stitched(&chain(), 0, facts, None, EARLIEST));
    assert_eq!(start(&[at(0, -1), at(0, -1), at(0, -1)]), Ok(0));
    assert_eq!(start(&[at(70, -1), at(0, -1), at(70, -1)]), Ok(70));
    assert_eq!(start(&[at(100, -1), at(20, -1), at(100, -1)]), Ok(120), "the first is trimmed away");
    assert_eq!(start(&[at(110, -1), at(50, -1), at(110, -1)]), Ok(160), "only the last is left");
    assert_eq!(start(&[Fact::Silent, at(0, -1), at(0, -1)]), Ok(0), "an old cluster that is down is not waited for");
}

#[test]
fn a_timestamp_is_found_in_the_first_segment_that_knows_it() {
    let find = |facts: &[Fact]| offset(stitched(&chain(), 0, facts, None, 5_000));
    assert_eq!(find(&[at(42, 5_001), at(3, 6_000), at(42, 5_001)]), Ok(42));
    // In A's log the first such record belongs to the third segment.
    assert_eq!(find(&[at(105, 9_000), at(3, 6_000), at(105, 9_000)]), Ok(103));
    assert_eq!(find(&[at(105, 9_000), at(-1, -1), at(105, 9_000)]), Ok(155));
    assert_eq!(find(&[at(-1, -1), at(-1, -1), at(-1, -1)]), Ok(-1));
    assert_eq!(find(&[Fact::Silent, at(3, 6_000), at(105, 9_000)]), Err(code::LEADER_NOT_AVAILABLE), "never too late");
}

#[test]
fn the_highest_timestamp_is_compared() {
    let highest = |facts: &[Fact], end: i64| {
        stitched(&chain(), 0, facts, Some(&at(end, -1)), MAX_TIMESTAMP).map(|found| (found.offset, found.timestamp))
    };
    assert_eq!(highest(&[at(120, 900), at(7, 800), at(120, 900)], 121), Ok((170, 900)));
    assert_eq!(highest(&[at(20, 700), at(7, 800), at(20, 700)], 121), Ok((107, 800)));
    assert_eq!(highest(&[at(-1, -1), at(-1, -1), at(-1, -1)], 100), Ok((-1, -1)));
    // The open segment is empty: what is older counts. Its newest record is not replicated: nothing is known, as in Kafka.
    assert_eq!(highest(&[at(20, 700), at(7, 800), at(-1, -1)], 100), Ok((107, 800)));
    assert_eq!(highest(&[at(20, 700), at(7, 800), at(-1, -1)], 101), Ok((-1, -1)));
    let unknown = stitched(&chain(), 0, &[at(20, 700), at(7, 800), at(-1, -1)], Some(&Fact::Silent), MAX_TIMESTAMP);
    assert_eq!(offset(unknown), Ok(-1));
}
