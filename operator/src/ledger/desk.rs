//! The task that writes one cluster's ledger: one batch at a time, each acknowledged before the next. What is asked for
//! while a batch is on its way goes out together with the next one. A caller that goes away can't disturb a write.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use sluice_mesh::ledger::{Key, LedgerState, Record, Subject};
use sluice_mesh::name::ClusterName;
use sluice_net::log::{AppendError, LedgerWriter};
use tokio::sync::{mpsc, oneshot};

use super::{APPEND_PATIENCE, Inner, LedgerError, encode, lock};

/// Records to be appended in this order; without a record: a tombstone.
pub(super) type Batch = Vec<(Key, Option<Record>)>;

/// What one Kafka batch holds at most when it carries what several callers asked for. One caller's batch is never split.
const TOGETHER_RECORDS: usize = 500;
const TOGETHER_BYTES: usize = 512 << 10;

/// Something to do, and where to say what came of it.
pub(super) struct Order {
    pub(super) task: Task,
    pub(super) done: oneshot::Sender<Result<(), LedgerError>>,
}

/// Something to do.
pub(super) enum Task {
    /// Append a batch.
    Append(Batch),
    /// Find out whether the batch in doubt is there.
    Settle,
    /// Take a newer epoch as the same writer.
    Renew,
}

/// Appends that go out together.
#[derive(Default)]
struct Together {
    batch: Batch,
    bytes: Vec<(Bytes, Option<Bytes>)>,
    size: usize,
    done: Vec<oneshot::Sender<Result<(), LedgerError>>>,
}

impl Together {
    /// Takes a caller's batch; gives it back if it does not fit any more.
    fn add(&mut self, order: Batch, done: oneshot::Sender<Result<(), LedgerError>>) -> Option<Order> {
        let bytes: Vec<_> = order.iter().map(|(key, record)| encode(key, record.as_ref())).collect();
        let length = |(key, value): &(Bytes, Option<Bytes>)| key.len() + value.as_ref().map_or(0, Bytes::len);
        let size = bytes.iter().map(length).sum::<usize>();
        let (records, total) = (self.batch.len() + order.len(), self.size + size);
        if !self.batch.is_empty() && (records > TOGETHER_RECORDS || total > TOGETHER_BYTES) {
            return Some(Order { task: Task::Append(order), done });
        }
        self.batch.extend(order);
        self.bytes.extend(bytes);
        self.size = total;
        self.done.push(done);
        None
    }
}

/// The writer of one ledger.
pub(super) struct Desk {
    cluster: ClusterName,
    writer: LedgerWriter,
    /// The batch whose fate is not known.
    in_doubt: Option<Batch>,
    state: Arc<Mutex<LedgerState>>,
    /// Nobody waits for anything once this is gone.
    ledger: Weak<Inner>,
}

impl Desk {
    pub(super) fn new(
        cluster: ClusterName,
        writer: LedgerWriter,
        state: Arc<Mutex<LedgerState>>,
        ledger: Weak<Inner>,
    ) -> Self {
        Self { cluster, writer, in_doubt: None, state, ledger }
    }

    /// Works until the ledger is closed.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                let Some(order) = orders.recv().await else { return };
                waiting.push_back(order);
            }
            while let Ok(order) = orders.try_recv() {
                waiting.push_back(order);
            }
            // Whoever does not wait any more must not be served later, when it has decided otherwise.
            waiting.retain(|order: &Order| !order.done.is_closed());
            let Some(ledger) = self.ledger.upgrade() else { return };
            self.next(&ledger, &mut waiting).await;
        }
    }

    /// Does what is first in the queue, and with it what can be done together.
    async fn next(&mut self, ledger: &Inner, waiting: &mut VecDeque<Order>) {
        let mut together = Together::default();
        while let Some(order) = waiting.pop_front() {
            match order.task {
                Task::Append(batch) => {
                    if let Some(too_much) = together.add(batch, order.done) {
                        waiting.push_front(too_much);
                        break;
                    }
                }
                task if !together.batch.is_empty() => {
                    waiting.push_front(Order { task, ..order });
                    break;
                }
                Task::Settle => {
                    let _ = order.done.send(self.settle(ledger).await);
                    return;
                }
                Task::Renew => {
                    let _ = order.done.send(self.renew(ledger).await);
                    return;
                }
            }
        }
        let Together { batch, bytes, done, .. } = together;
        if batch.is_empty() {
            return;
        }
        let written = self.append(ledger, batch, bytes).await;
        for waiter in done {
            let _ = waiter.send(written.clone());
        }
    }

    async fn append(
        &mut self,
        ledger: &Inner,
        batch: Batch,
        bytes: Vec<(Bytes, Option<Bytes>)>,
    ) -> Result<(), LedgerError> {
        self.settle(ledger).await?;
        match self.writer.append(bytes, APPEND_PATIENCE).await {
            Ok(_) => {
                self.take(ledger, batch);
                Ok(())
            }
            Err(AppendError::Fenced) => Err(ledger.fence(&self.cluster)),
            Err(AppendError::NotAppended(error)) => Err(ledger.unavailable(&self.cluster, &error)),
            Err(AppendError::Unknown(error)) => {
                self.in_doubt = Some(batch);
                Err(LedgerError::Unknown { cluster: self.cluster.clone(), reason: error.to_string() })
            }
        }
    }

    async fn settle(&mut self, ledger: &Inner) -> Result<(), LedgerError> {
        let Some(batch) = self.in_doubt.take() else { return Ok(()) };
        match self.writer.settle(APPEND_PATIENCE).await {
            Ok(Some(_)) => {
                self.take(ledger, batch);
                Ok(())
            }
            Ok(None) | Err(AppendError::NotAppended(_)) => Ok(()),
            Err(AppendError::Fenced) => Err(ledger.fence(&self.cluster)),
            Err(AppendError::Unknown(error)) => {
                self.in_doubt = Some(batch);
                Err(LedgerError::Unknown { cluster: self.cluster.clone(), reason: error.to_string() })
            }
        }
    }

    async fn renew(&mut self, ledger: &Inner) -> Result<(), LedgerError> {
        self.settle(ledger).await?;
        match self.writer.renew(APPEND_PATIENCE).await {
            Ok(()) => Ok(()),
            Err(AppendError::Fenced) => Err(ledger.fence(&self.cluster)),
            Err(AppendError::NotAppended(error) | AppendError::Unknown(error)) => {
                Err(ledger.unavailable(&self.cluster, &error))
            }
        }
    }

    /// Notes what has been acknowledged.
    fn take(&self, ledger: &Inner, batch: Batch) {
        let subjects: Vec<Subject> = batch.iter().map(|(key, _)| key.subject.clone()).collect();
        {
            let mut state = lock(&self.state);
            for (key, record) in batch {
                state.apply(key, record);
            }
        }
        // Computed under the channel's lock: of two writers at once, the later result must be the one that stays.
        ledger.merged.send_modify(|merged| {
            ledger.with_ledgers(|ledgers| Arc::make_mut(merged).update(&ledgers, &subjects));
        });
    }
}

#[cfg(test)]
mod tests {
    use sluice_mesh::ledger::Fact;

    use super::*;

    fn batch(topic: &str, records: usize, holder: usize) -> Batch {
        let key = || Key { mesh: topic.to_owned(), subject: Subject::Leader };
        let record = || Record { counter: 1, fact: Fact::Leader { holder: "x".repeat(holder), at: 0 } };
        (0..records).map(|_| (key(), Some(record()))).collect()
    }

    #[test]
    fn what_goes_out_together_is_bounded_and_nobodys_batch_is_split() {
        let mut together = Together::default();
        let mut add = |order| together.add(order, oneshot::channel().0).map(|order| order.task);
        assert!(add(batch("a", 2, 10)).is_none());
        assert!(add(batch("b", TOGETHER_RECORDS - 2, 10)).is_none());
        let Some(Task::Append(back)) = add(batch("c", 1, 10)) else { panic!("one record too many was taken") };
        assert_eq!(back[0].0.mesh, "c");
        assert_eq!((together.batch.len(), together.bytes.len(), together.done.len()), (500, 500, 2));

        let mut together = Together::default();
        // However large, the first goes out, alone.
        assert!(together.add(batch("a", 1, TOGETHER_BYTES), oneshot::channel().0).is_none());
        assert!(together.add(batch("b", 1, 10), oneshot::channel().0).is_some());
        assert_eq!(together.batch.len(), 1);
    }
}
