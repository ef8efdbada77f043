//! A fuse that trips and closes with the document, seen from the client's socket.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::document::{Fuse, FuseAction};
use sluice_testkit::broker::{Action, Seen};
use sluice_testkit::frame;
use sluice_testkit::sample::{self, FENCED, PLAIN};

use crate::harness::{Proxy, SOON, acknowledge, batch, produce, produced};
use crate::long_poll::{fetch, until_waiting};

/// How long the broker lets a Fetch wait, whatever the client says.
const WAIT: Duration = Duration::from_secs(3);

async fn publish(proxy: &mut Proxy, fuses: Vec<Fuse>) {
    let revision = proxy.publish(|document| document.fuses = fuses);
    proxy.until_report(|report| report.has_applied(revision)).await;
}

fn value() -> Bytes {
    Bytes::from(vec![1; 100])
}

fn error(answer: &ProduceResponse) -> (i16, Option<&str>) {
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.error_message.as_ref().map(StrBytes::as_str))
}

#[tokio::test(flavor = "multi_thread")]
async fn held_writes_go_on_in_their_order_when_it_closes() {
    let mut proxy = Proxy::start(acknowledge).await;
    publish(&mut proxy, vec![sample::fuse(PLAIN, Some(FuseAction::Hold), false)]).await;
    let mut client = proxy.client().await;
    for correlation in 0..5 {
        client.send(&frame::request(correlation, &produce(PLAIN, -1, value()), 9)).await.unwrap();
    }
    proxy.until_metric("sluice_proxy_holds_total", |holds| holds > 0.5).await;
    // Another client writes to another topic meanwhile.
    let mut other = proxy.client().await;
    assert_eq!(error(&other.call(&produce(FENCED, -1, value()), 9).await.unwrap()), (0, None));
    assert_eq!(produced(proxy.broker()).len(), 1);
    publish(&mut proxy, Vec::new()).await;
    for sent in 0..5 {
        let (correlation, answer) = client.read_response::<ProduceRequest>(9, SOON).await.unwrap();
        assert_eq!((correlation, error(&answer)), (sent, (0, None)));
    }
    let written: Vec<_> = produced(proxy.broker()).iter().skip(1).map(|seen| seen.correlation).collect();
    assert_eq!(written, [0, 1, 2, 3, 4]);
    assert!(proxy.metric("sluice_proxy_fused_partitions_total{direction=\"produce\"}").await < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_has_waited_is_refused_and_counted() {
    let mut proxy = Proxy::start(acknowledge).await;
    publish(&mut proxy, vec![sample::fuse(PLAIN, Some(FuseAction::Hold), false)]).await;
    let mut client = proxy.client().await;
    let began = Instant::now();
    let request = produce(PLAIN, -1, value()).with_timeout_ms(900);
    assert_eq!(error(&client.call(&request, 9).await.unwrap()), (19, None));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    publish(&mut proxy, vec![sample::fuse(PLAIN, Some(FuseAction::Reject), false)]).await;
    let answer = client.call(&request, 9).await.unwrap();
    let (code, words) = error(&answer);
    assert!(code == 44 && words.is_some_and(|words| words.contains("stop-orders")), "{words:?}");
    assert!(produced(proxy.broker()).is_empty());
    proxy.until_metric("sluice_proxy_fused_partitions_total{direction=\"produce\"}", |count| count > 1.5).await;
    assert!(proxy.metric("sluice_proxy_fused_partitions_total{direction=\"consume\"}").await < 0.5);
}

fn records(seen: &Seen) -> Action {
    let request = seen.decode::<FetchRequest>();
    let topics = request.topics.iter().map(|topic| {
        let partition = PartitionData::default()
            .with_high_watermark(1)
            .with_last_stable_offset(1)
            .with_aborted_transactions(Some(Vec::new()))
            .with_records(Some(batch(value())));
        FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(vec![partition])
    });
    seen.answer::<FetchRequest>(&FetchResponse::default().with_responses(topics.collect()))
}

fn read(answer: &FetchResponse) -> (i16, usize) {
    let partition = &answer.responses[0].partitions[0];
    (partition.error_code, partition.records.as_ref().map_or(0, Bytes::len))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_when_reads_are_stopped() {
    let mut proxy = Proxy::start(|seen| records(seen).after(WAIT)).await;
    let mut client = proxy.client().await;
    let began = Instant::now();
    let sent = client.send_request(&fetch(), 12).await.unwrap();
    until_waiting(&proxy).await;
    publish(&mut proxy, vec![sample::fuse(PLAIN, None, true)]).await;
    let (correlation, answer) = client.read_response::<FetchRequest>(12, SOON).await.unwrap();
    assert_eq!((correlation, read(&answer)), (sent, (0, 0)));
    assert!(began.elapsed() < WAIT, "{:?}", began.elapsed());
    // The next one waits as long as its client lets it, and its broker is not asked.
    let asked = Instant::now();
    let next = fetch().with_max_wait_ms(200);
    assert_eq!(read(&client.call(&next, 12).await.unwrap()), (0, 0));
    assert!(asked.elapsed() >= Duration::from_millis(200), "{:?}", asked.elapsed());
    assert_eq!(proxy.broker().seen().iter().filter(|seen| seen.is::<FetchRequest>()).count(), 1);
    proxy.until_metric("sluice_proxy_fused_partitions_total{direction=\"consume\"}", |count| count > 1.5).await;
    // It closes while one waits.
    let sent = client.send_request(&fetch(), 12).await.unwrap();
    publish(&mut proxy, Vec::new()).await;
    let (correlation, answer) = client.read_response::<FetchRequest>(12, WAIT + WAIT + SOON).await.unwrap();
    assert_eq!(correlation, sent);
    assert!(read(&answer).1 > 0, "{answer:?}");
}
