use sluice_crds::condition::{find, is_true};
use sluice_mesh::name::TopicName;

use super::*;
use crate::testing::fuses;
use crate::topic_fuse::validate;

fn asked(spec: &str) -> Asked {
    validate::asked(&fuses(&[("stop", 1, spec)])).remove(0)
}

fn applied(done: &[&str], stale: &[&str]) -> Applied {
    let names = |names: &[&str]| names.iter().map(|name| ProxyName::new(name).unwrap()).collect::<Vec<_>>();
    let desired = done.len() + stale.len();
    let live = [names(done), names(stale)].concat();
    Applied { live, done: names(done), stale: names(stale), rejected: vec![], lost: vec![], desired }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What a status is computed from, owned: all is well, but for what a test changes.
struct World {
    asked: Asked,
    before: Option<TopicFuseStatus>,
    entry: Option<Fuse>,
    revision: Option<u64>,
    applied: Applied,
    trouble: Option<&'static str>,
    now: Timestamp,
}

impl World {
    fn new(spec: &str) -> Self {
        let asked = asked(spec);
        let entry = asked.entry.clone();
        let applied = applied(&["n1", "n2"], &[]);
        Self { asked, before: None, entry, revision: Some(7), applied, trouble: None, now: at(100) }
    }

    fn status(&self) -> TopicFuseStatus {
        let entry = self.entry.as_ref();
        let published = self.revision.map(|revision| Published { entry, revision, applied: &self.applied });
        status(&Inputs {
            asked: &self.asked,
            before: self.before.as_ref(),
            published,
            publish_trouble: self.trouble,
            now: self.now,
        })
    }

    /// What is told now; it has been told when this returns.
    fn news(&mut self) -> Vec<String> {
        let status = self.status();
        let news = news(&self.asked, self.before.as_ref(), &status, self.revision.unwrap_or(0));
        self.before = Some(status);
        news.iter().map(|news| format!("{}: {}", news.reason, news.message)).collect()
    }
}

/// The conditions as `Type=Status/Reason`.
fn rows(status: &TopicFuseStatus) -> Vec<String> {
    status.conditions.iter().map(|row| format!("{}={}/{}", row.type_, row.status, row.reason)).collect()
}

fn states(status: &TopicFuseStatus) -> (Option<&str>, Option<&str>) {
    let state = |direction: &Option<FuseDirection>| direction.as_ref().map(|direction| direction.state.as_str());
    (state(&status.produce), state(&status.consume))
}

const HOLD: &str = "{topic: orders, produce: {state: Blocked}}";

#[test]
fn a_tripped_fuse_that_works_is_ready() {
    let status = World::new(HOLD).status();
    assert_eq!(
        rows(&status),
        ["Accepted=True/Accepted", "Programmed=True/Programmed", "Ready=True/Programmed", "Tripped=True/Blocked"]
    );
    assert_eq!(states(&status), (Some("Tripped"), Some("Closed")));
    assert_eq!((status.revision, status.observed_generation), (Some(7), Some(1)));
    assert_eq!(status.proxies.as_ref().unwrap().summary, "2/2");
    assert_eq!(status.since, Some(Time(at(100))));
    assert!(status.conditions.iter().all(|row| row.observed_generation == Some(1)));
    let ready = find(&status.conditions, ConditionType::Ready).unwrap();
    assert!(ready.message.contains("writes of topic orders wait"), "{}", ready.message);
}

#[test]
fn a_closed_fuse_is_ready_too() {
    let status = World::new("{topic: orders, produce: {state: Disabled}}").status();
    assert_eq!(
        rows(&status),
        ["Accepted=True/Accepted", "Programmed=True/Programmed", "Ready=True/Programmed", "Tripped=False/Closed"]
    );
    assert_eq!(states(&status), (Some("Closed"), Some("Closed")));
}

#[test]
fn it_is_ready_when_the_last_live_proxy_has_it() {
    let mut world = World::new(HOLD);
    world.applied = applied(&["n1"], &["n2"]);
    world.applied.lost = vec![ProxyName::new("n3").unwrap()];
    world.applied.desired = 3;
    let waiting = world.status();
    assert_eq!(
        rows(&waiting),
        [
            "Accepted=True/Accepted",
            "Programmed=False/WaitingForProxies",
            "Ready=False/WaitingForProxies",
            "Reconciling=True/WaitingForProxies",
            "Tripped=True/Blocked"
        ]
    );
    let message = &find(&waiting.conditions, ConditionType::Reconciling).unwrap().message;
    assert!(message.contains("1 of 3 proxies serve revision 7") && message.contains("waiting for n2"), "{message}");
    assert_eq!(waiting.proxies.as_ref().unwrap().summary, "1/3");
    world.applied.done.append(&mut world.applied.stale);
    let ready = world.status();
    assert!(is_true(&ready.conditions, ConditionType::Ready));
    let message = &find(&ready.conditions, ConditionType::Programmed).unwrap().message;
    assert!(message.contains("no report any more from n3"), "the one that is lost is named: {message}");
}

#[test]
fn a_proxy_that_refuses_the_document_stalls_it() {
    let mut world = World::new(HOLD);
    world.applied = applied(&["n1"], &["n2"]);
    world.applied.rejected = vec![(ProxyName::new("n2").unwrap(), "too new".into())];
    let status = world.status();
    assert_eq!(
        rows(&status)[1..4],
        ["Programmed=False/RejectedByProxy", "Ready=False/RejectedByProxy", "Stalled=True/RejectedByProxy"]
    );
    assert_eq!((status.proxies.as_ref().unwrap().stale, status.proxies.as_ref().unwrap().rejected), (0, 1));
}

#[test]
fn what_is_not_in_the_document_has_not_tripped() {
    let mut world = World::new(HOLD);
    world.entry = None;
    world.trouble = Some("cannot write the mesh document: away");
    let status = world.status();
    assert_eq!(
        rows(&status),
        [
            "Accepted=True/Accepted",
            "Programmed=False/NotPublished",
            "Ready=False/NotPublished",
            "Reconciling=True/NotPublished",
            "Tripped=False/Closed"
        ]
    );
    assert_eq!(states(&status), (Some("Closed"), Some("Closed")));
    assert!(find(&status.conditions, ConditionType::Ready).unwrap().message.contains("away"));
    // And what is still in it has not closed; nor does it do what the spec says if it says something else.
    let mut world = World::new("{topic: orders, produce: {state: Disabled}}");
    world.entry = asked(HOLD).entry;
    assert_eq!(states(&world.status()).0, Some("Tripped"));
    assert!(!is_true(&world.status().conditions, ConditionType::Ready));
    let mut world = World::new("{topic: orders, produce: {state: Blocked, action: Reject}}");
    world.entry = asked(HOLD).entry;
    assert!(!is_true(&world.status().conditions, ConditionType::Ready));
    let tripped = world.status();
    let message = &find(&tripped.conditions, ConditionType::Tripped).unwrap().message;
    assert!(message.contains("NOT_ENOUGH_REPLICAS"), "what is done, not what is asked for: {message}");
}

#[test]
fn before_the_first_document_what_was_known_stays() {
    let mut world = World::new(HOLD);
    world.before = Some(world.status());
    world.revision = None;
    world.now = at(200);
    let status = world.status();
    assert_eq!(states(&status), (Some("Tripped"), Some("Closed")));
    assert_eq!((status.since, status.revision), (Some(Time(at(100))), Some(7)));
    assert!(!is_true(&status.conditions, ConditionType::Ready));
}

#[test]
fn a_refused_spec_stalls_and_the_one_before_stays_in_force() {
    let mut world = World::new(HOLD);
    world.asked.refused =
        Some(Problem { reason: Reason::Invalid, message: "spec.topic: topic cannot be changed".into() });
    assert_eq!(
        rows(&world.status()),
        [
            "Accepted=False/Invalid",
            "Programmed=True/Programmed",
            "Ready=False/Invalid",
            "Stalled=True/Invalid",
            "Tripped=True/Blocked"
        ]
    );
}

#[test]
fn since_stays_while_the_state_stays() {
    let mut world = World::new(HOLD);
    world.before = Some(world.status());
    world.now = at(200);
    world.revision = Some(9);
    world.asked = asked("{topic: orders, produce: {state: Blocked, action: Reject}}");
    world.entry.clone_from(&world.asked.entry);
    assert_eq!(world.status().since, Some(Time(at(100))), "another action is the same state");
    world.asked = asked("{topic: orders, produce: {state: Blocked}, consume: {state: Blocked}}");
    world.entry.clone_from(&world.asked.entry);
    let both = world.status();
    assert_eq!((states(&both), &both.since), ((Some("Tripped"), Some("Tripped")), &Some(Time(at(200)))));
    let tripped = find(&both.conditions, ConditionType::Tripped).unwrap();
    assert_eq!(tripped.last_transition_time.0, at(100), "it was tripped all the time");
    assert!(tripped.message.contains("writes") && tripped.message.contains("answered empty"), "{}", tripped.message);
}

#[test]
fn the_loser_names_the_winner_and_shows_no_state() {
    let resources = fuses(&[("first", 1, HOLD), ("second", 2, HOLD)]);
    let mut world = World::new(HOLD);
    world.asked = validate::asked(&resources).remove(1);
    world.entry = None;
    let status = world.status();
    assert_eq!(
        rows(&status),
        ["Accepted=False/Conflicted", "Ready=False/Conflicted", "Stalled=True/Conflicted", "Tripped=False/Conflicted"]
    );
    assert_eq!((states(&status), status.since.as_ref(), status.observed_generation), ((None, None), None, Some(1)));
    assert!(find(&status.conditions, ConditionType::Accepted).unwrap().message.contains("TopicFuse first"));
    let told = world.news();
    assert!(told.len() == 1 && told[0].starts_with("Conflicted: TopicFuse first"), "{told:?}");
    assert_eq!(world.news(), Vec::<String>::new(), "told once");
}

#[test]
fn every_change_is_told_once() {
    let mut world = World::new(HOLD);
    let told = world.news();
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("Tripped: writes of topic orders wait") && told[0].ends_with("(revision 7)"),
        "{told:?}"
    );
    assert_eq!(world.news(), Vec::<String>::new());
    world.applied = applied(&["n1"], &["n2"]);
    assert_eq!(world.news(), Vec::<String>::new(), "proxies are no news");
    // Writes close and reads trip by one change.
    world.asked = asked("{topic: orders, consume: {state: Blocked}}");
    assert_eq!(world.news(), Vec::<String>::new(), "not before it is published");
    world.entry.clone_from(&world.asked.entry);
    world.revision = Some(8);
    assert_eq!(
        world.news(),
        [
            "Tripped: reads of topic orders are answered empty (revision 8)",
            "Closed: writes of topic orders pass again (revision 8)"
        ]
    );
    world.asked = asked("{topic: orders, consume: {state: Disabled}}");
    world.entry = None;
    world.revision = Some(9);
    assert_eq!(world.news(), ["Closed: reads of topic orders pass again (revision 9)"]);
    // One that is made closed says nothing.
    assert_eq!(World::new("{topic: orders, consume: {state: Disabled}}").news(), Vec::<String>::new());
}

#[test]
fn a_fuse_of_which_nothing_is_known_yet_says_so_once() {
    let mut fuse = fuses(&[("stop", 1, HOLD)]).fuses["stop"].object.clone();
    let first = unread(&fuse, "the ledgers are being read", at(5)).unwrap();
    assert_eq!(
        rows(&first),
        ["Programmed=False/NotPublished", "Ready=False/NotPublished", "Reconciling=True/NotPublished"]
    );
    assert_eq!((states(&first), first.observed_generation), ((None, None), Some(1)));
    // What was known of this very generation stays: a restart of the operator is no news.
    fuse.status = Some(World::new(HOLD).status());
    assert_eq!(unread(&fuse, "the ledgers are being read", at(5)), None);
    fuse.metadata.generation = Some(2);
    let next = unread(&fuse, "the ledgers are being read", at(5)).unwrap();
    assert_eq!((states(&next), next.observed_generation), ((Some("Tripped"), Some("Closed")), Some(2)));
}

#[test]
fn a_sentence_names_all_that_is_stopped() {
    let entry = |produce, consume| Fuse { topic: TopicName::new("t").unwrap(), name: "f".into(), produce, consume };
    assert!(sentence(&entry(Some(FuseAction::Reject), false)).ends_with("refused with POLICY_VIOLATION"));
    assert_eq!(sentence(&entry(None, true)), "reads of topic t are answered empty");
    let both = sentence(&entry(Some(FuseAction::Hold), true));
    assert!(both.contains("NOT_ENOUGH_REPLICAS") && both.contains("; reads"), "{both}");
}
