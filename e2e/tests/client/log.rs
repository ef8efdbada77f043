//! The ledger's log.

use std::time::Duration;

use bytes::Bytes;
use sluice_net::admin::configs::{self, ConfigChange};
use sluice_net::admin::topics;
use sluice_net::log::{AppendError, LedgerLog, LogError, LogRecord};
use sluice_net::{Client, Target};

use super::{PATIENCE, client, drop_topic, new_topic, unique};

type Pair = (Bytes, Option<Bytes>);

fn pair(key: &str, value: Option<&str>) -> Pair {
    (Bytes::from(key.to_owned()), value.map(|value| Bytes::from(value.to_owned())))
}

fn pairs(records: Vec<LogRecord>) -> Vec<Pair> {
    records.into_iter().map(|record| (record.key, record.value)).collect()
}

async fn ledger(client: &Client) -> LedgerLog {
    let log = LedgerLog::new(client.clone(), unique("ledger"));
    let topic = log.ensure_topic().await.unwrap();
    assert!(topic.created && topic.corrected.is_empty(), "{topic:?}");
    log
}

async fn drop_ledger(client: &Client, log: &LedgerLog) {
    let view = topics::describe_one(client, log.topic()).await.unwrap().unwrap();
    drop_topic(client, &view).await;
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn the_topic_is_made_and_set_right() {
    let client = client();
    let brokers = client.brokers().await.unwrap().len();
    let log = ledger(&client).await;
    let again = log.ensure_topic().await.unwrap();
    assert!(!again.created && again.corrected.is_empty(), "{again:?}");
    assert_eq!(usize::try_from(again.replication_factor).unwrap(), brokers.min(3));
    assert_eq!(usize::try_from(again.min_insync_replicas).unwrap(), brokers.min(2));
    let spoil = [
        ConfigChange::Set { name: "cleanup.policy".to_owned(), value: "delete".to_owned() },
        ConfigChange::Delete { name: "unclean.leader.election.enable".to_owned() },
    ];
    configs::alter(&client, log.topic(), &spoil, false).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let corrected = log.ensure_topic().await.unwrap().corrected;
    let expected = [("cleanup.policy", "delete"), ("unclean.leader.election.enable", "false")];
    assert_eq!(corrected, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let policy = configs::describe(&client, &Target::Any, log.topic(), Some(&["cleanup.policy"])).await.unwrap();
    assert_eq!(policy[0].value.as_deref(), Some("compact"));
    drop_ledger(&client, &log).await;

    let wide = new_topic(&client, "not-a-ledger", 2).await;
    let error = LedgerLog::new(client.clone(), &wide.name).ensure_topic().await.unwrap_err();
    assert!(matches!(error, LogError::NotALedger { .. }), "{error}");
    drop_topic(&client, &wide).await;
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn what_is_appended_is_read_back_and_followed() {
    let client = client();
    let log = ledger(&client).await;
    let txn = unique("sluice-ledger");
    assert_eq!(log.read_to_end(0, PATIENCE).await.unwrap(), []);
    let mut writer = log.take_over(&txn, PATIENCE).await.unwrap();
    let mut expected = Vec::new();
    let mut offset = 0;
    for i in 0..30 {
        let batch = vec![pair(&format!("k{i}"), Some("v")), pair("gone", None)];
        offset = writer.append(batch.clone(), PATIENCE).await.unwrap();
        assert_eq!(offset, i * 2);
        expected.extend(batch);
    }
    let read = log.read_to_end(offset + 2, PATIENCE).await.unwrap();
    assert_eq!(read.iter().map(|record| record.offset).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    assert_eq!(pairs(read), expected);
    let beyond = log.read_to_end(offset + 3, Duration::from_millis(300)).await;
    assert!(beyond.is_err(), "an offset that is not there is waited for, not made up");

    let mut tail = log.tail(55);
    let mut followed = Vec::new();
    while followed.len() < 5 {
        followed.extend(tail.next(Duration::from_secs(5)).await.unwrap());
    }
    assert_eq!(pairs(followed), expected[55..]);
    assert_eq!(tail.next(Duration::from_millis(50)).await.unwrap(), [], "nothing new");
    let waiting = tokio::spawn(async move { (tail.next(Duration::from_secs(20)).await.unwrap(), tail.position()) });
    writer.append(vec![pair("new", Some("1"))], PATIENCE).await.unwrap();
    let (news, position) = waiting.await.unwrap();
    assert_eq!((pairs(news), position), (vec![pair("new", Some("1"))], 61));
    let past = log.tail(1000).next(Duration::ZERO).await;
    assert!(matches!(past, Err(LogError::Call(error)) if error.code() == sluice_net::ErrorCode::OFFSET_OUT_OF_RANGE));
    drop_ledger(&client, &log).await;
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn a_new_writer_fences_the_old_one() {
    let client = client();
    let log = ledger(&client).await;
    let txn = unique("sluice-ledger");
    let mut old = log.take_over(&txn, PATIENCE).await.unwrap();
    old.append(vec![pair("a", Some("old"))], PATIENCE).await.unwrap();
    let mut new = log.take_over(&txn, PATIENCE).await.unwrap();
    assert_eq!(new.producer().0, old.producer().0);
    assert!(new.producer().1 > old.producer().1);
    // Only the first append of the new one fences.
    old.append(vec![pair("b", Some("old"))], PATIENCE).await.unwrap();
    new.append(vec![pair("leader", Some("new"))], PATIENCE).await.unwrap();
    for _ in 0..2 {
        let error = old.append(vec![pair("c", Some("old"))], PATIENCE).await.unwrap_err();
        assert!(matches!(error, AppendError::Fenced), "{error}");
    }
    assert!(matches!(old.renew(PATIENCE).await.unwrap_err(), AppendError::Fenced));
    new.append(vec![pair("d", Some("new"))], PATIENCE).await.unwrap();
    let values: Vec<_> = pairs(log.read_to_end(0, PATIENCE).await.unwrap()).into_iter().map(|pair| pair.0).collect();
    assert_eq!(values, ["a", "b", "leader", "d"]);
    drop_ledger(&client, &log).await;
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn a_writer_renews_itself_and_goes_on() {
    let client = client();
    let log = ledger(&client).await;
    let txn = unique("sluice-ledger");
    let mut writer = log.take_over(&txn, PATIENCE).await.unwrap();
    writer.append(vec![pair("a", None), pair("b", None)], PATIENCE).await.unwrap();
    let before = writer.producer();
    writer.renew(PATIENCE).await.unwrap();
    assert_eq!(writer.producer().0, before.0);
    assert!(writer.producer().1 > before.1);
    assert_eq!(writer.append(vec![pair("c", None)], PATIENCE).await.unwrap(), 2);
    assert_eq!(writer.settle(PATIENCE).await.unwrap(), None);
    let _other = log.take_over(&txn, PATIENCE).await.unwrap();
    let error = writer.renew(PATIENCE).await.unwrap_err();
    assert!(matches!(error, AppendError::Fenced), "a renewal never wins over a take-over: {error}");
    drop_ledger(&client, &log).await;
}
