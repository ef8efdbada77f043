//! The one writer of a log: idempotent batches under a transactional id's producer epoch, outside of transactions. The broker
//! refuses a batch of an older epoch once one of a newer epoch is in the partition.

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::InitProducerIdRequest;
use tokio::time::Instant;

use super::{AppendError, FIRST_PAUSE, LONGEST_PAUSE, LedgerLog, LogError, PARTITION, worth_another_try};
use crate::admin::records;
use crate::admin::string;
use crate::batch::{self, NewRecord, ProducerStamp};
use crate::client::{CallError, Target};
use crate::error_code::ErrorCode;

/// Acknowledged by all in-sync replicas.
const ALL: i16 = -1;
/// From 5 on, with `transaction.version` 2, epochs are handled differently.
const INIT_PRODUCER_ID_MAX: i16 = 4;
/// No transaction is ever opened; brokers refuse 0.
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;

/// A batch of which it is not known whether the log has it.
struct Unsettled {
    batch: Bytes,
    records: i32,
    error: CallError,
}

/// The one writer of a log.
pub struct LedgerWriter {
    log: LedgerLog,
    transactional_id: String,
    producer_id: i64,
    producer_epoch: i16,
    next_sequence: i32,
    unsettled: Option<Unsettled>,
}

impl LedgerLog {
    /// Becomes the writer: from this writer's first append on, all earlier ones are refused by the broker. Retries for up to
    /// `patience` while the coordinator loads.
    pub async fn take_over(&self, transactional_id: &str, patience: Duration) -> Result<LedgerWriter, LogError> {
        let (producer_id, producer_epoch) = self.init_producer(transactional_id, (-1, -1), patience).await?;
        tracing::info!(topic = %self.topic, transactional_id, producer_id, producer_epoch, "took over the ledger");
        Ok(LedgerWriter {
            log: self.clone(),
            transactional_id: transactional_id.to_owned(),
            producer_id,
            producer_epoch,
            next_sequence: 0,
            unsettled: None,
        })
    }

    async fn init_producer(
        &self,
        transactional_id: &str,
        (producer_id, producer_epoch): (i64, i16),
        patience: Duration,
    ) -> Result<(i64, i16), CallError> {
        let deadline = Instant::now() + patience;
        let to = Target::Transaction(transactional_id.to_owned());
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(string(transactional_id).into()))
            .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
            .with_producer_id(producer_id.into())
            .with_producer_epoch(producer_epoch);
        let mut pause = FIRST_PAUSE;
        loop {
            let answer = self.client.call_at(&to, request.clone(), INIT_PRODUCER_ID_MAX).await;
            let error = match answer {
                Ok(answer) if answer.error_code == 0 => return Ok((answer.producer_id.0, answer.producer_epoch)),
                Ok(answer) => {
                    CallError::refused(format!("InitProducerId for {transactional_id:?}"), answer.error_code, None)
                }
                Err(error) => error,
            };
            if !worth_another_try(&error) || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, "InitProducerId will be tried again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl LedgerWriter {
    /// Appends records as one batch, acknowledged by all in-sync replicas. The offset of the first one (-1 if the broker knows
    /// the batch only as a duplicate). Sends the same batch again (stored once at most) until the answer is known or
    /// `patience` is over.
    pub async fn append(
        &mut self,
        records: Vec<(Bytes, Option<Bytes>)>,
        patience: Duration,
    ) -> Result<i64, AppendError> {
        if let Some(open) = &self.unsettled {
            return Err(AppendError::Unknown(open.error.clone()));
        }
        let encode = |detail: String| AppendError::NotAppended(CallError::Encode { api_key: 0, detail });
        let count = i32::try_from(records.len()).map_err(|error| encode(error.to_string()))?;
        let records: Vec<_> = records.into_iter().map(|(key, value)| NewRecord { key: Some(key), value }).collect();
        let stamp = ProducerStamp {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.next_sequence,
        };
        let batch = batch::encode(&records, now(), stamp).map_err(|error| encode(error.to_string()))?;
        self.send(batch, count, None, patience).await
    }

    /// After [`AppendError::Unknown`]: finds out by sending the very same batch again. Its offset; `None` if nothing was open.
    pub async fn settle(&mut self, patience: Duration) -> Result<Option<i64>, AppendError> {
        match self.unsettled.take() {
            Some(open) => self.send(open.batch, open.records, Some(open.error), patience).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes a newer epoch as the same writer; fails with [`AppendError::Fenced`] if somebody else has taken over since. To be called
    /// (and followed by an append) well within `transactional.id.expiration.ms` (7 days) and `producer.id.expiration.ms`
    /// (1 day): a coordinator that has forgotten the transactional id gives the next writer a new producer id, and then
    /// nothing fences this one.
    pub async fn renew(&mut self, patience: Duration) -> Result<(), AppendError> {
        if let Some(open) = &self.unsettled {
            return Err(AppendError::Unknown(open.error.clone()));
        }
        let mine = (self.producer_id, self.producer_epoch);
        match self.log.init_producer(&self.transactional_id, mine, patience).await {
            Ok((producer_id, producer_epoch)) => {
                self.producer_id = producer_id;
                self.producer_epoch = producer_epoch;
                self.next_sequence = 0;
                Ok(())
            }
            Err(error) if is_fenced(error.code()) => Err(AppendError::Fenced),
            // Nothing of the log was touched. If the epoch did grow, the next append says so: fenced.
            Err(error) => Err(AppendError::NotAppended(error)),
        }
    }

    /// Producer id and epoch, for people.
    pub fn producer(&self) -> (i64, i16) {
        (self.producer_id, self.producer_epoch)
    }

    /// `unknown`: an earlier try of the same batch may have been stored.
    async fn send(
        &mut self,
        batch: Bytes,
        records: i32,
        mut unknown: Option<CallError>,
        patience: Duration,
    ) -> Result<i64, AppendError> {
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let result = records::produce(&self.log.client, &self.log.topic, PARTITION, batch.clone(), ALL).await;
            let error = match result {
                Ok(offset) => return Ok(self.appended(records, offset)),
                Err(error) if error.code() == ErrorCode::DUPLICATE_SEQUENCE_NUMBER => {
                    return Ok(self.appended(records, -1));
                }
                Err(error) if is_fenced(error.code()) => return Err(AppendError::Fenced),
                Err(error) => error,
            };
            tracing::debug!(%error, topic = %self.log.topic, "append has no good answer");
            // What was stored once, or may be yet, stays so whatever a later try is told.
            if !surely_not_appended(&error) {
                unknown = Some(error.clone());
            }
            if !worth_another_try(&error) || Instant::now() + pause >= deadline {
                return Err(match unknown {
                    None => AppendError::NotAppended(error),
                    Some(unknown) => {
                        self.unsettled = Some(Unsettled { batch, records, error: unknown.clone() });
                        AppendError::Unknown(unknown)
                    }
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn appended(&mut self, records: i32, offset: i64) -> i64 {
        self.next_sequence = sluice_wire::batch::add_sequence(self.next_sequence, records);
        self.unsettled = None;
        offset
    }
}

/// Whether this try has put nothing into the log, and never will. `NOT_LEADER_OR_FOLLOWER` is no such word: a leader that is
/// deposed while it waits for its followers says so of a batch that they may already have.
fn surely_not_appended(error: &CallError) -> bool {
    match error {
        CallError::Unreachable { .. }
        | CallError::Unsupported { .. }
        | CallError::Encode { .. }
        | CallError::UnknownBroker(_)
        | CallError::NoLeader { .. } => true,
        // All of them are said before the append.
        CallError::Refused { code, .. } => matches!(
            *code,
            ErrorCode::CORRUPT_MESSAGE
                | ErrorCode::MESSAGE_TOO_LARGE
                | ErrorCode::NOT_ENOUGH_REPLICAS
                | ErrorCode::TOPIC_AUTHORIZATION_FAILED
                | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
                | ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
                | ErrorCode::INVALID_RECORD
        ),
        CallError::Closed { .. }
        | CallError::TimedOut { .. }
        | CallError::Protocol { .. }
        | CallError::Nonsense { .. } => false,
    }
}

fn is_fenced(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED)
}

/// Milliseconds since the Unix epoch.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
