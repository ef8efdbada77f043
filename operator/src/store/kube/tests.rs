//! The adapter against a scripted API server: what must happen in a given order.

use std::collections::VecDeque;

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::testing::document;

/// One call that is expected, and its answer.
type Step = (Method, &'static str, StatusCode, Value);

/// A client whose calls must be these, in this order.
fn scripted(steps: Vec<Step>) -> (Client, tokio::task::JoinHandle<Vec<Value>>) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let script = tokio::spawn(async move {
        let mut bodies = Vec::new();
        let mut steps = VecDeque::from(steps);
        while let Some((method, path, status, answer)) = steps.pop_front() {
            let (request, send) = handle.next_request().await.expect("another call");
            assert_eq!((request.method(), request.uri().path()), (&method, path));
            let body = request.into_body().collect_bytes().await.unwrap();
            bodies.push(serde_json::from_slice(&body).unwrap_or_default());
            let answer = Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
            send.send_response(answer.unwrap());
        }
        bodies
    });
    (Client::new(service, "kafka"), script)
}

fn status(code: StatusCode, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code.as_u16()})
}

fn lease(holder: &str, version: &str) -> Value {
    json!({
        "metadata": {"name": "sluice-operator", "uid": "u", "resourceVersion": version},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 5},
    })
}

fn index(version: &str, writer: &str, revision: u64) -> Value {
    let content = String::from_utf8(document(revision).to_json_pretty()).unwrap();
    json!({
        "metadata": {
            "name": "sluice-document", "resourceVersion": version, "annotations": {"sluice.dev/written-by": writer},
        },
        "data": {"document.json": content},
    })
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kafka/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kafka/leases/sluice-operator";
const MAPS: &str = "/api/v1/namespaces/kafka/configmaps";
const INDEX: &str = "/api/v1/namespaces/kafka/configmaps/sluice-document";

fn leading() -> Vec<Step> {
    vec![
        (Method::GET, LEASE, StatusCode::NOT_FOUND, status(StatusCode::NOT_FOUND, "NotFound")),
        (Method::POST, LEASES, StatusCode::CREATED, lease("me", "1")),
    ]
}

async fn desk(client: &Client) -> Desk {
    let elector = Elector::lead(Api::namespaced(client.clone(), "kafka"), "me", || panic!("nobody else leads")).await;
    Desk::new(Api::namespaced(client.clone(), "kafka"), Arc::new(elector), Arc::default())
}

#[tokio::test]
async fn a_document_that_was_changed_by_hand_is_written_again_over_the_version_that_was_found() {
    let mut steps = leading();
    let conflict = status(StatusCode::CONFLICT, "AlreadyExists");
    steps.push((Method::POST, MAPS, StatusCode::CONFLICT, conflict));
    steps.push((Method::GET, INDEX, StatusCode::OK, index("7", "me", 99)));
    steps.push((Method::PUT, INDEX, StatusCode::OK, index("8", "me", 5)));
    let (client, script) = scripted(steps);
    let desk = desk(&client).await;
    desk.publish(&document(5)).await.unwrap();
    let bodies = script.await.unwrap();
    assert_eq!(bodies[4]["metadata"]["resourceVersion"], "7");
    let written = bodies[4]["data"]["document.json"].as_str().unwrap();
    assert_eq!(Document::parse(written.as_bytes()).unwrap(), document(5));
    assert!(desk.is_whole());
}

#[tokio::test]
async fn a_later_leaders_document_ends_this_ones_term() {
    let mut steps = leading();
    steps.push((Method::POST, MAPS, StatusCode::CONFLICT, status(StatusCode::CONFLICT, "AlreadyExists")));
    steps.push((Method::GET, INDEX, StatusCode::OK, index("7", "another", 1_001)));
    let (client, script) = scripted(steps);
    let desk = desk(&client).await;
    assert!(matches!(desk.publish(&document(5)).await, Err(StoreError::NotLeader)));
    assert!(matches!(desk.publish(&document(6)).await, Err(StoreError::NotLeader)), "and nothing is asked any more");
    script.await.unwrap();
}

#[tokio::test]
async fn after_a_silence_the_lease_is_asked_for_before_the_document_is_written() {
    let mut steps = leading();
    steps.push((Method::PUT, LEASE, StatusCode::CONFLICT, status(StatusCode::CONFLICT, "Conflict")));
    steps.push((Method::GET, LEASE, StatusCode::OK, lease("another", "9")));
    let (client, script) = scripted(steps);
    let desk = desk(&client).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(matches!(desk.publish(&document(5)).await, Err(StoreError::NotLeader)));
    script.await.unwrap();
}

#[tokio::test]
async fn the_way_to_the_proxies_is_asked_for_anew_each_time() {
    let mut steps = leading();
    steps.push((Method::PUT, LEASE, StatusCode::OK, lease("me", "2")));
    let away = status(StatusCode::SERVICE_UNAVAILABLE, "away");
    steps.push((Method::PUT, LEASE, StatusCode::SERVICE_UNAVAILABLE, away));
    steps.push((Method::PUT, LEASE, StatusCode::CONFLICT, status(StatusCode::CONFLICT, "Conflict")));
    steps.push((Method::GET, LEASE, StatusCode::OK, lease("another", "9")));
    let (client, script) = scripted(steps);
    let elector = Elector::lead(Api::namespaced(client, "kafka"), "me", || panic!("nobody else leads")).await;
    elector.ask().await.unwrap();
    let error = elector.ask().await.unwrap_err();
    assert!(error.to_string().starts_with("cannot renew the lease: away (503)"), "{error}");
    assert!(matches!(elector.ask().await, Err(StoreError::NotLeader)));
    script.await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_is_tried_for_a_bounded_time_and_told() {
    let mut steps = leading();
    let away = (Method::POST, MAPS, StatusCode::SERVICE_UNAVAILABLE, status(StatusCode::SERVICE_UNAVAILABLE, "away"));
    steps.extend(std::iter::repeat_n(away, 30));
    let (client, script) = scripted(steps);
    let desk = desk(&client).await;
    tokio::time::pause();
    let begun = Instant::now();
    let error = desk.publish(&document(5)).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot write the mesh document: away (503)"), "{error}");
    assert!(begun.elapsed() <= Duration::from_secs(3));
    script.abort();
}
