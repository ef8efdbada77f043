//! The watcher: looks again and again at every figure that must not fall, and says in the history when it could not see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_net::Client;
use sluice_net::admin::log_ends::{self, EARLIEST, LATEST};
use sluice_net::admin::records::{self, FetchOptions};

use super::{RawSpec, runtime};
use crate::history::{Mark, Recorder, What};
use crate::workload::Worker;

/// Longest wait for an answer: one that hangs must not hide what the others would say.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The timestamp by which `ListOffsets` asks for the record with the highest one.
const MAX_TIMESTAMP: i64 = -3;

/// The figures that are dear to ask for, or change rarely, are asked for in every so manieth look only.
const RARELY: u64 = 5;

impl RawSpec {
    /// Watches watermarks, epochs and `ListOffsets` until it is stopped.
    pub fn watch(self, period: Duration, recorder: &Arc<Recorder>) -> Worker {
        let recorder = Arc::clone(recorder);
        let name = self.name.clone();
        Worker::start(&name, move |stop| {
            runtime()?.block_on(async {
                let begin = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
                let client = self.client(ANSWER_WITHIN);
                let partitions = (0..self.partitions).collect();
                let mut watcher = Watcher {
                    spec: self,
                    client,
                    recorder,
                    partitions,
                    begin: i64::try_from(begin)?,
                    ends: BTreeMap::new(),
                };
                let mut looks = 0_u64;
                while !stop.is_set() {
                    watcher.look().await;
                    if looks.is_multiple_of(RARELY) {
                        watcher.look_rarely().await;
                    }
                    looks += 1;
                    tokio::time::sleep(period).await;
                }
                Ok(())
            })
        })
    }
}

struct Watcher {
    spec: RawSpec,
    client: Client,
    recorder: Arc<Recorder>,
    partitions: Vec<i32>,
    /// When it began, milliseconds since the Unix epoch: the timestamp that it asks for by time.
    begin: i64,
    /// The last known end of each partition.
    ends: BTreeMap<i32, i64>,
}

impl Watcher {
    async fn look(&mut self) {
        for (partition, end) in self.list(LATEST, Mark::Latest, Some(Mark::LatestEpoch)).await {
            self.ends.insert(partition, end);
        }
        for (partition, end) in &self.ends {
            self.fetch(*partition, *end).await;
        }
        self.metadata().await;
    }

    async fn look_rarely(&self) {
        self.list(EARLIEST, Mark::Earliest, None).await;
        self.list(self.begin, Mark::ByTime, None).await;
        self.list(MAX_TIMESTAMP, Mark::MaxTimestamp, None).await;
    }

    /// `ListOffsets` of all partitions; returns the offsets.
    async fn list(&self, timestamp: i64, mark: Mark, epoch: Option<Mark>) -> Vec<(i32, i64)> {
        let invoke = self.recorder.clock().now();
        let mut missing = self.partitions.clone();
        let mut offsets = Vec::new();
        for (partition, found) in
            log_ends::list_offsets(&self.client, &self.spec.topic, &self.partitions, timestamp).await
        {
            missing.retain(|other| *other != partition);
            match found {
                Ok(found) => {
                    self.saw(partition, mark, found.offset, invoke);
                    offsets.push((partition, found.offset));
                    if let Some(epoch) = epoch {
                        self.saw_if_told(partition, epoch, i64::from(found.leader_epoch), invoke);
                    }
                }
                Err(code) => self.missed(partition, mark, &code.to_string(), invoke),
            }
        }
        for partition in missing {
            self.missed(partition, mark, "the answer does not name the partition", invoke);
        }
        offsets
    }

    /// The watermarks that a Fetch at the end brings.
    async fn fetch(&self, partition: i32, end: i64) {
        let marks = |found: log_ends::Watermarks| {
            [
                (Mark::High, found.high_watermark),
                (Mark::Stable, found.last_stable_offset),
                (Mark::LogStart, found.log_start_offset),
            ]
        };
        let invoke = self.recorder.clock().now();
        let options = FetchOptions { max_bytes: 4096, ..FetchOptions::default() };
        match records::fetch(&self.client, &self.spec.topic, partition, end, options).await {
            Ok(fetched) => {
                for (mark, value) in marks(fetched.watermarks) {
                    self.saw_if_told(partition, mark, value, invoke);
                }
            }
            Err(error) => {
                for mark in [Mark::High, Mark::Stable, Mark::LogStart] {
                    self.missed(partition, mark, &error.to_string(), invoke);
                }
            }
        }
    }

    async fn metadata(&self) {
        let invoke = self.recorder.clock().now();
        let answer = self.client.metadata(Some(std::slice::from_ref(&self.spec.topic)), false).await;
        let mut missing = self.partitions.clone();
        let mut why = "the answer does not name the partition".to_owned();
        match answer {
            Err(error) => why = error.to_string(),
            Ok(answer) => {
                for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                    if partition.error_code == 0 {
                        let epoch = i64::from(partition.leader_epoch);
                        missing.retain(|other| *other != partition.partition_index);
                        self.saw_if_told(partition.partition_index, Mark::Epoch, epoch, invoke);
                    }
                }
            }
        }
        for partition in missing {
            self.missed(partition, Mark::Epoch, &why, invoke);
        }
    }

    /// An answer that does not know the figure says -1.
    fn saw_if_told(&self, partition: i32, mark: Mark, value: i64, invoke: u64) {
        if value >= 0 {
            self.saw(partition, mark, value, invoke);
        } else {
            self.missed(partition, mark, "the answer does not tell it", invoke);
        }
    }

    fn saw(&self, partition: i32, mark: Mark, value: i64, invoke: u64) {
        let topic = self.spec.topic();
        self.recorder.since(&self.spec.process(), invoke, What::Observe { topic, partition, mark, value });
    }

    fn missed(&self, partition: i32, mark: Mark, error: &str, invoke: u64) {
        let (topic, error) = (self.spec.topic(), error.to_owned());
        self.recorder.since(&self.spec.process(), invoke, What::Unanswered { topic, partition, mark, error });
    }
}
