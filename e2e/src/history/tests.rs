//! The checker is checked: good histories pass, and every error that is planted in one is found.

mod plant;

use proptest::prelude::*;

use self::plant::{PLANTS, append, duplicate, swap};
use super::event::{Event, Mark, Outcome, What};
use super::sample::{GROUP, Plan, TOPIC, good};
use super::verdict::{Anomaly, Settings};
use super::{check, gaps};

#[test]
fn a_good_history_passes() {
    let events = good(&Plan::default());
    let verdict = check(&events, &Settings::default());
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!(verdict.sent, 300);
    assert_eq!(verdict.read, 300);
}

#[test]
fn every_planted_error_is_found() {
    let clean = good(&Plan::default());
    for (name, anomaly, plant) in PLANTS {
        let mut planted = 0;
        for pick in 0..40 {
            let mut events = clean.clone();
            if !plant(&mut events, pick * 13) {
                continue;
            }
            planted += 1;
            let verdict = check(&events, &Settings::default());
            assert!(verdict.count(*anomaly) > 0, "{name} at {pick}: {anomaly:?} was not found:\n{verdict}");
        }
        assert!(planted > 0, "{name} was never planted");
    }
}

#[test]
fn every_anomaly_has_a_planted_error() {
    for anomaly in Anomaly::ALL {
        // Waiting too long is planted in tests of its own: it needs a limit.
        let waits = matches!(anomaly, Anomaly::Stuck | Anomaly::Unwatched);
        assert!(waits || PLANTS.iter().any(|(_, planted, _)| *planted == anomaly), "{anomaly:?}");
    }
}

#[test]
fn a_stuck_producer_and_a_stuck_group_are_found() {
    let settings = Settings { stuck_after: Some(1_000_000), ..Settings::default() };
    let clean = good(&Plan::default());
    assert!(check(&clean, &settings).is_good());
    let mut slow = clean.clone();
    for event in &mut slow {
        if event.t_complete > 1500 {
            event.t_invoke = event.t_invoke.map(|invoke| invoke + 2_000_000);
            event.t_complete += 2_000_000;
        }
    }
    assert!(check(&slow, &settings).count(Anomaly::Stuck) >= 3);
    let mut lagging = clean;
    for event in &mut lagging {
        if matches!(event.what, What::Read { group: Some(_), .. } | What::Commit { .. }) {
            event.t_invoke = event.t_invoke.map(|invoke| invoke + 9_000_000);
            event.t_complete += 9_000_000;
        }
    }
    // The group read everything in the end, so only one that stops reading is stuck.
    lagging.retain(|event| !matches!(event.what, What::Read { group: Some(_), offset, .. } if offset > 5));
    for (sequence, after) in [(5000, 10_000_000), (5001, 14_000_000)] {
        let (topic, value, offset) = (TOPIC.into(), format!("p0:{sequence}"), Some(sequence));
        append(
            &mut lagging,
            "p0",
            What::Send { topic, partition: 0, value, offset, outcome: Outcome::Ok, error: None },
        );
        lagging.last_mut().unwrap().t_complete += after;
    }
    assert!(check(&lagging, &settings).cases[&Anomaly::Stuck].iter().any(|case| case.at == GROUP));
}

/// A history with a watcher that asks every 200 ms for 20 s, and is answered when `is_answered` says so.
fn watched(is_answered: impl Fn(u64) -> bool) -> Vec<Event> {
    let mut events = good(&Plan::default());
    for moment in (0..20_000).step_by(200) {
        let (topic, partition, mark) = (TOPIC.into(), 1, Mark::High);
        let what = if is_answered(moment) {
            What::Observe { topic, partition, mark, value: 7 }
        } else {
            What::Unanswered { topic, partition, mark, error: "NOT_LEADER_OR_FOLLOWER".to_owned() }
        };
        let (process, t_invoke, t_complete) = ("blinking".into(), Some(moment * 1000), moment * 1000 + 900);
        events.push(Event { process, t_invoke, t_complete, what });
    }
    events
}

#[test]
fn a_watcher_that_sees_nothing_for_long_is_found() {
    let settings = Settings { stuck_after: Some(5_000_000), ..Settings::default() };
    let blind = |is_answered: fn(u64) -> bool| {
        let verdict = check(&watched(is_answered), &settings);
        verdict.count(Anomaly::Unwatched)
    };
    assert_eq!(blind(|_| true), 0);
    assert_eq!(blind(|moment| moment / 1000 % 4 == 0), 0, "each time for less than is allowed");
    assert_eq!(blind(|moment| !(6_000..12_000).contains(&moment)), 1, "in the middle");
    assert_eq!(blind(|moment| moment < 14_000), 1, "to the end");
    assert_eq!(blind(|moment| moment > 6_000), 1, "from the beginning");
    assert_eq!(blind(|_| false), 1, "always");
    assert_eq!(blind(|moment| moment < 4_000 || moment == 10_000), 2, "twice");
}

#[test]
fn an_answer_that_a_watcher_waits_for_too_long_is_found() {
    let settings = Settings { stuck_after: Some(5_000_000), ..Settings::default() };
    let mut events = watched(|_| true);
    let last = events.last_mut().unwrap();
    last.t_complete += 6_000_000;
    let verdict = check(&events, &settings);
    assert_eq!(verdict.count(Anomaly::Unwatched), 1, "{verdict}");
    assert!(verdict.cases[&Anomaly::Unwatched][0].text.contains("the answer was late"));
}

#[test]
fn producers_without_idempotence_are_excused() {
    let mut events = good(&Plan::default());
    assert!(swap(&mut events, 3));
    assert!(duplicate(&mut events, 8));
    let names = (0..3).map(|producer| format!("p{producer}")).collect();
    let settings = Settings { not_idempotent: names, ..Settings::default() };
    let verdict = check(&events, &settings);
    assert_eq!(verdict.count(Anomaly::OutOfOrder) + verdict.count(Anomaly::Duplicate), 0, "{verdict}");
    assert!(verdict.excused >= 2);
}

#[test]
fn no_more_than_eight_cases_are_kept() {
    let mut events = good(&Plan::default());
    events.retain(|event| !matches!(event.what, What::Stored { .. }));
    let verdict = check(&events, &Settings::default());
    assert!(verdict.count(Anomaly::SplitBrain) > 100);
    assert_eq!(verdict.cases[&Anomaly::SplitBrain].len(), 8);
}

#[test]
fn the_longest_gap_of_each_partition_is_found() {
    let mut events = good(&Plan { partitions: 1, producers: 1, records: 100, moves: 0, seed: 1 });
    for event in events.iter_mut().filter(|event| event.t_complete > 500) {
        event.t_complete += 7_000;
    }
    let found = gaps(&events, 0, u64::MAX);
    assert_eq!(found.len(), 1);
    assert!((7_000..7_200).contains(&found[0].length), "{found:?}");
    assert!(gaps(&events, 0, 100).iter().all(|gap| gap.length < 1_000));
}

#[test]
fn a_large_history_is_judged_quickly() {
    let events = good(&Plan { partitions: 12, producers: 8, records: 20_000, moves: 5, seed: 3 });
    let begin = std::time::Instant::now();
    assert!(check(&events, &Settings::default()).is_good());
    // Hundreds of times what it needs: this only catches a quadratic step.
    assert!(begin.elapsed() < std::time::Duration::from_mins(1));
}

fn plans() -> impl Strategy<Value = Plan> {
    (1_i32..5, 1_u32..5, 20_u32..200, 0_u32..5, any::<u64>())
        .prop_map(|(partitions, producers, records, moves, seed)| Plan { partitions, producers, records, moves, seed })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn good_histories_pass(plan in plans()) {
        let verdict = check(&good(&plan), &Settings::default());
        prop_assert!(verdict.is_good(), "{verdict}");
    }

    #[test]
    fn the_order_of_lines_between_clients_does_not_matter(plan in plans()) {
        let mut events = good(&plan);
        events.sort_by(|a, b| b.process.cmp(&a.process));
        let verdict = check(&events, &Settings::default());
        prop_assert!(verdict.is_good(), "{verdict}");
    }

    #[test]
    fn errors_planted_anywhere_are_found(plan in plans(), which in 0..PLANTS.len(), pick in any::<usize>()) {
        let mut events = good(&plan);
        let (name, anomaly, plant) = PLANTS[which];
        if plant(&mut events, pick) {
            let verdict = check(&events, &Settings::default());
            prop_assert!(verdict.count(anomaly) > 0, "{name}: {anomaly:?} was not found:\n{verdict}");
        }
    }
}
