//! Order: of what one producer sends, of offsets handed out in time, of what one reader sees.

use std::collections::BTreeMap;

use super::event::{Outcome, What};
use super::index::{Before, Index, Key, Partition, Seen};
use super::verdict::{Anomaly, Verdict};

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for (key, partition) in &index.partitions {
        producers(index, *key, partition, verdict);
        late(*key, partition, verdict);
        readers(*key, partition, verdict);
    }
}

/// Values number a producer's records in the order in which it sent them: offsets must rise with the numbers.
fn producers(index: &Index<'_>, key: Key<'_>, partition: &Partition<'_>, verdict: &mut Verdict) {
    let mut known: Vec<(&str, u64, i64, &str)> = partition
        .offsets_of
        .iter()
        .filter_map(|(value, offsets)| {
            let (producer, sequence) = What::parse_value(value)?;
            Some((producer, sequence, *offsets.iter().min()?, *value))
        })
        .collect();
    known.sort_unstable();
    for pair in known.windows(2) {
        let ((producer, _, offset, value), (next_producer, _, next_offset, next)) = (pair[0], pair[1]);
        if producer != next_producer || offset < next_offset {
            continue;
        }
        if index.is_idempotent(value) {
            verdict
                .add(Anomaly::OutOfOrder, key, || format!("{value} is at {offset}, the later {next} at {next_offset}"));
        } else {
            verdict.excused += 1;
        }
    }
}

/// Real time: whatever was acknowledged before a send began lies below it.
fn late(key: Key<'_>, partition: &Partition<'_>, verdict: &mut Verdict) {
    let acknowledged = || partition.sends.iter().filter(|send| send.outcome == Outcome::Ok);
    let before = Before::new(acknowledged().filter_map(|send| Some((send.complete, send.offset?))).collect());
    for send in acknowledged() {
        let (Some(invoke), Some(offset)) = (send.invoke, send.offset) else { continue };
        if let Some(highest) = before.at(invoke)
            && offset <= highest
        {
            verdict.add(Anomaly::LateOffset, key, || {
                format!(
                    "{} of {} was acknowledged at {offset}, but {highest} had been acknowledged before it was sent",
                    send.value, send.process
                )
            });
        }
    }
}

/// Within one assignment a reader sees each known offset once, in order.
fn readers(key: Key<'_>, partition: &Partition<'_>, verdict: &mut Verdict) {
    let mut sessions: BTreeMap<(&str, u32), Vec<&Seen<'_>>> = BTreeMap::new();
    for read in &partition.reads {
        sessions.entry((read.process, read.session)).or_default().push(read);
    }
    for ((process, session), mut reads) in sessions {
        reads.sort_unstable_by_key(|read| read.place);
        for pair in reads.windows(2) {
            let (first, next) = (pair[0], pair[1]);
            if next.offset <= first.offset {
                verdict.add(Anomaly::ReadBackwards, key, || {
                    format!("{process} (assignment {session}) read {} after {}", next.offset, first.offset)
                });
            } else if let Some((skipped, value)) = partition.known_between(first.offset + 1, next.offset) {
                verdict.add(Anomaly::ReadSkip, key, || {
                    format!(
                        "{process} (assignment {session}) read {} after {}: {value} at {skipped} was passed over",
                        next.offset, first.offset
                    )
                });
            }
        }
    }
}
