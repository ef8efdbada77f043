//! Progress: how long clients waited.

use std::collections::BTreeMap;

use super::event::{Event, Outcome, What};
use super::index::{Index, Key};
use super::verdict::{Anomaly, Verdict};

/// The longest time between two acknowledgements on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Its length, microseconds.
    pub length: u64,
    /// When it began.
    pub from: u64,
}

/// The longest gap between acknowledgements, by partition, of those that touch the time `from..to`.
pub fn gaps(events: &[Event], from: u64, to: u64) -> Vec<Gap> {
    let mut acks: BTreeMap<Key<'_>, Vec<u64>> = BTreeMap::new();
    for event in events {
        if let What::Send { topic, partition, outcome: Outcome::Ok, .. } = &event.what {
            acks.entry(Key { topic: topic.as_str(), partition: *partition }).or_default().push(event.t_complete);
        }
    }
    acks.into_iter()
        .filter_map(|(key, mut times)| {
            times.sort_unstable();
            let touching = times.windows(2).filter(|pair| pair[1] >= from && pair[0] <= to);
            let (length, begin) = touching.map(|pair| (pair[1] - pair[0], pair[0])).max()?;
            Some(Gap { topic: key.topic.to_owned(), partition: key.partition, length, from: begin })
        })
        .collect()
}

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    let Some(allowed) = index.settings.stuck_after else { return };
    // By producer: its acknowledgements, and the end of its last send whatever became of it.
    let mut producers: BTreeMap<&str, (Vec<u64>, u64)> = BTreeMap::new();
    let mut groups: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    let mut acknowledged: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in index.events {
        match &event.what {
            What::Send { topic, outcome, .. } => {
                let (acks, last) = producers.entry(event.process.as_str()).or_default();
                *last = (*last).max(event.t_complete);
                if *outcome == Outcome::Ok {
                    acks.push(event.t_complete);
                    acknowledged.entry(topic.as_str()).or_default().push(event.t_complete);
                }
            }
            What::Read { topic, group: Some(group), .. } => {
                groups.entry((group.as_str(), topic.as_str())).or_default().push(event.t_complete);
            }
            _ => {}
        }
    }
    for (process, (mut acks, last)) in producers {
        acks.push(last);
        acks.sort_unstable();
        for pair in acks.windows(2).filter(|pair| pair[1] - pair[0] > allowed) {
            verdict.add(Anomaly::Stuck, process, || {
                format!("no acknowledgement for {} ms from {} ms on", (pair[1] - pair[0]) / 1000, pair[0] / 1000)
            });
        }
    }
    for ((group, topic), mut reads) in groups {
        let acks = acknowledged.entry(topic).or_default();
        acks.sort_unstable();
        reads.sort_unstable();
        // A group that lags forever behind the last acknowledgement is stuck too.
        reads.push((*reads.last().unwrap_or(&0)).max(acks.last().copied().unwrap_or(0)));
        for pair in reads.windows(2).filter(|pair| pair[1] - pair[0] > allowed) {
            let first = acks.partition_point(|ack| *ack <= pair[0]);
            // Nothing to read is no reason to complain.
            if acks.get(first).is_some_and(|ack| pair[1] - ack > allowed) {
                verdict.add(Anomaly::Stuck, group, || {
                    format!("read nothing for {} ms from {} ms on", (pair[1] - pair[0]) / 1000, pair[0] / 1000)
                });
            }
        }
    }
}
