use std::time::Duration;

use sluice_mesh::document::Limits;
use sluice_mesh::report::Report;

use super::*;
use crate::store::EventType;
use crate::testing::document;

const CLUSTER: &str =
    "apiVersion: sluice.dev/v1alpha1\nkind: KafkaCluster\nmetadata: {name: east}\nspec: {bootstrapServers: ['e:1']}\n";

async fn open(root: &Path) -> Directory {
    Directory::open(root, || panic!("somebody else leads")).await.unwrap()
}

/// Waits until what is watched satisfies `done`.
async fn until<T: Clone>(receiver: &mut watch::Receiver<T>, done: impl Fn(&T) -> bool) -> T {
    tokio::time::timeout(Duration::from_secs(10), receiver.wait_for(done)).await.expect("in time").unwrap().clone()
}

async fn until_file(path: &Path, done: impl Fn(&str) -> bool) -> String {
    for _ in 0..1_000 {
        if let Ok(text) = std::fs::read_to_string(path)
            && done(&text)
        {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} did not become right: {:?}", path.display(), std::fs::read_to_string(path));
}

#[tokio::test]
async fn resources_come_and_go_with_their_files() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("resources/a")).unwrap();
    std::fs::write(root.path().join("resources/a/east.yaml"), CLUSTER).unwrap();
    let directory = open(root.path()).await;
    let mut resources = directory.resources();
    assert_eq!(resources.borrow().clusters["east"].object.spec.bootstrap_servers, ["e:1"], "read before open returns");
    std::fs::write(root.path().join("resources/a/east.yaml"), CLUSTER.replace("e:1", "e:2")).unwrap();
    let seen = until(&mut resources, |all| all.clusters["east"].object.spec.bootstrap_servers == ["e:2"]).await;
    assert_eq!(seen.clusters["east"].object.metadata.generation, Some(2));
    std::fs::create_dir_all(root.path().join("resources/new/deep")).unwrap();
    std::fs::write(root.path().join("resources/new/deep/w.yaml"), CLUSTER.replace("east", "west")).unwrap();
    until(&mut resources, |all| all.clusters.contains_key("west")).await;
    std::fs::remove_file(root.path().join("resources/a/east.yaml")).unwrap();
    let deleted = |all: &Arc<Resources>| {
        all.clusters.get("east").is_some_and(|east| east.object.metadata.deletion_timestamp.is_some())
    };
    until(&mut resources, deleted).await;
    directory.release_cluster("east");
    until(&mut resources, |all| !all.clusters.contains_key("east")).await;
    assert!(!root.path().join("status/kafkacluster/east.yaml").exists());
    assert!(std::fs::read_to_string(root.path().join("events.jsonl")).unwrap().contains("Deleted"));
}

#[tokio::test]
async fn a_status_is_written_once_kept_over_a_restart_and_written_again_when_it_is_lost() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("resources")).unwrap();
    std::fs::write(root.path().join("resources/east.yaml"), CLUSTER).unwrap();
    let directory = open(root.path()).await;
    let mut resources = directory.resources();
    resources.mark_unchanged();
    let status = KafkaClusterStatus { kafka_version: Some("4.3".into()), ..KafkaClusterStatus::default() };
    directory.put_cluster_status("east", status.clone());
    directory.put_cluster_status("nobody", status.clone());
    let path = root.path().join("status/kafkacluster/east.yaml");
    until_file(&path, |text| text.contains("kafkaVersion: '4.3'")).await;
    assert!(!resources.has_changed().unwrap(), "the writer is not woken by its own status");
    assert_eq!(resources.borrow().clusters["east"].object.status, Some(status.clone()));
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    directory.put_cluster_status("east", status.clone());
    directory.close_now();
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written, "the same again is not written");
    let uid = resources.borrow().clusters["east"].object.metadata.uid.clone();
    let directory = open(root.path()).await;
    let east = Arc::clone(&directory.resources().borrow().clusters["east"]);
    assert_eq!((&east.object.metadata.uid, &east.object.status), (&uid, &Some(status)));
    std::fs::remove_dir_all(root.path().join("status")).unwrap();
    until_file(&path, |text| text.contains("kafkaVersion")).await;
}

#[tokio::test]
async fn a_fuse_comes_goes_and_survives_a_file_that_cannot_be_read() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("resources")).unwrap();
    let file = root.path().join("resources/stop.yaml");
    let text = "apiVersion: sluice.dev/v1alpha1\nkind: TopicFuse\nmetadata: {name: stop}\n\
                spec: {topic: orders, produce: {state: Blocked}}\n";
    std::fs::write(&file, text).unwrap();
    let directory = open(root.path()).await;
    let mut resources = directory.resources();
    assert!(resources.borrow().fuses["stop"].object.spec.blocks_produce().is_some(), "read before open returns");
    let status = TopicFuseStatus { revision: Some(7), ..TopicFuseStatus::default() };
    directory.put_fuse_status("stop", status.clone());
    let path = root.path().join("status/topicfuse/stop.yaml");
    until_file(&path, |text| text.contains("revision: 7")).await;
    assert_eq!(resources.borrow().fuses["stop"].object.status, Some(status));
    for broken in [text.replace("Blocked", "Automatic"), text.replace("{state", "[state")] {
        std::fs::write(&file, broken).unwrap();
        let seen = until(&mut resources, |all| all.fuses["stop"].refused.is_some()).await;
        assert!(seen.fuses["stop"].object.spec.blocks_produce().is_some(), "the last good one counts");
        std::fs::write(&file, text).unwrap();
        until(&mut resources, |all| all.fuses["stop"].refused.is_none()).await;
    }
    std::fs::remove_file(&file).unwrap();
    until(&mut resources, |all| all.fuses.is_empty()).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn events_are_told_once_in_a_row() {
    let root = tempfile::tempdir().unwrap();
    let directory = open(root.path()).await;
    let event = |reason, message: &str| Event {
        kind: Kind::TopicRoute,
        name: "orders".into(),
        event_type: EventType::Normal,
        reason,
        message: message.into(),
    };
    directory.record_event(event("Fencing", "writers are held"));
    directory.record_event(event("Fencing", "writers are held"));
    directory.record_event(event("Completed", "done"));
    directory.close_now();
    let text = std::fs::read_to_string(root.path().join("events.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["reason"].as_str().unwrap()).collect::<Vec<_>>(), ["Fencing", "Completed"]);
    assert_eq!(lines[0]["object"]["kind"], "TopicRoute");
    assert_eq!(lines[0]["type"], "Normal");
}

#[tokio::test]
async fn reports_are_seen_and_impostors_are_not() {
    let root = tempfile::tempdir().unwrap();
    let directory = open(root.path()).await;
    let mut reports = directory.reports();
    let report = Report {
        proxy: sluice_mesh::name::ProxyName::new("n1").unwrap(),
        incarnation: "1".into(),
        host: "127.0.1.1".into(),
        bootstrap_port: 9092,
        port_base: 9100,
        broker_hosts: vec![],
        revision: 3,
        drained: 3,
        rejected: None,
        renewed_at: 0,
        version: "0".into(),
    };
    let put = |name: &str| file::write(&root.path().join("reports").join(name), &report.to_json_pretty()).unwrap();
    std::fs::write(root.path().join("reports/broken.json"), "{").unwrap();
    put("n2.json");
    put(".n1.json");
    put("n1.json");
    let seen = until(&mut reports, |all| !all.is_empty()).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen.values().next(), Some(&report));
    std::fs::remove_file(root.path().join("reports/n1.json")).unwrap();
    until(&mut reports, |all| all.is_empty()).await;
}

#[tokio::test]
async fn directories_that_were_cleared_are_watched_again() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("resources")).unwrap();
    std::fs::write(root.path().join("resources/east.yaml"), CLUSTER).unwrap();
    let directory = open(root.path()).await;
    let mut resources = directory.resources();
    for part in ["resources", "reports", "status"] {
        std::fs::remove_dir_all(root.path().join(part)).unwrap();
    }
    until_file(&root.path().join("status/kafkacluster/east.yaml"), |text| text.contains("east")).await;
    let refused = |all: &Arc<Resources>| all.clusters.get("east").is_some_and(|east| east.refused.is_some());
    let seen = until(&mut resources, refused).await;
    assert!(seen.clusters["east"].object.metadata.deletion_timestamp.is_none(), "a mount that is away deletes nothing");
    while !root.path().join("reports").is_dir() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::fs::create_dir(root.path().join("resources")).unwrap();
    std::fs::write(root.path().join("resources/east.yaml"), CLUSTER.replace("e:1", "e:2")).unwrap();
    until(&mut resources, |all| all.clusters["east"].object.spec.bootstrap_servers == ["e:2"]).await;
    // Without a watch each of these would take up to a second: nine of ten must not.
    let begun = std::time::Instant::now();
    for number in 3..13 {
        let address = format!("e:{number}");
        std::fs::write(root.path().join("resources/east.yaml"), CLUSTER.replace("e:1", &address)).unwrap();
        until(&mut resources, |all| all.clusters["east"].object.spec.bootstrap_servers == [address.clone()]).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_document_is_published_whole_and_read_back() {
    let root = tempfile::tempdir().unwrap();
    let directory = open(root.path()).await;
    assert_eq!(directory.last_document().await, None);
    directory.publish(&document(4)).await.unwrap();
    assert!(directory.document_is_there());
    assert_eq!(directory.last_document().await, Some(document(4)));
    let path = root.path().join("document.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"revision\": 4", "\"revision\": 5")).unwrap();
    assert_eq!(directory.last_document().await, None, "a document that was changed by hand is not trusted");
}

#[tokio::test]
async fn settings_change_and_bad_ones_leave_the_last() {
    let root = tempfile::tempdir().unwrap();
    let directory = open(root.path()).await;
    let mut resources = directory.resources();
    assert_eq!(resources.borrow().settings, crate::store::Settings::default());
    let path = root.path().join("settings.yaml");
    std::fs::write(&path, "maxConcurrentMoves: 2\nlimits: {maxInFlight: 5}\n").unwrap();
    let seen = until(&mut resources, |all| all.settings.max_concurrent_moves == 2).await;
    assert_eq!(seen.settings.limits.max_in_flight, 5);
    assert_eq!(seen.settings.limits.max_hold_millis, Limits::default().max_hold_millis);
    std::fs::write(&path, "maxConcurrentMove: 3\n").unwrap();
    until_file(&root.path().join("events.jsonl"), |text| text.contains("settings.yaml is not valid")).await;
    assert_eq!(resources.borrow().settings.max_concurrent_moves, 2);
}
