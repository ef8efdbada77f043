//! Watchers see: a figure that nobody could see for long may have fallen meanwhile.

use std::collections::BTreeMap;

use super::event::{Event, Mark, What};
use super::index::{Index, Key};
use super::verdict::{Anomaly, Verdict};

/// One figure of one partition, as one watcher asks for it.
type Figure<'a> = (&'a str, Key<'a>, Mark);

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    let Some(allowed) = index.settings.stuck_after else { return };
    let mut asked: BTreeMap<Figure<'_>, Vec<(&Event, Option<&str>)>> = BTreeMap::new();
    for event in index.events {
        let (topic, partition, mark, error) = match &event.what {
            What::Observe { topic, partition, mark, .. } => (topic, *partition, *mark, None),
            What::Unanswered { topic, partition, mark, error } => (topic, *partition, *mark, Some(error.as_str())),
            _ => continue,
        };
        let key = Key { topic: topic.as_str(), partition };
        asked.entry((event.process.as_str(), key, mark)).or_default().push((event, error));
    }
    for ((process, key, mark), mut series) in asked {
        series.sort_by_key(|(event, _)| event.t_complete);
        for Blind { from, to, error } in blind(&series).into_iter().filter(|blind| blind.to - blind.from > allowed) {
            verdict.add(Anomaly::Unwatched, key, || {
                format!(
                    "{process} could not see {mark:?} for {} ms from {} ms on: {error}",
                    (to - from) / 1000,
                    from / 1000
                )
            });
        }
    }
}

/// A time without an answer.
struct Blind<'a> {
    from: u64,
    to: u64,
    error: &'a str,
}

/// From the first question that failed to the first answer after it; and answers that were long in coming. Time in which
/// nothing was asked is not counted: some figures are asked for rarely, on a busy machine very rarely.
fn blind<'a>(series: &[(&Event, Option<&'a str>)]) -> Vec<Blind<'a>> {
    let mut found: Vec<Blind<'a>> = Vec::new();
    let mut failing = false;
    for (event, error) in series {
        let begun = event.t_invoke.unwrap_or(event.t_complete).min(event.t_complete);
        if failing && let Some(last) = found.last_mut() {
            last.to = event.t_complete;
        } else {
            found.push(Blind { from: begun, to: event.t_complete, error: "the answer was late" });
        }
        if let (Some(error), Some(last)) = (error, found.last_mut()) {
            last.error = error;
        }
        failing = error.is_some();
    }
    found
}
