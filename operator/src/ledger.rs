//! The ledgers of all clusters, with this process as their one writer. It keeps what each ledger holds in memory and
//! appends in the order asked. What the facts mean is decided elsewhere.

mod desk;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sluice_mesh::ledger::{self, Fact, Key, LedgerState, Ledgers, Merged, Record, Subject};
use sluice_mesh::name::ClusterName;
use sluice_net::Client;
use sluice_net::log::{AppendError, LedgerLog, LogError, LogRecord};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use desk::{Batch, Desk, Order, Task};

/// How long one append is tried before its result is called unknown.
const APPEND_PATIENCE: Duration = Duration::from_secs(5);
/// How long opening a ledger waits for its coordinator and leader.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);

/// Why a fact is not in the ledgers for sure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Another operator writes now.
    #[error(
        "another operator has taken over the ledger of {cluster}; this one stops: see that one operator runs per mesh"
    )]
    Fenced {
        /// The cluster.
        cluster: ClusterName,
    },
    /// Nothing was appended there, or nothing could be read.
    #[error("the ledger of {cluster} cannot be used: {reason}")]
    Unavailable {
        /// The cluster.
        cluster: ClusterName,
        /// What the client said.
        reason: String,
    },
    /// It is not known whether the fact is there; [`Ledger::settle`] finds out.
    #[error("whether the ledger of {cluster} has the record is not known yet: {reason}")]
    Unknown {
        /// The cluster.
        cluster: ClusterName,
        /// What the client said.
        reason: String,
    },
}

/// The ledgers. A clone is a handle.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    mesh: String,
    holder: String,
    home: ClusterName,
    /// The highest counter given out or seen in any ledger.
    counter: AtomicU64,
    open: Mutex<BTreeMap<ClusterName, Open>>,
    merged: watch::Sender<Arc<Merged>>,
    /// Cancelled when a broker said that somebody else writes now.
    fenced: CancellationToken,
}

/// One ledger of which this process is the writer and which it has read to its end.
struct Open {
    /// To the task that writes it, which ends when this is dropped.
    writer: mpsc::UnboundedSender<Order>,
    state: Arc<Mutex<LedgerState>>,
    /// What of the ledger could not be read, for people.
    warnings: Vec<String>,
}

impl Ledger {
    /// No ledger is open yet. `holder` tells people who writes.
    pub fn new(mesh: &str, holder: &str, home: ClusterName) -> Self {
        let inner = Inner {
            mesh: mesh.to_owned(),
            holder: holder.to_owned(),
            home,
            counter: AtomicU64::new(0),
            open: Mutex::default(),
            merged: watch::Sender::new(Arc::default()),
            fenced: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Becomes the writer of a cluster's ledger and reads it to its end. From then on every earlier writer is refused by
    /// the broker. Sentences about what people should look at are returned.
    pub async fn open(&self, cluster: &ClusterName, client: Client) -> Result<Vec<String>, LedgerError> {
        let failed = |error: &dyn std::fmt::Display| self.unavailable(cluster, error);
        let log = LedgerLog::new(client, ledger::TOPIC);
        let topic = log.ensure_topic().await.map_err(|error| failed(&error))?;
        let transactional_id = format!("sluice-ledger-{}", self.inner.mesh);
        let taken = log.take_over(&transactional_id, OPEN_PATIENCE).await;
        let mut writer = taken.map_err(|error: LogError| failed(&error))?;
        let leader = self.record(Fact::Leader { holder: self.inner.holder.clone(), at: clock::now_millis() });
        let key = self.key(Subject::Leader);
        let offset = match writer.append(vec![encode(&key, Some(&leader))], APPEND_PATIENCE).await {
            Ok(offset) => offset,
            Err(AppendError::Fenced) => return Err(self.inner.fence(cluster)),
            Err(error) => return Err(failed(&error)),
        };
        let records = log.read_to_end(offset.saturating_add(1), OPEN_PATIENCE).await.map_err(|error| failed(&error))?;
        let mut warnings = topic.warnings;
        for (name, value) in topic.corrected {
            warnings.push(format!("{name} of {} was {value:?} and has been set right", ledger::TOPIC));
        }
        let state = self.fold(cluster, &records, &mut warnings);
        self.inner.counter.fetch_max(state.counter(), Ordering::SeqCst);
        let state = Arc::new(Mutex::new(state));
        let (sender, orders) = mpsc::unbounded_channel();
        let desk = Desk::new(cluster.clone(), writer, Arc::clone(&state), Arc::downgrade(&self.inner));
        tokio::spawn(desk.run(orders));
        let open = Open { writer: sender, state, warnings: warnings.clone() };
        lock(&self.inner.open).insert(cluster.clone(), open);
        self.merge_again();
        self.bring_up(cluster).await?;
        Ok(warnings)
    }

    /// A ledger of a cluster that left the mesh is not written any more.
    pub fn close(&self, cluster: &ClusterName) {
        if lock(&self.inner.open).remove(cluster).is_some() {
            self.merge_again();
        }
    }

    /// Appends a fact to these ledgers in this order, under one new counter; stops at the first that fails. It tries for
    /// some seconds before it says `Unknown`.
    pub async fn append(&self, on: &[ClusterName], subject: Subject, fact: Fact) -> Result<(), LedgerError> {
        let entry = vec![(self.key(subject), Some(self.record(fact)))];
        for cluster in on {
            self.write(cluster, entry.clone()).await?;
        }
        Ok(())
    }

    /// Appends several facts as one batch to one ledger, in this order.
    pub async fn append_batch(&self, on: &ClusterName, facts: Vec<(Subject, Fact)>) -> Result<(), LedgerError> {
        let batch = facts.into_iter().map(|(subject, fact)| (self.key(subject), Some(self.record(fact)))).collect();
        self.write(on, batch).await
    }

    /// Appends a fact to the home cluster's ledger, then to all others that are open.
    pub async fn append_everywhere(&self, subject: Subject, fact: Fact) -> Result<(), LedgerError> {
        self.append(&self.home_first(), subject, fact).await
    }

    /// Removes a subject from all open ledgers, the home cluster's last: an entry that is found anywhere still holds.
    pub async fn remove_everywhere(&self, subject: Subject) -> Result<(), LedgerError> {
        for cluster in self.home_first().iter().rev() {
            if self.on(cluster, &subject).is_some() {
                self.write(cluster, vec![(self.key(subject.clone()), None)]).await?;
            }
        }
        Ok(())
    }

    /// After `Unknown`: finds out whether the batch in doubt is there; [`Ledger::on`] tells the truth afterwards. Does
    /// nothing if nothing is in doubt.
    pub async fn settle(&self, cluster: &ClusterName) -> Result<(), LedgerError> {
        self.order(cluster, Task::Settle).await
    }

    /// What each ledger says last of a subject.
    pub fn on_each(&self, subject: &Subject) -> Vec<(ClusterName, Record)> {
        let open = lock(&self.inner.open);
        let said =
            |(cluster, open): (&ClusterName, &Open)| Some((cluster.clone(), lock(&open.state).get(subject)?.clone()));
        open.iter().filter_map(said).collect()
    }

    /// What one cluster's ledger says last of a subject.
    pub fn on(&self, cluster: &ClusterName, subject: &Subject) -> Option<Record> {
        lock(&lock(&self.inner.open).get(cluster)?.state).get(subject).cloned()
    }

    /// What all open ledgers add up to.
    pub fn merged(&self) -> Arc<Merged> {
        Arc::clone(&self.inner.merged.borrow())
    }

    /// [`Ledger::merged`], with wake-ups.
    pub fn changes(&self) -> watch::Receiver<Arc<Merged>> {
        self.inner.merged.subscribe()
    }

    /// Clusters whose ledger is read and can be written.
    pub fn open_clusters(&self) -> Vec<ClusterName> {
        lock(&self.inner.open).keys().cloned().collect()
    }

    /// Whether a cluster's ledger is read and can be written.
    pub fn is_open(&self, cluster: &ClusterName) -> bool {
        lock(&self.inner.open).contains_key(cluster)
    }

    /// What people should look at in a cluster's ledger.
    pub fn warnings(&self, cluster: &ClusterName) -> Vec<String> {
        lock(&self.inner.open).get(cluster).map(|open| open.warnings.clone()).unwrap_or_default()
    }

    /// Cancelled when another operator has taken over: this one must not act any more.
    pub fn fenced(&self) -> CancellationToken {
        self.inner.fenced.clone()
    }

    /// Takes a newer epoch as the same writer of a ledger and writes `leader` under it. Coordinators forget a transactional
    /// id that is not used for a week, brokers a producer that does not write for a day: after that the next operator would
    /// be given a new producer id, and nothing would fence this one any more.
    pub async fn renew(&self, cluster: &ClusterName) -> Result<(), LedgerError> {
        self.order(cluster, Task::Renew).await?;
        let leader = Fact::Leader { holder: self.inner.holder.clone(), at: clock::now_millis() };
        self.append(std::slice::from_ref(cluster), Subject::Leader, leader).await
    }

    /// Copies to a ledger what is said of the whole mesh and what it lacks, for example because its cluster was away.
    async fn bring_up(&self, cluster: &ClusterName) -> Result<(), LedgerError> {
        let mut newest: BTreeMap<Subject, Record> = BTreeMap::new();
        for open in lock(&self.inner.open).values() {
            for (subject, record) in lock(&open.state).records() {
                let for_all = matches!(subject, Subject::Revision | Subject::Cluster(_) | Subject::Catalogue(_));
                if for_all && newest.get(subject).is_none_or(|known| known.counter < record.counter) {
                    newest.insert(subject.clone(), record.clone());
                }
            }
        }
        let others: Vec<ClusterName> = self.open_clusters();
        for target in others.iter().filter(|other| *other == cluster || self.inner.home == **other) {
            let lacks = |(subject, record): (&Subject, &Record)| {
                let has = self.on(target, subject).is_some_and(|has| has.counter >= record.counter);
                (!has).then(|| (self.key(subject.clone()), Some(record.clone())))
            };
            let missing: Vec<_> = newest.iter().filter_map(lacks).collect();
            for batch in missing.chunks(500) {
                self.write(target, batch.to_vec()).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, cluster: &ClusterName, batch: Batch) -> Result<(), LedgerError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.order(cluster, Task::Append(batch)).await
    }

    /// Hands a task to the writer of a ledger and waits until it is done. A caller that stops waiting before the writer has
    /// turned to its task takes it back by that.
    async fn order(&self, cluster: &ClusterName, task: Task) -> Result<(), LedgerError> {
        if self.inner.fenced.is_cancelled() {
            return Err(LedgerError::Fenced { cluster: cluster.clone() });
        }
        let (done, answer) = oneshot::channel();
        let sent =
            lock(&self.inner.open).get(cluster).is_some_and(|open| open.writer.send(Order { task, done }).is_ok());
        if !sent {
            return Err(self.unavailable(cluster, &"it has not been read yet"));
        }
        answer.await.unwrap_or_else(|_| {
            let reason = "its writer ended".to_owned();
            Err(LedgerError::Unknown { cluster: cluster.clone(), reason })
        })
    }

    fn merge_again(&self) {
        // Computed under the channel's lock: of two writers at once, the later result must be the one that stays.
        self.inner
            .merged
            .send_modify(|merged| *merged = Arc::new(self.inner.with_ledgers(|ledgers| ledger::merge(ledgers))));
    }

    fn fold(&self, cluster: &ClusterName, records: &[LogRecord], warnings: &mut Vec<String>) -> LedgerState {
        let mut state = LedgerState::new(&self.inner.mesh);
        let mut strange = 0_u64;
        for record in records {
            let key = (!record.key.is_empty()).then_some(record.key.as_ref());
            if let Err(error) = state.apply_bytes(key, record.value.as_deref()) {
                strange += 1;
                tracing::warn!(%cluster, offset = record.offset, %error, "a record of the ledger is passed over");
                if strange == 1 {
                    warnings.push(format!("the record at offset {} cannot be read: {error}", record.offset));
                }
            }
        }
        if strange > 1 {
            warnings.push(format!("{strange} records of the ledger cannot be read"));
        }
        if state.unknown() > 0 {
            warnings.push(format!(
                "{} records of the ledger were written by a newer version: do not run an older operator",
                state.unknown()
            ));
        }
        state
    }

    fn key(&self, subject: Subject) -> Key {
        Key { mesh: self.inner.mesh.clone(), subject }
    }

    fn record(&self, fact: Fact) -> Record {
        Record { counter: self.inner.counter.fetch_add(1, Ordering::SeqCst).saturating_add(1), fact }
    }

    fn home_first(&self) -> Vec<ClusterName> {
        let mut clusters = self.open_clusters();
        clusters.sort_by_key(|cluster| *cluster != self.inner.home);
        clusters
    }

    fn unavailable(&self, cluster: &ClusterName, reason: &dyn std::fmt::Display) -> LedgerError {
        self.inner.unavailable(cluster, reason)
    }
}

impl Inner {
    /// Looks at all open ledgers at once.
    fn with_ledgers<T>(&self, look: impl FnOnce(Ledgers<'_>) -> T) -> T {
        let open = lock(&self.open);
        let states: Vec<_> = open.iter().map(|(cluster, open)| (cluster, lock(&open.state))).collect();
        look(states.iter().map(|(cluster, state)| (*cluster, &**state)).collect())
    }

    fn unavailable(&self, cluster: &ClusterName, reason: &dyn std::fmt::Display) -> LedgerError {
        tracing::debug!(mesh = self.mesh, %cluster, %reason, "ledger unavailable");
        LedgerError::Unavailable { cluster: cluster.clone(), reason: reason.to_string() }
    }

    fn fence(&self, cluster: &ClusterName) -> LedgerError {
        self.fenced.cancel();
        LedgerError::Fenced { cluster: cluster.clone() }
    }
}

fn encode(key: &Key, record: Option<&Record>) -> (Bytes, Option<Bytes>) {
    (Bytes::from(key.to_bytes()), record.map(|record| Bytes::from(record.to_bytes())))
}

/// A poisoned lock only means that another task panicked: the maps behind these locks are whole between statements.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
