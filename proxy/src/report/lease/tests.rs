use serde_json::Value;

use super::*;
use crate::kubernetes::fake_server::{FakeServer, NAMESPACE};

const NAME: &str = "sluice-proxy-node-1";

fn report(incarnation: &str, revision: u64) -> Report {
    Report {
        proxy: ProxyName::new("node-1").unwrap(),
        incarnation: incarnation.into(),
        host: "127.0.1.1".into(),
        bootstrap_port: 9092,
        port_base: 9100,
        broker_hosts: vec!["127.0.1.1".into()],
        revision,
        drained: revision,
        rejected: None,
        renewed_at: 1_795_329_162_345,
        version: "0".into(),
    }
}

fn sink(server: &FakeServer) -> ReportLease {
    ReportLease::new(server.client(), NAMESPACE, &ProxyName::new("node-1").unwrap())
}

#[tokio::test]
async fn a_report_is_a_lease() {
    let server = FakeServer::start();
    let mut sink = sink(&server);
    sink.put(&report("a", 7), Some("default")).await.unwrap();
    let lease = server.lease(NAME).unwrap();
    assert_eq!((&lease["apiVersion"], &lease["kind"]), (&"coordination.k8s.io/v1".into(), &"Lease".into()));
    let labels = serde_json::json!({
        "app.kubernetes.io/component": "proxy", "app.kubernetes.io/name": "sluice", "sluice.dev/mesh": "default",
    });
    assert_eq!(lease["metadata"]["labels"], labels);
    let spec = serde_json::json!({
        "holderIdentity": "a", "leaseDurationSeconds": 10, "renewTime": "2026-11-22T06:32:42.345000Z",
    });
    assert_eq!(lease["spec"], spec);
    let Value::String(said) = &lease["metadata"]["annotations"]["sluice.dev/report"] else { unreachable!() };
    assert_eq!(Report::parse(said.as_bytes()).unwrap(), report("a", 7));

    sink.put(&report("a", 8), Some("no label: two words")).await.unwrap();
    let lease = server.lease(NAME).unwrap();
    assert_eq!(lease["metadata"]["labels"]["sluice.dev/mesh"], Value::Null);
    assert_eq!(server.store().requests, [format!("PATCH {NAME}"), format!("PATCH {NAME}")]);
}

#[tokio::test]
async fn only_its_own_report_is_taken_back() {
    let server = FakeServer::start();
    let mut old = sink(&server);
    old.put(&report("old", 7), None).await.unwrap();
    let mut new = sink(&server);
    new.put(&report("new", 7), None).await.unwrap();
    old.take_back(&report("old", 7)).await.unwrap();
    assert_eq!(server.lease(NAME).unwrap()["spec"]["holderIdentity"], "new");
    new.take_back(&report("new", 7)).await.unwrap();
    assert_eq!(server.lease(NAME), None);
    new.take_back(&report("new", 7)).await.unwrap();
}

#[tokio::test]
async fn an_api_server_that_is_away_is_an_error_that_names_the_lease() {
    let server = FakeServer::away();
    let error = sink(&server).put(&report("a", 7), None).await.unwrap_err().to_string();
    assert!(error.starts_with("Lease sluice-proxy-node-1: ") && error.contains("refused"), "{error}");
}

#[test]
fn a_label_is_what_kubernetes_takes() {
    let longest = "x".repeat(63);
    for good in ["a", "default", "A.b_c-9", &longest] {
        assert!(is_label(good), "{good}");
    }
    let long = "x".repeat(64);
    for bad in ["", "-a", "a-", "a b", "ä", &long] {
        assert!(!is_label(bad), "{bad}");
    }
}
