use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::testing::fuses;

const BLOCKED: &str = "{topic: orders, produce: {state: Blocked}}";

/// What the document carries, as `topic=name:writes/reads`.
fn rows(resources: &Resources) -> Vec<String> {
    let row = |fuse: &Fuse| format!("{}={}:{:?}/{}", fuse.topic, fuse.name, fuse.produce, fuse.consume);
    entries(&asked(resources)).iter().map(row).collect()
}

#[test]
fn what_is_blocked_is_carried_sorted_by_topic_and_what_is_not_is_left_out() {
    let resources = fuses(&[
        ("a", 1, "{topic: orders, produce: {state: Blocked}, consume: {state: Disabled}}"),
        ("b", 2, "{topic: carts, produce: {state: Blocked, action: Reject}, consume: {state: Blocked}}"),
        ("c", 3, "{topic: bills, produce: {state: Disabled, action: Reject}, consume: {state: Blocked}}"),
        ("d", 4, "{topic: users, produce: {state: Disabled}}"),
    ]);
    assert_eq!(rows(&resources), ["bills=c:None/true", "carts=b:Some(Reject)/true", "orders=a:Some(Hold)/false"]);
    assert_eq!(rows(&Resources::default()), Vec::<String>::new());
}

#[test]
fn the_oldest_wins_then_the_name_and_the_loser_learns_the_winner() {
    let blocked = |list: &[(&str, i64)]| {
        let list: Vec<_> = list.iter().map(|(name, age)| (*name, *age, BLOCKED)).collect();
        fuses(&list)
    };
    for (list, winner) in [([("a", 2), ("b", 1)], "b"), ([("b", 1), ("a", 1)], "a")] {
        let asked = asked(&blocked(&list));
        let (won, lost): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.lost.is_none());
        assert_eq!(won.iter().map(|won| won.name()).collect::<Vec<_>>(), [winner]);
        let problem = lost[0].lost.as_ref().unwrap();
        assert_eq!((lost.len(), lost[0].entry.as_ref(), problem.reason), (1, None, Reason::Conflicted));
        assert!(problem.message.contains(&format!("TopicFuse {winner} is older")), "{problem:?}");
    }
}

#[test]
fn an_older_fuse_that_stops_nothing_still_has_the_topic() {
    let resources = fuses(&[("a", 1, "{topic: orders, produce: {state: Disabled}}"), ("b", 2, BLOCKED)]);
    assert_eq!(rows(&resources), Vec::<String>::new());
    assert_eq!(asked(&resources)[1].lost.as_ref().unwrap().reason, Reason::Conflicted);
    let mut alone = resources;
    alone.fuses.remove("a");
    assert_eq!(rows(&alone), ["orders=b:Some(Hold)/false"]);
}

#[test]
fn one_that_is_refused_goes_on_as_before_and_one_that_is_being_deleted_has_closed() {
    let mut resources = fuses(&[("a", 1, BLOCKED)]);
    Arc::make_mut(resources.fuses.get_mut("a").unwrap()).refused = Some("spec.topic: cannot be changed".into());
    let found = &asked(&resources)[0];
    assert_eq!(found.refused.as_ref().unwrap().reason, Reason::Invalid);
    assert!(found.entry.is_some() && found.lost.is_none());
    let object = &mut Arc::make_mut(resources.fuses.get_mut("a").unwrap()).object;
    object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(rows(&resources), Vec::<String>::new());
}

#[test]
fn a_topic_that_cannot_be_one_does_not_stop_the_others() {
    let resources = fuses(&[("a", 1, "{topic: 'a b', consume: {state: Blocked}}"), ("b", 2, BLOCKED)]);
    assert_eq!(rows(&resources), ["orders=b:Some(Hold)/false"]);
    assert_eq!(asked(&resources)[0].lost.as_ref().unwrap().reason, Reason::Invalid);
}
