//! The librdkafka producer: idempotent unless told otherwise, unique values, a steady rate.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use super::Worker;
use crate::history::{Event, Name, Outcome, Recorder, What};

/// Records leave in small bursts. Were they spread evenly, some partition's `linger.ms` would always be about to end, and
/// librdkafka, which cannot wait for less than a millisecond, would spin.
const BURST: Duration = Duration::from_millis(10);

/// What to send.
#[derive(Debug, Clone)]
pub struct ProducerSpec {
    /// Name, and first half of every value.
    pub name: String,
    /// Bootstrap addresses.
    pub bootstrap: String,
    /// Topics, in turn.
    pub topics: Vec<String>,
    /// Records per second.
    pub rate: u32,
    /// Ends by itself after so many.
    pub limit: u64,
    /// Bytes of padding behind each key's number, so that batches have some size.
    pub key_bytes: usize,
    /// Client settings that replace the ones below.
    pub settings: Vec<(String, String)>,
}

impl ProducerSpec {
    /// An idempotent producer.
    pub fn new(name: &str, bootstrap: &str, topic: &str, rate: u32) -> Self {
        Self {
            name: name.to_owned(),
            bootstrap: bootstrap.to_owned(),
            topics: vec![topic.to_owned()],
            rate,
            limit: 10_000_000,
            key_bytes: 64,
            settings: Vec::new(),
        }
    }

    /// Sends to this topic too, over the same connections.
    #[must_use]
    pub fn and_topic(mut self, topic: &str) -> Self {
        self.topics.push(topic.to_owned());
        self
    }

    /// Sets a client setting.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it; when stopped it waits until every record is acknowledged or has failed.
    pub fn start(self, recorder: &Arc<Recorder>) -> Worker {
        let recorder = Arc::clone(recorder);
        let name = self.name.clone();
        Worker::start(&name, move |stop| {
            let process = self.name.as_str().into();
            let topics = self.topics.iter().map(|topic| topic.as_str().into()).collect();
            let context = Report { process, topics, recorder, made_up: Mutex::default() };
            let producer = create(&self, context)?;
            let begin = Instant::now();
            let mut sent: u64 = 0;
            while !stop.is_set() && sent < self.limit {
                let due = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX) * u64::from(self.rate) / 1000;
                while sent < due.min(self.limit) && !stop.is_set() {
                    if !send(&self, &producer, sent)? {
                        break;
                    }
                    sent += 1;
                }
                std::thread::sleep(BURST);
            }
            producer.flush(Duration::from_secs(90)).context("waiting for the last acknowledgements")?;
            Ok(())
        })
    }
}

fn create(spec: &ProducerSpec, context: Report) -> Result<ThreadedProducer<Report>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &spec.bootstrap)
        .set("client.id", &spec.name)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("message.timeout.ms", "80000")
        .set("queue.buffering.max.messages", "200000")
        .set_log_level(RDKafkaLogLevel::Error);
    for (key, value) in &spec.settings {
        config.set(key, value);
    }
    config.create_with_context(context).context("create the producer")
}

/// False when the client's own queue is full.
fn send(spec: &ProducerSpec, producer: &ThreadedProducer<Report>, sequence: u64) -> Result<bool> {
    let value = format!("{}:{sequence}", spec.name);
    let key = format!("{:0width$}", sequence % 997, width = spec.key_bytes);
    let context = producer.context();
    // As many as a `usize` holds are never sent.
    let topic = &context.topics[usize::try_from(sequence).unwrap_or_default() % context.topics.len()];
    let sent = Box::new(Sent { topic: topic.clone(), value: value.clone(), invoke: context.recorder.clock().now() });
    let record = BaseRecord::with_opaque_to(topic.as_str(), sent).key(&key).payload(&value);
    match producer.send(record) {
        Ok(()) => Ok(true),
        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
        Err((error, record)) => {
            context.record(*record.delivery_opaque, -1, None, Outcome::Fail, Some(name_of(&error)));
            // A fatal error ends an idempotent producer: the history shows it.
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                return Err(error).context("the producer gave up");
            }
            Ok(true)
        }
    }
}

/// librdkafka's name of an error, or its words if it has none.
pub(super) fn name_of(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| format!("{code:?}"))
}

/// Whether a record with this error can't be in the log. Time-outs and lost connections leave it open. A policy is looked at
/// before anything is written.
fn is_definite(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::PolicyViolation
        )
    )
}

struct Sent {
    topic: Name,
    value: String,
    invoke: u64,
}

/// Turns delivery reports into events.
struct Report {
    process: Name,
    topics: Vec<Name>,
    recorder: Arc<Recorder>,
    /// By topic and partition: the last number that librdkafka made up, see [`stated`].
    made_up: Mutex<HashMap<(Name, i32), i64>>,
}

/// The offset that the broker stated, if it did. For a batch that it had already, it may say -1; librdkafka counts on from
/// there for the records of the batch (`rd_kafka_msgq_set_metadata`): -1, 0, 1 ..., none of which anybody stated.
fn stated<K: Eq + Hash>(made_up: &mut HashMap<K, i64>, partition: K, offset: i64) -> Option<i64> {
    if offset < 0 || made_up.get(&partition).is_some_and(|last| offset == last + 1) {
        made_up.insert(partition, offset);
        return None;
    }
    made_up.remove(&partition);
    Some(offset)
}

impl Report {
    fn record(&self, sent: Sent, partition: i32, offset: Option<i64>, outcome: Outcome, error: Option<String>) {
        self.recorder.record(Event {
            process: self.process.clone(),
            t_invoke: Some(sent.invoke),
            t_complete: self.recorder.clock().now(),
            what: What::Send { topic: sent.topic, partition, value: sent.value, offset, outcome, error },
        });
    }
}

impl ClientContext for Report {
    fn error(&self, error: KafkaError, reason: &str) {
        let fatal = error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal);
        let what = What::Error { code: name_of(&error), fatal, text: reason.to_owned() };
        self.recorder.now(&self.process, what);
    }
}

impl ProducerContext for Report {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        match result {
            Ok(message) => {
                let mut made_up = self.made_up.lock().unwrap_or_else(PoisonError::into_inner);
                let partition = (sent.topic.clone(), message.partition());
                let offset = stated(&mut made_up, partition, message.offset());
                drop(made_up);
                self.record(*sent, message.partition(), offset, Outcome::Ok, None);
            }
            Err((error, message)) => {
                let outcome = if is_definite(error) { Outcome::Fail } else { Outcome::Info };
                self.record(*sent, message.partition(), None, outcome, Some(name_of(error)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_offsets_that_the_broker_stated_count() {
        let mut made_up = HashMap::new();
        let seen: Vec<Option<i64>> =
            [7, 8, -1, 0, 1, 9, 10, -1, 11].into_iter().map(|offset| stated(&mut made_up, 3, offset)).collect();
        assert_eq!(
            seen,
            [Some(7), Some(8), None, None, None, Some(9), Some(10), None, Some(11)],
            "-1, 0, 1 are librdkafka's own count"
        );
        assert_eq!(stated(&mut made_up, 4, 0), Some(0), "another partition");
    }
}
