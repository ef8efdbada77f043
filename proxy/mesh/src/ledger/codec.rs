//! Between the bytes of Kafka records and the ledger's values. A stranger may have written them: every rule that readers
//! rely on is checked, and what a newer version wrote is told apart from what is broken.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Fact, Key, Record, Subject};
use crate::chain::ChainError;

/// The largest key or value that is read.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// One record of a ledger, decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A fact.
    Record(Key, Record),
    /// The subject is no more.
    Tombstone(Key),
    /// Written by a newer version, about something that this one does not know.
    Unknown,
}

/// Why bytes are not a record of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Over [`MAX_RECORD_BYTES`].
    #[error("a ledger record has {0} bytes, more than {MAX_RECORD_BYTES}: something else writes to the ledger topic")]
    TooLarge(usize),
    /// A record without a key: it would never be compacted.
    #[error("a ledger record has no key: something else writes to the ledger topic; deny it by an ACL")]
    NoKey,
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("a ledger record's {part} can't be read ({source}): something else writes to the ledger topic")]
    Shape {
        /// Key or value.
        part: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The value is about something else than the key.
    #[error("the ledger record of {0:?} holds a fact of another kind: something else writes to the ledger topic")]
    Mismatch(Subject),
    /// A chain that breaks a rule.
    #[error("the ledger's chain of {topic}, partition {partition}, is not valid: {source}")]
    Chain {
        /// The topic.
        topic: String,
        /// The partition.
        partition: usize,
        /// The rule.
        source: ChainError,
    },
    /// A value out of its range.
    #[error("the ledger record of {subject:?} is not valid: {rule}")]
    Range {
        /// Its subject.
        subject: Subject,
        /// The rule.
        rule: &'static str,
    },
}

impl Key {
    /// The Kafka record's key.
    pub fn to_bytes(&self) -> Vec<u8> {
        json(self)
    }
}

impl Record {
    /// The Kafka record's value.
    pub fn to_bytes(&self) -> Vec<u8> {
        json(self)
    }
}

impl Entry {
    /// Reads a Kafka record.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, LedgerError> {
        let Some(key) = parse::<Key, LooseKey>("key", key.ok_or(LedgerError::NoKey)?)? else {
            return Ok(Self::Unknown);
        };
        let Some(value) = value else {
            return Ok(Self::Tombstone(key));
        };
        let Some(record) = parse::<Record, LooseRecord>("value", value)? else {
            return Ok(Self::Unknown);
        };
        check(&key.subject, &record.fact)?;
        Ok(Self::Record(key, record))
    }
}

/// Plain data with string keys only: this cannot fail. Nothing at all would be refused by every reader.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// `None`: well formed, but of a kind that this version does not know.
fn parse<T: DeserializeOwned, L: Loose>(part: &'static str, bytes: &[u8]) -> Result<Option<T>, LedgerError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(LedgerError::TooLarge(bytes.len()));
    }
    serde_json::from_slice(bytes).map(Some).or_else(|source| match serde_json::from_slice::<L>(bytes) {
        Ok(loose) if !loose.is_known() => Ok(None),
        _ => Err(LedgerError::Shape { part, source }),
    })
}

/// The frame that every version keeps around its kinds.
trait Loose: DeserializeOwned {
    /// The kind is one of this version, so a failure to read it is an error.
    fn is_known(&self) -> bool;
}

#[derive(Deserialize)]
struct LooseKey {
    #[serde(rename = "mesh")]
    _mesh: String,
    subject: Value,
}

impl Loose for LooseKey {
    fn is_known(&self) -> bool {
        let kind = match &self.subject {
            Value::String(kind) => Some(kind.as_str()),
            Value::Object(fields) if fields.len() == 1 => fields.keys().next().map(String::as_str),
            _ => None,
        };
        // A subject that has no kind at all is no version's.
        kind.is_none_or(|kind| ["leader", "revision", "cluster", "catalogue", "topic", "producers"].contains(&kind))
    }
}

#[derive(Deserialize)]
struct LooseRecord {
    #[serde(rename = "counter")]
    _counter: u64,
    fact: LooseFact,
}

#[derive(Deserialize)]
struct LooseFact {
    kind: String,
}

impl Loose for LooseRecord {
    fn is_known(&self) -> bool {
        let kind = self.fact.kind.as_str();
        ["leader", "revision", "cluster", "catalogue", "topic", "producers"].contains(&kind)
    }
}

fn check(subject: &Subject, fact: &Fact) -> Result<(), LedgerError> {
    let range = |rule| Err(LedgerError::Range { subject: subject.clone(), rule });
    match (subject, fact) {
        (Subject::Leader, Fact::Leader { .. })
        | (Subject::Revision, Fact::Revision { .. })
        | (Subject::Catalogue(_), Fact::Catalogue { .. })
        | (Subject::Producers { .. }, Fact::Producers { .. }) => Ok(()),
        (Subject::Cluster(_), Fact::Cluster { tag, node_id_base, .. }) => {
            if !(1..=127).contains(tag) {
                return range("a producer tag is 1 to 127");
            }
            if *node_id_base < 0 {
                return range("a node-id base is not negative");
            }
            Ok(())
        }
        (Subject::Topic(topic), Fact::Topic(state)) => {
            if state.from == state.to {
                return range("a topic moves from one cluster to another");
            }
            for (partition, chain) in state.chains.iter().enumerate() {
                chain.validate().map_err(|source| LedgerError::Chain {
                    topic: topic.to_string(),
                    partition,
                    source,
                })?;
            }
            Ok(())
        }
        _ => Err(LedgerError::Mismatch(subject.clone())),
    }
}
