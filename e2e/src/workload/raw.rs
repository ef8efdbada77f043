//! Reads and watches through `sluice-net`, where nothing is smoothed over: batch headers with offsets and leader epochs, watermarks,
//! `ListOffsets`, `OffsetForLeaderEpoch`. Also reads a cluster's own copy of a topic.

mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use sluice_net::admin::log_ends::{self, EARLIEST, LATEST, Watermarks};
use sluice_net::admin::records::{self, FetchOptions, Fetched};
use sluice_net::batch::Batch;
use sluice_net::{Client, ClientOptions, ErrorCode, Target};

use crate::history::{Mark, Name, Recorder, What};

/// Longest wait of a reader for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What to read raw.
#[derive(Debug, Clone)]
pub struct RawSpec {
    /// Name of the reader.
    pub name: String,
    /// Bootstrap addresses, separated by commas.
    pub bootstrap: String,
    /// Topic.
    pub topic: String,
    /// Partitions.
    pub partitions: i32,
    /// Time limit for a catch-up.
    pub within: Duration,
}

impl RawSpec {
    /// A raw reader.
    pub fn new(name: &str, bootstrap: &str, topic: &str, partitions: i32) -> Self {
        Self {
            name: name.to_owned(),
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            partitions,
            within: Duration::from_mins(1),
        }
    }

    /// Reads every partition from its beginning to its end, and asks where each epoch that it saw ends.
    pub fn catch_up(&self, recorder: &Recorder) -> Result<u64> {
        runtime()?.block_on(self.read_all(recorder))
    }

    /// Reads each named partition from this offset on, to its end.
    pub fn catch_up_from(&self, from: &BTreeMap<i32, i64>, recorder: &Recorder) -> Result<u64> {
        runtime()?.block_on(async {
            let client = self.client(ANSWER_WITHIN);
            let mut count = 0;
            for (partition, offset) in from {
                count += self.read_partition(&client, *partition, Some(*offset), recorder).await?;
            }
            Ok(count)
        })
    }

    /// Records what the cluster named `cluster` itself stores of the topic (whose `bootstrap` is its own).
    pub fn stored(&self, cluster: &str, recorder: &Recorder) -> Result<()> {
        runtime()?.block_on(async {
            let client = self.client(ANSWER_WITHIN);
            for partition in 0..self.partitions {
                self.stored_partition(&client, cluster, partition, recorder).await?;
            }
            Ok(())
        })
    }

    fn client(&self, request_timeout: Duration) -> Client {
        let bootstrap = self.bootstrap.split(',').map(str::to_owned).collect();
        Client::new(
            bootstrap,
            ClientOptions { client_id: self.name.clone(), request_timeout, ..ClientOptions::default() },
        )
    }

    fn process(&self) -> Name {
        self.name.as_str().into()
    }

    fn topic(&self) -> Name {
        self.topic.as_str().into()
    }

    async fn read_all(&self, recorder: &Recorder) -> Result<u64> {
        let client = self.client(ANSWER_WITHIN);
        let mut count = 0;
        for partition in 0..self.partitions {
            count += self.read_partition(&client, partition, None, recorder).await?;
        }
        Ok(count)
    }

    async fn read_partition(
        &self,
        client: &Client,
        partition: i32,
        from: Option<i64>,
        recorder: &Recorder,
    ) -> Result<u64> {
        let deadline = Instant::now() + self.within;
        let first = match from {
            Some(offset) => offset,
            None => self.list(client, partition, EARLIEST, deadline).await?,
        };
        let end = self.list(client, partition, LATEST, deadline).await?;
        let (topic, process) = (self.topic(), self.process());
        let assign = What::Assign { topic: topic.clone(), partition, session: 1, group: None, offset: Some(first) };
        recorder.now(&process, assign);
        let (mut next, mut count, mut epochs) = (first, 0, BTreeSet::new());
        while next < end {
            ensure!(
                Instant::now() < deadline,
                "{}-{partition}: at {next} of {end} after {:?}",
                self.topic,
                self.within
            );
            let fetched = self.fetch(client, partition, next, 100, deadline).await?;
            self.observe(partition, &fetched.watermarks, recorder);
            let after = next;
            for batch in fetched.batches {
                epochs.insert(batch.partition_leader_epoch);
                for (offset, value) in values(&batch)? {
                    // A batch may begin before the offset asked for.
                    if offset < after {
                        continue;
                    }
                    count += 1;
                    recorder.now(
                        &process,
                        What::Read {
                            topic: topic.clone(),
                            partition,
                            session: 1,
                            offset,
                            epoch: Some(batch.partition_leader_epoch),
                            value,
                            group: None,
                        },
                    );
                }
                next = next.max(batch.last_offset + 1);
            }
        }
        if from.is_none() {
            recorder.now(&process, What::CaughtUp { topic, partition, end });
        }
        for epoch in epochs {
            self.epoch_end(client, partition, epoch, recorder).await?;
        }
        Ok(count)
    }

    async fn stored_partition(
        &self,
        client: &Client,
        cluster: &str,
        partition: i32,
        recorder: &Recorder,
    ) -> Result<()> {
        let deadline = Instant::now() + self.within;
        let start = self.list(client, partition, EARLIEST, deadline).await?;
        let end = self.list(client, partition, LATEST, deadline).await?;
        let (topic, process) = (self.topic(), self.process());
        let mut next = start;
        while next < end {
            ensure!(Instant::now() < deadline, "{cluster}: {}-{partition}: at {next} of {end}", self.topic);
            let fetched = self.fetch(client, partition, next, 100, deadline).await?;
            for batch in fetched.batches {
                for (offset, value) in values(&batch)? {
                    if offset >= next {
                        let what =
                            What::Stored { cluster: cluster.into(), topic: topic.clone(), partition, offset, value };
                        recorder.now(&process, what);
                    }
                }
                next = next.max(batch.last_offset + 1);
            }
        }
        recorder.now(&process, What::StoredEnd { cluster: cluster.into(), topic, partition, start, end });
        Ok(())
    }

    fn observe(&self, partition: i32, marks: &Watermarks, recorder: &Recorder) {
        // An answer that knows no figure says -1.
        for (mark, value) in [
            (Mark::High, marks.high_watermark),
            (Mark::Stable, marks.last_stable_offset),
            (Mark::LogStart, marks.log_start_offset),
        ] {
            if value >= 0 {
                recorder.now(&self.process(), What::Observe { topic: self.topic(), partition, mark, value });
            }
        }
    }

    async fn list(&self, client: &Client, partition: i32, timestamp: i64, deadline: Instant) -> Result<i64> {
        loop {
            let found = log_ends::list_offsets(client, &self.topic, &[partition], timestamp).await;
            let (_, result) = found.into_iter().next().context("ListOffsets names no partition")?;
            match result {
                Ok(found) => return Ok(found.offset),
                Err(code) if Instant::now() > deadline => bail!("ListOffsets of {}-{partition}: {code}", self.topic),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn fetch(
        &self,
        client: &Client,
        partition: i32,
        offset: i64,
        max_wait_ms: i32,
        deadline: Instant,
    ) -> Result<Fetched> {
        loop {
            let options = FetchOptions { max_wait_ms, ..FetchOptions::default() };
            match records::fetch(client, &self.topic, partition, offset, options).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) if error.code() == ErrorCode::OFFSET_OUT_OF_RANGE || Instant::now() > deadline => {
                    return Err(error).context("a raw read");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn epoch_end(&self, client: &Client, partition: i32, epoch: i32, recorder: &Recorder) -> Result<()> {
        let question = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(TopicName(StrBytes::from_string(self.topic.clone())))
            .with_partitions(vec![question]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let invoke = recorder.clock().now();
        let to = Target::Leader { topic: self.topic.clone(), partition };
        let answer = client.call(&to, request).await.context("OffsetForLeaderEpoch")?;
        let result = answer.topics.iter().flat_map(|topic| &topic.partitions).next().context("an empty answer")?;
        ensure!(
            result.error_code == 0,
            "OffsetForLeaderEpoch of {}-{partition}: {}",
            self.topic,
            ErrorCode(result.error_code)
        );
        let what = What::EpochEnd { topic: self.topic(), partition, epoch, end: result.end_offset };
        recorder.since(&self.process(), invoke, what);
        Ok(())
    }
}

/// Offsets and values of a batch's records; none of a control batch.
fn values(batch: &Batch) -> Result<Vec<(i64, String)>> {
    if batch.is_control() {
        return Ok(Vec::new());
    }
    let records = batch.records.as_ref().with_context(|| {
        format!("the batch at {} is compressed: raw readers are for producers that do not compress", batch.base_offset)
    })?;
    let text =
        |value: &Option<bytes::Bytes>| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
    Ok(records.iter().map(|record| (record.offset, text(&record.value))).collect())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")
}
