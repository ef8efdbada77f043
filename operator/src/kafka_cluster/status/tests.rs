use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sluice_crds::condition::find;
use sluice_mesh::document::{self, FORMAT_VERSION, Limits};
use sluice_mesh::ledger::CatalogueEntry;
use sluice_mesh::name::{ProxyName, TopicName};
use sluice_mesh::view::ClusterView;
use uuid::Uuid;

use super::*;
use crate::observe::Observed;

fn name(text: &str) -> ClusterName {
    ClusterName::new(text).unwrap()
}

fn resource() -> Resource<KafkaCluster> {
    let mut object =
        KafkaCluster::new("east", serde_yaml::from_str("{bootstrapServers: ['e:1'], home: true}").unwrap());
    object.metadata.generation = Some(3);
    Resource { object, refused: None }
}

fn seen() -> Observation {
    let view = ClusterView { cluster_id: "EAST".into(), ..ClusterView::default() };
    let observed = Observed { view: Arc::new(view), kafka_version: Some("4.3".into()), kraft: true };
    Observation { seen: Some(Arc::new(observed)), failure: None, looks: 1 }
}

fn document() -> Document {
    let proxy = ProxyName::new("n1").unwrap();
    Document {
        format_version: FORMAT_VERSION,
        revision: 1,
        digest: String::new(),
        mesh: "default".into(),
        home: name("east"),
        clusters: vec![document::Cluster {
            name: name("east"),
            cluster_id: "EAST".into(),
            bootstrap_servers: vec!["e:1".into()],
            zone: None,
            tag: 1,
            node_id_base: 10_000,
            exclude: vec![],
        }],
        proxies: vec![document::Proxy { name: proxy.clone(), host: "127.0.1.1".into(), port_base: 9100 }],
        brokers: vec![VirtualBroker {
            id: 10_001,
            cluster: name("east"),
            broker: 1,
            host: "e".into(),
            port: 1,
            rack: None,
            index: 4,
            home_proxy: None,
            served_by: Some(proxy),
        }],
        topics: vec![],
        fuses: vec![],
        limits: Limits::default(),
    }
}

/// What a status is computed from, owned.
struct World {
    resource: Resource<KafkaCluster>,
    observation: Option<Observation>,
    refused: Option<(KafkaClusterReason, String)>,
    ledger_open: bool,
    ledger_trouble: Option<&'static str>,
    ledger: Merged,
    document: Option<Document>,
    publish_trouble: Option<&'static str>,
}

/// All is well, but for what `change` changes.
fn check(change: impl FnOnce(&mut World)) -> KafkaClusterStatus {
    let mut world = World {
        resource: resource(),
        observation: Some(seen()),
        refused: None,
        ledger_open: true,
        ledger_trouble: None,
        ledger: Merged::default(),
        document: Some(document()),
        publish_trouble: None,
    };
    change(&mut world);
    status(&Facts {
        resource: &world.resource,
        name: &name("east"),
        refused: world.refused.as_ref(),
        observation: world.observation.as_ref(),
        ledger_open: world.ledger_open,
        ledger_trouble: world.ledger_trouble,
        ledger: &world.ledger,
        document: world.document.as_ref(),
        compiled: None,
        publish_trouble: world.publish_trouble,
        now: Timestamp::UNIX_EPOCH,
    })
}

/// The conditions as `Type=Status/Reason`.
fn rows(status: &KafkaClusterStatus) -> Vec<String> {
    status.conditions.iter().map(|row| format!("{}={}/{}", row.type_, row.status, row.reason)).collect()
}

#[test]
fn a_served_cluster_is_ready_and_nothing_else() {
    let status = check(|_| {});
    assert_eq!(rows(&status), ["Accepted=True/Accepted", "Ready=True/Serving"]);
    assert_eq!(status.observed_generation, Some(3));
    assert!(status.conditions.iter().all(|row| row.observed_generation == Some(3)));
    assert_eq!((status.cluster_id.as_deref(), status.kafka_version.as_deref()), (Some("EAST"), Some("4.3")));
    let row = &status.brokers[0];
    assert_eq!((row.virtual_id, row.address.as_str(), row.shown.as_deref()), (10_001, "e:1", Some("127.0.1.1:9104")));
}

#[test]
fn what_only_a_person_can_mend_is_stalled() {
    let status = check(|world| world.resource.refused = Some("spec.home: home cannot be changed".into()));
    assert_eq!(rows(&status), ["Accepted=False/Invalid", "Ready=False/Invalid", "Stalled=True/Invalid"]);
    let conflict = (KafkaClusterReason::Conflicted, "KafkaCluster west is the home and is older".to_owned());
    let status = check(|world| world.refused = Some(conflict));
    assert_eq!(rows(&status), ["Accepted=False/Conflicted", "Ready=False/Conflicted", "Stalled=True/Conflicted"]);
}

#[test]
fn what_may_mend_itself_is_reconciling() {
    let away = Observation { failure: Some("connection refused".into()), ..seen() };
    let status = check(|world| world.observation = Some(away));
    assert_eq!(rows(&status), ["Accepted=True/Accepted", "Ready=False/Unreachable", "Reconciling=True/Unreachable"]);
    assert!(find(&status.conditions, ConditionType::Ready).unwrap().message.contains("at e:1: connection refused"));
    let status = check(|world| {
        world.ledger_open = false;
        world.ledger_trouble = Some("no leader");
    });
    assert_eq!(rows(&status)[1], "Ready=False/LedgerUnavailable");
    assert_eq!(rows(&check(|world| world.observation = None))[1], "Ready=False/Progressing");
    let status = check(|world| {
        world.document = None;
        world.publish_trouble = Some("cluster west has not been reached");
    });
    assert!(find(&status.conditions, ConditionType::Ready).unwrap().message.contains("west"));
}

#[test]
fn a_cluster_that_was_removed_but_is_needed_says_so() {
    let mut ledger = Merged::default();
    let entry = CatalogueEntry { cluster: name("east"), topic_id: Uuid::nil(), placeholder: None };
    ledger.catalogue = BTreeMap::from([(TopicName::new("bills").unwrap(), entry)]);
    let status = check(|world| {
        world.resource.object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        world.ledger = ledger.clone();
    });
    assert!(find(&status.conditions, ConditionType::Ready).unwrap().message.contains("inUse"));
    assert_eq!((status.in_use[0].topic.as_str(), status.in_use[0].reason.as_str()), ("bills", "Home"));
    assert_eq!(in_use(&name("west"), &ledger), []);
}
