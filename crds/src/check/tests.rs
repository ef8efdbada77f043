use super::*;
use crate::topic_fuse::FuseAction;
use crate::{KafkaCluster, TopicFuse, TopicRoute};

/// Parses YAML as a person writes it.
fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

fn cluster(spec: &str) -> Value {
    yaml(&format!("{{apiVersion: sluice.dev/v1alpha1, kind: KafkaCluster, metadata: {{name: east}}, spec: {spec}}}"))
}

fn route(spec: &str) -> Value {
    yaml(&format!("{{apiVersion: sluice.dev/v1alpha1, kind: TopicRoute, metadata: {{name: orders}}, spec: {spec}}}"))
}

fn fuse(spec: &str) -> Value {
    yaml(&format!("{{apiVersion: sluice.dev/v1alpha1, kind: TopicFuse, metadata: {{name: orders}}, spec: {spec}}}"))
}

fn accepts<K: CustomResourceExt>(object: &Value, old: Option<&Value>) {
    assert_eq!(check::<K>(object, old), [], "{object}");
}

/// The object breaks exactly one rule, at `path`, and the sentence contains `words`.
fn refuses<K: CustomResourceExt>(object: &Value, old: Option<&Value>, path: &str, words: &str) {
    let violations = check::<K>(object, old);
    assert_eq!(violations.len(), 1, "{object}: {violations:?}");
    assert_eq!(violations[0].path, path, "{object}");
    assert!(violations[0].message.contains(words), "{object}: {}", violations[0].message);
}

#[test]
fn good_clusters_are_accepted() {
    for spec in [
        "{bootstrapServers: ['east-1:9092']}",
        "{bootstrapServers: ['127.0.1.1:1', 'a.b-c.example.com:65535', '[fd00::1]:9092'], home: true, zone: east}",
        "{bootstrapServers: ['e:9'], home: false, topics: {exclude: ['__*', 'a?b.c']}}",
        "{bootstrapServers: ['e:9'], topics: {}}",
    ] {
        accepts::<KafkaCluster>(&cluster(spec), None);
    }
}

#[test]
fn bad_clusters_are_refused_with_a_sentence() {
    let servers = "spec.bootstrapServers";
    for (spec, path, words) in [
        ("{}", servers, "required"),
        ("{bootstrapServers: []}", servers, "1 to 16"),
        (
            "{bootstrapServers: ['a:9','a:8','a:7','a:6','a:5','a:4','a:3','a:2','a:1','b:1','b:2','b:3','b:4','b:5','b:6','b:7','b:8']}",
            servers,
            "1 to 16",
        ),
        ("{bootstrapServers: [east]}", servers, "host:port"),
        ("{bootstrapServers: ['east:']}", "spec.bootstrapServers", "host:port"),
        ("{bootstrapServers: ['east:0']}", servers, "host:port"),
        ("{bootstrapServers: ['east:65536']}", servers, "host:port"),
        ("{bootstrapServers: ['-east:9092']}", servers, "host:port"),
        ("{bootstrapServers: ['PLAINTEXT://east:9092']}", servers, "host:port"),
        ("{bootstrapServers: ['a:1,b:1']}", servers, "host:port"),
        ("{bootstrapServers: ['a:1', 'a:1']}", servers, "once"),
        ("{bootstrapServers: 'east:9092'}", servers, "type array"),
        ("{bootstrapServers: [9092]}", "spec.bootstrapServers[0]", "type string"),
        ("{bootstrapServers: ['a:1'], home: Yes please}", "spec.home", "type boolean"),
        ("{bootstrapServers: ['a:1'], zone: ''}", "spec.zone", "1 to 63"),
        ("{bootstrapServers: ['a:1'], zone: 'a b'}", "spec.zone", "letters, digits"),
        ("{bootstrapServers: ['a:1'], topics: {exclude: ['[a-z]*']}}", "spec.topics.exclude", "'*' for any text"),
        ("{bootstrapServers: ['a:1'], topics: {exclude: ['']}}", "spec.topics.exclude[0]", "1 to 249"),
        ("{bootstrapServers: ['a:1'], bootstrap: x}", "spec.bootstrap", "not a field"),
    ] {
        refuses::<KafkaCluster>(&cluster(spec), None, path, words);
    }
}

#[test]
fn home_cannot_change() {
    let home = cluster("{bootstrapServers: ['a:1'], home: true}");
    let elsewhere = cluster("{bootstrapServers: ['b:1'], home: true}");
    let not_home = cluster("{bootstrapServers: ['a:1']}");
    let not_home_in_words = cluster("{bootstrapServers: ['a:1'], home: false}");
    accepts::<KafkaCluster>(&elsewhere, Some(&home));
    accepts::<KafkaCluster>(&not_home_in_words, Some(&not_home));
    refuses::<KafkaCluster>(&not_home, Some(&home), "spec.home", "home cannot be changed");
    refuses::<KafkaCluster>(&home, Some(&not_home), "spec.home", "home cannot be changed");
}

#[test]
fn good_routes_are_accepted() {
    for spec in [
        "{topic: orders, clusterRef: {name: west}}",
        "{topic: A.b_c-9, clusterRef: {name: west.example}, move: {}}",
        "{topic: orders, clusterRef: {name: w}, move: {pauseBudget: 100ms}}",
        "{topic: orders, clusterRef: {name: w}, move: {pauseBudget: 30s}}",
    ] {
        accepts::<TopicRoute>(&route(spec), None);
    }
}

#[test]
fn bad_routes_are_refused_with_a_sentence() {
    let budget = "spec.move.pauseBudget";
    let long = format!("{{topic: {}, clusterRef: {{name: w}}}}", "t".repeat(250));
    for (spec, path, words) in [
        ("{clusterRef: {name: west}}", "spec.topic", "required"),
        ("{topic: orders}", "spec.clusterRef", "required"),
        ("{topic: orders, clusterRef: {}}", "spec.clusterRef.name", "required"),
        ("{topic: orders, clusterRef: west}", "spec.clusterRef", "type object"),
        ("{topic: 'a b', clusterRef: {name: w}}", "spec.topic", "Kafka topic name"),
        ("{topic: '..', clusterRef: {name: w}}", "spec.topic", "Kafka topic name"),
        ("{topic: ORDERS/1, clusterRef: {name: w}}", "spec.topic", "Kafka topic name"),
        (long.as_str(), "spec.topic", "1 to 249"),
        ("{topic: __consumer_offsets, clusterRef: {name: w}}", "spec.topic", "bookkeeping"),
        ("{topic: orders, clusterRef: {name: West}}", "spec.clusterRef.name", "name of a KafkaCluster"),
        ("{topic: orders, clusterRef: {name: a..b}}", "spec.clusterRef.name", "name of a KafkaCluster"),
        ("{topic: orders, clusterRef: {name: w}, move: {pauseBudget: 99ms}}", budget, "100ms to 30s"),
        ("{topic: orders, clusterRef: {name: w}, move: {pauseBudget: 31s}}", budget, "100ms to 30s"),
        ("{topic: orders, clusterRef: {name: w}, move: {pauseBudget: 5}}", budget, "type string"),
        ("{topic: orders, clusterRef: {name: w}, move: {pauseBudget: soon}}", budget, "one number and one unit"),
        ("{topic: orders, clusterRef: {name: w}, move: {pauseBudget: 1s500ms}}", budget, "one number and one unit"),
        ("{topic: orders, clusterRef: {name: w}, move: {approval: Manual}}", "spec.move.approval", "not a field"),
    ] {
        refuses::<TopicRoute>(&route(spec), None, path, words);
    }
}

#[test]
fn a_topic_cannot_change_but_its_cluster_can() {
    let before = route("{topic: orders, clusterRef: {name: east}}");
    accepts::<TopicRoute>(&route("{topic: orders, clusterRef: {name: west}}"), Some(&before));
    refuses::<TopicRoute>(
        &route("{topic: payments, clusterRef: {name: east}}"),
        Some(&before),
        "spec.topic",
        "topic cannot be changed",
    );
}

#[test]
fn good_fuses_are_accepted_and_say_what_they_stop() {
    for (spec, produce, consume) in [
        ("{topic: orders, produce: {state: Blocked}}", Some(FuseAction::Hold), false),
        ("{topic: orders, produce: {state: Blocked, action: Hold}}", Some(FuseAction::Hold), false),
        ("{topic: A.b_c-9, produce: {state: Blocked, action: Reject}}", Some(FuseAction::Reject), false),
        ("{topic: orders, produce: {state: Disabled, action: Reject}}", None, false),
        ("{topic: orders, consume: {state: Blocked}}", None, true),
        ("{topic: orders, consume: {state: Disabled}}", None, false),
        ("{topic: o, produce: {state: Blocked}, consume: {state: Blocked}}", Some(FuseAction::Hold), true),
    ] {
        let object = fuse(spec);
        accepts::<TopicFuse>(&object, None);
        let spec = serde_json::from_value::<TopicFuse>(object).unwrap().spec;
        assert_eq!((spec.blocks_produce(), spec.blocks_consume()), (produce, consume), "{spec:?}");
    }
}

#[test]
fn bad_fuses_are_refused_with_a_sentence() {
    let (state, consume) = ("spec.produce.state", "spec.consume.state");
    let long = format!("{{topic: {}, consume: {{state: Blocked}}}}", "t".repeat(250));
    for (spec, path, words) in [
        ("{produce: {state: Blocked}}", "spec.topic", "required"),
        ("{topic: orders}", "spec.produce", "at least one of produce and consume"),
        ("{topic: orders, produce: {}}", state, "required"),
        ("{topic: orders, produce: Blocked}", "spec.produce", "type object"),
        ("{topic: orders, produce: {state: Automatic}}", state, "one of Blocked, Disabled"),
        ("{topic: orders, produce: {state: blocked}}", state, "one of Blocked, Disabled"),
        ("{topic: orders, produce: {state: true}}", state, "type string"),
        ("{topic: orders, produce: {state: Blocked, action: Drop}}", "spec.produce.action", "one of Hold, Reject"),
        ("{topic: orders, consume: {}}", consume, "required"),
        ("{topic: orders, consume: {state: Open}}", consume, "one of Blocked, Disabled"),
        ("{topic: orders, consume: {state: Blocked, action: Hold}}", "spec.consume.action", "not a field"),
        ("{topic: orders, state: Blocked, consume: {state: Blocked}}", "spec.state", "not a field"),
        ("{topic: 'a b', consume: {state: Blocked}}", "spec.topic", "Kafka topic name"),
        ("{topic: '.', consume: {state: Blocked}}", "spec.topic", "Kafka topic name"),
        ("{topic: '', consume: {state: Blocked}}", "spec.topic", "1 to 249"),
        (long.as_str(), "spec.topic", "1 to 249"),
        ("{topic: __consumer_offsets, consume: {state: Blocked}}", "spec.topic", "bookkeeping"),
    ] {
        refuses::<TopicFuse>(&fuse(spec), None, path, words);
    }
}

#[test]
fn the_topic_of_a_fuse_cannot_change_but_its_states_can() {
    let before = fuse("{topic: orders, produce: {state: Blocked}}");
    accepts::<TopicFuse>(&fuse("{topic: orders, consume: {state: Blocked}}"), Some(&before));
    accepts::<TopicFuse>(&fuse("{topic: orders, produce: {state: Disabled, action: Reject}}"), Some(&before));
    let other = fuse("{topic: payments, produce: {state: Blocked}}");
    refuses::<TopicFuse>(&other, Some(&before), "spec.topic", "topic cannot be changed");
}

#[test]
fn names_follow_the_api_servers_grammar() {
    for name in ["''", "East", "a_b", "a..b", "-a"] {
        let object = yaml(&format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: TopicRoute, metadata: {{name: {name}}}, spec: {{topic: t, clusterRef: {{name: w}}}}}}"
        ));
        refuses::<TopicRoute>(&object, None, "metadata.name", "lower-case letters");
    }
}

#[test]
fn nesting_is_bounded() {
    let mut deep = Value::from(1);
    for _ in 0..200 {
        deep = Value::from(vec![deep]);
    }
    let object = serde_json::json!({"metadata": {"name": "x"}, "spec": {"topic": deep, "clusterRef": {"name": "w"}}});
    refuses::<TopicRoute>(&object, None, "spec.topic", "type string");
}

#[test]
fn every_duration_that_the_rule_accepts_can_be_read() {
    for text in ["100ms", "1s", "30s", "30000ms"] {
        accepts::<TopicRoute>(
            &route(&format!("{{topic: t, clusterRef: {{name: w}}, move: {{pauseBudget: {text}}}}}")),
            None,
        );
        assert!(crate::duration::parse(text).is_some());
    }
}
