use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::fixture::{cluster, id, moved};

/// One stay on a cluster, as a test draws it.
#[derive(Debug, Clone)]
struct Stay {
    home: u8,
    /// Elections on arrival and later, each with the number of records written under it.
    runs: Vec<(i32, i64)>,
    /// The topic was deleted there before: a new log.
    recreated: bool,
}

fn stays() -> impl Strategy<Value = Vec<Stay>> {
    // Often no election at all: then a log goes on in the epoch in which it was left.
    let elections = prop_oneof![Just(0), 0..700_i32];
    let runs = prop::collection::vec((elections, 0..40_i64), 1..5);
    let stay = (0..3_u8, runs, any::<bool>()).prop_map(|(home, runs, recreated)| Stay { home, runs, recreated });
    prop::collection::vec(stay, 1..8).prop_map(|mut stays| {
        stays.dedup_by_key(|stay| stay.home);
        stays
    })
}

/// A log on one cluster, as its leader knows it.
#[derive(Debug, Clone, Default)]
struct Log {
    id: u128,
    end: i64,
    epoch: i32,
    /// (epoch, first offset), as a broker keeps them.
    epochs: Vec<(i32, i64)>,
}

impl Log {
    /// What a broker answers to `OffsetForLeaderEpoch`.
    fn end_of(&self, epoch: i32) -> EpochEnd {
        let newest = self.epochs.last().map_or(-1, |(epoch, _)| *epoch);
        if epoch == newest {
            return EpochEnd { epoch, end: self.end };
        }
        let Some((_, end)) = self.epochs.iter().find(|(known, _)| *known > epoch).copied() else {
            return EpochEnd::UNDEFINED;
        };
        let floor = self.epochs.iter().rev().find(|(known, _)| *known <= epoch);
        EpochEnd { epoch: floor.map_or(epoch, |(known, _)| *known), end }
    }
}

/// A partition's history: the chain, the logs behind it, and the virtual log as a client sees it.
#[derive(Debug)]
struct History {
    chain: Chain,
    logs: BTreeMap<(String, u128), Log>,
    /// Virtual (epoch, first offset).
    epochs: Vec<(i32, i64)>,
    end: i64,
    /// The chain after every move.
    all: Vec<Chain>,
}

fn play(stays: &[Stay]) -> History {
    let mut logs: BTreeMap<(String, u128), Log> = BTreeMap::new();
    let mut newest: BTreeMap<u8, u128> = BTreeMap::new();
    let mut history: Option<History> = None;
    for (number, stay) in stays.iter().enumerate() {
        let name = format!("c{}", stay.home);
        let uuid = match newest.get(&stay.home) {
            Some(uuid) if !stay.recreated => *uuid,
            _ => u128::try_from(number).unwrap() + 1,
        };
        newest.insert(stay.home, uuid);
        let mut log = logs.entry((name.clone(), uuid)).or_default().clone();
        log.id = uuid;
        let mut past = match history.take() {
            None => {
                let chain = Chain::single(cluster(&name), Uuid::from_u128(uuid));
                History { chain, logs: BTreeMap::new(), epochs: Vec::new(), end: 0, all: Vec::new() }
            }
            Some(mut past) => {
                let last = past.chain.last().unwrap();
                let cut = CutPoint {
                    physical_end: last.to_physical(past.end),
                    last_epoch: past.epochs.last().map_or(-1, |(epoch, _)| *epoch),
                };
                let to = NewHome {
                    cluster: cluster(&name),
                    topic_id: Uuid::from_u128(uuid),
                    physical_start: log.end,
                    generation: u8::try_from(number).unwrap(),
                };
                past.chain = past.chain.append(cut, to).unwrap();
                past
            }
        };
        let shift = past.chain.last().unwrap().clone();
        for (elections, records) in &stay.runs {
            log.epoch += elections;
            if log.epochs.last().is_none_or(|(epoch, _)| *epoch < log.epoch) {
                log.epochs.push((log.epoch, log.end));
            }
            let epoch = shift.epoch_to_virtual(log.epoch);
            if past.epochs.last().is_none_or(|(known, _)| *known < epoch) {
                past.epochs.push((epoch, past.end));
            }
            log.end += records;
            past.end += records;
        }
        past.all.push(past.chain.clone());
        logs.insert((name, uuid), log);
        history = Some(past);
    }
    let mut history = history.unwrap();
    history.logs = logs;
    history
}

proptest! {
    #[test]
    fn every_chain_of_moves_is_valid_and_contiguous(stays in stays()) {
        let history = play(&stays);
        for chain in &history.all {
            prop_assert_eq!(chain.validate(), Ok(()));
        }
        let mut places = HashSet::new();
        for offset in 0..history.end {
            let (index, segment) = history.chain.segment_at(offset).unwrap();
            let physical = segment.to_physical(offset);
            prop_assert_eq!(segment.to_virtual(physical), offset);
            prop_assert!(physical >= segment.physical_start);
            prop_assert!(segment.physical_end.is_none_or(|end| physical < end));
            prop_assert_eq!(history.chain.segments().iter().filter(|s| s.contains(offset)).count(), 1);
            let log = &history.logs[&(segment.cluster.to_string(), segment.topic_id.as_u128())];
            prop_assert!(physical < log.end);
            // No record at two offsets.
            prop_assert!(places.insert((segment.cluster.clone(), segment.topic_id, physical)), "segment {}", index);
        }
    }

    #[test]
    fn epochs_never_fall(stays in stays()) {
        let history = play(&stays);
        for pair in history.epochs.windows(2) {
            prop_assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1, "{:?}", pair);
        }
        for segment in history.chain.segments() {
            prop_assert_eq!(segment.epoch_to_physical(segment.epoch_to_virtual(3)), 3);
            prop_assert_eq!(segment.epoch_to_virtual(-1), -1);
        }
    }

    #[test]
    fn the_end_of_an_epoch_is_that_of_the_virtual_log(stays in stays(), odd in 0..20_000_i32) {
        let history = play(&stays);
        let ask = |epoch: i32| match history.chain.offset_for_epoch(epoch) {
            EpochLookup::Answer(answer) => answer,
            EpochLookup::Ask { index, epoch: physical, .. } => {
                let segment = &history.chain.segments()[index];
                let log = &history.logs[&(segment.cluster.to_string(), segment.topic_id.as_u128())];
                history.chain.epoch_answer(index, epoch, log.end_of(physical))
            }
        };
        for (position, (epoch, _)) in history.epochs.iter().enumerate() {
            let end = history.epochs.get(position + 1).map_or(history.end, |(_, start)| *start);
            prop_assert_eq!(ask(*epoch).end, end, "epoch {}", epoch);
        }
        let answer = ask(odd);
        prop_assert!(answer.epoch <= odd && answer.end <= history.end, "{:?}", answer);
    }

    #[test]
    fn trimming_changes_nothing_for_what_is_left(stays in stays(), generation in 0..10_u8) {
        let history = play(&stays);
        let trimmed = history.chain.trim(generation);
        prop_assert_eq!(trimmed.validate(), Ok(()));
        prop_assert_eq!(trimmed.last(), history.chain.last());
        for offset in trimmed.start()..history.end {
            prop_assert_eq!(trimmed.segment_at(offset).map(|(_, s)| s), history.chain.segment_at(offset).map(|(_, s)| s));
        }
        if trimmed.start() > 0 {
            prop_assert_eq!(trimmed.segment_at(trimmed.start() - 1), None);
        }
        for segment in trimmed.segments() {
            prop_assert!(segment.generation >= generation || trimmed.segments().len() == 1);
        }
    }

    #[test]
    fn taking_the_last_segment_off_undoes_a_move(stays in stays()) {
        let history = play(&stays);
        for pair in history.all.windows(2) {
            prop_assert_eq!(&pair[1].without_last(), &pair[0]);
        }
    }

    #[test]
    fn no_number_panics(
        start in any::<i64>(), physical_start in any::<i64>(), end in any::<Option<i64>>(),
        epoch_shift in any::<i32>(), offset in any::<i64>(), epoch in any::<i32>(),
    ) {
        let mut segment = Chain::single(cluster("a"), id("a")).0.remove(0);
        (segment.start, segment.physical_start, segment.physical_end) = (start, physical_start, end);
        segment.epoch_shift = epoch_shift;
        let _ = (segment.contains(offset), segment.to_physical(offset), segment.to_virtual(offset), segment.is_empty());
        let _ = (segment.epoch_to_physical(epoch), segment.epoch_to_virtual(epoch));
        let chain = Chain(vec![segment.clone(), segment]);
        let _ = (chain.validate(), chain.offset_for_epoch(epoch), chain.without_last(), chain.trim(3));
        let _ = chain.epoch_answer(0, epoch, EpochEnd { epoch, end: offset });
        let to = NewHome { cluster: cluster("b"), topic_id: id("b"), physical_start: offset, generation: 1 };
        let _ = chain.append(CutPoint { physical_end: offset, last_epoch: epoch }, to);
    }
}

#[test]
fn the_epoch_shift_is_the_next_step_strictly_above() {
    for (last, shift) in [(-1, 1024), (0, 1024), (1023, 1024), (1024, 2048), (2047, 2048), (5000, 5120)] {
        assert_eq!(next_epoch_shift(last), Ok(shift), "after {last}");
    }
    assert_eq!(next_epoch_shift(i32::MAX), Err(ChainError::EpochsExhausted));
}

#[test]
fn special_offsets_pass_unchanged() {
    let chain = moved(900);
    let last = chain.last().unwrap();
    for special in [-1, -2, -3] {
        assert_eq!((last.to_physical(special), last.to_virtual(special)), (special, special));
    }
    assert_eq!((last.to_physical(900), last.to_virtual(7)), (0, 907));
}

#[test]
fn an_offset_at_the_cut_lies_on_the_new_home_and_empty_segments_are_jumped() {
    let back = NewHome { cluster: cluster("east"), topic_id: id("east"), physical_start: 900, generation: 2 };
    let chain = moved(900).append(CutPoint { physical_end: 0, last_epoch: 1030 }, back).unwrap();
    assert_eq!(chain.segment_at(899).unwrap().0, 0);
    assert_eq!(chain.segment_at(900).unwrap().0, 2);
    assert_eq!(chain.next_after(0).unwrap().0, 2);
    assert_eq!(chain.next_after(2), None);
    assert_eq!(chain.by_generation(2).unwrap().0, 2);
    assert_eq!(chain.trim(1).by_generation(2).unwrap().0, 1);
    assert_eq!(chain.epoch_shift(), 2048);
}

#[test]
fn epochs_around_the_cut() {
    let chain = moved(900);
    // Below the first shift that is left.
    assert_eq!(chain.trim(1).offset_for_epoch(3), EpochLookup::Answer(EpochEnd { epoch: 3, end: 900 }));
    assert_eq!(chain.offset_for_epoch(-1), EpochLookup::Answer(EpochEnd::UNDEFINED));
    // The old home: its answer, but never beyond the cut; the cut if it is away.
    let otherwise = Some(EpochEnd { epoch: 3, end: 900 });
    assert_eq!(chain.offset_for_epoch(3), EpochLookup::Ask { index: 0, epoch: 3, otherwise });
    assert_eq!(chain.epoch_answer(0, 3, EpochEnd { epoch: 2, end: 450 }), EpochEnd { epoch: 2, end: 450 });
    assert_eq!(chain.epoch_answer(0, 3, EpochEnd { epoch: 3, end: 1200 }), EpochEnd { epoch: 3, end: 900 });
    assert_eq!(chain.epoch_answer(0, 3, EpochEnd::UNDEFINED), EpochEnd { epoch: 3, end: 900 });
    // The new home.
    assert_eq!(chain.offset_for_epoch(1029), EpochLookup::Ask { index: 1, epoch: 5, otherwise: None });
    assert_eq!(chain.epoch_answer(1, 1029, EpochEnd { epoch: 4, end: 10 }), EpochEnd { epoch: 1028, end: 910 });
    assert_eq!(chain.epoch_answer(1, 1029, EpochEnd::UNDEFINED), EpochEnd { epoch: 1023, end: 900 });
    // Back on the old home: its older epochs end at the way back at the earliest, in this segment's eyes.
    let back = NewHome { cluster: cluster("east"), topic_id: id("east"), physical_start: 900, generation: 2 };
    let back = chain.append(CutPoint { physical_end: 50, last_epoch: 1029 }, back).unwrap();
    assert_eq!(back.epoch_answer(2, 2050, EpochEnd { epoch: 2, end: 450 }), EpochEnd { epoch: 2050, end: 950 });
    assert_eq!(chain.epoch_answer(9, 1029, EpochEnd { epoch: 4, end: 10 }), EpochEnd::UNDEFINED);
}

#[test]
fn what_is_no_chain_is_refused() {
    let break_it = |change: &dyn Fn(&mut Vec<Segment>)| {
        let mut chain = moved(900);
        change(&mut chain.0);
        chain.validate().unwrap_err()
    };
    assert_eq!(break_it(&|s| s.clear()), ChainError::Empty);
    assert_eq!(break_it(&|s| s[1].physical_end = Some(5)), ChainError::ClosedLast { generation: 1 });
    assert_eq!(break_it(&|s| s[0].physical_end = None), ChainError::OpenInside { generation: 0 });
    assert_eq!(break_it(&|s| s[1].start = 899), ChainError::Gap { generation: 1, start: 899, expected: 900 });
    assert_eq!(break_it(&|s| s[0].physical_start = 901), ChainError::Backwards { generation: 0 });
    assert_eq!(break_it(&|s| s[0].physical_start = -1), ChainError::Negative { generation: 0 });
    assert_eq!(break_it(&|s| s[0].start = i64::MAX), ChainError::Backwards { generation: 0 });
    assert_eq!(break_it(&|s| s[1].epoch_shift = 1000), ChainError::EpochShift { generation: 1, shift: 1000 });
    assert_eq!(break_it(&|s| s[1].epoch_shift = 0), ChainError::EpochShift { generation: 1, shift: 0 });
    assert_eq!(break_it(&|s| s[0].epoch_shift = 1024), ChainError::EpochShift { generation: 0, shift: 1024 });
    assert_eq!(break_it(&|s| s[0].generation = 1), ChainError::EpochShift { generation: 1, shift: 0 });
    let overlap = break_it(&|s| (s[1].cluster, s[1].topic_id) = (cluster("east"), id("east")));
    let cluster = cluster("east");
    assert_eq!(overlap, ChainError::Overlap { generation: 1, cluster, physical_start: 0, used: 900 });
    // The same offsets of a log that was deleted and created again are others.
    let mut again = moved(900);
    again.0[1].cluster = again.0[0].cluster.clone();
    assert_eq!(again.validate(), Ok(()));
}

#[test]
fn a_cut_before_the_segments_start_is_refused() {
    let to = NewHome { cluster: cluster("c"), topic_id: id("c"), physical_start: 0, generation: 2 };
    let back = NewHome { cluster: cluster("east"), topic_id: id("east"), physical_start: 950, generation: 2 };
    let chain = moved(900).append(CutPoint { physical_end: 5, last_epoch: 0 }, back).unwrap();
    let cut = CutPoint { physical_end: 949, last_epoch: 0 };
    let third = NewHome { generation: 3, ..to.clone() };
    assert_eq!(chain.append(cut, third), Err(ChainError::Backwards { generation: 2 }));
    let cut = CutPoint { physical_end: 950, last_epoch: 0 };
    assert_eq!(chain.append(cut, to), Err(ChainError::Generation { previous: 2, found: 2 }));
}
