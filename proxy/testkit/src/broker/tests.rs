use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse};

use super::*;
use crate::client::RawClient;

const SOON: Duration = Duration::from_secs(5);

fn metadata() -> MetadataResponse {
    MetadataResponse::default().with_brokers(vec![MetadataResponseBroker::default().with_node_id(7.into())])
}

#[tokio::test]
async fn answers_follow_the_script_in_every_header_version() {
    let broker = ScriptedBroker::start(|seen| match seen.key {
        3 => seen.answer::<MetadataRequest>(&metadata()),
        18 => seen.answer::<ApiVersionsRequest>(&ApiVersionsResponse::default()),
        _ => Action::Close,
    })
    .await
    .unwrap();
    let mut client = RawClient::connect(broker.address()).await.unwrap();
    for version in [0, 8, 9, 12] {
        let answer = client.call(&MetadataRequest::default(), version).await.unwrap();
        assert_eq!(answer.brokers[0].node_id.0, 7, "version {version}");
    }
    for version in [0, 3, 4] {
        client.call(&ApiVersionsRequest::default(), version).await.unwrap();
    }
    let seen = broker.seen();
    assert_eq!(seen.iter().map(|seen| seen.correlation).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(seen[0].client_id.as_deref(), Some(frame::CLIENT_ID));
    assert_eq!(broker.seen_of::<MetadataRequest>().len(), 4);
    assert_eq!(broker.connections(), 1);
}

#[tokio::test]
async fn misbehaviour_arrives_as_scripted() {
    let broker = ScriptedBroker::start(|seen| {
        let whole = seen.answer_frame::<MetadataRequest>(&metadata());
        match seen.correlation {
            1 => Action::Send(frame::response::<MetadataRequest>(99, &metadata(), seen.version)),
            2 => Action::Silent,
            3 => Action::Send(whole).after(Duration::from_millis(50)),
            _ => Action::SendAndClose(whole.slice(..whole.len() / 2)),
        }
    })
    .await
    .unwrap();
    let mut client = RawClient::connect(broker.address()).await.unwrap();
    assert!(client.call(&MetadataRequest::default(), 9).await.is_err());
    let begin = std::time::Instant::now();
    client.send_request(&MetadataRequest::default(), 9).await.unwrap();
    client.send_request(&MetadataRequest::default(), 9).await.unwrap();
    let (correlation, _) = client.read_response::<MetadataRequest>(9, SOON).await.unwrap();
    assert_eq!(correlation, 3);
    assert!(begin.elapsed() >= Duration::from_millis(50));
    client.send_request(&MetadataRequest::default(), 9).await.unwrap();
    assert!(broker.wait_for(4, SOON).await && !broker.wait_for(5, Duration::from_millis(20)).await);
    let half = client.read_frame(SOON).await.unwrap_err();
    assert_eq!(half.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_dropped_broker_closes_its_connections() {
    let broker = ScriptedBroker::start(|_| Action::Silent).await.unwrap();
    let mut client = RawClient::connect(broker.address()).await.unwrap();
    client.send_request(&MetadataRequest::default(), 9).await.unwrap();
    assert!(broker.wait_for(1, SOON).await);
    assert!(!client.is_closed_within(Duration::from_millis(20)).await);
    drop(broker);
    assert!(client.is_closed_within(SOON).await);
}

#[tokio::test]
async fn garbage_closes_the_connection() {
    let broker = ScriptedBroker::start(|_| Action::Silent).await.unwrap();
    for garbage in [&b"\xff\xff\xff\xff"[..], &b"\x00\x00\x00\x02\x00\x03"[..]] {
        let mut client = RawClient::connect(broker.address()).await.unwrap();
        client.send(garbage).await.unwrap();
        assert!(client.is_closed_within(SOON).await, "{garbage:?}");
    }
    assert!(broker.seen().is_empty());
}
