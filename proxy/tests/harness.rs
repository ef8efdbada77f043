//! One running proxy, the scripted brokers behind it, and the directory that it shares with a pretended operator.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, BrokerId, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use sluice_mesh::document::Document;
use sluice_mesh::report::Report;
use sluice_proxy::App;
use sluice_proxy::args::{Args, Settings};
use sluice_testkit::broker::{Action, ScriptedBroker, Seen};
use sluice_testkit::client::RawClient;
use sluice_testkit::sample::{self, EAST, WorldBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Far more than anything here should take.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// The port of each test's proxy that answers as its first home broker.
pub(crate) const BOOTSTRAP: u16 = 29_092;
/// Virtual broker 1 of the sample has index 0.
pub(crate) const BASE: u16 = 29_100;

/// A proxy under test.
pub(crate) struct Proxy {
    pub(crate) app: Option<App>,
    pub(crate) brokers: Vec<ScriptedBroker>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) address: IpAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) document: Document,
}

/// A loopback address that no other test uses, in this process or (most likely) another.
pub(crate) fn own_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = std::process::id() % 200;
    IpAddr::V4(Ipv4Addr::new(127, 20 + u8::try_from(process).unwrap(), high, low))
}

/// A broker that answers what a proxy's own client asks; the rest is the script's. `brokers` are the ids and addresses that
/// its metadata shows.
pub(crate) fn standard(on: &str, seen: &Seen, brokers: &[(i32, SocketAddr)]) -> Option<Action> {
    match seen.key {
        18 => {
            let keys = sample::api_versions().into_iter().map(|(key, min, max)| {
                ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
            });
            Some(seen.answer::<ApiVersionsRequest>(&ApiVersionsResponse::default().with_api_keys(keys.collect())))
        }
        3 => {
            let brokers = brokers.iter().map(|(id, address)| {
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(*id))
                    .with_host(StrBytes::from_string(address.ip().to_string()))
                    .with_port(i32::from(address.port()))
            });
            let partition = |index: i32| {
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(BrokerId(1))
                    .with_leader_epoch(sample::EPOCH)
                    .with_replica_nodes(vec![BrokerId(1)])
                    .with_isr_nodes(vec![BrokerId(1)])
            };
            let topic = |name: &'static str| {
                MetadataResponseTopic::default()
                    .with_name(Some(TopicName(StrBytes::from_static_str(name))))
                    .with_topic_id(sample::topic_id(on, name))
                    .with_partitions((0..2).map(partition).collect())
            };
            let metadata = MetadataResponse::default()
                .with_cluster_id(Some(StrBytes::from_static_str(sample::EAST_ID)))
                .with_controller_id(BrokerId(1))
                .with_brokers(brokers.collect())
                .with_topics(vec![topic(sample::PLAIN), topic(sample::FENCED), topic(sample::STITCHED)]);
            Some(seen.answer::<MetadataRequest>(&metadata))
        }
        _ => None,
    }
}

/// Success for every partition of a Produce; silence for acks=0.
pub(crate) fn acknowledge(seen: &Seen) -> Action {
    let request = seen.decode::<ProduceRequest>();
    if request.acks == 0 {
        return Action::Silent;
    }
    let responses = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| {
            PartitionProduceResponse::default()
                .with_index(partition.index)
                .with_base_offset(i64::from(seen.correlation))
                .with_log_append_time_ms(-1)
                .with_log_start_offset(0)
        });
        TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions.collect())
    });
    seen.answer::<ProduceRequest>(&ProduceResponse::default().with_responses(responses.collect()))
}

/// The sample's document cut down to its home cluster, with these real addresses, served by `node-1` alone.
pub(crate) fn document(address: IpAddr, brokers: &[SocketAddr]) -> Document {
    let mut builder = WorldBuilder::sample().edit(|document| {
        document.clusters.retain(|cluster| cluster.name.as_str() == EAST);
        document.brokers.retain(|broker| broker.cluster.as_str() == EAST);
        document.brokers.truncate(brokers.len());
        document.topics.clear();
        document.clusters[0].bootstrap_servers = brokers.iter().map(ToString::to_string).collect();
        for broker in &mut document.brokers {
            broker.served_by = Some(sample::proxy("node-1"));
        }
        for proxy in &mut document.proxies {
            (proxy.host, proxy.port_base) = (address.to_string(), BASE);
        }
    });
    for (id, broker) in (1..).zip(brokers) {
        builder = builder.broker_at(EAST, id, *broker);
    }
    builder.document()
}

impl Proxy {
    /// Starts a proxy before one broker with this script (for what [`standard`] does not answer) and waits until it is ready.
    pub(crate) async fn start(script: impl Fn(&Seen) -> Action + Send + Sync + 'static) -> Self {
        Self::start_with(script, |_| ()).await
    }

    /// The same with other settings.
    pub(crate) async fn start_with(
        script: impl Fn(&Seen) -> Action + Send + Sync + 'static,
        adjust: impl FnOnce(&mut Settings),
    ) -> Self {
        let address = own_address();
        let at = SocketAddr::new(address, 19_092);
        let broker =
            ScriptedBroker::start_at(at, move |seen| standard(EAST, seen, &[(1, at)]).unwrap_or_else(|| script(seen)))
                .await
                .unwrap();
        let document = document(address, &[at]);
        let mut proxy = Self::start_on(address, vec![broker], document, adjust);
        proxy.until_ready().await;
        proxy.document.digest.clear();
        proxy
    }

    /// Starts a proxy with this document.
    pub(crate) fn start_on(
        address: IpAddr,
        brokers: Vec<ScriptedBroker>,
        document: Document,
        adjust: impl FnOnce(&mut Settings),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), &document.to_json());
        let mut settings = settings(address, directory.path());
        adjust(&mut settings);
        let app = App::start(&settings).unwrap();
        let admin = app.admin();
        Self { app: Some(app), brokers, directory, address, admin, document }
    }

    pub(crate) fn broker(&self) -> &ScriptedBroker {
        &self.brokers[0]
    }

    /// Where virtual broker `id` of home is.
    pub(crate) fn port(&self, id: u16) -> SocketAddr {
        SocketAddr::new(self.address, BASE + id - 1)
    }

    /// A client of virtual broker 1.
    pub(crate) async fn client(&self) -> RawClient {
        RawClient::connect(self.port(1)).await.unwrap()
    }

    /// The next revision of the document, changed.
    pub(crate) fn publish(&mut self, change: impl FnOnce(&mut Document)) -> u64 {
        self.document.revision += 1;
        change(&mut self.document);
        put(self.directory.path(), &self.document.clone().seal().to_json_pretty());
        self.document.revision
    }

    /// The proxy's report.
    pub(crate) fn report(&self) -> Option<Report> {
        let file = self.directory.path().join("reports/node-1.json");
        Some(Report::parse(&std::fs::read(file).ok()?).unwrap())
    }

    /// Waits for a report; returns how long that took.
    pub(crate) async fn until_report(&self, is: impl Fn(&Report) -> bool) -> Duration {
        let began = Instant::now();
        while !self.report().is_some_and(|report| is(&report)) {
            assert!(began.elapsed() < SOON, "the last report is {:?}", self.report());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        began.elapsed()
    }

    pub(crate) async fn until_ready(&self) {
        let began = Instant::now();
        while self.get("/ready").await.0 != 200 {
            assert!(began.elapsed() < SOON, "{}", self.get("/ready").await.1);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Asks the admin endpoint.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// A counter or gauge of the proxy; 0 if it is not shown yet.
    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let (_, body) = self.get("/metrics").await;
        let found = body.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0.0)
    }

    pub(crate) async fn until_metric(&self, line: &str, is: impl Fn(f64) -> bool) {
        let began = Instant::now();
        while !is(self.metric(line).await) {
            assert!(began.elapsed() < SOON, "{line} is {}", self.metric(line).await);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn settings(address: IpAddr, directory: &Path) -> Settings {
    use clap::Parser;
    let [host, bootstrap, base] = [address.to_string(), BOOTSTRAP.to_string(), BASE.to_string()];
    let args = ["--name", "node-1", "--host", &host, "--bootstrap-port", &bootstrap, "--port-base", &base];
    let more = ["--admin", "127.0.0.1:0", "--threads", "2", "--drain-seconds", "3", "--directory"];
    let args = Args::try_parse_from(
        ["sluice-proxy"].into_iter().chain(args).chain(more).map(Into::into).chain([directory.as_os_str().to_owned()]),
    );
    args.unwrap().settings().unwrap()
}

/// As the operator does it.
pub(crate) fn put(directory: &Path, bytes: &[u8]) {
    let temporary = directory.join(".document.json.tmp");
    std::fs::write(&temporary, bytes).unwrap();
    std::fs::rename(temporary, directory.join("document.json")).unwrap();
}

/// One batch of one record with this value.
pub(crate) fn batch(value: Bytes) -> Bytes {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 1_790_000_000_000,
        key: None,
        value: Some(value),
        headers: kafka_protocol::indexmap::IndexMap::default(),
    };
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, [&record], &options).unwrap();
    bytes.freeze()
}

/// A Produce of one batch to partition 0.
pub(crate) fn produce(topic: &'static str, acks: i16, value: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch(value)));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(topic)))
        .with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// The Produces that a broker has seen.
pub(crate) fn produced(broker: &ScriptedBroker) -> Vec<Seen> {
    broker.seen().into_iter().filter(Seen::is::<ProduceRequest>).collect()
}

/// Waits until a broker has seen so many Produces.
pub(crate) async fn until_produced(broker: &ScriptedBroker, count: usize) {
    let began = Instant::now();
    while produced(broker).len() < count {
        assert!(began.elapsed() < SOON, "{} of {count} have come", produced(broker).len());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
