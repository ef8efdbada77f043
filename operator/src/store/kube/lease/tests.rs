use proptest::prelude::*;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

fn held_by(holder: &str, renewed: i64) -> Lease {
    let mut lease = taken(None, holder, at(0));
    lease.spec.as_mut().unwrap().renew_time = Some(MicroTime(at(renewed)));
    lease
}

#[test]
fn what_is_nobodys_is_taken_at_once() {
    let now = Instant::now();
    assert_eq!(decide(&mut Observed::default(), None, "me", now), Decision::Take);
    let free = released(&held_by("other", 0));
    assert_eq!(decide(&mut Observed::default(), Some(&free), "me", now), Decision::Take);
    let mine = held_by("me", 0);
    assert_eq!(decide(&mut Observed::default(), Some(&mine), "me", now), Decision::Take);
}

#[test]
fn the_wall_clock_in_the_lease_says_nothing() {
    let now = Instant::now();
    for renewed in [0, 1_900_000_000_000, -5_000_000] {
        let lease = held_by("other", renewed);
        assert_eq!(decide(&mut Observed::default(), Some(&lease), "me", now), Decision::Wait(DURATION));
    }
}

#[test]
fn a_holder_cannot_claim_it_for_a_day() {
    let mut lease = held_by("other", 0);
    for (said, meant) in [(86_400, 60), (0, 1), (-7, 5), (7, 7)] {
        lease.spec.as_mut().unwrap().lease_duration_seconds = Some(said);
        let wait = decide(&mut Observed::default(), Some(&lease), "me", Instant::now());
        assert_eq!(wait, Decision::Wait(Duration::from_secs(meant)), "{said}");
    }
}

#[test]
fn taking_counts_and_keeps_the_version_that_was_seen() {
    let mut before = held_by("other", 0);
    before.metadata.resource_version = Some("7".into());
    before.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    let mine = taken(Some(&before), "me", at(9));
    assert_eq!(mine.metadata.resource_version.as_deref(), Some("7"));
    assert_eq!(mine.metadata.labels, before.metadata.labels);
    assert_eq!(mine.spec.as_ref().unwrap().lease_transitions, Some(1));
    assert_eq!(standing(&mine, "me"), Standing::Mine);
    assert_eq!(standing(&mine, "other"), Standing::Other("me".into()));
    let again = renewed(&mine, "me", at(10));
    assert_eq!(again.spec.as_ref().unwrap().acquire_time, Some(MicroTime(at(9))));
    assert_eq!(again.spec.as_ref().unwrap().renew_time, Some(MicroTime(at(10))));
    assert_eq!(standing(&released(&again), "me"), Standing::Free);
}

proptest! {
    /// Looks at random times at a holder that renews at random times: the candidate takes over exactly when it has seen
    /// no change for the whole duration.
    #[test]
    fn a_candidate_takes_over_after_the_duration_of_silence_and_never_before(
        steps in prop::collection::vec((1_u64..3_200, prop::bool::weighted(0.2)), 1..60),
    ) {
        let start = Instant::now();
        let mut observed = Observed::default();
        let (mut clock, mut renewals) = (Duration::ZERO, 0);
        let mut changed_at = None;
        for (pause, renews) in steps {
            clock += Duration::from_millis(pause);
            if renews {
                renewals += 1;
            }
            // Who looked away for too long begins anew.
            if renews || changed_at.is_none() || pause > 3_000 {
                changed_at = Some(clock);
            }
            let lease = held_by("other", renewals);
            let silent = clock.saturating_sub(changed_at.unwrap());
            let decision = decide(&mut observed, Some(&lease), "me", start + clock);
            if silent >= DURATION {
                prop_assert_eq!(decision, Decision::Take);
            } else {
                prop_assert_eq!(decision, Decision::Wait(DURATION.saturating_sub(silent)));
            }
        }
    }
}
