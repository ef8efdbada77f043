//! Old segments: read for the client from the cluster that it never dials itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use sluice_testkit::broker::{Action, ScriptedBroker, Seen};
use sluice_testkit::client::RawClient;
use sluice_testkit::sample::{self, EAST, PLAIN, STITCHED, WEST, WorldBuilder};

use crate::harness::{BASE, Proxy, batch, own_address, produce, standard, until_produced};

/// A proxy before two clusters of one broker each: `STITCHED` was on east up to offset 900 and is on west since.
pub(crate) async fn stitched(east: impl Fn(&Seen) -> Action + Send + Sync + 'static) -> Proxy {
    let address = own_address();
    let at = |port| SocketAddr::new(address, port);
    let (east_at, west_at) = (at(19_092), at(19_093));
    let old = ScriptedBroker::start_at(east_at, move |seen| {
        standard(EAST, seen, &[(1, east_at)]).unwrap_or_else(|| east(seen))
    });
    let new = ScriptedBroker::start_at(west_at, move |seen| {
        standard(WEST, seen, &[(1, west_at)]).unwrap_or_else(|| records(seen, 5, None))
    });
    let builder = WorldBuilder::sample()
        .edit(|document| {
            document.brokers.retain(|broker| broker.broker == 1);
            document.topics.retain(|topic| topic.name.as_str() == STITCHED);
            for (cluster, at) in document.clusters.iter_mut().zip([east_at, west_at]) {
                cluster.bootstrap_servers = vec![at.to_string()];
            }
            for broker in &mut document.brokers {
                broker.served_by = Some(sample::proxy("node-1"));
            }
            for proxy in &mut document.proxies {
                (proxy.host, proxy.port_base) = (address.to_string(), BASE);
            }
        })
        .broker_at(EAST, 1, east_at)
        .broker_at(WEST, 1, west_at);
    let brokers = vec![old.await.unwrap(), new.await.unwrap()];
    let proxy = Proxy::start_on(address, brokers, builder.document(), |settings| settings.limits.relay_millis = 500);
    proxy.until_ready().await;
    // Both clusters, not home alone.
    let began = Instant::now();
    while !proxy.get("/views").await.1.contains("\"west\"") {
        assert!(began.elapsed() < crate::harness::SOON);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    proxy
}

/// A log from 0 to `high_watermark`: what `ListOffsets` says of it.
fn offsets(seen: &Seen, high_watermark: i64) -> Action {
    let request = seen.decode::<ListOffsetsRequest>();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let earliest = matches!(partition.timestamp, -2 | -4);
            ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_offset(if earliest { 0 } else { high_watermark })
        });
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions.collect())
    });
    seen.answer::<ListOffsetsRequest>(&ListOffsetsResponse::default().with_topics(topics.collect()))
}

/// A Fetch answered for its first partition: these records, and an end of the log behind all.
fn records(seen: &Seen, high_watermark: i64, records: Option<Bytes>) -> Action {
    if seen.is::<ListOffsetsRequest>() {
        return offsets(seen, high_watermark);
    }
    let request = seen.decode::<FetchRequest>();
    let Some(topic) = request.topics.first() else { return Action::Close };
    let partition = PartitionData::default()
        .with_partition_index(topic.partitions[0].partition)
        .with_high_watermark(high_watermark)
        .with_last_stable_offset(high_watermark)
        .with_log_start_offset(0)
        .with_records(records);
    let topic = FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(vec![partition]);
    seen.answer::<FetchRequest>(&FetchResponse::default().with_responses(vec![topic]))
}

fn fetch(offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(STITCHED)))
        .with_partitions(vec![partition]);
    FetchRequest::default().with_max_wait_ms(100).with_max_bytes(1 << 24).with_topics(vec![topic])
}

fn partition(answer: &FetchResponse) -> &PartitionData {
    &answer.responses[0].partitions[0]
}

/// West is the second cluster: its broker has port index 3.
fn west_port(proxy: &Proxy) -> SocketAddr {
    proxy.port(4)
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_cut_the_old_cluster_is_read() {
    let proxy = stitched(|seen| records(seen, 900, Some(batch(Bytes::from_static(b"old"))))).await;
    let mut client = RawClient::connect(west_port(&proxy)).await.unwrap();
    let answer = client.call(&fetch(0), 11).await.unwrap();
    assert_eq!(partition(&answer).error_code, 0);
    let found = partition(&answer).records.clone().unwrap();
    assert!(found.windows(3).any(|bytes| bytes == b"old"));
    assert_eq!(partition(&answer).high_watermark, 905, "of the last segment, shifted");
    // At the cut its own broker goes on.
    let answer = client.call(&fetch(900), 11).await.unwrap();
    assert_eq!((partition(&answer).error_code, partition(&answer).high_watermark), (0, 905));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_cluster_that_fails_costs_an_empty_answer_and_no_connection() {
    for (what, action) in [
        ("silent", Action::Silent),
        ("closing", Action::Close),
        ("gibberish", Action::Send(Bytes::from_static(&[0xff; 9]))),
    ] {
        let proxy =
            stitched(move |seen| if seen.is::<ListOffsetsRequest>() { offsets(seen, 900) } else { action.clone() })
                .await;
        let mut client = RawClient::connect(west_port(&proxy)).await.unwrap();
        let began = Instant::now();
        let answer = client.call(&fetch(0), 11).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(partition(&answer).error_code, 0, "{what}");
        assert!(partition(&answer).records.as_ref().is_none_or(Bytes::is_empty), "{what}");
        assert!(began.elapsed() < Duration::from_secs(3), "{what}: {:?}", began.elapsed());
        let answer = client.call(&fetch(900), 11).await.unwrap();
        assert_eq!(partition(&answer).error_code, 0, "{what}: the new home is not affected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_at_once_when_its_cluster_changes_its_place_in_the_document() {
    // The broker never answers: a graceful end would wait for it.
    let mut proxy = stitched(|_| Action::Silent).await;
    let mut client = RawClient::connect(proxy.port(1)).await.unwrap();
    client.send_request(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    until_produced(&proxy.brokers[0], 1).await;
    let revision = proxy.publish(|document| document.clusters.reverse());
    proxy.until_report(|report| report.has_applied(revision)).await;
    assert!(client.is_closed_within(Duration::from_millis(500)).await);
    // Whoever comes now is served under the new order: the ports' brokers are still the same.
    let answer = RawClient::connect(west_port(&proxy)).await.unwrap().call(&fetch(900), 11).await.unwrap();
    assert_eq!((partition(&answer).error_code, partition(&answer).high_watermark), (0, 905));
}
