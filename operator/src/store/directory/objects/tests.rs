use std::collections::BTreeMap;

use super::super::intake::Unreadable;
use super::*;

fn written(source: &str, kind: Kind, name: &str, spec: &str) -> Written {
    let object = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": kind.as_str(),
        "metadata": {"name": name},
        "spec": serde_yaml::from_str::<Value>(spec).unwrap(),
    });
    Written { source: source.into(), kind, name: name.to_owned(), object }
}

fn route(source: &str, topic: &str, to: &str) -> Written {
    written(source, Kind::TopicRoute, "orders", &format!("{{topic: {topic}, clusterRef: {{name: {to}}}}}"))
}

fn files(objects: Vec<Written>) -> Intake {
    Intake { objects, unreadable: Vec::new() }
}

fn key() -> Key {
    (Kind::TopicRoute, "orders".to_owned())
}

struct Clock {
    start: Instant,
    wall: Timestamp,
}

impl Clock {
    fn new() -> Self {
        Self { start: Instant::now(), wall: Timestamp::from_second(1_000).unwrap() }
    }

    fn admit(&self, objects: &mut Objects, intake: &Intake, millis: u64) -> Admitted {
        objects.admit(intake, self.wall, self.start + Duration::from_millis(millis))
    }
}

#[test]
fn an_object_is_born_once_and_counts_its_generations() {
    let (mut objects, clock) = (Objects::default(), Clock::new());
    let admitted = clock.admit(&mut objects, &files(vec![route("a.yaml", "orders", "east")]), 0);
    assert_eq!(admitted.changed, BTreeSet::from([key()]));
    let born = objects.all[&key()].stored.metadata.clone();
    assert_eq!(born.generation, Some(1));
    assert!(born.uid.is_some() && born.creation_timestamp.is_some());
    let admitted = clock.admit(&mut objects, &files(vec![route("a.yaml", "orders", "east")]), 10);
    assert_eq!(admitted, Admitted::default(), "the same file again is no news");
    let admitted = clock.admit(&mut objects, &files(vec![route("a.yaml", "orders", "west")]), 20);
    assert!(admitted.news);
    let now = &objects.all[&key()].stored.metadata;
    assert_eq!((now.generation, &now.uid, &now.creation_timestamp), (Some(2), &born.uid, &born.creation_timestamp));
}

#[test]
fn a_spec_that_breaks_a_rule_is_refused_and_the_one_before_stays() {
    let (mut objects, clock) = (Objects::default(), Clock::new());
    clock.admit(&mut objects, &files(vec![route("a.yaml", "orders", "east")]), 0);
    let admitted = clock.admit(&mut objects, &files(vec![route("a.yaml", "payments", "east")]), 10);
    let object = &objects.all[&key()];
    assert!(object.refused.as_ref().unwrap().contains("topic cannot be changed"));
    assert_eq!(object.typed::<TopicRoute>().unwrap().spec.topic, "orders");
    assert_eq!(object.stored.metadata.generation, Some(2));
    assert_eq!(admitted.warnings.len(), 1);
    let again = clock.admit(&mut objects, &files(vec![route("a.yaml", "payments", "east")]), 20);
    assert_eq!(again, Admitted::default(), "told once");
    clock.admit(&mut objects, &files(vec![route("a.yaml", "orders", "west")]), 30);
    let object = &objects.all[&key()];
    assert_eq!((object.refused.as_ref(), object.stored.metadata.generation), (None, Some(3)));
}

#[test]
fn an_object_that_never_obeyed_the_rules_gets_its_status_here() {
    let (mut objects, clock) = (Objects::default(), Clock::new());
    clock.admit(&mut objects, &files(vec![route("a.yaml", "'a b'", "east")]), 0);
    let object = &objects.all[&key()];
    assert!(object.typed::<TopicRoute>().is_none());
    let status = object.stored.status.as_ref().unwrap();
    assert_eq!(status["observedGeneration"], 1);
    let rows: BTreeMap<_, _> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["type"].as_str().unwrap(), row["status"].as_str().unwrap()))
        .collect();
    assert_eq!(rows, BTreeMap::from([("Accepted", "False"), ("Ready", "False"), ("Stalled", "True")]));
}

#[test]
fn a_restart_changes_nothing() {
    let (mut objects, clock) = (Objects::default(), Clock::new());
    let intake = files(vec![route("a.yaml", "orders", "east")]);
    clock.admit(&mut objects, &intake, 0);
    clock.admit(&mut objects, &files(vec![route("a.yaml", "payments", "east")]), 5);
    let text = serde_yaml::to_string(&objects.all[&key()].stored).unwrap();
    let mut restarted = Objects::default();
    restarted.restore(serde_yaml::from_str(&text).unwrap());
    let admitted = clock.admit(&mut restarted, &files(vec![route("a.yaml", "payments", "east")]), 10);
    assert!(admitted.changed.is_empty());
    assert_eq!(restarted.all[&key()].stored, objects.all[&key()].stored);
    assert!(restarted.all[&key()].refused.is_some(), "the rules on changes are still known");
    clock.admit(&mut restarted, &intake, 20);
    assert_eq!(restarted.all[&key()].refused, None);
}

#[test]
fn the_first_of_two_files_wins_and_people_are_told() {
    let (mut objects, clock) = (Objects::default(), Clock::new());
    let intake = files(vec![route("a.yaml", "orders", "east"), route("b.yaml", "orders", "west")]);
    let admitted = clock.admit(&mut objects, &intake, 0);
    assert_eq!(objects.all[&key()].typed::<TopicRoute>().unwrap().spec.cluster_ref.name, "east");
    assert!(admitted.warnings[0].3.contains("a.yaml and again in b.yaml"), "{:?}", admitted.warnings);
    assert_eq!(clock.admit(&mut objects, &intake, 10).warnings, []);
}

#[test]
fn a_route_without_a_file_is_gone_after_the_grace_and_not_before() {
    let (mut objects, clock) = (Objects::default(), Clock::new());
    let intake = files(vec![route("a.yaml", "orders", "east")]);
    clock.admit(&mut objects, &intake, 0);
    let uid = objects.all[&key()].stored.metadata.uid.clone();
    let admitted = clock.admit(&mut objects, &Intake::default(), 10);
    assert!(!admitted.news && admitted.again.is_some());
    clock.admit(&mut objects, &intake, 100);
    assert_eq!(objects.all[&key()].stored.metadata.uid, uid, "an editor took it away for a moment");
    clock.admit(&mut objects, &Intake::default(), 200);
    assert_eq!(clock.admit(&mut objects, &Intake::default(), 449).removed.len(), 0);
    assert_eq!(clock.admit(&mut objects, &Intake::default(), 450).removed, BTreeSet::from([key()]));
    assert!(objects.all.is_empty());
}

#[test]
fn a_cluster_without_a_file_stays_until_it_is_released() {
    let (mut objects, clock) = (Objects::default(), Clock::new());
    let key = (Kind::KafkaCluster, "east".to_owned());
    let intake = files(vec![written("a.yaml", Kind::KafkaCluster, "east", "{bootstrapServers: ['a:1']}")]);
    clock.admit(&mut objects, &intake, 0);
    assert!(!objects.release(&key), "it is not marked for deletion");
    clock.admit(&mut objects, &Intake::default(), 0);
    assert!(clock.admit(&mut objects, &Intake::default(), 300).news);
    assert!(objects.all[&key].typed::<KafkaCluster>().unwrap().metadata.deletion_timestamp.is_some());
    clock.admit(&mut objects, &intake, 400);
    assert!(objects.all[&key].stored.metadata.deletion_timestamp.is_none(), "brought back");
    clock.admit(&mut objects, &Intake::default(), 500);
    clock.admit(&mut objects, &Intake::default(), 800);
    assert!(objects.release(&key));
    assert!(objects.all.is_empty());
}

#[test]
fn a_directory_that_cannot_be_listed_deletes_nothing_below_it() {
    let (mut objects, clock) = (Objects::default(), Clock::new());
    let east = |source| written(source, Kind::KafkaCluster, "east", "{bootstrapServers: ['a:1']}");
    clock.admit(&mut objects, &files(vec![route("team/a.yaml", "orders", "east"), east("teams.yaml")]), 0);
    let away = |source: &str| Intake {
        objects: Vec::new(),
        unreadable: vec![Unreadable { source: source.into(), object: None, message: "cannot list".into() }],
    };
    for at in [10, 500, 1_000] {
        clock.admit(&mut objects, &away(""), at);
    }
    assert!(objects.all.values().all(|object| object.refused.as_deref() == Some("cannot list")));
    assert!(objects.all.values().all(|object| object.stored.metadata.deletion_timestamp.is_none()));
    for at in [1_100, 1_600] {
        clock.admit(&mut objects, &away("team"), at);
    }
    assert!(objects.all[&key()].typed::<TopicRoute>().is_some(), "it came from there");
    let east = &objects.all[&(Kind::KafkaCluster, "east".to_owned())];
    assert!(east.stored.metadata.deletion_timestamp.is_some(), "its file is gone from a directory that was listed");
    clock.admit(&mut objects, &files(vec![route("team/a.yaml", "orders", "east")]), 1_700);
    assert_eq!(objects.all[&key()].refused, None);
}

#[test]
fn a_file_that_cannot_be_read_deletes_nothing() {
    let (mut objects, clock) = (Objects::default(), Clock::new());
    clock.admit(&mut objects, &files(vec![route("a.yaml", "orders", "east")]), 0);
    let broken = |object| Intake {
        objects: Vec::new(),
        unreadable: vec![Unreadable { source: "a.yaml".into(), object, message: "a.yaml is not valid YAML".into() }],
    };
    for (at, intake) in [(10, broken(None)), (500, broken(None)), (1_000, broken(Some(key())))] {
        clock.admit(&mut objects, &intake, at);
        assert!(objects.all[&key()].refused.as_ref().unwrap().contains("not valid YAML"));
        assert!(objects.all[&key()].typed::<TopicRoute>().is_some());
    }
    clock.admit(&mut objects, &files(vec![route("a.yaml", "orders", "east")]), 1_100);
    assert_eq!(objects.all[&key()].refused, None);
    assert_eq!(objects.all[&key()].stored.metadata.generation, Some(1));
    let mut empty = Objects::default();
    let admitted = clock.admit(&mut empty, &broken(None), 0);
    assert_eq!(admitted.warnings.len(), 1, "nobody's file is told as such");
    clock.admit(&mut empty, &broken(Some(key())), 10);
    assert!(empty.all[&key()].stored.status.is_some(), "its author is told although it never was valid");
}
