//! Admin calls.

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use sluice_net::admin::configs::{self, ConfigChange};
use sluice_net::admin::log_ends::{self, EARLIEST, LATEST, PartitionEpoch, PartitionOffset};
use sluice_net::admin::records::{self, FetchOptions};
use sluice_net::admin::topics::{self, NewTopic};
use sluice_net::admin::{ByBroker, cluster, producers, transactions};
use sluice_net::batch::ProducerStamp;
use sluice_net::{CallError, ErrorCode, Target};
use uuid::Uuid;

use super::{PATIENCE, client, drop_topic, new_topic, one_batch, replicas, unique};

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn the_cluster_shows_itself() {
    let client = client();
    let view = cluster::view(&client).await.unwrap();
    assert!(!view.cluster_id.is_empty() && !view.brokers.is_empty() && view.kraft, "{view:?}");
    assert!(view.metadata_version.unwrap() >= 21 && view.version_hint.is_some(), "{view:?}");
    assert!(view.controller.is_some());
    eprintln!("{view:?}");
    for broker in &view.brokers {
        let offered = client.api_versions(&Target::Broker(broker.id)).await.unwrap();
        assert!(offered.api(0).unwrap().1 >= 11, "{offered:?}");
    }
    assert!(matches!(client.metadata_from(99_999, None).await, Err(CallError::UnknownBroker(99_999))));
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn topics_are_created_described_and_deleted_by_id() {
    let client = client();
    let name = unique("topics");
    let configs = vec![("retention.ms".to_owned(), "12345".to_owned())];
    let topic = NewTopic { name: name.clone(), partitions: 3, replication_factor: replicas(&client).await, configs };
    assert_eq!(topics::create(&client, &topic, true).await.unwrap(), Uuid::nil());
    assert_eq!(topics::describe_one(&client, &name).await.unwrap(), None, "a dry run makes nothing");

    let id = topics::create(&client, &topic, false).await.unwrap();
    assert_ne!(id, Uuid::nil());
    let view = topics::wait_ready(&client, &name, id, PATIENCE).await.unwrap();
    assert_eq!((view.topic_id, view.partitions.len()), (id, 3));
    assert!(view.partitions.iter().enumerate().all(|(i, p)| usize::try_from(p.partition).unwrap() == i));
    let again = topics::create(&client, &topic, false).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::TOPIC_ALREADY_EXISTS);
    let bad = NewTopic { configs: vec![("no.such".to_owned(), "1".to_owned())], name: unique("bad"), ..topic.clone() };
    assert_eq!(topics::create(&client, &bad, false).await.unwrap_err().code(), ErrorCode(40));
    assert!(topics::list(&client).await.unwrap().iter().any(|topic| topic.name == name));

    let other = topics::delete(&client, &name, Uuid::from_u128(7)).await.unwrap_err();
    assert_eq!(other.code(), ErrorCode::UNKNOWN_TOPIC_ID, "another id: {other}");
    topics::delete(&client, &name, id).await.unwrap();
    topics::wait_gone(&client, &name, PATIENCE).await.unwrap();
    let gone = topics::delete(&client, &name, id).await.unwrap_err();
    assert_eq!(gone.code(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn configs_are_set_tried_and_removed() {
    let client = client();
    let topic = new_topic(&client, "configs", 1).await;
    let any = Target::Any;
    let read = async || {
        let values = configs::describe(&client, &any, &topic.name, Some(&["retention.ms"])).await.unwrap();
        assert_eq!(values.len(), 1);
        (values[0].value.clone().unwrap(), values[0].overridden)
    };
    let eventually = async |wanted: (String, bool)| {
        for _ in 0..200 {
            if read().await == wanted {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{:?} instead of {wanted:?}", read().await);
    };
    let inherited = read().await;
    assert!(!inherited.1);
    let set = [ConfigChange::Set { name: "retention.ms".to_owned(), value: "4711".to_owned() }];
    configs::alter(&client, &topic.name, &set, true).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(read().await, inherited, "a dry run changes nothing");
    configs::alter(&client, &topic.name, &set, false).await.unwrap();
    eventually(("4711".to_owned(), true)).await;
    let delete = [ConfigChange::Delete { name: "retention.ms".to_owned() }];
    configs::alter(&client, &topic.name, &delete, false).await.unwrap();
    eventually(inherited).await;
    let bad = [ConfigChange::Set { name: "retention.ms".to_owned(), value: "x".to_owned() }];
    assert!(configs::alter(&client, &topic.name, &bad, true).await.is_err());
    let all = configs::describe(&client, &any, &topic.name, None).await.unwrap();
    assert!(all.len() > 20 && all.iter().any(|config| config.name == configs::MAX_MESSAGE_BYTES));
    drop_topic(&client, &topic).await;
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn ends_watermarks_epochs_and_offsets() {
    let client = client();
    let topic = new_topic(&client, "ends", 4).await;
    let name = &topic.name;
    for partition in 0..4 {
        for _ in 0..=partition {
            let batch = one_batch(&["a", "b"], ProducerStamp::NONE);
            records::produce(&client, name, partition, batch, -1).await.unwrap();
        }
    }
    let mut asked = ByBroker::new();
    let mut offsets = ByBroker::new();
    for p in &topic.partitions {
        let epoch = PartitionEpoch { partition: p.partition, epoch: p.epoch };
        asked.entry(p.leader).or_insert_with(Vec::new).push(epoch);
        let end = PartitionOffset { partition: p.partition, offset: i64::from(p.partition + 1) * 2 };
        offsets.entry(p.leader).or_insert_with(Vec::new).push(end);
    }
    let ends = log_ends::log_ends(&client, name, &asked).await;
    let found: Vec<_> = ends.iter().map(|(p, end)| (*p, end.unwrap().offset)).collect();
    assert_eq!(found, [(0, 2), (1, 4), (2, 6), (3, 8)]);
    for (partition, marks) in log_ends::watermarks(&client, name, &offsets).await {
        let (marks, end) = (marks.unwrap(), i64::from(partition + 1) * 2);
        assert_eq!((marks.high_watermark, marks.last_stable_offset, marks.log_start_offset), (end, end, 0));
    }
    for items in asked.values_mut() {
        for item in items {
            item.epoch += 1;
        }
    }
    for (_, end) in log_ends::log_ends(&client, name, &asked).await {
        assert_eq!(end, Err(ErrorCode::UNKNOWN_LEADER_EPOCH));
    }
    for broker in client.brokers().await.unwrap() {
        let at = log_ends::epochs_at(&client, broker.id, name).await.unwrap();
        assert_eq!((at.topic_id, &at.partitions.len()), (topic.topic_id, &4));
        assert_eq!(at.by_leader(), topic.by_leader());
    }
    let offset = async |timestamp| {
        let found = log_ends::list_offsets(&client, name, &[0, 3, 9], timestamp).await;
        found.into_iter().map(|(p, found)| (p, found.map(|found| found.offset))).collect::<Vec<_>>()
    };
    let unknown = (9, Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(offset(EARLIEST).await, [(0, Ok(0)), (3, Ok(0)), unknown]);
    assert_eq!(offset(LATEST).await, [(0, Ok(2)), (3, Ok(8)), unknown]);
    assert_eq!(offset(1_700_000_000_000).await, [(0, Ok(0)), (3, Ok(0)), unknown]);
    assert_eq!(offset(1_700_000_000_001).await, [(0, Ok(-1)), (3, Ok(-1)), unknown]);

    let before = [PartitionOffset { partition: 3, offset: 5 }, PartitionOffset { partition: 0, offset: -1 }];
    assert_eq!(records::delete(&client, name, &before).await, [(0, Ok(2)), (3, Ok(5))]);
    let fetched = records::fetch(&client, name, 3, 5, FetchOptions::default()).await.unwrap();
    assert_eq!(fetched.watermarks.log_start_offset, 5);
    assert_eq!(fetched.batches.iter().map(|b| (b.base_offset, b.last_offset)).collect::<Vec<_>>(), [(4, 5), (6, 7)]);
    assert_eq!(fetched.batches[0].partition_leader_epoch, topic.partitions[3].epoch);
    let values: Vec<_> = fetched.batches[1].records.iter().flatten().map(|r| (r.offset, r.value.clone())).collect();
    assert_eq!(values, [(6, Some("a".into())), (7, Some("b".into()))]);
    let below = records::fetch(&client, name, 3, 1, FetchOptions::default()).await.unwrap_err();
    assert_eq!(below.code(), ErrorCode::OFFSET_OUT_OF_RANGE);
    drop_topic(&client, &topic).await;
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn producers_are_told_with_their_last_sequence() {
    let client = client();
    let topic = new_topic(&client, "producers", 2).await;
    let foreign = 5 | 3 << 56 | 2 << 48;
    for (producer_id, producer_epoch, base_sequence) in [(foreign, 1, 1000), (7, 0, 0), (7, 0, 2)] {
        let stamp = ProducerStamp { producer_id, producer_epoch, base_sequence };
        records::produce(&client, &topic.name, 1, one_batch(&["x", "y"], stamp), 1).await.unwrap();
    }
    let gap = ProducerStamp { producer_id: 7, producer_epoch: 0, base_sequence: 9 };
    let refused = records::produce(&client, &topic.name, 1, one_batch(&["z"], gap), 1).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let found = producers::describe(&client, &topic.name, &topic.by_leader()).await;
    assert_eq!(found[0], (0, Ok(vec![])));
    let known: Vec<_> =
        found[1].1.as_ref().unwrap().iter().map(|p| (p.producer_id, p.producer_epoch, p.last_sequence)).collect();
    assert_eq!(known, [(7, 0, 3), (foreign, 1, 1001)]);
    let wrong = ByBroker::from([(topic.partitions[0].leader, vec![0, 77])]);
    let found = producers::describe(&client, &topic.name, &wrong).await;
    assert_eq!(found[1], (77, Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)));
    drop_topic(&client, &topic).await;
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn an_open_transaction_is_found_before_it_has_written() {
    let client = client();
    let topic = new_topic(&client, "transactions", 3).await;
    let id = unique("txn");
    let to = Target::Transaction(id.clone());
    let transactional_id = || StrBytes::from_string(id.clone()).into();
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional_id()))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let mut producer = None;
    for _ in 0..100 {
        match client.call_at(&to, init.clone(), 4).await {
            Ok(answer) if answer.error_code == 0 => {
                producer = Some((answer.producer_id, answer.producer_epoch));
                break;
            }
            _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
    let (producer_id, producer_epoch) = producer.expect("the coordinator answers");
    assert_eq!(transactions::naming(&client, &topic.name).await.unwrap(), []);
    let partitions = AddPartitionsToTxnTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.name.clone())))
        .with_partitions(vec![2, 1]);
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional_id())
        .with_v3_and_below_producer_id(producer_id)
        .with_v3_and_below_producer_epoch(producer_epoch)
        .with_v3_and_below_topics(vec![partitions]);
    let answer = client.call_at(&to, add, 3).await.unwrap();
    let codes = &answer.results_by_topic_v3_and_below[0].results_by_partition;
    assert!(codes.iter().all(|result| result.partition_error_code == 0), "{answer:?}");

    let open = transactions::naming(&client, &topic.name).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((&open[0].transactional_id, open[0].state.as_str()), (&id, "Ongoing"));
    assert_eq!((open[0].producer_id, &open[0].partitions[..]), (producer_id.0, &[1, 2][..]));
    assert_eq!(transactions::naming(&client, "another").await.unwrap(), []);

    let end = EndTxnRequest::default()
        .with_transactional_id(transactional_id())
        .with_producer_id(producer_id)
        .with_producer_epoch(producer_epoch);
    assert_eq!(client.call_at(&to, end, 3).await.unwrap().error_code, 0);
    for _ in 0..100 {
        if transactions::naming(&client, &topic.name).await.unwrap().is_empty() {
            drop_topic(&client, &topic).await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("an aborted transaction is still under way");
}
