//! The writer against a broker that loses answers and changes its mind.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, FindCoordinatorResponse, InitProducerIdResponse, MetadataResponse, ProduceRequest,
    ProduceResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use sluice_wire::batch::BatchHeader;

use super::*;
use crate::client::{Client, ClientOptions};
use crate::fake_server::{Asked, Reply, Server, frame, server};

const TOPIC: &str = "ledger";
const SHORT: Duration = Duration::from_millis(400);

/// What the broker does with the next Produce.
#[derive(Clone, Copy)]
enum Next {
    /// Stores it.
    Store,
    /// Stores it, but its answer is lost.
    StoreAndHangUp,
    /// Does not store it; the answer is lost all the same.
    HangUp,
    /// Refuses it.
    Refuse(i16),
}

#[derive(Default)]
struct Log {
    script: VecDeque<Next>,
    /// (base sequence, epoch, count) of each Produce that came.
    came: Vec<(i32, i16, i32)>,
    /// Base sequences stored; a batch that is here already is not stored again.
    stored: Vec<i32>,
    init_code: VecDeque<i16>,
}

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

fn reply(log: &Mutex<Log>, asked: &Asked) -> Reply {
    let port = i32::from(asked.port);
    let host = StrBytes::from_static_str("127.0.0.1");
    let mut log = log.lock().unwrap();
    match asked.key {
        18 => {
            let api = |key, max| ApiVersion::default().with_api_key(key).with_max_version(max);
            let keys = vec![api(0, 11), api(3, 12), api(10, 4), api(18, 4), api(22, 4)];
            let answer = ApiVersionsResponse::default().with_api_keys(keys);
            Reply::Bytes(frame(&answer, asked.version, asked.correlation))
        }
        3 => {
            let broker = MetadataResponseBroker::default().with_node_id(BrokerId(1)).with_host(host).with_port(port);
            let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(1));
            let topic = MetadataResponseTopic::default().with_name(Some(name())).with_partitions(vec![partition]);
            let answer = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
            Reply::Bytes(frame(&answer, asked.version, asked.correlation))
        }
        10 => {
            let found = Coordinator::default().with_node_id(BrokerId(1)).with_host(host).with_port(port);
            let answer = FindCoordinatorResponse::default().with_coordinators(vec![found]);
            Reply::Bytes(frame(&answer, asked.version, asked.correlation))
        }
        22 => {
            let code = log.init_code.pop_front().unwrap_or(0);
            let answer = InitProducerIdResponse::default()
                .with_error_code(code)
                .with_producer_id(7.into())
                .with_producer_epoch(3);
            Reply::Bytes(frame(&answer, asked.version, asked.correlation))
        }
        0 => produce(&mut log, asked),
        key => panic!("API key {key} was not expected"),
    }
}

fn produce(log: &mut Log, asked: &Asked) -> Reply {
    let mut frame_bytes = Bytes::from(asked.frame.clone());
    RequestHeader::decode(&mut frame_bytes, 2).unwrap();
    let request = ProduceRequest::decode(&mut frame_bytes, asked.version).unwrap();
    assert_eq!(request.acks, -1);
    assert_eq!(request.transactional_id, None);
    let batch = request.topic_data[0].partition_data[0].records.clone().unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    assert!(!header.is_transactional());
    assert_eq!(header.producer_id, 7);
    log.came.push((header.base_sequence, header.producer_epoch, header.records_count));
    let next = log.script.pop_front().unwrap_or(Next::Store);
    if matches!(next, Next::Store | Next::StoreAndHangUp) && !log.stored.contains(&header.base_sequence) {
        log.stored.push(header.base_sequence);
    }
    let code = match next {
        Next::Store => 0,
        Next::StoreAndHangUp | Next::HangUp => return Reply::Last(Vec::new()),
        Next::Refuse(code) => code,
    };
    let offset = i64::from(header.base_sequence) + 100;
    let partition = PartitionProduceResponse::default().with_error_code(code).with_base_offset(offset);
    let topic = TopicProduceResponse::default().with_name(name()).with_partition_responses(vec![partition]);
    Reply::Bytes(frame(&ProduceResponse::default().with_responses(vec![topic]), asked.version, asked.correlation))
}

async fn broker(script: &[Next]) -> (Arc<Mutex<Log>>, LedgerLog, Server) {
    let log = Arc::new(Mutex::new(Log { script: script.iter().copied().collect(), ..Log::default() }));
    let shared = Arc::clone(&log);
    let server = server(move |asked| reply(&shared, &asked)).await;
    let options = ClientOptions { request_timeout: Duration::from_millis(300), ..ClientOptions::default() };
    let client = Client::new(vec![server.address.clone()], options);
    (log, LedgerLog::new(client, TOPIC), server)
}

fn records(count: usize) -> Vec<(Bytes, Option<Bytes>)> {
    vec![(Bytes::from_static(b"key"), None); count]
}

async fn writer(ledger: &LedgerLog) -> LedgerWriter {
    ledger.take_over("sluice-ledger-test", Duration::from_secs(5)).await.unwrap()
}

#[tokio::test]
async fn sequences_go_on_from_batch_to_batch() {
    let (log, ledger, _server) = broker(&[]).await;
    let mut writer = writer(&ledger).await;
    assert_eq!(writer.producer(), (7, 3));
    assert_eq!(writer.append(records(2), SHORT).await.unwrap(), 100);
    assert_eq!(writer.append(records(3), SHORT).await.unwrap(), 102);
    assert_eq!(writer.append(records(1), SHORT).await.unwrap(), 105);
    assert_eq!(log.lock().unwrap().came, [(0, 3, 2), (2, 3, 3), (5, 3, 1)]);
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_sending_the_same_batch_again() {
    let (log, ledger, _server) = broker(&[Next::StoreAndHangUp, Next::HangUp]).await;
    let mut writer = writer(&ledger).await;
    assert_eq!(writer.append(records(2), Duration::from_secs(5)).await.unwrap(), 100);
    assert_eq!(writer.append(records(1), Duration::from_secs(5)).await.unwrap(), 102);
    let log = log.lock().unwrap();
    assert_eq!(log.came, [(0, 3, 2), (0, 3, 2), (0, 3, 2), (2, 3, 1)]);
    assert_eq!(log.stored, [0, 2]);
}

#[tokio::test]
async fn what_stays_unknown_blocks_the_writer_until_it_is_settled() {
    let (log, ledger, _server) = broker(&[Next::HangUp; 50]).await;
    let mut writer = writer(&ledger).await;
    let error = writer.append(records(2), Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, AppendError::Unknown(_)), "{error}");
    let tries = log.lock().unwrap().came.len();
    let error = writer.append(records(1), SHORT).await.unwrap_err();
    assert!(matches!(error, AppendError::Unknown(_)), "{error}");
    let error = writer.renew(SHORT).await.unwrap_err();
    assert!(matches!(error, AppendError::Unknown(_)), "{error}");
    assert_eq!(log.lock().unwrap().came.len(), tries, "nothing was sent");
    log.lock().unwrap().script.clear();
    assert_eq!(writer.settle(Duration::from_secs(5)).await.unwrap(), Some(100));
    assert_eq!(writer.settle(SHORT).await.unwrap(), None);
    assert_eq!(writer.append(records(1), Duration::from_secs(5)).await.unwrap(), 102);
}

#[tokio::test]
async fn a_refusal_after_an_unknown_try_leaves_it_unknown() {
    // 19: too few in-sync replicas, nothing appended this time. 10 would not pass by waiting.
    for code in [19, 10] {
        let mut script = vec![Next::StoreAndHangUp];
        script.extend([Next::Refuse(code); 50]);
        let (_log, ledger, _server) = broker(&script).await;
        let mut writer = writer(&ledger).await;
        let error = writer.append(records(1), SHORT).await.unwrap_err();
        assert!(matches!(error, AppendError::Unknown(_)), "{code}: {error}");
    }
}

#[tokio::test]
async fn what_was_surely_not_appended_leaves_the_sequence_as_it_was() {
    for code in [10, 19] {
        let (log, ledger, _server) = broker(&[Next::Refuse(code); 2]).await;
        let mut writer = writer(&ledger).await;
        let error = writer.append(records(2), Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, AppendError::NotAppended(_)), "{code}: {error}");
        log.lock().unwrap().script.clear();
        assert_eq!(writer.append(records(1), SHORT).await.unwrap(), 100);
    }
}

#[tokio::test]
async fn a_word_that_is_also_said_after_the_append_leaves_it_unknown() {
    // 6, 3 and 56 too: a leader may be deposed while it waits for its followers.
    for code in [20, 7, 6, 3, 56, -1] {
        let (_log, ledger, _server) = broker(&[Next::Refuse(code); 50]).await;
        let mut writer = writer(&ledger).await;
        let error = writer.append(records(1), Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, AppendError::Unknown(_)), "{code}: {error}");
    }
}

#[tokio::test]
async fn a_fenced_writer_knows_it_at_once() {
    for code in [47, 90] {
        let (log, ledger, _server) = broker(&[Next::HangUp, Next::Refuse(code)]).await;
        let mut writer = writer(&ledger).await;
        let error = writer.append(records(1), Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, AppendError::Fenced), "{code}: {error}");
        log.lock().unwrap().init_code = [code].into();
        assert!(matches!(writer.renew(SHORT).await.unwrap_err(), AppendError::Fenced));
    }
}

#[tokio::test]
async fn taking_over_waits_for_the_coordinator_but_not_for_ever() {
    let (log, ledger, _server) = broker(&[]).await;
    log.lock().unwrap().init_code = [14, 15, 16, 51].into();
    writer(&ledger).await;
    log.lock().unwrap().init_code = [14; 100].into();
    let error = ledger.take_over("t", Duration::from_millis(100)).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("14"), "{error}");
    log.lock().unwrap().init_code = [53].into();
    let before = Instant::now();
    ledger.take_over("t", Duration::from_mins(1)).await.map(|_| ()).unwrap_err();
    assert!(before.elapsed() < Duration::from_secs(30), "a refusal for good is not repeated");
}
