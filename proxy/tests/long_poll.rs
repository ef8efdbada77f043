//! A Fetch that waits at its broker while its topic moves to another cluster.

use std::time::{Duration, Instant};

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse, HeartbeatRequest, HeartbeatResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use sluice_testkit::broker::{Action, Seen};
use sluice_testkit::client::RawClient;
use sluice_testkit::sample::{self, EAST, PLAIN, WEST};

use crate::harness::{Proxy, SOON};
use crate::relay::stitched;

/// How long the broker lets a Fetch wait, whatever the client says.
const WAIT: Duration = Duration::from_secs(3);

pub(crate) fn fetch() -> FetchRequest {
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(PLAIN)))
        .with_partitions(vec![partition.with_current_leader_epoch(-1)]);
    FetchRequest::default().with_max_wait_ms(30_000).with_max_bytes(1 << 24).with_topics(vec![topic])
}

pub(crate) async fn until_waiting(proxy: &Proxy) {
    let began = Instant::now();
    while !proxy.brokers[0].seen().iter().any(Seen::is::<FetchRequest>) {
        assert!(began.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// `PLAIN` is on west from now on.
async fn switch(proxy: &mut Proxy) {
    let revision = proxy.publish(|document| {
        let mut topic = sample::entry(PLAIN, EAST);
        topic.cluster = sample::cluster(WEST);
        topic.chains = vec![sample::chain(PLAIN, &[EAST, WEST], &[900]); 2];
        document.topics.push(topic);
    });
    proxy.until_report(|report| report.has_applied(revision)).await;
}

async fn answer_to(client: &mut RawClient, sent: i32) -> FetchResponse {
    let (correlation, answer) = client.read_response::<FetchRequest>(12, SOON).await.unwrap();
    assert_eq!(correlation, sent);
    answer
}

fn error(answer: &FetchResponse) -> (i16, i32) {
    let partition = &answer.responses[0].partitions[0];
    (partition.error_code, partition.current_leader.leader_id.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_outlast_the_switch() {
    let mut proxy = stitched(|seen| {
        if seen.is::<FetchRequest>() {
            seen.answer::<FetchRequest>(&FetchResponse::default().with_throttle_time_ms(7)).after(WAIT)
        } else {
            seen.answer::<HeartbeatRequest>(&HeartbeatResponse::default())
        }
    })
    .await;
    let mut client = RawClient::connect(proxy.port(1)).await.unwrap();
    let began = Instant::now();
    let sent = client.send_request(&fetch(), 12).await.unwrap();
    until_waiting(&proxy).await;
    switch(&mut proxy).await;
    let told = answer_to(&mut client, sent).await;
    assert_eq!(error(&told), (6, 10_001), "west's broker leads it");
    assert!(began.elapsed() < WAIT, "{:?}", began.elapsed());
    // What is answered by the proxy need not wait for the broker.
    assert_eq!(error(&client.call(&fetch(), 12).await.unwrap()), (6, 10_001));
    assert!(began.elapsed() < WAIT, "{:?}", began.elapsed());
    // What the broker answers comes after its late answer, which the client never sees.
    assert_eq!(client.call(&HeartbeatRequest::default(), 4).await.unwrap(), HeartbeatResponse::default());
    assert!(began.elapsed() >= WAIT);
    assert_eq!(client.call(&HeartbeatRequest::default(), 4).await.unwrap(), HeartbeatResponse::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_answer_is_swallowed_while_the_client_is_silent() {
    let mut proxy = stitched(|seen| {
        if seen.is::<FetchRequest>() {
            seen.answer::<FetchRequest>(&FetchResponse::default()).after(Duration::from_secs(1))
        } else {
            seen.answer::<HeartbeatRequest>(&HeartbeatResponse::default())
        }
    })
    .await;
    let mut client = RawClient::connect(proxy.port(1)).await.unwrap();
    let sent = client.send_request(&fetch(), 12).await.unwrap();
    until_waiting(&proxy).await;
    switch(&mut proxy).await;
    assert_eq!(error(&answer_to(&mut client, sent).await), (6, 10_001));
    assert!(!client.is_closed_within(Duration::from_millis(1_500)).await, "and it breaks nothing");
    assert_eq!(client.call(&HeartbeatRequest::default(), 4).await.unwrap(), HeartbeatResponse::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_closes_instead_ends_the_connection_behind_the_answer() {
    let mut proxy = stitched(|_| Action::Close.after(WAIT)).await;
    let mut client = RawClient::connect(proxy.port(1)).await.unwrap();
    let sent = client.send_request(&fetch(), 12).await.unwrap();
    until_waiting(&proxy).await;
    switch(&mut proxy).await;
    assert_eq!(error(&answer_to(&mut client, sent).await), (6, 10_001));
    assert!(client.is_closed_within(WAIT + SOON).await);
}
