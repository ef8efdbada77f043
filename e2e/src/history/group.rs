//! Consumer groups: what is committed was processed, stays committed, and is where the next member begins.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Outcome, What};
use super::index::{Before, Index, Key, Seen};
use super::verdict::{Anomaly, Verdict};

#[derive(Debug, Default)]
struct Positions<'a> {
    /// (invoke, complete, offset, outcome)
    commits: Vec<(u64, u64, i64, Outcome)>,
    /// (invoke, complete, offset)
    asked: Vec<(u64, u64, Option<i64>)>,
    /// When each member's assignment began.
    assigned: BTreeMap<(&'a str, u32), u64>,
    reads: Vec<Seen<'a>>,
}

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for ((group, key), positions) in collect(index) {
        let at = format!("{group} on {key}");
        let done = positions.commits.iter().filter(|commit| commit.3 == Outcome::Ok);
        let committed = Before::new(done.map(|(_, complete, offset, _)| (*complete, *offset)).collect());
        too_far(index, key, &at, &positions, verdict);
        drift(&at, &positions, &committed, verdict);
        skips(index, key, &at, &positions, verdict);
        rewinds(&at, &positions, &committed, verdict);
    }
}

fn collect<'a>(index: &Index<'a>) -> BTreeMap<(&'a str, Key<'a>), Positions<'a>> {
    let mut groups: BTreeMap<(&'a str, Key<'a>), Positions<'a>> = BTreeMap::new();
    for event in index.events {
        let invoke = event.t_invoke.unwrap_or(event.t_complete);
        match &event.what {
            What::Commit { group, topic, partition, offset, outcome } => {
                let key = Key { topic: topic.as_str(), partition: *partition };
                let positions = groups.entry((group.as_str(), key)).or_default();
                positions.commits.push((invoke, event.t_complete, *offset, *outcome));
            }
            What::Committed { group, topic, partition, offset } => {
                let key = Key { topic: topic.as_str(), partition: *partition };
                groups.entry((group.as_str(), key)).or_default().asked.push((invoke, event.t_complete, *offset));
            }
            What::Assign { topic, partition, session, group: Some(group), .. } => {
                let key = Key { topic: topic.as_str(), partition: *partition };
                let positions = groups.entry((group.as_str(), key)).or_default();
                positions.assigned.entry((event.process.as_str(), *session)).or_insert(invoke);
            }
            _ => {}
        }
    }
    for (key, partition) in &index.partitions {
        for read in &partition.reads {
            if let Some(group) = read.group {
                groups.entry((group, *key)).or_default().reads.push(*read);
            }
        }
    }
    groups
}

/// A commit names at most the record after the last one that a member had in hand, or a position committed before.
fn too_far(index: &Index<'_>, key: Key<'_>, at: &str, positions: &Positions<'_>, verdict: &mut Verdict) {
    let lowest = index.partitions.get(&key).and_then(|p| p.values_at.keys().next().copied()).unwrap_or(0);
    // One later than the event: what is complete at the moment of the call counts as before it.
    let processed = Before::new(positions.reads.iter().map(|read| (read.complete, read.offset + 1)).collect());
    let mut commits = positions.commits.clone();
    commits.sort_unstable_by_key(|commit| (commit.0, commit.2));
    let mut earlier = lowest;
    for (invoke, _, offset, outcome) in commits {
        if outcome == Outcome::Fail {
            continue;
        }
        let processed = processed.at(invoke.saturating_add(1)).unwrap_or(lowest);
        if offset > processed.max(earlier) {
            verdict.add(Anomaly::CommitTooFar, at, || {
                format!("{offset} was committed, but the members had processed no further than {processed}")
            });
        }
        earlier = earlier.max(offset);
    }
}

/// A committed position never moves back, is never lost, and comes from a commit.
fn drift(at: &str, positions: &Positions<'_>, committed: &Before, verdict: &mut Verdict) {
    for (invoke, _, offset, outcome) in &positions.commits {
        if *outcome == Outcome::Ok
            && let Some(highest) = committed.at(*invoke)
            && *offset < highest
        {
            verdict.add(Anomaly::GroupDrift, at, || format!("{offset} was committed after {highest}"));
        }
    }
    let tried = positions.commits.iter().filter(|commit| commit.3 != Outcome::Fail);
    let tried = Before::new(tried.map(|(invoke, _, offset, _)| (*invoke, *offset)).collect());
    for (invoke, complete, offset) in &positions.asked {
        let highest = committed.at(*invoke);
        match (offset, highest) {
            (None, Some(highest)) => {
                verdict.add(Anomaly::GroupDrift, at, || format!("the committed position {highest} is lost"));
            }
            (Some(offset), Some(highest)) if *offset < highest => {
                verdict.add(Anomaly::GroupDrift, at, || {
                    format!("the committed position is {offset}, after {highest} had been committed")
                });
            }
            (Some(offset), _) if tried.at(complete.saturating_add(1)).is_none_or(|most| *offset > most) => {
                verdict.add(Anomaly::GroupDrift, at, || {
                    format!("the committed position is {offset}, which nobody had committed")
                });
            }
            _ => {}
        }
    }
}

/// The members together see every record between the first they read and the last they read or committed.
fn skips(index: &Index<'_>, key: Key<'_>, at: &str, positions: &Positions<'_>, verdict: &mut Verdict) {
    let read: BTreeSet<i64> = positions.reads.iter().map(|read| read.offset).collect();
    let (Some(first), Some(last)) = (read.first().copied(), read.last().copied()) else { return };
    let committed = positions.commits.iter().filter(|commit| commit.3 == Outcome::Ok).map(|commit| commit.2).max();
    let end = committed.unwrap_or(0).max(last + 1);
    let Some(partition) = index.partitions.get(&key) else { return };
    for (offset, values) in partition.values_at.range(first..end) {
        if !read.contains(offset) {
            verdict.add(Anomaly::GroupSkip, at, || {
                format!("{} at {offset} was never processed, though the group went on to {end}", values[0])
            });
        }
    }
}

/// A member begins at or above what had been committed before its assignment.
fn rewinds(at: &str, positions: &Positions<'_>, committed: &Before, verdict: &mut Verdict) {
    let mut first: BTreeMap<(&str, u32), (usize, i64)> = BTreeMap::new();
    for read in &positions.reads {
        let entry = first.entry((read.process, read.session)).or_insert((read.place, read.offset));
        if read.place < entry.0 {
            *entry = (read.place, read.offset);
        }
    }
    for ((process, session), (_, offset)) in first {
        let Some(assigned) = positions.assigned.get(&(process, session)) else { continue };
        if let Some(highest) = committed.at(*assigned)
            && offset < highest
        {
            verdict.add(Anomaly::GroupRewind, at, || {
                format!("{process} (assignment {session}) began at {offset}, though {highest} was committed before it")
            });
        }
    }
}
