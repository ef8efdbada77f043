//! Readers of a log: to its end, and along with it.

use std::time::Duration;

use tokio::time::Instant;

use super::{FIRST_PAUSE, LONGEST_PAUSE, LedgerLog, LogError, LogRecord, PARTITION, worth_another_try};
use crate::admin::ByBroker;
use crate::admin::log_ends::{self, EARLIEST, PartitionEpoch};
use crate::admin::records::{self, FetchOptions, Fetched};
use crate::client::CallError;
use crate::error_code::ErrorCode;

/// One fetch asks for so much.
const FETCH_BYTES: i32 = 4 << 20;
/// A ledger larger than that is not one, or is not compacted.
const MAX_LEDGER_BYTES: usize = 256 << 20;
/// How long a broker may wait for acknowledged records that its followers have yet to confirm.
const CATCH_UP_MS: i32 = 50;

impl LedgerLog {
    /// All records from the log's start to its end as of now: everything acknowledged before the call is among them. `at_least`: do
    /// not return before having read up to that offset (exclusive), e.g. one's own last append + 1; guards against a stale
    /// leader. Retries for up to `patience`. Offsets have gaps where the log was compacted.
    pub async fn read_to_end(&self, at_least: i64, patience: Duration) -> Result<Vec<LogRecord>, LogError> {
        let deadline = Instant::now() + patience;
        let mut reading = Reading { position: None, end: None, at_least, records: Vec::new(), bytes: 0 };
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.read_on(&mut reading, deadline).await {
                Ok(()) => return Ok(reading.records),
                Err(LogError::Call(error)) if worth_another_try(&error) || is_out_of_range(&error) => error,
                Err(error) => return Err(error),
            };
            if is_out_of_range(&error) {
                // Truncated or deleted under our feet: what was read is not what is there.
                reading = Reading { position: None, end: None, at_least, records: Vec::new(), bytes: 0 };
            }
            if Instant::now() + pause >= deadline {
                return Err(error.into());
            }
            tracing::debug!(%error, topic = %self.topic, "reading the ledger will be tried again");
            self.client.forget(&self.leader());
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn read_on(&self, reading: &mut Reading, deadline: Instant) -> Result<(), LogError> {
        let mut position = match reading.position {
            Some(position) => position,
            None => self.start().await?,
        };
        loop {
            let end = match reading.end {
                Some(end) => end,
                None => self.end().await?.max(reading.at_least),
            };
            (reading.position, reading.end) = (Some(position), Some(end));
            if position >= end {
                return Ok(());
            }
            let options = FetchOptions { max_bytes: FETCH_BYTES, max_wait_ms: CATCH_UP_MS, ..FetchOptions::default() };
            let fetched = records::fetch(&self.client, &self.topic, PARTITION, position, options).await?;
            let next = next_position(&fetched, position);
            for record in self.records(fetched, position)? {
                reading.bytes += record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len);
                if reading.bytes > MAX_LEDGER_BYTES {
                    let reason = format!("more than {MAX_LEDGER_BYTES} bytes of records; is it compacted?");
                    return Err(LogError::NotALedger { topic: self.topic.clone(), reason });
                }
                reading.records.push(record);
            }
            if next == position {
                // The end may have been that of records which nobody acknowledged and a new leader dropped.
                reading.end = None;
                if Instant::now() >= deadline {
                    let message = format!("read up to {position} of {end}");
                    let what = format!("reading {} to its end", self.topic);
                    return Err(CallError::refused(what, ErrorCode::REQUEST_TIMED_OUT, Some(&message)).into());
                }
            }
            position = next;
            reading.position = Some(position);
        }
    }

    /// The offset after the last record in the leader's log. Not the high watermark: a new leader's may lag behind what the
    /// one before it had acknowledged.
    async fn end(&self) -> Result<i64, CallError> {
        let (leader, epoch) = self.client.leader(&self.topic, PARTITION).await?;
        let asked = ByBroker::from([(leader, vec![PartitionEpoch { partition: PARTITION, epoch }])]);
        let ends = log_ends::log_ends(&self.client, &self.topic, &asked).await;
        let what = || format!("asking for the end of {}", self.topic);
        match ends.first() {
            Some((_, Ok(end))) if end.offset >= 0 => Ok(end.offset),
            Some((_, Err(code))) => Err(CallError::refused(what(), *code, None)),
            Some((_, Ok(_))) | None => Err(CallError::refused(what(), ErrorCode::UNKNOWN_LEADER_EPOCH, None)),
        }
    }

    async fn start(&self) -> Result<i64, CallError> {
        let found = log_ends::list_offsets(&self.client, &self.topic, &[PARTITION], EARLIEST).await;
        let what = || format!("asking for the start of {}", self.topic);
        match found.first() {
            Some((_, Ok(found))) if found.offset >= 0 => Ok(found.offset),
            Some((_, Err(code))) => Err(CallError::refused(what(), *code, None)),
            Some((_, Ok(_))) | None => Err(CallError::nonsense(what(), "there is no offset in it")),
        }
    }

    /// The data records at or after the position.
    fn records(&self, fetched: Fetched, position: i64) -> Result<Vec<LogRecord>, LogError> {
        let mut all = Vec::new();
        for batch in fetched.batches.into_iter().filter(|batch| !batch.is_control()) {
            let Some(records) = batch.records else {
                let reason = "the batch is compressed; only Sluice may write here, and it never compresses".to_owned();
                return Err(LogError::Damaged { topic: self.topic.clone(), offset: batch.base_offset, reason });
            };
            let wanted = records.into_iter().filter(|record| record.offset >= position);
            all.extend(wanted.map(|record| LogRecord {
                offset: record.offset,
                key: record.key.unwrap_or_default(),
                value: record.value,
            }));
        }
        Ok(all)
    }

    /// Follows the log from an offset on, with connections of its own.
    pub fn tail(&self, from: i64) -> Tail {
        Tail { log: Self::new(self.client.separate(), self.topic.clone()), position: from.max(0) }
    }
}

struct Reading {
    position: Option<i64>,
    end: Option<i64>,
    at_least: i64,
    records: Vec<LogRecord>,
    bytes: usize,
}

fn is_out_of_range(error: &CallError) -> bool {
    error.code() == ErrorCode::OFFSET_OUT_OF_RANGE
}

/// Where to go on: a compacted batch still tells the offset that it once ended with.
fn next_position(fetched: &Fetched, position: i64) -> i64 {
    let last = fetched.batches.iter().map(|batch| batch.last_offset.saturating_add(1)).max();
    last.unwrap_or(position).max(position)
}

/// Follows a log.
pub struct Tail {
    log: LedgerLog,
    position: i64,
}

impl Tail {
    /// Waits for up to `max_wait` for new records; empty if none came. After an error call again, after a pause: nothing is lost.
    /// If the log's start has passed the position, goes on from there; `OFFSET_OUT_OF_RANGE` means that the log has become
    /// shorter than what was read: read it anew.
    pub async fn next(&mut self, max_wait: Duration) -> Result<Vec<LogRecord>, LogError> {
        let max_wait_ms = i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX);
        let options = FetchOptions { max_bytes: FETCH_BYTES, max_wait_ms, ..FetchOptions::default() };
        let log = &self.log;
        let fetched = records::fetch(&log.client, &log.topic, PARTITION, self.position, options).await;
        let fetched = match fetched {
            Err(error) if is_out_of_range(&error) => {
                let start = log.start().await?;
                if start <= self.position {
                    return Err(error.into());
                }
                self.position = start;
                return Ok(Vec::new());
            }
            other => other?,
        };
        let next = next_position(&fetched, self.position);
        let records = log.records(fetched, self.position)?;
        self.position = next;
        Ok(records)
    }

    /// The offset that will be read next.
    pub fn position(&self) -> i64 {
        self.position
    }
}
