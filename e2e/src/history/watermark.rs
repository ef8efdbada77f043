//! Watermarks and epochs never fall.

use std::collections::{BTreeMap, HashMap};

use super::event::{Event, Mark, Outcome, What};
use super::index::{Before, Index, Key, Partition};
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    observed(index, verdict);
    epochs_along_the_log(index, verdict);
    epoch_ends(index, verdict);
}

/// One figure of one partition, as one observer sees it.
type Figure<'a> = (&'a str, Key<'a>, Mark);

/// Each observer sees each figure rise: brokers learn at different times, so two observers are not compared.
fn observed(index: &Index<'_>, verdict: &mut Verdict) {
    let mut series: BTreeMap<Figure<'_>, Vec<(&Event, i64)>> = BTreeMap::new();
    for event in index.events {
        if let What::Observe { topic, partition, mark, value } = &event.what {
            // Its record may not be replicated yet: then a leader says that there is none.
            if *mark == Mark::MaxTimestamp && *value < 0 {
                continue;
            }
            let key = Key { topic: topic.as_str(), partition: *partition };
            series.entry((event.process.as_str(), key, *mark)).or_default().push((event, *value));
        }
    }
    let mut acknowledged: HashMap<Key<'_>, Before> = HashMap::new();
    for ((process, key, mark), seen) in series {
        let anomaly = if mark.is_epoch() { Anomaly::EpochRegress } else { Anomaly::WatermarkRegress };
        let before = Before::new(seen.iter().map(|(event, value)| (event.t_complete, *value)).collect());
        for (event, value) in &seen {
            let Some(invoke) = event.t_invoke else { continue };
            if let Some(highest) = before.at(invoke)
                && *value < highest
            {
                verdict.add(anomaly, key, || format!("{process} saw {mark:?} fall from {highest} to {value}"));
            }
            if matches!(mark, Mark::Latest) {
                let before = acknowledged.entry(key).or_insert_with(|| acks(index.partitions.get(&key)));
                if let Some(highest) = before.at(invoke)
                    && *value <= highest
                {
                    verdict.add(anomaly, key, || {
                        format!("{process} was told the end is {value}, after offset {highest} had been acknowledged")
                    });
                }
            }
        }
    }
}

fn acks(partition: Option<&Partition<'_>>) -> Before {
    let sends = partition.map(|partition| partition.sends.as_slice()).unwrap_or_default();
    Before::new(
        sends
            .iter()
            .filter(|send| send.outcome == Outcome::Ok)
            .filter_map(|send| Some((send.complete, send.offset?)))
            .collect(),
    )
}

/// An offset has one epoch, and epochs rise along the log.
fn epochs_along_the_log(index: &Index<'_>, verdict: &mut Verdict) {
    for (key, partition) in &index.partitions {
        let mut epochs: Vec<(i64, i32)> =
            partition.reads.iter().filter_map(|read| Some((read.offset, read.epoch?))).collect();
        epochs.sort_unstable();
        epochs.dedup();
        for pair in epochs.windows(2) {
            let ((offset, epoch), (next_offset, next_epoch)) = (pair[0], pair[1]);
            if offset == next_offset {
                verdict.add(Anomaly::EpochRegress, key, || {
                    format!("offset {offset} was shown with the epochs {epoch} and {next_epoch}")
                });
            } else if next_epoch < epoch {
                verdict.add(Anomaly::EpochRegress, key, || {
                    format!("epoch {epoch} at {offset}, but {next_epoch} at {next_offset}")
                });
            }
        }
    }
}

/// An epoch's end lies above every record that was read with it: anything else tells a reader to throw records away.
fn epoch_ends(index: &Index<'_>, verdict: &mut Verdict) {
    let mut read: HashMap<(Key<'_>, i32), Before> = HashMap::new();
    for event in index.events {
        let What::EpochEnd { topic, partition, epoch, end } = &event.what else { continue };
        let key = Key { topic: topic.as_str(), partition: *partition };
        let before = read.entry((key, *epoch)).or_insert_with(|| {
            let reads = index.partitions.get(&key).map(|partition| partition.reads.as_slice()).unwrap_or_default();
            let of_epoch = reads.iter().filter(|read| read.epoch == Some(*epoch));
            Before::new(of_epoch.map(|read| (read.complete, read.offset)).collect())
        });
        // Only what had been read before the question: the log may have grown since.
        if let Some(highest) = event.t_invoke.and_then(|invoke| before.at(invoke))
            && (0..=highest).contains(end)
        {
            verdict.add(Anomaly::EpochRegress, key, || {
                format!("epoch {epoch} is said to end at {end}, but {highest} had been read with it")
            });
        }
    }
}
