//! Errors to plant in a good history.

#![allow(clippy::ptr_arg, reason = "all plants have one signature")]

use crate::history::event::{Event, Mark, Name, Outcome, What};
use crate::history::sample::{GROUP, TOPIC};
use crate::history::verdict::Anomaly;

/// Plants one error; false if this history has no room for it. `pick` chooses the place.
pub(super) type Plant = fn(&mut Vec<Event>, usize) -> bool;

/// What is planted, and what must be found.
pub(super) const PLANTS: &[(&str, Anomaly, Plant)] = &[
    ("acknowledgement restamped", Anomaly::InconsistentOffset, restamp_ack),
    ("read restamped", Anomaly::InconsistentOffset, restamp_value),
    ("record written twice", Anomaly::Duplicate, duplicate),
    ("record in two partitions", Anomaly::Duplicate, duplicate_elsewhere),
    ("record dropped", Anomaly::LostWrite, drop_record),
    ("tail dropped", Anomaly::Unseen, drop_tail),
    ("partition never read", Anomaly::Unseen, forget_partition),
    ("failed record read", Anomaly::GhostWrite, fail_send),
    ("record from nowhere", Anomaly::UnknownValue, forget_send),
    ("offset skipped", Anomaly::Hole, hole),
    ("records swapped", Anomaly::OutOfOrder, swap),
    ("offset handed out late", Anomaly::LateOffset, late),
    ("reads swapped", Anomaly::ReadBackwards, swap_reads),
    ("record read twice", Anomaly::ReadBackwards, repeat_read),
    ("read dropped", Anomaly::ReadSkip, drop_read),
    ("high watermark falls", Anomaly::WatermarkRegress, |e, p| lower(e, p, Mark::High)),
    ("last stable offset falls", Anomaly::WatermarkRegress, |e, p| lower(e, p, Mark::Stable)),
    ("end below an acknowledged record", Anomaly::WatermarkRegress, low_end),
    ("log start falls", Anomaly::WatermarkRegress, |e, p| lower(e, p, Mark::LogStart)),
    ("earliest offset falls", Anomaly::WatermarkRegress, |e, p| lower(e, p, Mark::Earliest)),
    ("latest offset falls", Anomaly::WatermarkRegress, |e, p| lower(e, p, Mark::Latest)),
    ("offset by time falls", Anomaly::WatermarkRegress, |e, p| lower(e, p, Mark::ByTime)),
    ("offset of the highest timestamp falls", Anomaly::WatermarkRegress, |e, p| lower(e, p, Mark::MaxTimestamp)),
    ("leader epoch of the end falls", Anomaly::EpochRegress, |e, p| lower(e, p, Mark::LatestEpoch)),
    ("leader epoch falls in time", Anomaly::EpochRegress, |e, p| lower(e, p, Mark::Epoch)),
    ("epoch falls along the log", Anomaly::EpochRegress, restamp_epoch),
    ("truncation that was none", Anomaly::EpochRegress, epoch_end),
    ("run begins one late", Anomaly::OffsetBreak, shift_run),
    ("record behind the cut", Anomaly::OffsetBreak, longer_log),
    ("run changed afterwards", Anomaly::OffsetBreak, change_run),
    ("run never closed", Anomaly::OffsetBreak, open_run),
    ("stray record on the old cluster", Anomaly::SplitBrain, stray),
    ("two values for one offset on two clusters", Anomaly::SplitBrain, other_stored),
    ("record missing on its cluster", Anomaly::SplitBrain, drop_stored),
    ("committed beyond what was processed", Anomaly::CommitTooFar, commit_too_far),
    ("committed back", Anomaly::GroupDrift, commit_back),
    ("committed position lost", Anomaly::GroupDrift, |e, p| committed(e, p, |_| None)),
    ("committed position lower", Anomaly::GroupDrift, |e, p| committed(e, p, |o| Some(o - 1))),
    ("committed position from nowhere", Anomaly::GroupDrift, |e, p| committed(e, p, |o| Some(o + 1_000_000))),
    ("record passed over by the group", Anomaly::GroupSkip, group_skip),
    ("member begins too low", Anomaly::GroupRewind, rewind),
    ("sequence refused", Anomaly::ProducerState, refuse),
    ("producer fenced", Anomaly::ProducerState, |e, _| error(e, "ProducerFencedException", true)),
    ("client gave up", Anomaly::FatalError, |e, _| error(e, "Fatal", true)),
];

fn find(events: &[Event], pick: usize, wanted: impl Fn(&What) -> bool) -> Option<usize> {
    let places: Vec<usize> = (0..events.len()).filter(|place| wanted(&events[*place].what)).collect();
    (!places.is_empty()).then(|| places[pick % places.len()])
}

/// Value, partition and offset of an acknowledged send that has a successor by the same producer in its partition.
fn acked(events: &[Event], pick: usize) -> Option<(usize, String, i32, i64)> {
    let place = find(events, pick, |what| matches!(what, What::Send { outcome: Outcome::Ok, .. }))?;
    let What::Send { value, partition, offset: Some(offset), .. } = &events[place].what else { return None };
    Some((place, value.clone(), *partition, *offset))
}

fn end_of(events: &[Event], of: i32) -> i64 {
    let ends = events.iter().filter_map(|event| match &event.what {
        What::CaughtUp { partition, end, .. } if *partition == of => Some(*end),
        _ => None,
    });
    ends.max().unwrap()
}

pub(super) fn append(events: &mut Vec<Event>, process: &str, what: What) {
    let now = events.iter().map(|event| event.t_complete).max().unwrap_or(0) + 10;
    events.push(Event { process: process.into(), t_invoke: Some(now), t_complete: now + 5, what });
}

fn a_read(partition: i32, offset: i64, value: &str) -> What {
    What::Read { topic: TOPIC.into(), partition, session: 1, offset, epoch: None, value: value.to_owned(), group: None }
}

fn restamp_ack(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((place, _, partition, old)) = acked(events, pick) else { return false };
    if end_of(events, partition) < 2 {
        return false;
    }
    if let What::Send { offset, .. } = &mut events[place].what {
        *offset = Some(if old == 0 { 1 } else { old - 1 });
    }
    true
}

fn restamp_value(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Read { .. })) else { return false };
    if let What::Read { value, .. } = &mut events[place].what {
        "p9:1".clone_into(value);
    }
    true
}

pub(super) fn duplicate(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((_, value, partition, _)) = acked(events, pick) else { return false };
    let end = end_of(events, partition);
    append(events, "late", a_read(partition, end, &value));
    true
}

fn duplicate_elsewhere(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((_, value, partition, offset)) = acked(events, pick) else { return false };
    append(events, "late", a_read(partition + 1, offset, &value));
    true
}

fn drop_record(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((_, dropped, partition, offset)) = acked(events, pick) else { return false };
    if offset + 1 == end_of(events, partition) {
        return false;
    }
    events.retain(|event| !matches!(&event.what, What::Read { value, .. } if *value == dropped));
    true
}

fn drop_tail(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((_, _, of, _)) = acked(events, pick) else { return false };
    let last = end_of(events, of) - 1;
    let is_acked = events.iter().any(|event| {
        matches!(&event.what, What::Send { partition, offset: Some(offset), .. } if *partition == of && *offset == last)
    });
    events.retain(
        |event| !matches!(&event.what, What::Read { partition, offset, .. } if *partition == of && *offset == last),
    );
    is_acked
}

/// All readers stay away from one partition.
fn forget_partition(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((_, _, of, _)) = acked(events, pick) else { return false };
    events.retain(|event| match &event.what {
        What::Read { partition, .. } | What::CaughtUp { partition, .. } => *partition != of,
        _ => true,
    });
    events.iter().any(|event| matches!(event.what, What::CaughtUp { .. }))
}

fn fail_send(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((place, ..)) = acked(events, pick) else { return false };
    if let What::Send { outcome, offset, .. } = &mut events[place].what {
        (*outcome, *offset) = (Outcome::Fail, None);
    }
    true
}

fn forget_send(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((place, ..)) = acked(events, pick) else { return false };
    events.remove(place);
    true
}

fn hole(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((_, gone, partition, offset)) = acked(events, pick) else { return false };
    if offset == 0 || offset + 1 == end_of(events, partition) {
        return false;
    }
    events.retain(|event| match &event.what {
        What::Send { value, .. } | What::Read { value, .. } | What::Stored { value, .. } => *value != gone,
        _ => true,
    });
    true
}

pub(super) fn swap(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((_, first, of, low)) = acked(events, pick) else { return false };
    let (producer, _) = What::parse_value(&first).unwrap();
    let later = events.iter().find_map(|event| match &event.what {
        What::Send { value, partition, offset: Some(offset), .. }
            if *partition == of && *offset > low && What::parse_value(value).unwrap().0 == producer =>
        {
            Some(value.clone())
        }
        _ => None,
    });
    let Some(second) = later else { return false };
    let exchange = |value: &mut String| {
        if *value == first {
            value.clone_from(&second);
        } else if *value == second {
            value.clone_from(&first);
        }
    };
    for event in events {
        match &mut event.what {
            What::Send { value, .. } | What::Read { value, .. } | What::Stored { value, .. } => exchange(value),
            _ => {}
        }
    }
    true
}

fn late(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((place, _, of, low)) = acked(events, pick) else { return false };
    let higher = events.iter().find_map(|event| match &event.what {
        What::Send { partition, offset: Some(offset), .. } if *partition == of && *offset > low => {
            Some(event.t_complete)
        }
        _ => None,
    });
    let Some(complete) = higher else { return false };
    events[place].t_invoke = Some(complete + 1);
    events[place].t_complete = complete + 2;
    true
}

/// Two reads of one reader in one partition that follow on each other.
fn two_reads(events: &[Event], pick: usize) -> Option<(usize, usize)> {
    let first = find(events, pick, |what| matches!(what, What::Read { .. }))?;
    let What::Read { partition, session, .. } = &events[first].what else { return None };
    let second = (first + 1..events.len()).find(|place| {
        events[*place].process == events[first].process
            && matches!(&events[*place].what, What::Read { partition: p, session: s, .. } if p == partition && s == session)
    })?;
    Some((first, second))
}

fn swap_reads(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((first, second)) = two_reads(events, pick) else { return false };
    events.swap(first, second);
    true
}

fn repeat_read(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Read { .. })) else { return false };
    let again = events[place].clone();
    events.insert(place, again);
    true
}

fn drop_read(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((_, second)) = two_reads(events, pick) else { return false };
    if two_reads_from(events, second).is_none() {
        return false;
    }
    events.remove(second);
    true
}

fn two_reads_from(events: &[Event], first: usize) -> Option<usize> {
    let What::Read { partition, session, .. } = &events[first].what else { return None };
    (first + 1..events.len()).find(|place| {
        events[*place].process == events[first].process
            && matches!(&events[*place].what, What::Read { partition: p, session: s, .. } if p == partition && s == session)
    })
}

fn lower(events: &mut Vec<Event>, pick: usize, of: Mark) -> bool {
    // Below 0 the offset of the highest timestamp says nothing.
    let floor = if of == Mark::MaxTimestamp { 1 } else { i64::MIN };
    let fits = |what: &What| matches!(what, What::Observe { mark, value, .. } if *mark == of && *value >= floor);
    let Some(place) = find(events, pick, fits) else { return false };
    let What::Observe { partition, value, topic, .. } = events[place].what.clone() else { return false };
    let process = events[place].process.clone();
    append(events, process.as_str(), What::Observe { topic, partition, mark: of, value: value - 1 });
    true
}

fn low_end(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((_, _, partition, offset)) = acked(events, pick) else { return false };
    append(events, "other", What::Observe { topic: TOPIC.into(), partition, mark: Mark::Latest, value: offset });
    true
}

fn restamp_epoch(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((_, second)) = two_reads(events, pick) else { return false };
    let What::Read { epoch: Some(epoch), .. } = &mut events[second].what else { return false };
    *epoch -= 1;
    true
}

fn epoch_end(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Read { epoch: Some(_), .. })) else {
        return false;
    };
    let What::Read { topic, partition, epoch: Some(epoch), offset, .. } = events[place].what.clone() else {
        return false;
    };
    append(events, "fresh", What::EpochEnd { topic, partition, epoch, end: offset });
    true
}

fn shift_run(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Segment { index, .. } if *index > 0)) else {
        return false;
    };
    if let What::Segment { start, .. } = &mut events[place].what {
        *start += 1;
    }
    true
}

/// The last run of a cluster, if it is closed: (cluster, partition, its end).
fn closed_run(events: &[Event], pick: usize) -> Option<(Name, i32, i64)> {
    let place = find(events, pick, |what| matches!(what, What::Segment { physical_end: Some(_), .. }))?;
    let What::Segment { cluster, partition, index, physical_end: Some(end), .. } = &events[place].what else {
        return None;
    };
    let later = events.iter().any(|event| {
        matches!(&event.what, What::Segment { cluster: c, partition: p, index: i, .. }
            if c == cluster && p == partition && i > index)
    });
    (!later).then(|| (cluster.clone(), *partition, *end))
}

fn longer_log(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((on, of, _)) = closed_run(events, pick) else { return false };
    for event in events {
        if let What::StoredEnd { cluster, partition, end, .. } = &mut event.what
            && (&*cluster, *partition) == (&on, of)
        {
            *end += 1;
        }
    }
    true
}

fn change_run(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Segment { .. })) else { return false };
    let mut what = events[place].what.clone();
    if let What::Segment { physical_start, .. } = &mut what {
        *physical_start += 1;
    }
    append(events, "chain", what);
    true
}

fn open_run(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Segment { physical_end: Some(_), .. })) else {
        return false;
    };
    if let What::Segment { physical_end, .. } = &mut events[place].what {
        *physical_end = None;
    }
    true
}

fn stray(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some((cluster, partition, end)) = closed_run(events, pick) else { return false };
    let what = What::Stored { cluster, topic: TOPIC.into(), partition, offset: end, value: "p0:999999".to_owned() };
    append(events, "storage", what);
    true
}

fn other_stored(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Stored { .. })) else { return false };
    if let What::Stored { value, .. } = &mut events[place].what {
        value.push('0');
    }
    true
}

fn drop_stored(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Stored { .. })) else { return false };
    events.remove(place);
    true
}

fn commit_too_far(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Commit { .. })) else { return false };
    let What::Commit { partition: of, .. } = events[place].what else { return false };
    // One beyond what any member had in hand by then.
    let in_hand = events.iter().filter(|event| Some(event.t_complete) <= events[place].t_invoke);
    let highest = in_hand.filter_map(|event| match &event.what {
        What::Read { group: Some(_), partition, offset, .. } if *partition == of => Some(*offset),
        _ => None,
    });
    let highest = highest.max().unwrap();
    if let What::Commit { offset, .. } = &mut events[place].what {
        *offset = highest + 2;
    }
    true
}

fn commit_back(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Commit { .. })) else { return false };
    let mut what = events[place].what.clone();
    if let What::Commit { offset, .. } = &mut what {
        *offset -= 1;
    }
    append(events, "m1", what);
    true
}

fn committed(events: &mut Vec<Event>, pick: usize, change: fn(i64) -> Option<i64>) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Commit { .. })) else { return false };
    let What::Commit { topic, partition, offset, .. } = events[place].what.clone() else { return false };
    append(events, "asker", What::Committed { group: GROUP.into(), topic, partition, offset: change(offset) });
    true
}

fn group_skip(events: &mut Vec<Event>, pick: usize) -> bool {
    let is_member = |what: &What| matches!(what, What::Read { group: Some(_), offset, .. } if *offset > 0);
    let Some(place) = find(events, pick, is_member) else { return false };
    let What::Read { partition: of, offset: gone, .. } = events[place].what else { return false };
    if gone + 1 == end_of(events, of) {
        return false;
    }
    events.retain(|event| {
        !matches!(&event.what, What::Read { group: Some(_), partition, offset, .. } if *partition == of && *offset == gone)
    });
    true
}

fn rewind(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Commit { .. })) else { return false };
    let What::Commit { topic, partition, offset, .. } = events[place].what.clone() else { return false };
    let group = Some(Name::from(GROUP));
    let value = events.iter().find_map(|event| match &event.what {
        What::Read { partition: p, offset: o, value, .. } if *p == partition && *o == offset - 1 => Some(value.clone()),
        _ => None,
    });
    let assign = What::Assign { topic: topic.clone(), partition, session: 9, group: group.clone(), offset: None };
    append(events, "m0", assign);
    let (offset, value) = (offset - 1, value.unwrap());
    append(events, "m0", What::Read { topic, partition, session: 9, offset, epoch: None, value, group });
    true
}

fn refuse(events: &mut Vec<Event>, pick: usize) -> bool {
    let Some(place) = find(events, pick, |what| matches!(what, What::Send { outcome: Outcome::Info, .. })) else {
        return false;
    };
    if let What::Send { error, .. } = &mut events[place].what {
        *error = Some("OutOfOrderSequenceNumber".to_owned());
    }
    true
}

fn error(events: &mut Vec<Event>, code: &str, fatal: bool) -> bool {
    append(events, "p0", What::Error { code: code.to_owned(), fatal, text: "planted".to_owned() });
    true
}
