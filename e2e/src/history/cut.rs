//! Moves: a partition's runs on several clusters add up to one log, and no record lies beside it.

use std::collections::BTreeMap;

use super::event::What;
use super::index::{Index, Key};
use super::verdict::{Anomaly, Verdict};

/// A run of offsets as it was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run<'a> {
    cluster: &'a str,
    start: i64,
    physical_start: i64,
    physical_end: Option<i64>,
}

/// One cluster's copy of a partition.
#[derive(Debug, Default)]
struct Copy<'a> {
    records: BTreeMap<i64, &'a str>,
    /// First offset, and one past the last.
    bounds: Option<(i64, i64)>,
}

type Chains<'a> = BTreeMap<Key<'a>, BTreeMap<u32, Run<'a>>>;
type Copies<'a> = BTreeMap<(Key<'a>, &'a str), Copy<'a>>;

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    let (chains, copies) = collect(index, verdict);
    for (key, chain) in &chains {
        let runs: Vec<Run<'_>> = chain.values().copied().collect();
        continuity(*key, &runs, verdict);
        for ((_, cluster), copy) in copies.range((*key, "")..).take_while(|((of, _), _)| of == key) {
            ends(*key, cluster, &runs, copy, verdict);
            records(index, *key, cluster, &runs, copy, verdict);
        }
    }
}

fn collect<'a>(index: &Index<'a>, verdict: &mut Verdict) -> (Chains<'a>, Copies<'a>) {
    let mut chains: Chains<'a> = BTreeMap::new();
    let mut copies: Copies<'a> = BTreeMap::new();
    for event in index.events {
        match &event.what {
            What::Segment { topic, partition, index, cluster, start, physical_start, physical_end } => {
                let key = Key { topic: topic.as_str(), partition: *partition };
                let run = Run {
                    cluster: cluster.as_str(),
                    start: *start,
                    physical_start: *physical_start,
                    physical_end: *physical_end,
                };
                let chain = chains.entry(key).or_default();
                let Some(known) = chain.get_mut(index) else {
                    chain.insert(*index, run);
                    continue;
                };
                // A run is declared again after each move; the only thing that may happen to it is that it ends.
                let same = Run { physical_end: None, ..*known } == Run { physical_end: None, ..run };
                if !same || (known.physical_end.is_some() && known.physical_end != run.physical_end) {
                    let was = *known;
                    verdict.add(Anomaly::OffsetBreak, key, || format!("run {index} was {was:?} and became {run:?}"));
                }
                *known = run;
            }
            What::Stored { cluster, topic, partition, offset, value } => {
                let key = Key { topic: topic.as_str(), partition: *partition };
                copies.entry((key, cluster.as_str())).or_default().records.insert(*offset, value);
            }
            What::StoredEnd { cluster, topic, partition, start, end } => {
                let key = Key { topic: topic.as_str(), partition: *partition };
                copies.entry((key, cluster.as_str())).or_default().bounds = Some((*start, *end));
            }
            _ => {}
        }
    }
    (chains, copies)
}

/// The first offset of a run is one past the last of the run before.
fn continuity(key: Key<'_>, runs: &[Run<'_>], verdict: &mut Verdict) {
    for pair in runs.windows(2) {
        let (old, new) = (pair[0], pair[1]);
        let Some(end) = old.physical_end else {
            verdict.add(Anomaly::OffsetBreak, key, || format!("{old:?} takes writes, though {new:?} follows it"));
            continue;
        };
        let expected = old.start + (end - old.physical_start);
        if new.start != expected {
            verdict.add(Anomaly::OffsetBreak, key, || {
                format!("{} begins at {}, not at {expected}, where {} ended", new.cluster, new.start, old.cluster)
            });
        }
    }
    for (place, run) in runs.iter().enumerate() {
        let earlier = runs[..place].iter().rev().find(|other| other.cluster == run.cluster);
        if let Some(end) = earlier.and_then(|earlier| earlier.physical_end)
            && run.physical_start < end
        {
            verdict.add(Anomaly::OffsetBreak, key, || {
                format!("two runs share the offsets {}..{end} of {}", run.physical_start, run.cluster)
            });
        }
    }
}

/// A cluster's log ends where its last run ends.
fn ends(key: Key<'_>, cluster: &str, runs: &[Run<'_>], copy: &Copy<'_>, verdict: &mut Verdict) {
    let last = runs.iter().rev().find(|run| run.cluster == cluster);
    let (Some(run), Some((_, end))) = (last, copy.bounds) else { return };
    if let Some(expected) = run.physical_end
        && end != expected
    {
        verdict.add(Anomaly::OffsetBreak, key, || format!("the log on {cluster} ends at {end}, its run at {expected}"));
    }
}

/// What a cluster stores is what clients see at the offset that the chain gives it, and nothing lies beside the runs.
fn records(index: &Index<'_>, key: Key<'_>, cluster: &str, runs: &[Run<'_>], copy: &Copy<'_>, verdict: &mut Verdict) {
    let here: Vec<&Run<'_>> = runs.iter().filter(|run| run.cluster == cluster).collect();
    let Some(partition) = index.partitions.get(&key) else { return };
    for (offset, value) in &copy.records {
        let run =
            here.iter().find(|run| *offset >= run.physical_start && run.physical_end.is_none_or(|end| *offset < end));
        let Some(run) = run else {
            verdict.add(Anomaly::SplitBrain, key, || {
                format!("{cluster} has {value} at its offset {offset}, outside the runs that clients are shown")
            });
            continue;
        };
        let shown = run.start + (offset - run.physical_start);
        if let Some(values) = partition.values_at.get(&shown)
            && values.iter().any(|seen| seen != value)
        {
            verdict.add(Anomaly::SplitBrain, key, || {
                format!("{cluster} has {value} at its offset {offset}; clients saw {values:?} at {shown}")
            });
        }
    }
    let Some((first, end)) = copy.bounds else { return };
    for run in here {
        let (from, to) = (run.physical_start.max(first), run.physical_end.map_or(end, |stop| stop.min(end)));
        let shift = run.start - run.physical_start;
        if from >= to {
            continue;
        }
        for (shown, values) in partition.values_at.range(from + shift..to + shift) {
            if !copy.records.contains_key(&(shown - shift)) {
                verdict.add(Anomaly::SplitBrain, key, || {
                    format!("clients saw {values:?} at {shown}; {cluster} has nothing at its offset {}", shown - shift)
                });
            }
        }
    }
}
