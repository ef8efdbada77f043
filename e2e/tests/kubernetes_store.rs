//! The operator's way to Kubernetes on a real API server and with the shipped Role: statuses, the finalizer, Events, the
//! document with its shards, hand edits, take-over. The whole life of two terms, without any Kafka.

#![allow(clippy::print_stderr, reason = "a test that takes a while tells how long each step took")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use sluice_crds::condition::{ConditionType, Conditions};
use sluice_crds::kafka_cluster::{KafkaClusterReason, KafkaClusterStatus};
use sluice_e2e::kubernetes::Kubectl;
use sluice_e2e::mesh::{Kubernetes as Namespace, KubernetesSpec, cluster_yaml};
use sluice_e2e::process::Lifetime;
use sluice_mesh::document::{Document, FORMAT_VERSION, Limits};
use sluice_mesh::name::ClusterName;
use sluice_operator::store::kube::{Kubernetes, Options};
use sluice_operator::store::{Event, EventType, Kind, Resources, Store as _};
use tokio::time::timeout;

const CLUSTER: &str = "east";
const PATIENCE: Duration = Duration::from_secs(15);
/// Enough for several shards.
const TOPICS: usize = 8_000;

fn document(revision: u64, topics: usize) -> Result<Document> {
    let topic = |number: usize| {
        let name = format!("topic-{number:06}");
        json!({"name": name, "topicId": uuid::Uuid::new_v4(), "cluster": CLUSTER, "placeholder": true})
    };
    let topics: serde_json::Result<Vec<_>> = (0..topics).map(|number| serde_json::from_value(topic(number))).collect();
    let document = Document {
        format_version: FORMAT_VERSION,
        revision,
        digest: String::new(),
        mesh: "default".into(),
        home: ClusterName::new(CLUSTER)?,
        clusters: vec![],
        proxies: vec![],
        brokers: vec![],
        topics: topics?,
        fuses: vec![],
        limits: Limits::default(),
    };
    Ok(document.seal())
}

async fn until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !condition()? {
        ensure!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn open(options: Options) -> Result<Kubernetes> {
    Ok(Kubernetes::open(&options, || {}).await?)
}

#[test]
#[ignore = "needs Kubernetes: run by make e2e-kubernetes"]
fn two_terms_on_a_real_api_server() -> Result<()> {
    let folder = sluice_e2e::target_folder()?.join("e2e/kubernetes-store");
    let mut namespace =
        Namespace::start(&KubernetesSpec::new("127.0.30.9"), &folder, Lifetime::WithUs, |line| eprintln!("{line}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let lived = runtime.block_on(live(&namespace));
    namespace.end();
    lived
}

async fn live(namespace: &Namespace) -> Result<()> {
    let options = |identity: &str| Options {
        namespace: namespace.namespace().to_owned(),
        kubeconfig: Some(namespace.kubectl_as_operator().kubeconfig().to_owned()),
        identity: identity.to_owned(),
    };
    let admin = namespace.kubectl();
    let first = timeout(PATIENCE, open(options("first"))).await.context("the first operator leads")??;
    resources_are_seen_told_and_held(&first, admin).await?;
    let big = documents_are_put_right(&first, admin).await?;
    a_removed_cluster_is_let_go(&first, admin).await?;

    // The next one stands by, takes over when the first is done, and goes on from its document.
    let waiting = open(options("second"));
    tokio::pin!(waiting);
    ensure!(timeout(Duration::from_secs(1), &mut waiting).await.is_err(), "two lead at the same time");
    first.close().await;
    let begun = Instant::now();
    let second = timeout(PATIENCE, waiting).await.context("the second operator takes over")??;
    eprintln!("taken over after {:?}", begun.elapsed());
    ensure!(second.last_document().await.as_ref() == Some(&big), "the successor has another document");
    second.publish(&document(big.revision + 1, TOPICS)?).await?;
    ensure!(second.document_is_there(), "the successor's document is not there");
    second.close().await;
    Ok(())
}

async fn resources_are_seen_told_and_held(store: &Kubernetes, admin: &Kubectl) -> Result<()> {
    let mut resources = store.resources();
    let begun = Instant::now();
    admin.apply(&cluster_yaml(CLUSTER, "127.0.0.1:9", true, &[]))?;
    let there = timeout(PATIENCE, resources.wait_for(|resources| resources.clusters.contains_key(CLUSTER))).await;
    there.context("the KafkaCluster is seen")??;
    eprintln!("seen {:?} after kubectl was started", begun.elapsed());
    let stored = || admin.get_json(&["kafkacluster", CLUSTER]);
    ensure!(stored()?["metadata"]["finalizers"].is_null(), "a cluster that never answered is held");

    let conditions = Conditions::new(1, k8s_openapi::jiff::Timestamp::now(), &[])
        .yes(ConditionType::Ready, KafkaClusterReason::Invalid, "for the test")
        .finish();
    let status = KafkaClusterStatus {
        observed_generation: Some(1),
        cluster_id: Some("an-id".to_owned()),
        conditions,
        ..KafkaClusterStatus::default()
    };
    store.put_cluster_status(CLUSTER, status.clone());
    until("the status is written, and a cluster that answered is held", || {
        let stored = stored()?;
        let held = stored["metadata"]["finalizers"] == json!(["sluice.dev/in-use"]);
        Ok(held && stored["status"]["conditions"][0]["message"] == "for the test")
    })
    .await?;
    let version = stored()?["metadata"]["resourceVersion"].clone();
    for _ in 0..3 {
        store.put_cluster_status(CLUSTER, status.clone());
    }
    for message in ["one", "one", "two"] {
        let (kind, reason, event_type) = (Kind::KafkaCluster, "Reachable", EventType::Normal);
        store.record_event(Event { kind, name: CLUSTER.to_owned(), event_type, reason, message: message.to_owned() });
    }
    until("the events are there", || {
        let events = admin.get_json(&["events.events.k8s.io"])?;
        let notes: Vec<&str> =
            events["items"].as_array().into_iter().flatten().filter_map(|event| event["note"].as_str()).collect();
        Ok(notes.contains(&"one") && notes.contains(&"two"))
    })
    .await?;
    ensure!(stored()?["metadata"]["resourceVersion"] == version, "a status that is there already was written again");
    Ok(())
}

async fn documents_are_put_right(store: &Kubernetes, admin: &Kubectl) -> Result<Document> {
    let begun = Instant::now();
    let big = document(1, TOPICS)?;
    store.publish(&big).await?;
    eprintln!("{TOPICS} topics published after {:?}", begun.elapsed());
    ensure!(store.last_document().await.as_ref() == Some(&big), "the document is not what was published");
    let begun = Instant::now();
    let big = Document { revision: 2, ..big }.seal();
    store.publish(&big).await?;
    eprintln!("the next one after {:?}", begun.elapsed());
    ensure!(store.document_is_there(), "the document is not there");

    let edit = r#"{"data":{"document.json":"{}"}}"#;
    admin.run(&["patch", "configmap", "sluice-document", "--type=merge", "--patch", edit])?;
    until("a hand edit is noticed", || Ok(!store.document_is_there())).await?;
    store.publish(&big).await?;
    ensure!(store.document_is_there(), "the hand edit was not put right");
    let maps = admin.get_json(&["configmaps"])?;
    let names = maps["items"].as_array().into_iter().flatten().filter_map(|map| map["metadata"]["name"].as_str());
    let shards: Vec<&str> = names.filter(|name| name.starts_with("sluice-document-")).collect();
    ensure!(shards.len() > 1, "so large a document has shards, not {shards:?}");
    admin.run(&["delete", "configmap", shards.first().context("a shard")?])?;
    until("a shard that is gone is noticed", || Ok(!store.document_is_there())).await?;
    store.publish(&big).await?;
    ensure!(store.last_document().await.as_ref() == Some(&big), "the shard was not written again");
    Ok(big)
}

async fn a_removed_cluster_is_let_go(store: &Kubernetes, admin: &Kubectl) -> Result<()> {
    let mut resources = store.resources();
    admin.run(&["delete", "kafkacluster", CLUSTER, "--wait=false"])?;
    let marked = |resources: &Arc<Resources>| {
        resources.clusters.get(CLUSTER).is_some_and(|cluster| cluster.object.metadata.deletion_timestamp.is_some())
    };
    timeout(PATIENCE, resources.wait_for(marked)).await.context("the deletion is seen")??;
    store.release_cluster(CLUSTER);
    let gone = timeout(PATIENCE, resources.wait_for(|resources| !resources.clusters.contains_key(CLUSTER))).await;
    gone.context("the KafkaCluster is let go")??;
    Ok(())
}
