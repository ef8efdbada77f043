//! Asks for a group's committed positions, from outside the group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::Worker;
use crate::history::{Name, Recorder, What};

/// Whose positions to ask for.
#[derive(Debug, Clone)]
pub struct AskerSpec {
    /// Bootstrap addresses.
    pub bootstrap: String,
    /// Group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Partitions.
    pub partitions: i32,
}

impl AskerSpec {
    /// Asks once.
    pub fn ask(&self, recorder: &Recorder) -> Result<()> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", &self.group)
            .set_log_level(RDKafkaLogLevel::Error)
            .create()?;
        self.ask_with(&consumer, recorder)
    }

    /// Asks every `period` until it is stopped, and once more then.
    pub fn start(self, period: Duration, recorder: &Arc<Recorder>) -> Worker {
        let recorder = Arc::clone(recorder);
        Worker::start("asker", move |stop| {
            while !stop.is_set() {
                self.ask(&recorder)?;
                let next = Instant::now() + period;
                while Instant::now() < next && !stop.is_set() {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            self.ask(&recorder)
        })
    }

    fn ask_with(&self, consumer: &BaseConsumer, recorder: &Recorder) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition(&self.topic, partition);
        }
        let (invoke, answer) = fetch(consumer, &list, recorder)?;
        let process = Name::from(format!("asker-{}", self.group));
        for element in answer.elements() {
            element.error().with_context(|| format!("the committed position of partition {}", element.partition()))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            recorder.since(
                &process,
                invoke,
                What::Committed {
                    group: self.group.as_str().into(),
                    topic: self.topic.as_str().into(),
                    partition: element.partition(),
                    offset,
                },
            );
        }
        Ok(())
    }
}

/// The longest that a coordinator may take to be there: its topic is created with the first group of a cluster.
const COORDINATOR: Duration = Duration::from_secs(20);

/// One `OffsetFetch`, again while the broker says that the coordinator is not there yet, as every client's own loop does.
/// Returns when the answered one was sent.
fn fetch(consumer: &BaseConsumer, list: &TopicPartitionList, recorder: &Recorder) -> Result<(u64, TopicPartitionList)> {
    let end = Instant::now() + COORDINATOR;
    loop {
        let invoke = recorder.clock().now();
        match consumer.committed_offsets(list.clone(), COORDINATOR) {
            Ok(answer) => return Ok((invoke, answer)),
            Err(error) if Instant::now() < end && is_on_its_way(&error) => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error).context("OffsetFetch"),
        }
    }
}

fn is_on_its_way(error: &rdkafka::error::KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
        )
    )
}
