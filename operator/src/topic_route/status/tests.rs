use std::time::Duration;

use sluice_crds::condition::{find, is_true};
use sluice_crds::topic_route::{ClusterRef, TopicRouteSpec};
use sluice_mesh::chain::{CutPoint, NewHome};
use sluice_mesh::name::{ClusterName, ProxyName};
use uuid::Uuid;

use super::*;
use crate::topic_route::situation::{Memory, Wanted};

fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

fn route() -> TopicRoute {
    let spec = TopicRouteSpec {
        topic: "orders".to_owned(),
        cluster_ref: ClusterRef { name: "west".to_owned() },
        ..TopicRouteSpec::default()
    };
    let mut route = TopicRoute::new("orders", spec);
    route.metadata.generation = Some(3);
    route
}

fn situation(serving: &str) -> Situation {
    Situation {
        now: 5_000,
        wanted: Some(Wanted { to: cluster("west"), pause_budget: Duration::from_secs(5) }),
        serving: cluster(serving),
        home: cluster("east"),
        standing: Standing::Fresh,
        turn: true,
        memory: Memory::default(),
    }
}

fn inputs<'a>(route: &'a TopicRoute, situation: &'a Situation, last: &'a LastMove) -> Inputs<'a> {
    Inputs {
        route,
        situation: Some(situation),
        problem: None,
        refused: None,
        unresolved: None,
        ledger: None,
        last,
        revision: None,
        now: Timestamp::from_second(5).unwrap(),
    }
}

#[test]
fn a_topic_in_its_place_is_ready() {
    let (route, s, last) = (route(), situation("west"), LastMove::default());
    let status = status(&inputs(&route, &s, &last));
    assert_eq!(status.phase, Some(Phase::Completed));
    assert_eq!(status.observed_generation, Some(3));
    for kind in [ConditionType::Ready, ConditionType::Accepted, ConditionType::ResolvedRefs] {
        assert!(is_true(&status.conditions, kind), "{kind:?}");
    }
    assert!(find(&status.conditions, ConditionType::Reconciling).is_none());
    assert!(find(&status.conditions, ConditionType::Stalled).is_none());
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
}

#[test]
fn a_move_elsewhere_that_was_given_up_leaves_no_trace_in_a_topic_at_rest() {
    let (mut route, s) = (route(), situation("west"));
    let last = LastMove { from: "west".to_owned(), to: "north".to_owned(), started_at: 3_000, ..LastMove::default() };
    let told = status(&inputs(&route, &s, &last));
    assert_eq!((told.from.as_deref(), told.to.as_deref(), &told.started_at), (None, Some("west"), &None));
    // Nor after the operator was started again.
    route.status = Some(TopicRouteStatus { to: Some("north".to_owned()), ..told });
    assert_eq!(status(&inputs(&route, &s, &LastMove::default())).to.as_deref(), Some("west"));
}

#[test]
fn a_move_under_way_is_reconciling() {
    let (route, s, last) = (route(), situation("east"), LastMove::default());
    let status = status(&inputs(&route, &s, &last));
    assert_eq!(status.phase, Some(Phase::Preparing));
    assert!(!is_true(&status.conditions, ConditionType::Ready));
    assert!(is_true(&status.conditions, ConditionType::Reconciling));
}

#[test]
fn what_needs_a_person_stalls_and_what_passes_does_not() {
    let (route, s, last) = (route(), situation("east"), LastMove::default());
    for (reason, stalls) in [(Reason::CompactedTopic, true), (Reason::ClusterUnreachable, false)] {
        let problem = Problem::new(reason, "because");
        let status = status(&Inputs { problem: Some(&problem), ..inputs(&route, &s, &last) });
        assert_eq!(is_true(&status.conditions, ConditionType::Stalled), stalls);
        assert_eq!(is_true(&status.conditions, ConditionType::Reconciling), !stalls);
        let ready = find(&status.conditions, ConditionType::Ready).unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", reason.as_str()));
    }
}

#[test]
fn a_proxy_that_lags_or_refuses_shows() {
    let (route, s, last) = (route(), situation("west"), LastMove::default());
    let (one, two) = (ProxyName::new("node-1").unwrap(), ProxyName::new("node-2").unwrap());
    let mut applied = Applied {
        live: vec![one.clone(), two.clone()],
        done: vec![one],
        stale: vec![two.clone()],
        rejected: Vec::new(),
        lost: Vec::new(),
        desired: 2,
    };
    let lagging = status(&Inputs { revision: Some((7, applied.clone())), ..inputs(&route, &s, &last) });
    assert_eq!(lagging.proxies.as_ref().unwrap().summary, "1/2");
    assert!(!is_true(&lagging.conditions, ConditionType::Programmed));
    assert!(!is_true(&lagging.conditions, ConditionType::Ready));
    applied.rejected = vec![(two, "too new".to_owned())];
    let refused = status(&Inputs { revision: Some((7, applied)), ..inputs(&route, &s, &last) });
    assert!(is_true(&refused.conditions, ConditionType::Stalled));
    assert_eq!((refused.proxies.as_ref().unwrap().stale, refused.proxies.as_ref().unwrap().rejected), (0, 1));
}

#[test]
fn the_pause_adds_up_from_its_parts() {
    let timings = Timings { fenced: 100, drained: 110, cut: 150, committed: 160, opened: 170, switched: 190 };
    let pause = Pause::of(&timings).unwrap();
    assert_eq!(pause, Pause { total: 90, fence: 10, seal: 40, record: 10, switch: 30 });
    assert_eq!(pause.fence + pause.seal + pause.record + pause.switch, pause.total);
    assert_eq!(Pause::of(&Timings { fenced: 0, ..timings }), None);
}

#[test]
fn chains_are_summed_up_by_generation() {
    let first = Chain::single(cluster("east"), Uuid::from_u128(1));
    let to = |name: &str, id, generation| NewHome {
        cluster: cluster(name),
        topic_id: Uuid::from_u128(id),
        physical_start: if generation == 2 { 10 } else { 0 },
        generation,
    };
    let chain = first.append(CutPoint { physical_end: 10, last_epoch: 0 }, to("west", 2, 1)).unwrap();
    let chain = chain.append(CutPoint { physical_end: 5, last_epoch: 1_024 }, to("east", 1, 2)).unwrap();
    let rows = segments(&[chain.clone(), chain.clone()]);
    let shown: Vec<_> = rows.iter().map(|row| (row.cluster.as_str(), row.generation, row.offsets)).collect();
    assert_eq!(shown, [("east", 0, Some(20)), ("west", 1, Some(10)), ("east", 2, None)]);
    let before = OldSegment { cluster: "east".to_owned(), offsets: 10, needed_until: time(1_000_000) };
    let last = LastMove { from: "west".to_owned(), completed_at: 5, kept_until: 3_000_000, ..LastMove::default() };
    let shown = |last: &LastMove| -> Vec<_> {
        let rows = old_segments(std::slice::from_ref(&chain), last, std::slice::from_ref(&before));
        rows.into_iter().map(|row| (row.cluster, row.offsets, row.needed_until)).collect()
    };
    let (east, west) = ("east".to_owned(), "west".to_owned());
    assert_eq!(shown(&last), [(east.clone(), 10, time(1_000_000)), (west.clone(), 5, time(3_000_000))]);
    // Kept by size, or the move was ended by another process: nothing is said.
    let unknown = LastMove { kept_until: 0, ..last };
    assert_eq!(shown(&unknown), [(east, 10, time(1_000_000)), (west, 5, None)]);
}

#[test]
fn a_route_of_which_nothing_is_known_yet_says_so_once() {
    let mut route = route();
    let now = Timestamp::from_second(5).unwrap();
    let first = unread(&route, "the ledgers are being read", now).unwrap();
    assert_eq!((first.observed_generation, first.phase), (Some(3), Some(Phase::Pending)));
    assert!(is_true(&first.conditions, ConditionType::Reconciling));
    assert!(!is_true(&first.conditions, ConditionType::Ready));
    // What was known of this very generation stays: a restart of the operator is no news.
    route.status = Some(first);
    assert_eq!(unread(&route, "the ledgers are being read", now), None);
    route.metadata.generation = Some(4);
    assert_eq!(unread(&route, "the ledgers are being read", now).unwrap().observed_generation, Some(4));
}
