//! How long fences last.

use sluice_mesh::document::{FENCE_MARGIN_MILLIS, Fence};
use sluice_mesh::model::World;
use sluice_testkit::sample::{EAST, FENCED, PLAIN, WorldBuilder};

use super::*;

/// Of the sample's fence: attempt 7.
const LIFETIME: Duration = Duration::from_millis(5_000 + FENCE_MARGIN_MILLIS);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn world(builder: &WorldBuilder) -> World {
    builder.build()
}

fn fenced_again(attempt: u64, hold_millis: u64) -> WorldBuilder {
    let fence = Fence { attempt, hold_millis };
    WorldBuilder::sample().next_revision().edit_topic(FENCED, EAST, |topic| topic.fence = Some(fence))
}

fn told(expired: &[Expired]) -> Vec<(&str, u64)> {
    expired.iter().map(|fence| (fence.topic.as_str(), fence.attempt)).collect()
}

/// Whether this world, with what has expired, holds writes to the topic.
fn holds(fences: &Fences, builder: &WorldBuilder, topic: &str) -> bool {
    let world = World { expired_fences: Arc::clone(fences.expired()), ..world(builder) };
    world.fence(world.model.topic(topic).unwrap()).is_some()
}

#[test]
fn a_fence_lasts_for_its_hold_and_the_margin() {
    let (mut fences, begin) = (Fences::default(), Instant::now());
    assert_eq!(fences.next(), None);
    let sample = WorldBuilder::sample();
    fences.follow(&world(&sample).model, begin);
    assert_eq!(fences.next(), Some(begin + LIFETIME));
    assert_eq!(fences.expire(begin + millis(4_999 + FENCE_MARGIN_MILLIS)), []);
    assert!(holds(&fences, &sample, FENCED));
    assert_eq!(told(&fences.expire(begin + LIFETIME)), [(FENCED, 7)]);
    assert!(!holds(&fences, &sample, FENCED));
    assert_eq!(fences.next(), None);
    assert_eq!(fences.expire(begin + LIFETIME * 2), [], "told once");
}

#[test]
fn a_newer_document_with_the_same_attempt_does_not_restart_the_time() {
    let (mut fences, begin) = (Fences::default(), Instant::now());
    fences.follow(&world(&WorldBuilder::sample()).model, begin);
    let newer = fenced_again(7, 5_000);
    fences.follow(&world(&newer).model, begin + millis(4_000));
    assert_eq!(fences.next(), Some(begin + LIFETIME));
    assert_eq!(told(&fences.expire(begin + LIFETIME)), [(FENCED, 7)]);
    // Nor does it bring back what has expired, whatever hold it states.
    let longer = fenced_again(7, 30_000);
    fences.follow(&world(&longer).model, begin + LIFETIME + millis(1));
    assert!(!holds(&fences, &longer, FENCED));
    assert_eq!((fences.next(), fences.expire(begin + LIFETIME * 9)), (None, vec![]));
}

#[test]
fn another_attempt_has_its_own_time() {
    let (mut fences, begin) = (Fences::default(), Instant::now());
    fences.follow(&world(&WorldBuilder::sample()).model, begin);
    fences.expire(begin + LIFETIME);
    let (again, at) = (fenced_again(8, 1_000), begin + LIFETIME + millis(10));
    fences.follow(&world(&again).model, at);
    assert!(holds(&fences, &again, FENCED));
    assert_eq!(fences.next(), Some(at + millis(1_000 + FENCE_MARGIN_MILLIS)));
    assert_eq!(told(&fences.expire(at + LIFETIME)), [(FENCED, 8)]);
}

#[test]
fn a_fence_that_was_ended_is_forgotten() {
    let (mut fences, begin) = (Fences::default(), Instant::now());
    fences.follow(&world(&WorldBuilder::sample()).model, begin);
    fences.expire(begin + LIFETIME);
    let ended = WorldBuilder::sample().next_revision().edit_topic(FENCED, EAST, |topic| topic.fence = None);
    fences.follow(&world(&ended).model, begin + LIFETIME);
    assert!(fences.expired().is_empty() && fences.next().is_none());
}

#[test]
fn each_fence_has_its_own_time() {
    let (mut fences, begin) = (Fences::default(), Instant::now());
    fences.follow(&world(&WorldBuilder::sample()).model, begin);
    let both = WorldBuilder::sample()
        .next_revision()
        .edit_topic(PLAIN, EAST, |topic| topic.fence = Some(Fence { attempt: 1, hold_millis: 5_000 }));
    fences.follow(&world(&both).model, begin + millis(2_000));
    assert_eq!(told(&fences.expire(begin + LIFETIME)), [(FENCED, 7)]);
    assert!(holds(&fences, &both, PLAIN) && !holds(&fences, &both, FENCED));
    assert_eq!(fences.next(), Some(begin + millis(2_000) + LIFETIME));
    assert_eq!(told(&fences.expire(begin + LIFETIME * 2)), [(PLAIN, 1)]);
    assert!(!holds(&fences, &both, PLAIN) && !holds(&fences, &both, FENCED));
}

#[test]
fn a_hold_beyond_all_time_is_no_panic() {
    let (mut fences, begin) = (Fences::default(), Instant::now());
    let endless = fenced_again(9, u64::MAX);
    fences.follow(&world(&endless).model, begin);
    assert_eq!(fences.expire(begin + LIFETIME), []);
    assert!(holds(&fences, &endless, FENCED));
}
