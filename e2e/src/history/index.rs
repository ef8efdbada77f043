//! The history sorted out by partition, once, for all checks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::event::{Event, Outcome, What};
use super::verdict::Settings;

/// Topic and partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A send that is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) process: &'a str,
    pub(super) invoke: Option<u64>,
    pub(super) complete: u64,
    pub(super) value: &'a str,
    pub(super) offset: Option<i64>,
    pub(super) outcome: Outcome,
}

/// A record that was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) process: &'a str,
    pub(super) complete: u64,
    pub(super) session: u32,
    pub(super) offset: i64,
    pub(super) epoch: Option<i32>,
    pub(super) group: Option<&'a str>,
    /// Position in the history: events of one client are recorded in its order.
    pub(super) place: usize,
}

/// One partition's part of the history.
#[derive(Debug, Default)]
pub(super) struct Partition<'a> {
    pub(super) sends: Vec<Sent<'a>>,
    pub(super) reads: Vec<Seen<'a>>,
    /// Values at each offset, by acknowledgement and by read; one almost always.
    pub(super) values_at: BTreeMap<i64, Vec<&'a str>>,
    /// Offsets of each value.
    pub(super) offsets_of: HashMap<&'a str, Vec<i64>>,
    pub(super) values_read: HashSet<&'a str>,
    /// The highest end that a reader from the beginning caught up with.
    pub(super) caught_up: Option<i64>,
    pub(super) highest_read: Option<i64>,
    pub(super) lowest_read: Option<i64>,
}

impl<'a> Partition<'a> {
    fn place(&mut self, value: &'a str, offset: i64) {
        let values = self.values_at.entry(offset).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
        let offsets = self.offsets_of.entry(value).or_default();
        if !offsets.contains(&offset) {
            offsets.push(offset);
        }
    }

    /// The number of known offsets in `from..to`, looked at no further than the first few.
    pub(super) fn known_between(&self, from: i64, to: i64) -> Option<(i64, &'a str)> {
        if from >= to {
            return None;
        }
        self.values_at.range(from..to).next().map(|(offset, values)| (*offset, values[0]))
    }
}

/// The history, sorted out.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub(super) events: &'a [Event],
    pub(super) settings: &'a Settings,
    pub(super) partitions: BTreeMap<Key<'a>, Partition<'a>>,
    /// How the send of each (topic, value) ended, whatever its partition: a failed one may never have had one.
    pub(super) outcomes: HashMap<(&'a str, &'a str), Outcome>,
    /// Topics of which a reader from the beginning caught up with some partition: with the others it should have, too.
    pub(super) read_to_the_end: HashSet<&'a str>,
}

impl<'a> Index<'a> {
    pub(super) fn new(events: &'a [Event], settings: &'a Settings) -> Self {
        let mut partitions: BTreeMap<Key<'a>, Partition<'a>> = BTreeMap::new();
        let mut outcomes = HashMap::new();
        let mut read_to_the_end = HashSet::new();
        for (place, event) in events.iter().enumerate() {
            match &event.what {
                What::Send { topic, partition, value, offset, outcome, .. } => {
                    let entry = partitions.entry(Key { topic: topic.as_str(), partition: *partition }).or_default();
                    entry.sends.push(Sent {
                        process: event.process.as_str(),
                        invoke: event.t_invoke,
                        complete: event.t_complete,
                        value,
                        offset: *offset,
                        outcome: *outcome,
                    });
                    outcomes.insert((topic.as_str(), value.as_str()), *outcome);
                    if let (Some(offset), Outcome::Ok) = (offset, outcome) {
                        entry.place(value, *offset);
                    }
                }
                What::Read { topic, partition, session, offset, epoch, value, group } => {
                    let entry = partitions.entry(Key { topic: topic.as_str(), partition: *partition }).or_default();
                    entry.reads.push(Seen {
                        process: event.process.as_str(),
                        complete: event.t_complete,
                        session: *session,
                        offset: *offset,
                        epoch: *epoch,
                        group: group.as_ref().map(super::event::Name::as_str),
                        place,
                    });
                    entry.place(value, *offset);
                    entry.values_read.insert(value);
                    entry.highest_read = entry.highest_read.max(Some(*offset));
                    entry.lowest_read = Some(entry.lowest_read.map_or(*offset, |lowest| lowest.min(*offset)));
                }
                What::CaughtUp { topic, partition, end } => {
                    let entry = partitions.entry(Key { topic: topic.as_str(), partition: *partition }).or_default();
                    entry.caught_up = entry.caught_up.max(Some(*end));
                    read_to_the_end.insert(topic.as_str());
                }
                _ => {}
            }
        }
        Self { events, settings, partitions, outcomes, read_to_the_end }
    }

    /// Whether the producer of this value promises order and uniqueness.
    pub(super) fn is_idempotent(&self, value: &str) -> bool {
        What::parse_value(value).is_none_or(|(producer, _)| !self.settings.not_idempotent.contains(producer))
    }
}

/// The largest value over everything completed strictly before a moment, in O(log n) after sorting once.
#[derive(Debug, Default)]
pub(super) struct Before {
    times: Vec<u64>,
    highest: Vec<i64>,
}

impl Before {
    /// From (time of completion, value), in any order.
    pub(super) fn new(mut points: Vec<(u64, i64)>) -> Self {
        points.sort_unstable();
        let mut before = Self::default();
        let mut highest = i64::MIN;
        for (time, value) in points {
            highest = highest.max(value);
            before.times.push(time);
            before.highest.push(highest);
        }
        before
    }

    /// The largest value completed strictly before `moment`.
    pub(super) fn at(&self, moment: u64) -> Option<i64> {
        let count = self.times.partition_point(|time| *time < moment);
        count.checked_sub(1).map(|last| self.highest[last])
    }
}
