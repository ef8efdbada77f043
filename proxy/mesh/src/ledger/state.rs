//! One ledger, folded: the last record of every subject.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Fact, Key, LedgerError, Record, Subject, TopicState};
use crate::document::CutProducer;
use crate::name::TopicName;

/// What the ledger of one cluster says about one mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerState {
    mesh: String,
    records: BTreeMap<Subject, Record>,
    counter: u64,
    strangers: BTreeMap<TopicName, BTreeSet<String>>,
    unknown: u64,
}

impl LedgerState {
    /// An empty ledger, read for this mesh.
    pub fn new(mesh: impl Into<String>) -> Self {
        let (records, strangers) = (BTreeMap::new(), BTreeMap::new());
        Self { mesh: mesh.into(), records, counter: 0, strangers, unknown: 0 }
    }

    /// Takes the next record of the log; `None` is a tombstone. Order is the log's: the last record of a subject wins.
    pub fn apply(&mut self, key: Key, record: Option<Record>) {
        if key.mesh != self.mesh {
            self.note_stranger(key, record.is_some());
            return;
        }
        match record {
            Some(record) => {
                self.counter = self.counter.max(record.counter);
                self.records.insert(key.subject, record);
            }
            None => {
                self.records.remove(&key.subject);
            }
        }
    }

    /// [`LedgerState::apply`] of a Kafka record. After an error the state is as before: the caller decides whether a
    /// ledger with a record that cannot be read may be acted on.
    pub fn apply_bytes(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), LedgerError> {
        match Entry::decode(key, value)? {
            Entry::Record(key, record) => self.apply(key, Some(record)),
            Entry::Tombstone(key) => self.apply(key, None),
            Entry::Unknown => self.unknown = self.unknown.saturating_add(1),
        }
        Ok(())
    }

    /// The mesh that it was read for.
    pub fn mesh(&self) -> &str {
        &self.mesh
    }

    /// The last record of a subject.
    pub fn get(&self, subject: &Subject) -> Option<&Record> {
        self.records.get(subject)
    }

    /// The last record of every subject.
    pub fn records(&self) -> impl Iterator<Item = (&Subject, &Record)> {
        self.records.iter()
    }

    /// The topic's last record.
    pub fn topic(&self, topic: &TopicName) -> Option<&TopicState> {
        match &self.records.get(&Subject::Topic(topic.clone()))?.fact {
            Fact::Topic(state) => Some(state),
            _ => None,
        }
    }

    /// The chunks of producers of the topic's cuts: chunk, attempt, (partition, producer).
    pub fn chunks(&self, topic: &TopicName) -> impl Iterator<Item = (u32, u64, &[(i32, CutProducer)])> {
        let of = |chunk| Subject::Producers { topic: topic.clone(), chunk };
        self.records.range(of(0)..=of(u32::MAX)).filter_map(|(subject, record)| match (subject, &record.fact) {
            (Subject::Producers { chunk, .. }, Fact::Producers { attempt, producers }) => {
                Some((*chunk, *attempt, producers.as_slice()))
            }
            _ => None,
        })
    }

    /// The highest revision of the document that may be in use.
    pub fn revision(&self) -> Option<u64> {
        match self.records.get(&Subject::Revision)?.fact {
            Fact::Revision { revision } => Some(revision),
            _ => None,
        }
    }

    /// Who wrote last took over as this holder.
    pub fn leader(&self) -> Option<&str> {
        match &self.records.get(&Subject::Leader)?.fact {
            Fact::Leader { holder, .. } => Some(holder),
            _ => None,
        }
    }

    /// The highest counter seen, in records that have been overwritten too.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// Records of kinds that this version does not know: a newer version has written here.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Topics that other meshes have entries for, with the names of those meshes.
    pub fn strangers(&self) -> &BTreeMap<TopicName, BTreeSet<String>> {
        &self.strangers
    }

    fn note_stranger(&mut self, key: Key, alive: bool) {
        let Subject::Topic(topic) = key.subject else {
            return;
        };
        if alive {
            self.strangers.entry(topic).or_default().insert(key.mesh);
        } else if let Some(meshes) = self.strangers.get_mut(&topic) {
            meshes.remove(&key.mesh);
            if meshes.is_empty() {
                self.strangers.remove(&topic);
            }
        }
    }
}
