use super::*;

fn route(name: &str, version: u64, cluster: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "TopicRoute",
        "metadata": {
            "name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string(), "generation": 1,
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {"topic": name, "clusterRef": {"name": cluster}},
    }))
    .unwrap()
}

fn cluster(name: &str, metadata: &Value) -> DynamicObject {
    let mut object = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "KafkaCluster",
        "metadata": {"name": name, "uid": "u", "resourceVersion": "5"},
        "spec": {"bootstrapServers": ["a:9092"], "home": true},
    });
    for (field, value) in metadata.as_object().unwrap() {
        object["metadata"][field] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn phase(revision: i64) -> sluice_crds::TopicRouteStatus {
    sluice_crds::TopicRouteStatus { observed_generation: Some(revision), ..Default::default() }
}

fn with_status(mut object: DynamicObject, status: &sluice_crds::TopicRouteStatus) -> DynamicObject {
    object.data["status"] = serde_json::to_value(status).unwrap();
    object
}

#[test]
fn a_list_again_shows_what_is_gone_and_nothing_else() {
    let mut table = Table::<TopicRoute>::default();
    assert!(table.take(Change::All(vec![route("a", 1, "x"), route("b", 2, "x")])).news);
    assert!(!table.take(Change::All(vec![route("a", 3, "x"), route("b", 4, "x")])).news, "only versions differ");
    assert!(table.take(Change::All(vec![route("b", 4, "x")])).news);
    assert_eq!(table.shown().keys().collect::<Vec<_>>(), ["b"]);
    assert!(table.take(Change::Applied(route("b", 9, "y"))).news);
    assert!(!table.take(Change::Applied(route("b", 8, "x"))).news, "late news is none");
    assert_eq!(table.shown()["b"].object.spec.cluster_ref.name, "y");
    // A server that was wiped begins to count anew.
    assert!(table.take(Change::All(vec![route("b", 1, "z")])).news);
    assert!(table.take(Change::Deleted(route("b", 2, "z"))).news);
    assert!(table.shown().is_empty());
}

#[test]
fn a_status_is_shown_when_put_written_when_different_and_its_echo_is_no_news() {
    let mut table = Table::<TopicRoute>::default();
    table.take(Change::All(vec![route("a", 1, "x")]));
    assert!(table.put("a", phase(1)).differs);
    assert_eq!(table.shown()["a"].object.status, Some(phase(1)));
    let wanted = table.wanted_status("a").unwrap().apply;
    assert_eq!(wanted["metadata"], json!({"name": "a", "uid": "uid-a"}));
    assert_eq!(wanted["status"]["observedGeneration"], 1);
    assert!(!table.note_written(with_status(route("a", 2, "x"), &phase(1))).news);
    assert!(!table.take(Change::Applied(with_status(route("a", 2, "x"), &phase(1)))).news);
    assert!(!table.put("a", phase(1)).differs);
    assert_eq!(table.wanted_status("a"), None);
    // A later one overtakes an earlier one that is still being written.
    assert!(table.put("a", phase(2)).differs);
    assert!(table.put("a", phase(3)).differs);
    assert!(!table.note_written(with_status(route("a", 3, "x"), &phase(2))).news);
    assert_eq!(table.wanted_status("a").unwrap().apply["status"]["observedGeneration"], 3);
    assert_eq!(table.shown()["a"].object.status, Some(phase(3)));
    // Somebody else's hand is put right with the next one.
    table.note_written(with_status(route("a", 4, "x"), &phase(3)));
    assert!(!table.take(Change::Applied(with_status(route("a", 5, "x"), &phase(77)))).news);
    assert!(table.put("a", phase(3)).differs);
    // Made anew: the old status is not its.
    let mut anew = route("a", 9, "x");
    anew.metadata.uid = Some("another".into());
    assert!(table.take(Change::Applied(anew)).news);
    assert_eq!(table.shown()["a"].object.status, None);
    assert!(!table.put("nobody", phase(1)).differs);
}

#[test]
fn every_phase_is_written_however_fast_they_come() {
    use sluice_crds::topic_route::Phase;
    let of = |phase: Phase| sluice_crds::TopicRouteStatus { phase: Some(phase), ..Default::default() };
    let mut table = Table::<TopicRoute>::default();
    table.take(Change::All(vec![route("a", 1, "x")]));
    table.put("a", of(Phase::Fencing));
    let first = table.wanted_status("a").unwrap();
    assert_eq!((&first.apply["status"]["phase"], first.more), (&json!("Fencing"), false));
    // While that is on its way.
    for phase in [Phase::Sealing, Phase::Recording, Phase::Switching] {
        assert!(table.put("a", of(phase)).differs);
    }
    // A word more on the same phase replaces the word before.
    let mut more = of(Phase::Switching);
    more.observed_generation = Some(7);
    table.put("a", more);
    let mut written = vec![of(Phase::Fencing)];
    let mut version = 2;
    loop {
        table.note_written(with_status(route("a", version, "x"), written.last().unwrap()));
        version += 1;
        let Some(next) = table.wanted_status("a") else { break };
        assert_eq!(next.more, next.apply["status"]["phase"] != "Switching", "steps say that there is more");
        written.push(serde_json::from_value(next.apply["status"].clone()).unwrap());
    }
    let phases: Vec<_> = written.iter().map(|status| status.phase.unwrap().as_str()).collect();
    assert_eq!(phases, ["Fencing", "Sealing", "Recording", "Switching"]);
    assert_eq!(written.last().unwrap().observed_generation, Some(7));
    assert_eq!(table.shown()["a"].object.status.as_ref(), written.last());
    // Bounded, whatever comes.
    for round in 0..1_000 {
        table.put("a", of(if round % 2 == 0 { Phase::Pending } else { Phase::Preparing }));
    }
    assert!((0..=STEPS).filter_map(|_| table.wanted_status("a")).count() <= STEPS + 1);
}

#[test]
fn a_fuse_that_trips_and_closes_again_is_seen_to_have_done_both() {
    use sluice_crds::topic_fuse::{FuseDirection, Position};
    let of = |state, generation| sluice_crds::TopicFuseStatus {
        observed_generation: Some(generation),
        produce: Some(FuseDirection { state }),
        ..Default::default()
    };
    let mut object = route("a", 1, "x");
    object.types = Some(kube::core::TypeMeta { api_version: "sluice.dev/v1alpha1".into(), kind: "TopicFuse".into() });
    object.data["spec"] = json!({"topic": "orders", "produce": {"state": "Blocked"}});
    let mut objects = Objects::default();
    assert!(objects.fuses.take(Change::All(vec![object])).news);
    assert_eq!(objects.shown().fuses["a"].object.spec.topic, "orders");
    assert_eq!(objects.uid(Kind::TopicFuse, "a").as_deref(), Some("uid-a"));
    for (state, generation) in
        [(Position::Closed, 1), (Position::Tripped, 2), (Position::Tripped, 3), (Position::Closed, 4)]
    {
        objects.fuses.put("a", of(state, generation));
    }
    let written: Vec<_> = std::iter::from_fn(|| objects.fuses.wanted_status("a").filter(|wanted| wanted.more))
        .map(|wanted| wanted.apply["status"]["observedGeneration"].clone())
        .collect();
    assert_eq!(written, [json!(1), json!(3)]);
    let last = objects.fuses.wanted_status("a").unwrap().apply;
    assert_eq!((&last["kind"], &last["status"]["produce"]["state"]), (&json!("TopicFuse"), &json!("Closed")));
}

#[test]
fn what_cannot_be_read_keeps_what_could_be_and_is_told_once() {
    let mut table = Table::<TopicRoute>::default();
    table.take(Change::All(vec![route("a", 1, "x")]));
    let mut broken = route("a", 2, "x");
    broken.data["spec"] = json!({"topic": 7});
    let taken = table.take(Change::Applied(broken.clone()));
    assert!(taken.news && taken.unreadable.len() == 1);
    let shown = &table.shown()["a"];
    assert_eq!(shown.object.spec.cluster_ref.name, "x");
    assert!(shown.refused.as_ref().unwrap().contains("definitions"));
    broken.metadata.resource_version = Some("3".into());
    assert_eq!(table.take(Change::Applied(broken.clone())), Taken::default());
    assert!(table.take(Change::Applied(route("a", 4, "y"))).news);
    assert_eq!(table.shown()["a"].refused, None);
    // One that never could be read does not hide the others.
    broken.metadata.name = Some("b".into());
    let taken = table.take(Change::All(vec![broken, route("a", 4, "y")]));
    assert_eq!((taken.news, taken.unreadable.len(), table.shown().len()), (false, 1, 1));
    // A status of another build is none.
    let mut odd = route("a", 5, "y");
    odd.data["status"] = json!({"observedGeneration": "many"});
    assert_eq!(table.take(Change::Applied(odd)), Taken::default());
}

#[test]
fn the_finalizer_comes_and_goes_and_others_stay() {
    let mut objects = Objects::default();
    let new = cluster("a", &json!({"finalizers": ["x/y"]}));
    objects.clusters.take(Change::All(vec![new.clone()]));
    assert!(objects.clusters_to_hold().is_empty(), "it never answered: nothing can need it");
    let mut answered = new;
    answered.data["status"] = json!({"clusterId": "c"});
    objects.clusters.take(Change::All(vec![answered]));
    assert_eq!(objects.clusters_to_hold(), ["a"]);
    let wanted = objects.clusters.wanted_finalizers("a", true).unwrap();
    assert_eq!(
        wanted,
        json!({"metadata": {"uid": "u", "resourceVersion": "5", "finalizers": ["x/y", "sluice.dev/in-use"]}})
    );
    assert_eq!(objects.clusters.wanted_finalizers("a", false), None, "it lives");
    let held = json!({"finalizers": ["sluice.dev/in-use", "x/y"]});
    objects.clusters.take(Change::All(vec![cluster("a", &held)]));
    assert!(objects.clusters_to_hold().is_empty());
    let mut marked = held.clone();
    marked["deletionTimestamp"] = json!("2026-11-22T00:00:00Z");
    objects.clusters.take(Change::All(vec![cluster("a", &marked)]));
    let release = objects.clusters.wanted_finalizers("a", false).unwrap();
    assert_eq!(release["metadata"]["finalizers"], json!(["x/y"]));
    marked["finalizers"] = json!(["x/y"]);
    objects.clusters.take(Change::All(vec![cluster("a", &marked)]));
    assert_eq!(objects.clusters.wanted_finalizers("a", false), None);
    assert!(objects.clusters_to_hold().is_empty(), "a finalizer cannot be added to what is being deleted");
}

#[test]
fn the_last_good_settings_stay() {
    let mut objects = Objects::default();
    assert_eq!(objects.take_settings("maxConcurrentMoves: 9"), Ok(true));
    assert_eq!(objects.take_settings("maxConcurrentMoves: 9"), Ok(false));
    assert!(objects.take_settings("maxConcurrentMove: 9").is_err());
    assert_eq!(objects.take_settings("maxConcurrentMove: 9"), Ok(false), "told once");
    assert_eq!(objects.shown().settings.max_concurrent_moves, 9);
    assert_eq!(objects.take_settings(""), Ok(true));
}

#[test]
fn the_answer_to_a_write_brings_nothing_back_that_was_deleted() {
    let mut table = Table::<TopicRoute>::default();
    table.take(Change::All(vec![route("a", 1, "x")]));
    table.put("a", phase(1));
    // The server took the status, then the deletion; the watch was faster than the answer.
    table.take(Change::Deleted(route("a", 3, "x")));
    assert_eq!(table.note_written(with_status(route("a", 2, "x"), &phase(1))), Taken::default());
    assert!(table.shown().is_empty());
    let mut anew = route("a", 4, "y");
    anew.metadata.uid = Some("another".into());
    table.take(Change::Applied(anew));
    assert_eq!(table.note_written(with_status(route("a", 2, "x"), &phase(1))), Taken::default());
    assert_eq!(table.shown()["a"].object.spec.cluster_ref.name, "y");
}
