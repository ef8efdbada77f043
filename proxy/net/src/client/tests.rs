//! The client against a tiny server that answers as a test tells it to.

use std::sync::atomic::Ordering;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, DescribeClusterRequest, DescribeClusterResponse, ListGroupsRequest,
};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::fake_server::{Asked, Reply, frame, serve, server};

fn versions(asked: &Asked) -> Vec<u8> {
    let api = |key, max| ApiVersion::default().with_api_key(key).with_max_version(max);
    let keys = vec![api(60, 1), api(18, 4), api(3, 12), api(16, 4)];
    frame(&ApiVersionsResponse::default().with_api_keys(keys), asked.version, asked.correlation)
}

fn cluster(asked: &Asked) -> Vec<u8> {
    let id = StrBytes::from_string(format!("cluster-{}", asked.nth));
    frame(&DescribeClusterResponse::default().with_cluster_id(id), asked.version, asked.correlation)
}

/// The server itself as broker 1, and no topic.
fn metadata(asked: &Asked) -> Vec<u8> {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(i32::from(asked.port));
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("gone"))))
        .with_error_code(3);
    let answer =
        MetadataResponse::default().with_brokers(vec![broker]).with_controller_id(BrokerId(1)).with_topics(vec![topic]);
    frame(&answer, asked.version, asked.correlation)
}

/// Well-behaved, except for `DescribeCluster`.
fn but(describe_cluster: impl Fn(Asked) -> Reply) -> impl Fn(Asked) -> Reply {
    move |asked| match asked.key {
        18 => Reply::Bytes(versions(&asked)),
        3 => Reply::Bytes(metadata(&asked)),
        _ => describe_cluster(asked),
    }
}

fn client(addresses: &[&str]) -> Client {
    let options = ClientOptions {
        connect_timeout: Duration::from_millis(500),
        request_timeout: Duration::from_millis(300),
        max_response_bytes: 1 << 20,
        ..ClientOptions::default()
    };
    Client::new(addresses.iter().map(|&address| address.to_owned()).collect(), options)
}

async fn describe(client: &Client) -> Result<String, CallError> {
    let answer = client.call(&Target::Any, DescribeClusterRequest::default()).await?;
    Ok(answer.cluster_id.to_string())
}

#[tokio::test]
async fn answers_come_back_to_those_who_asked() {
    let server = server(but(|asked| Reply::Bytes(cluster(&asked)))).await;
    let client = client(&[&server.address]);
    let calls = (0..200).map(|_| describe(&client));
    let answers = futures::future::join_all(calls).await;
    let mut answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers.len(), 200, "each call has its own answer");
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1, "all over one connection");
}

#[tokio::test]
async fn another_protocol_is_named_as_such() {
    let server = server(|_| Reply::Last(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec())).await;
    let error = describe(&client(&[&server.address])).await.unwrap_err();
    assert!(matches!(&error, CallError::Protocol { .. }), "{error}");
    assert_eq!((error.blame(), error.is_retriable()), (Blame::Broker, false));
}

#[tokio::test]
async fn impossible_lengths_cost_the_connection_and_no_memory() {
    for length in [i32::MAX, (1 << 20) + 1, 3, 0, -1, i32::MIN] {
        let server = server(but(move |_| Reply::Bytes(length.to_be_bytes().to_vec()))).await;
        let error = describe(&client(&[&server.address])).await.unwrap_err();
        assert!(matches!(&error, CallError::Protocol { .. }), "{length}: {error}");
        assert!(error.may_have_acted());
    }
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let server = server(but(|asked| {
        let whole = cluster(&asked);
        Reply::Last(whole[..whole.len() / 2].to_vec())
    }))
    .await;
    let error = describe(&client(&[&server.address])).await.unwrap_err();
    assert!(matches!(&error, CallError::Closed { .. }), "{error}");
    assert!(error.may_have_acted() && error.is_retriable());
}

#[tokio::test]
async fn half_an_answer_to_the_first_question_means_that_nothing_was_sent() {
    let server = server(|asked| Reply::Last(versions(&asked)[..9].to_vec())).await;
    let error = describe(&client(&[&server.address])).await.unwrap_err();
    assert!(matches!(&error, CallError::Unreachable { .. }), "{error}");
    assert!(!error.may_have_acted());
}

#[tokio::test]
async fn an_answer_in_the_wrong_order_fails_all_that_wait_and_the_next_call_reconnects() {
    let server = server(but(|asked| match asked.nth {
        1 => Reply::Late(Duration::from_millis(50), cluster(&Asked { correlation: asked.correlation + 1, ..asked })),
        _ => Reply::Never,
    }))
    .await;
    let client = client(&[&server.address]);
    let (first, second) = tokio::join!(describe(&client), describe(&client));
    for result in [first, second] {
        let error = result.unwrap_err();
        assert!(matches!(&error, CallError::Protocol { detail, .. } if detail.contains("correlation")), "{error}");
    }
    let _ = describe(&client).await;
    assert_eq!(server.accepted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_costs_the_connection() {
    let server = server(but(|asked| Reply::Bytes([cluster(&asked), cluster(&asked)].concat()))).await;
    let client = client(&[&server.address]);
    describe(&client).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    describe(&client).await.unwrap();
    assert_eq!(server.accepted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn answers_that_lie_about_counts_are_refused() {
    let server = server(but(|asked| {
        let mut lie = cluster(&asked);
        // The array of brokers: as many as a varint can say.
        let at = lie.len() - 6;
        lie.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0x0f]);
        let length = i32::try_from(lie.len() - 4).unwrap();
        lie[..4].copy_from_slice(&length.to_be_bytes());
        Reply::Bytes(lie)
    }))
    .await;
    let error = describe(&client(&[&server.address])).await.unwrap_err();
    assert!(matches!(&error, CallError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn a_peer_that_owes_an_answer_for_too_long_is_left() {
    let server = server(but(|_| Reply::Never)).await;
    let client = client(&[&server.address]);
    let before = Instant::now();
    let error = describe(&client).await.unwrap_err();
    assert!(matches!(&error, CallError::TimedOut { .. }), "{error}");
    assert!(error.may_have_acted());
    assert!(before.elapsed() < Duration::from_secs(5));
    describe(&client).await.unwrap_err();
    assert_eq!(server.accepted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_call_given_up_early_costs_nobody_else_the_connection() {
    let server = server(but(|asked| match asked.nth {
        1 => Reply::Late(Duration::from_millis(100), cluster(&asked)),
        _ => Reply::Bytes(cluster(&asked)),
    }))
    .await;
    let client = client(&[&server.address]);
    let short = Duration::from_millis(20);
    let given_up = client.call_within(&Target::Any, DescribeClusterRequest::default(), i16::MAX, short).await;
    assert!(matches!(given_up, Err(CallError::TimedOut { .. })));
    assert_eq!(describe(&client).await.unwrap(), "cluster-2");
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_next_bootstrap_server_is_tried() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap().to_string();
    drop(closed);
    let garbage = server(|_| Reply::Last(vec![0x16; 30])).await;
    let good = server(but(|asked| Reply::Bytes(cluster(&asked)))).await;
    let client = client(&["no-port", &nobody, &garbage.address, &good.address]);
    describe(&client).await.unwrap();
    describe(&client).await.unwrap();
    assert_eq!(garbage.accepted.load(Ordering::SeqCst), 1, "the healthy one is preferred from then on");
}

#[tokio::test]
async fn a_server_that_is_down_is_not_dialed_again_at_once() {
    let server = server(|_| Reply::Last(Vec::new())).await;
    let client = client(&[&server.address]);
    for _ in 0..20 {
        let error = describe(&client).await.unwrap_err();
        assert!(matches!(&error, CallError::Unreachable { .. }), "{error}");
    }
    let dials = server.accepted.load(Ordering::SeqCst);
    assert!((1..=6).contains(&dials), "{dials} dials for 20 calls");
    tokio::time::sleep(Duration::from_millis(250)).await;
    describe(&client).await.unwrap_err();
    assert!(server.accepted.load(Ordering::SeqCst) > dials, "after the pause it is");
}

#[tokio::test]
async fn an_old_broker_is_asked_for_its_versions_in_version_0() {
    let server = server(|asked| match (asked.key, asked.version) {
        (18, 0) => Reply::Bytes(versions(&asked)),
        (18, _) => {
            let refused = ApiVersionsResponse::default().with_error_code(35);
            Reply::Bytes(frame(&refused, 0, asked.correlation))
        }
        _ => Reply::Bytes(cluster(&asked)),
    })
    .await;
    assert_eq!(describe(&client(&[&server.address])).await.unwrap(), "cluster-2");
}

#[tokio::test]
async fn versions_are_within_what_the_broker_offers_and_the_fields_allow() {
    let server = server(but(|asked| {
        assert_eq!((asked.key, asked.version), (60, 0));
        Reply::Bytes(cluster(&asked))
    }))
    .await;
    let client = client(&[&server.address]);
    client.call_at(&Target::Any, DescribeClusterRequest::default(), 0).await.unwrap();
    // A states filter needs version 4, a types filter 5, which this server does not know.
    let request = ListGroupsRequest::default().with_types_filter(vec![StrBytes::from_static_str("consumer")]);
    let error = client.call(&Target::Any, request).await.unwrap_err();
    assert!(matches!(&error, CallError::Encode { api_key: 16, .. }), "{error}");
    let error = client.call(&Target::Any, FindCoordinatorRequest::default()).await.unwrap_err();
    assert!(matches!(&error, CallError::Unsupported { api_key: 10, .. }), "{error}");
}

#[tokio::test]
async fn brokers_leaders_and_the_controller_are_found_by_metadata() {
    let server = server(but(|asked| Reply::Bytes(cluster(&asked)))).await;
    let client = client(&[&server.address]);
    for to in [Target::Broker(1), Target::Controller] {
        client.call(&to, DescribeClusterRequest::default()).await.unwrap();
    }
    let error = client.call(&Target::Broker(2), DescribeClusterRequest::default()).await.unwrap_err();
    assert!(matches!(error, CallError::UnknownBroker(2)), "{error}");
    let leader = Target::Leader { topic: "gone".to_owned(), partition: 0 };
    let error = client.call(&leader, DescribeClusterRequest::default()).await.unwrap_err();
    assert!(matches!(error, CallError::NoLeader { code: ErrorCode(3), .. }), "{error}");
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1, "one connection per address");
}

#[tokio::test]
async fn connections_close_with_the_last_handle() {
    let (gone, mut closed) = tokio::sync::mpsc::unbounded_channel::<()>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let port = stream.local_addr().unwrap().port();
        let _ = serve(stream, port, &but(|asked| Reply::Bytes(cluster(&asked)))).await;
        gone.send(()).unwrap();
    });
    let client = client(&[&address]);
    let other = client.clone();
    describe(&client).await.unwrap();
    drop(client);
    describe(&other).await.unwrap();
    drop(other);
    tokio::time::timeout(Duration::from_secs(5), closed.recv()).await.unwrap().unwrap();
}
