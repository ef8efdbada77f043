//! All ledgers together: one truth, whatever was written where before a crash.
//!
//! Identity, revision and catalogue are written to several ledgers; the highest counter wins. (To remove one, write the
//! tombstones to the other ledgers first and to the home's last: an entry that is found anywhere still holds.) A topic's
//! moves are decided by the ledgers of the two clusters of its latest attempt, and over commit or not by the *old* home's
//! alone, because it lies with the seal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::{Fact, LedgerState, Record, Stage, Subject, TopicState};
use crate::chain::Chain;
use crate::document::CutProducer;
use crate::name::{ClusterName, TopicName};

/// What all ledgers that were read add up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Merged {
    /// The highest counter seen; the next record's is one more.
    pub counter: u64,
    /// The highest revision published; 0 if none.
    pub revision: u64,
    /// Identities by Kafka cluster id.
    pub clusters: BTreeMap<String, ClusterIdentity>,
    /// Where topics that are not on the home cluster alone live.
    pub catalogue: BTreeMap<TopicName, CatalogueEntry>,
    /// Where each topic's latest move stands. Shared with the sum before, if nothing was written about the topic since.
    pub topics: BTreeMap<TopicName, Arc<TopicLedger>>,
    /// Topics that other meshes have entries for, with the names of those meshes.
    pub strangers: BTreeMap<TopicName, BTreeSet<String>>,
}

/// A cluster's identity in the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The KafkaCluster's name when it was given out.
    pub name: ClusterName,
    /// Producer tag.
    pub tag: u8,
    /// Node-id base.
    pub node_id_base: i32,
    /// Port index of each broker: (broker id, index).
    pub indexes: Vec<(i32, u16)>,
}

/// Where a topic that is not on the home cluster alone lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its topic id there.
    pub topic_id: Uuid,
    /// The topic id of its placeholder on the home cluster, once we made one.
    pub placeholder: Option<Uuid>,
}

/// Where the latest attempt to move a topic stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Begun, not committed, not given up on the old home's ledger. To roll it back: record the abort, wait for the
    /// acknowledgement of the old home's ledger, then remove the seal.
    Uncommitted,
    /// Given up. The old home may still be sealed, if the writer died before it removed the seal.
    Aborted,
    /// The cut lies on the old home's ledger: only forward. The new home may still be sealed.
    Committed,
    /// The new home serves.
    Switched,
    /// The old home's ledger was not read and the new home's does not say: nobody may act on it, nor serve the topic.
    Unknown,
}

impl Standing {
    /// The point of no return is behind.
    pub fn is_committed(self) -> bool {
        matches!(self, Self::Committed | Self::Switched)
    }

    /// An abort has to be acknowledged by the old home's ledger before anything is unsealed.
    pub fn needs_abort(self) -> bool {
        self == Self::Uncommitted
    }

    /// The old home may carry this attempt's seal although it serves: look, and remove it.
    pub fn may_be_sealed(self) -> bool {
        matches!(self, Self::Uncommitted | Self::Aborted)
    }
}

/// What serves a topic by the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Serving {
    /// The cluster that takes writes.
    pub cluster: ClusterName,
    /// By partition; empty if it never moved.
    pub chains: Vec<Chain>,
}

/// A topic's moves by all ledgers.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicLedger {
    /// Where the latest attempt stands.
    pub standing: Standing,
    /// The latest attempt as it stands: for an uncommitted one always with the chains from before the cut, so that
    /// [`TopicState::to_abort`] of it is right.
    pub record: TopicState,
    /// What serves; `None` if [`Standing::Unknown`].
    pub serving: Option<Serving>,
    /// Clusters of the attempt whose ledgers (if they were read) do not hold this standing yet: write it there again.
    pub behind: Vec<ClusterName>,
    /// The producers of the cuts, by partition and producer id: the newest entry of each. A cut's table takes over all
    /// older entries that still count, so that of an attempt which was given up is right as well.
    pub producers: BTreeMap<(i32, i64), CutProducer>,
    /// All chunks that the record counts were found.
    pub producers_complete: bool,
}

impl TopicLedger {
    /// The number of the next attempt.
    pub fn next_attempt(&self) -> u64 {
        self.record.attempt.saturating_add(1)
    }

    /// The producers of each partition, as the document carries them.
    pub fn producers_by_partition(&self, partitions: usize) -> Vec<Vec<CutProducer>> {
        let mut all = vec![Vec::new(); partitions];
        for ((partition, _), producer) in &self.producers {
            if let Some(of_partition) = usize::try_from(*partition).ok().and_then(|index| all.get_mut(index)) {
                of_partition.push(*producer);
            }
        }
        all
    }
}

/// The ledgers that were read, by cluster.
pub type Ledgers<'a> = BTreeMap<&'a ClusterName, &'a LedgerState>;

/// Adds up the ledgers that were read. A ledger that could not be read is left out: what only it can say is then unknown,
/// never guessed.
pub fn merge<'a>(ledgers: impl IntoIterator<Item = (&'a ClusterName, &'a LedgerState)>) -> Merged {
    let ledgers: Ledgers<'a> = ledgers.into_iter().collect();
    let mut merged = Merged::default();
    for (topic, meshes) in ledgers.values().flat_map(|ledger| ledger.strangers()) {
        merged.strangers.entry(topic.clone()).or_default().extend(meshes.iter().cloned());
    }
    let subjects = ledgers.values().flat_map(|ledger| ledger.records()).map(|(subject, _)| subject);
    let subjects: BTreeSet<&Subject> = subjects.collect();
    merged.update(&ledgers, subjects);
    merged
}

impl Merged {
    /// Takes in what the same ledgers say of these subjects now; whatever else they say has not changed.
    pub fn update<'a>(&mut self, ledgers: &Ledgers<'_>, subjects: impl IntoIterator<Item = &'a Subject>) {
        self.counter = ledgers.values().map(|ledger| ledger.counter()).fold(self.counter, u64::max);
        let mut topics: BTreeSet<&TopicName> = BTreeSet::new();
        for subject in subjects {
            match subject {
                Subject::Topic(topic) | Subject::Producers { topic, .. } => {
                    topics.insert(topic);
                }
                Subject::Cluster(_) | Subject::Catalogue(_) => self.take(subject, ledgers),
                // Revisions only grow, whoever wrote them.
                Subject::Revision => {
                    let written = ledgers.values().filter_map(|ledger| ledger.revision());
                    self.revision = written.fold(self.revision, u64::max);
                }
                Subject::Leader => {}
            }
        }
        for topic in topics {
            match decide(topic, ledgers) {
                Some(decided) => self.topics.insert(topic.clone(), Arc::new(decided)),
                None => self.topics.remove(topic),
            };
        }
    }

    /// Topics of which another sum says something else than this one.
    pub fn differing(&self, other: &Self) -> BTreeSet<TopicName> {
        let moved = different(&self.topics, &other.topics, Arc::ptr_eq);
        moved.chain(different(&self.catalogue, &other.catalogue, PartialEq::eq)).cloned().collect()
    }

    /// Identities and the catalogue: the newest record of all ledgers counts.
    fn take(&mut self, subject: &Subject, ledgers: &Ledgers<'_>) {
        let mut said = ledgers.values().filter_map(|ledger| ledger.get(subject));
        let newest =
            said.next().map(|first| said.fold(first, |best, record| if wins(record, best) { record } else { best }));
        match (subject, newest.map(|record| &record.fact)) {
            (Subject::Cluster(id), Some(Fact::Cluster { name, tag, node_id_base, indexes })) => {
                let (name, indexes) = (name.clone(), indexes.clone());
                let identity = ClusterIdentity { name, tag: *tag, node_id_base: *node_id_base, indexes };
                self.clusters.insert(id.clone(), identity);
            }
            (Subject::Cluster(id), _) => {
                self.clusters.remove(id);
            }
            (Subject::Catalogue(topic), Some(Fact::Catalogue { cluster, topic_id, placeholder })) => {
                let (cluster, topic_id, placeholder) = (cluster.clone(), *topic_id, *placeholder);
                let entry = CatalogueEntry { cluster, topic_id, placeholder };
                self.catalogue.insert(topic.clone(), entry);
            }
            (Subject::Catalogue(topic), _) => {
                self.catalogue.remove(topic);
            }
            _ => {}
        }
    }
}

/// The keys of what only one of two maps has, or what is not the same in both.
fn different<'a, K: Ord, V>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool + 'a,
) -> impl Iterator<Item = &'a K> {
    let here = one.iter().filter(move |(key, value)| !other.get(*key).is_some_and(|found| same(value, found)));
    let only_there = other.keys().filter(|key| !one.contains_key(*key));
    here.map(|(key, _)| key).chain(only_there)
}

/// Records of one counter are copies of each other; should they differ all the same, the choice must not depend on the
/// order of reading.
fn wins(record: &Record, over: &Record) -> bool {
    let by_bytes = || record != over && record.to_bytes() > over.to_bytes();
    record.counter > over.counter || (record.counter == over.counter && by_bytes())
}

fn decide(topic: &TopicName, ledgers: &Ledgers<'_>) -> Option<TopicLedger> {
    let states = || ledgers.iter().filter_map(|(cluster, ledger)| Some((*cluster, ledger.topic(topic)?)));
    let attempt = states().map(|(_, state)| state.attempt).max()?;
    let latest = || states().filter(|(_, state)| state.attempt == attempt);
    let (_, any) = latest().next()?;
    let on = |cluster: &ClusterName| latest().find(|(ledger, _)| *ledger == cluster).map(|(_, state)| state);
    let (old, new) = (on(&any.from), on(&any.to));
    let switched = latest().map(|(_, state)| state).find(|state| state.stage == Stage::Switched);
    let (standing, deciding) = match (switched, old) {
        (Some(state), _) => (Standing::Switched, state),
        (None, Some(state)) => (standing_by_old_home(state.stage), state),
        // The old home's ledger was read and knows nothing of the attempt: its intent was never acknowledged there.
        (None, None) if ledgers.contains_key(&any.from) => (Standing::Uncommitted, new.unwrap_or(any)),
        (None, None) => (Standing::Unknown, new.unwrap_or(any)),
    };
    let record = match standing {
        Standing::Uncommitted => {
            TopicState { chains: deciding.chains_before(), stage: Stage::Intent, ..deciding.clone() }
        }
        _ => deciding.clone(),
    };
    let serving = match standing {
        Standing::Unknown => None,
        Standing::Uncommitted | Standing::Aborted => Some((&record.from, record.chains_before())),
        Standing::Committed | Standing::Switched => Some((&record.to, record.chains.clone())),
    };
    let serving = serving.map(|(cluster, chains)| Serving { cluster: cluster.clone(), chains });
    let holds = |cluster: &ClusterName| on(cluster).is_some_and(|state| state.stage == record.stage);
    let known = standing != Standing::Unknown;
    let behind = [&record.to, &record.from].into_iter().filter(|c| known && ledgers.contains_key(*c) && !holds(c));
    let behind: Vec<ClusterName> = behind.cloned().collect();
    let (producers, producers_complete) = producers(topic, &record, standing, ledgers);
    Some(TopicLedger { standing, record, serving, behind, producers, producers_complete })
}

fn standing_by_old_home(stage: Stage) -> Standing {
    match stage {
        Stage::Intent => Standing::Uncommitted,
        Stage::Abort => Standing::Aborted,
        Stage::Cut => Standing::Committed,
        Stage::Switched => Standing::Switched,
    }
}

/// The newest entry of every producer over all chunks of all ledgers.
fn producers(
    topic: &TopicName,
    record: &TopicState,
    standing: Standing,
    ledgers: &Ledgers<'_>,
) -> (BTreeMap<(i32, i64), CutProducer>, bool) {
    let mut newest: BTreeMap<(i32, i64), (u64, CutProducer)> = BTreeMap::new();
    let mut chunks = BTreeSet::new();
    for (chunk, attempt, producers) in ledgers.values().flat_map(|ledger| ledger.chunks(topic)) {
        // An attempt that was given up has overwritten chunks of the cut before it with newer entries.
        let counts = if standing.is_committed() { attempt == record.attempt } else { attempt <= record.attempt };
        if counts {
            chunks.insert(chunk);
        }
        for (partition, producer) in producers {
            let entry = newest.entry((*partition, producer.id)).or_insert((attempt, *producer));
            if attempt > entry.0 {
                *entry = (attempt, *producer);
            }
        }
    }
    let complete = (0..record.producer_chunks).all(|chunk| chunks.contains(&chunk));
    (newest.into_iter().map(|(key, (_, producer))| (key, producer)).collect(), complete)
}
