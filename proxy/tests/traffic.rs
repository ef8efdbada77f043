//! Requests on their way: order, back-pressure, what is answered here and what goes on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use sluice_testkit::broker::Action;
use sluice_testkit::client::RawClient;
use sluice_testkit::frame;
use sluice_testkit::sample::PLAIN;
use tokio::io::AsyncReadExt;

use crate::harness::{BOOTSTRAP, Proxy, SOON, acknowledge, produce, produced, until_produced};

fn topic_name(name: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_contact_is_answered_without_the_broker() {
    let proxy = Proxy::start(|_| Action::Close).await;
    let before = proxy.broker().connections();
    let mut client = RawClient::connect((proxy.address, BOOTSTRAP).into()).await.unwrap();
    let versions = client.call(&ApiVersionsRequest::default(), 3).await.unwrap();
    assert_eq!(versions.error_code, 0);
    assert!(versions.api_keys.iter().any(|api| api.api_key == 3));
    let metadata = client.call(&MetadataRequest::default().with_topics(None), 12).await.unwrap();
    let seen: Vec<_> = metadata.brokers.iter().map(|one| (one.node_id.0, one.host.to_string(), one.port)).collect();
    let shown = proxy.port(1);
    assert_eq!(seen, [(1, shown.ip().to_string(), i32::from(shown.port()))]);
    assert_eq!(proxy.broker().connections(), before, "no connection of its own for this client");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_produce_passes_as_it_came() {
    let proxy = Proxy::start(acknowledge).await;
    let mut client = proxy.client().await;
    let request = produce(PLAIN, -1, Bytes::from(vec![7; 3_000_000]));
    let answer = client.call(&request, 9).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    let seen = produced(proxy.broker());
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].decode::<ProduceRequest>(), request);
    assert!(proxy.metric("sluice_proxy_bytes_total{direction=\"to_broker\"}").await > 3_000_000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_keep_the_order_of_requests_whoever_answers_them() {
    let proxy = Proxy::start(|seen| acknowledge(seen).after(Duration::from_millis(2))).await;
    let mut client = proxy.client().await;
    let mut burst = Vec::new();
    for correlation in 0..60 {
        // Every third is answered by the proxy itself, long before the broker's answers come.
        burst.extend(match correlation % 3 {
            0 => frame::request(correlation, &MetadataRequest::default(), 9),
            _ => frame::request(correlation, &produce(PLAIN, 1, Bytes::from(vec![1; 100])), 9),
        });
    }
    client.send(&burst).await.unwrap();
    for correlation in 0..60_i32 {
        let answer = client.read_frame(SOON).await.unwrap().unwrap();
        assert_eq!(answer[..4], correlation.to_be_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_needs_one_fact_after_the_other_is_answered() {
    // The topic is created at the controller, then all clusters are looked at again, then the client hears of it.
    let proxy = Proxy::start(|seen| {
        let result = CreatableTopicResult::default().with_name(topic_name("new")).with_num_partitions(1);
        seen.answer::<CreateTopicsRequest>(&CreateTopicsResponse::default().with_topics(vec![result]))
    })
    .await;
    let mut client = proxy.client().await;
    for round in 1..=3 {
        let topic = CreatableTopic::default().with_name(topic_name("new")).with_num_partitions(1);
        let request = CreateTopicsRequest::default().with_timeout_ms(5_000).with_topics(vec![topic]);
        let answer = client.call(&request, 5).await.unwrap();
        assert_eq!((answer.topics.len(), answer.topics[0].error_code), (1, 0), "round {round}");
    }
    proxy.until_metric("sluice_proxy_asks_total{kind=\"CreateTopics\"}", |asks| asks > 2.5).await;
    proxy.until_metric("sluice_proxy_asks_total{kind=\"refresh\"}", |asks| asks > 2.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_not_read_either() {
    let proxy = Proxy::start(acknowledge).await;
    let mut client = proxy.client().await;
    // Unread answers fill the socket and then stop the reading; what is sent is more than the kernel keeps.
    let request = frame::request(1, &MetadataRequest::default().with_topics(None), 9);
    let burst: Vec<u8> = request.iter().copied().cycle().take(request.len() * 1_000_000).collect();
    let writing = tokio::time::timeout(Duration::from_millis(1500), client.send(&burst)).await;
    assert!(writing.is_err(), "all was taken");
    let mut read = -1.0;
    let began = Instant::now();
    loop {
        let now = proxy.metric("sluice_proxy_bytes_total{direction=\"from_client\"}").await;
        if (now - read).abs() < 1.0 {
            break;
        }
        assert!(began.elapsed() < SOON, "it is read on and on");
        read = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // Others are not affected, and this one goes on when it reads.
    let mut other = proxy.client().await;
    other.call(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    for _ in 0..1000 {
        assert_eq!(client.read_frame(SOON).await.unwrap().unwrap()[..4], 1_i32.to_be_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_broker_is_waited_for_and_nothing_is_lost() {
    // It reads one request in 20 ms; the client sends all at once.
    let proxy = Proxy::start(|seen| acknowledge(seen).after(Duration::from_millis(20))).await;
    let client = proxy.client().await;
    let mut client = client;
    let stream = client.stream();
    let (mut from, mut to) = stream.split();
    let send = async {
        for correlation in 0..30 {
            let request = frame::request(correlation, &produce(PLAIN, 1, Bytes::from(vec![3; 300_000])), 9);
            tokio::io::AsyncWriteExt::write_all(&mut to, &request).await.unwrap();
        }
    };
    let read = async {
        for correlation in 0..30_i32 {
            let length = usize::try_from(from.read_i32().await.unwrap()).unwrap();
            let mut answer = vec![0; length];
            from.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[..4], correlation.to_be_bytes());
        }
    };
    tokio::time::timeout(SOON, async { tokio::join!(send, read) }).await.unwrap();
    assert_eq!(produced(proxy.broker()).len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswered_writes_arrive_although_the_client_leaves_at_once() {
    let proxy = Proxy::start(acknowledge).await;
    for round in 1..=5 {
        let mut client = proxy.client().await;
        for _ in 0..20 {
            client.send_request(&produce(PLAIN, 0, Bytes::from(vec![1; 10_000])), 9).await.unwrap();
        }
        drop(client);
        until_produced(proxy.broker(), round * 20).await;
    }
    proxy.until_metric("sluice_proxy_connections", |open| open < 0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_stops_sending_gets_its_answers() {
    let proxy = Proxy::start(|seen| acknowledge(seen).after(Duration::from_millis(50))).await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        client.send_request(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    }
    client.finish().await.unwrap();
    for _ in 0..3 {
        client.read_response::<ProduceRequest>(9, SOON).await.unwrap();
    }
    assert!(client.is_closed_within(SOON).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_closes_takes_its_clients_along_and_no_others() {
    let proxy = Proxy::start(|seen| {
        let request = seen.decode::<ProduceRequest>();
        if request.timeout_ms == 1 { Action::Close } else { acknowledge(seen) }
    })
    .await;
    let mut other = proxy.client().await;
    other.call(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    let mut client = proxy.client().await;
    client.call(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    let fatal = produce(PLAIN, 1, Bytes::from_static(b"x")).with_timeout_ms(1);
    client.send_request(&fatal, 9).await.unwrap();
    assert!(client.is_closed_within(SOON).await);
    other.call(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    proxy.until_metric("sluice_proxy_connections_closed_total{reason=\"upstream_gone\"}", |n| n > 0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_be_reached_costs_the_connection_after_what_was_answered() {
    let mut proxy = Proxy::start(acknowledge).await;
    let broker = proxy.broker().address();
    proxy.brokers.clear();
    let began = Instant::now();
    while tokio::net::TcpStream::connect(broker).await.is_ok() {
        assert!(began.elapsed() < SOON, "the broker's port is still open");
    }
    let mut client = proxy.client().await;
    client.call(&MetadataRequest::default(), 9).await.unwrap();
    client.send_request(&MetadataRequest::default(), 9).await.unwrap();
    client.send_request(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    client.read_response::<MetadataRequest>(9, SOON).await.unwrap();
    assert!(client.is_closed_within(SOON).await);
    proxy.until_metric("sluice_proxy_upstream_connect_failures_total", |n| n > 0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_passes_is_closed() {
    let proxy = Proxy::start_with(acknowledge, |settings| settings.limits.idle_millis = 300).await;
    let began = Instant::now();
    let mut client = proxy.client().await;
    client.call(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    assert!(client.is_closed_within(SOON).await);
    assert!(began.elapsed() >= Duration::from_millis(300));
    proxy.until_metric("sluice_proxy_connections_closed_total{reason=\"idle\"}", |n| n > 0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_limit_clients_wait_to_be_accepted() {
    let proxy = Proxy::start_with(acknowledge, |settings| settings.max_connections = 2).await;
    let mut first = proxy.client().await;
    let mut second = proxy.client().await;
    for client in [&mut first, &mut second] {
        client.call(&MetadataRequest::default(), 9).await.unwrap();
    }
    let mut third = proxy.client().await;
    third.send_request(&MetadataRequest::default(), 9).await.unwrap();
    assert!(third.read_frame(Duration::from_millis(200)).await.is_err(), "served beyond the limit");
    drop(first);
    third.read_response::<MetadataRequest>(9, SOON).await.unwrap();
    drop(second);
}
