//! Readers without a group, over librdkafka: from the beginning, or from any offsets, to the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::Worker;
use super::producer::name_of;
use crate::history::{Name, Recorder, What};

/// What to read.
#[derive(Debug, Clone)]
pub struct ReaderSpec {
    /// Name of the reader.
    pub name: String,
    /// Bootstrap addresses.
    pub bootstrap: String,
    /// Topic.
    pub topic: String,
    /// First offset by partition; a partition that is not named is read from its beginning.
    pub from: BTreeMap<i32, i64>,
    /// Partitions.
    pub partitions: i32,
    /// Time limit for a catch-up.
    pub within: Duration,
    /// How long a broker may keep a Fetch that finds nothing.
    pub wait: Duration,
}

impl ReaderSpec {
    /// A reader from the beginning of all partitions.
    pub fn new(name: &str, bootstrap: &str, topic: &str, partitions: i32) -> Self {
        Self {
            name: name.to_owned(),
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            from: BTreeMap::new(),
            partitions,
            within: Duration::from_mins(1),
            wait: Duration::from_millis(100),
        }
    }

    /// Starts [`Self::catch_up`] on a thread of its own.
    pub fn start(self, recorder: &Arc<Recorder>) -> Worker<u64> {
        let recorder = Arc::clone(recorder);
        let name = self.name.clone();
        Worker::start(&name, move |_| self.catch_up(&recorder))
    }

    /// Starts a reader that goes on until it is stopped.
    pub fn start_following(self, recorder: &Arc<Recorder>) -> Worker<u64> {
        let recorder = Arc::clone(recorder);
        let name = self.name.clone();
        Worker::start(&name, move |stop| {
            let consumer = self.create(&recorder)?;
            self.assign(&consumer, &recorder)?;
            let mut count = 0;
            while !stop.is_set() {
                if self.read_one(&consumer, &recorder).is_some() {
                    count += 1;
                }
            }
            Ok(count)
        })
    }

    /// Reads up to what is the end now, and says so in the history if it began at the beginning. Returns the number of
    /// records.
    pub fn catch_up(&self, recorder: &Arc<Recorder>) -> Result<u64> {
        let consumer = self.create(recorder)?;
        let mut left = BTreeMap::new();
        for partition in 0..self.partitions {
            let (low, high) = consumer
                .fetch_watermarks(&self.topic, partition, Duration::from_secs(20))
                .with_context(|| format!("the end of {}-{partition}", self.topic))?;
            if high > self.from.get(&partition).copied().unwrap_or(low) {
                left.insert(partition, high);
            } else {
                self.caught_up(recorder, partition, high);
            }
        }
        self.assign(&consumer, recorder)?;
        let deadline = Instant::now() + self.within;
        let mut count = 0;
        while !left.is_empty() {
            if let Some((partition, offset)) = self.read_one(&consumer, recorder) {
                count += 1;
                if left.get(&partition).is_some_and(|end| offset + 1 >= *end)
                    && let Some(end) = left.remove(&partition)
                {
                    self.caught_up(recorder, partition, end);
                }
            }
            if Instant::now() > deadline {
                bail!("{} did not reach the ends {left:?} of {} within {:?}", self.name, self.topic, self.within);
            }
        }
        Ok(count)
    }

    fn caught_up(&self, recorder: &Recorder, partition: i32, end: i64) {
        if !self.from.contains_key(&partition) {
            let what = What::CaughtUp { topic: self.topic.as_str().into(), partition, end };
            recorder.now(&self.name.as_str().into(), what);
        }
    }

    fn create(&self, recorder: &Arc<Recorder>) -> Result<BaseConsumer<Complaints>> {
        let complaints = Complaints { process: self.name.as_str().into(), recorder: Arc::clone(recorder) };
        ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", &self.name)
            // librdkafka wants one; nothing is ever committed.
            .set("group.id", format!("unused-{}", self.name))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // An offset out of range is an error to be seen, never a reason to start over.
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", self.wait.as_millis().to_string())
            .set_log_level(RDKafkaLogLevel::Error)
            .create_with_context(complaints)
            .context("create the reader")
    }

    fn assign(&self, consumer: &BaseConsumer<Complaints>, recorder: &Recorder) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            let from = self.from.get(&partition).copied();
            list.add_partition_offset(&self.topic, partition, from.map_or(Offset::Beginning, Offset::Offset))?;
            let topic = self.topic.as_str().into();
            let what = What::Assign { topic, partition, session: 1, group: None, offset: from };
            recorder.now(&self.name.as_str().into(), what);
        }
        consumer.assign(&list).context("assign the partitions")
    }

    fn read_one(&self, consumer: &BaseConsumer<Complaints>, recorder: &Recorder) -> Option<(i32, i64)> {
        match consumer.poll(Duration::from_millis(200))? {
            Err(error) => {
                consumer.context().complain(&error, "poll");
                None
            }
            Ok(message) => {
                let (partition, offset) = (message.partition(), message.offset());
                recorder.now(
                    &self.name.as_str().into(),
                    What::Read {
                        topic: self.topic.as_str().into(),
                        partition,
                        session: 1,
                        offset,
                        epoch: None,
                        value: String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned(),
                        group: None,
                    },
                );
                Some((partition, offset))
            }
        }
    }
}

struct Complaints {
    process: Name,
    recorder: Arc<Recorder>,
}

impl Complaints {
    fn complain(&self, error: &KafkaError, doing: &str) {
        let code = error.rdkafka_error_code();
        // A reader that is thrown out of its log cannot go on: its application would start over or end.
        let fatal = matches!(
            code,
            Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset)
        );
        let text = format!("{doing}: {error}");
        self.recorder.now(&self.process, What::Error { code: name_of(error), fatal, text });
    }
}

impl ClientContext for Complaints {
    fn error(&self, error: KafkaError, reason: &str) {
        self.complain(&error, reason);
    }
}

impl ConsumerContext for Complaints {}
