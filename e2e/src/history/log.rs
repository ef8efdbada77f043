//! What is in a partition's log: conflicting, repeated, lost, unseen, invented, missing.

use std::collections::HashMap;

use super::event::Outcome;
use super::index::{Index, Key, Partition};
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for (key, partition) in &index.partitions {
        offsets(*key, partition, verdict);
        values(index, *key, partition, verdict);
        acknowledged(index, *key, partition, verdict);
        invented(index, *key, partition, verdict);
        if !index.settings.holes_allowed {
            holes(*key, partition, verdict);
        }
    }
    across_partitions(index, verdict);
}

fn offsets(key: Key<'_>, partition: &Partition<'_>, verdict: &mut Verdict) {
    for (offset, values) in &partition.values_at {
        if values.len() > 1 {
            verdict.add(Anomaly::InconsistentOffset, key, || format!("offset {offset} has the values {values:?}"));
        }
    }
}

fn values(index: &Index<'_>, key: Key<'_>, partition: &Partition<'_>, verdict: &mut Verdict) {
    let mut repeated: Vec<_> = partition.offsets_of.iter().filter(|(_, offsets)| offsets.len() > 1).collect();
    repeated.sort_unstable();
    for (value, offsets) in repeated {
        if index.is_idempotent(value) {
            verdict.add(Anomaly::Duplicate, key, || format!("{value} is at the offsets {offsets:?}"));
        } else {
            verdict.excused += 1;
        }
    }
}

/// A value is sent to one partition; a repetition in another one is a repetition too.
fn across_partitions(index: &Index<'_>, verdict: &mut Verdict) {
    let mut first: HashMap<(&str, &str), i32> = HashMap::new();
    for (key, partition) in &index.partitions {
        let mut values: Vec<_> = partition.offsets_of.keys().copied().collect();
        values.sort_unstable();
        for value in values {
            let other = *first.entry((key.topic, value)).or_insert(key.partition);
            if other == key.partition {
                continue;
            }
            if index.is_idempotent(value) {
                verdict.add(Anomaly::Duplicate, key, || format!("{value} is in partition {other} too"));
            } else {
                verdict.excused += 1;
            }
        }
    }
}

fn acknowledged(index: &Index<'_>, key: Key<'_>, partition: &Partition<'_>, verdict: &mut Verdict) {
    for send in &partition.sends {
        if send.outcome != Outcome::Ok || partition.values_read.contains(send.value) {
            continue;
        }
        // Without an offset only the final catch-up can tell.
        let passed = send.offset.is_some_and(|offset| partition.highest_read.is_some_and(|highest| offset <= highest));
        if passed {
            verdict.add(Anomaly::LostWrite, key, || {
                format!(
                    "{} was acknowledged at {:?} and never read, though offset {:?} was",
                    send.value, send.offset, partition.highest_read
                )
            });
        } else if index.read_to_the_end.contains(key.topic) {
            verdict.add(Anomaly::Unseen, key, || {
                format!(
                    "{} was acknowledged at {:?}; readers from the beginning ended without it, at {:?}",
                    send.value, send.offset, partition.caught_up
                )
            });
        }
    }
}

fn invented(index: &Index<'_>, key: Key<'_>, partition: &Partition<'_>, verdict: &mut Verdict) {
    let mut read: Vec<&str> = partition.values_read.iter().copied().collect();
    read.sort_unstable();
    for value in read {
        match index.outcomes.get(&(key.topic, value)) {
            Some(Outcome::Fail) => {
                verdict.add(Anomaly::GhostWrite, key, || format!("{value} certainly failed, and was read"));
            }
            None if !index.settings.foreign_values => {
                verdict.add(Anomaly::UnknownValue, key, || format!("{value} was read, and nobody sent it"));
            }
            _ => {}
        }
    }
}

fn holes(key: Key<'_>, partition: &Partition<'_>, verdict: &mut Verdict) {
    let mut expected: Option<i64> = None;
    for offset in partition.values_at.keys() {
        if let Some(expected) = expected
            && *offset > expected
        {
            verdict.add(Anomaly::Hole, key, || format!("nothing at the offsets {expected}..{offset}"));
        }
        expected = Some(offset + 1);
    }
    if let (Some(expected), Some(end)) = (expected, partition.caught_up)
        && end > expected
    {
        verdict.add(Anomaly::Hole, key, || format!("nothing at the offsets {expected}..{end}, the end"));
    }
}
