//! The checker's answer: what was found, how often, and the first cases of each kind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::{Outcome, What};
use super::index::Index;

/// Cases kept per anomaly; the rest is counted.
pub(super) const CASES: usize = 8;

/// A thing that one Kafka cluster would not have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Anomaly {
    /// Two values at one offset, by acknowledgement or by any read.
    InconsistentOffset,
    /// One value at two offsets.
    Duplicate,
    /// Acknowledged, never read, though a later record of the partition was read.
    LostWrite,
    /// Acknowledged and still not read after a reader from the beginning has caught up.
    Unseen,
    /// A send that certainly failed was read.
    GhostWrite,
    /// A value was read that nobody sent.
    UnknownValue,
    /// An offset below the end that holds nothing.
    Hole,
    /// A producer's later record has the lower offset.
    OutOfOrder,
    /// An offset was acknowledged at or below one that had been acknowledged before the send began.
    LateOffset,
    /// A reader went backwards within one assignment.
    ReadBackwards,
    /// A reader jumped over records within one assignment.
    ReadSkip,
    /// A watermark fell, or ended below an acknowledged record.
    WatermarkRegress,
    /// A leader epoch fell, in time or along the log, or a truncation was reported that did not happen.
    EpochRegress,
    /// A chain's runs do not follow on each other, or do not end where the old cluster's log ends.
    OffsetBreak,
    /// A record lies on a cluster outside the runs that clients are shown, or differs from what clients see.
    SplitBrain,
    /// A group committed beyond what its members had processed.
    CommitTooFar,
    /// A committed position moved back, was lost, or came from nowhere.
    GroupDrift,
    /// A group's members passed over a record that lies below the committed position.
    GroupSkip,
    /// A member began below a position committed before its assignment.
    GroupRewind,
    /// A good idempotent producer was refused by the state that a broker keeps of it.
    ProducerState,
    /// A client met an error that it cannot go on from.
    FatalError,
    /// No progress for longer than allowed.
    Stuck,
    /// A watcher could not see a figure for longer than allowed: nobody knows whether it fell.
    Unwatched,
}

impl Anomaly {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::InconsistentOffset,
        Self::Duplicate,
        Self::LostWrite,
        Self::Unseen,
        Self::GhostWrite,
        Self::UnknownValue,
        Self::Hole,
        Self::OutOfOrder,
        Self::LateOffset,
        Self::ReadBackwards,
        Self::ReadSkip,
        Self::WatermarkRegress,
        Self::EpochRegress,
        Self::OffsetBreak,
        Self::SplitBrain,
        Self::CommitTooFar,
        Self::GroupDrift,
        Self::GroupSkip,
        Self::GroupRewind,
        Self::ProducerState,
        Self::FatalError,
        Self::Stuck,
        Self::Unwatched,
    ];
}

/// One occurrence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Topic and partition, or the client.
    pub at: String,
    /// What was seen.
    pub text: String,
}

/// What may be expected of the clients of this history.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Producers that promise neither order nor uniqueness (no idempotence): their duplicates and inversions are counted
    /// apart and are no anomalies.
    pub not_idempotent: BTreeSet<String>,
    /// Offsets without a record are allowed (control records of transactions, compaction).
    pub holes_allowed: bool,
    /// Longest time without an acknowledgement of any producer, a record for any group member, or an answer to any
    /// watcher, microseconds.
    pub stuck_after: Option<u64>,
    /// Values that nobody recorded sending are allowed (a producer outside the history).
    pub foreign_values: bool,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Records sent, whatever became of them.
    pub sent: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records that certainly were not written.
    pub failed: u64,
    /// Records of which the producer does not know.
    pub unknown: u64,
    /// Records read, each as often as it was read.
    pub reads: u64,
    /// Different records read.
    pub read: u64,
    /// Duplicates and inversions of producers that promise neither.
    pub excused: u64,
    /// Offsets of which the acknowledgement said nothing.
    pub acknowledged_without_offset: u64,
    /// How often each anomaly was found.
    pub anomalies: BTreeMap<Anomaly, u64>,
    /// The first cases of each.
    pub cases: BTreeMap<Anomaly, Vec<Case>>,
}

impl Verdict {
    pub(super) fn of(index: &Index<'_>) -> Self {
        let mut verdict = Self::default();
        let mut values = BTreeSet::new();
        for event in index.events {
            match &event.what {
                What::Send { outcome, offset, .. } => {
                    verdict.sent += 1;
                    match outcome {
                        Outcome::Ok => verdict.acknowledged += 1,
                        Outcome::Fail => verdict.failed += 1,
                        Outcome::Info => verdict.unknown += 1,
                    }
                    if *outcome == Outcome::Ok && offset.is_none() {
                        verdict.acknowledged_without_offset += 1;
                    }
                }
                What::Read { value, .. } => {
                    verdict.reads += 1;
                    values.insert(value.as_str());
                }
                _ => {}
            }
        }
        verdict.read = values.len() as u64;
        verdict
    }

    /// Adds a case; its words are only made while they are kept.
    pub(super) fn add(&mut self, anomaly: Anomaly, at: impl fmt::Display, text: impl FnOnce() -> String) {
        *self.anomalies.entry(anomaly).or_default() += 1;
        let cases = self.cases.entry(anomaly).or_default();
        if cases.len() < CASES {
            cases.push(Case { at: at.to_string(), text: text() });
        }
    }

    /// How often an anomaly was found.
    pub fn count(&self, anomaly: Anomaly) -> u64 {
        self.anomalies.get(&anomaly).copied().unwrap_or(0)
    }

    /// Nothing was found.
    pub fn is_good(&self) -> bool {
        self.anomalies.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "sent {}, acknowledged {}, failed {}, unknown {}, read {} ({} reads): {}",
            self.sent,
            self.acknowledged,
            self.failed,
            self.unknown,
            self.read,
            self.reads,
            if self.is_good() { "no anomaly" } else { "ANOMALIES" }
        )?;
        for (anomaly, count) in &self.anomalies {
            writeln!(f, "  {anomaly:?}: {count}")?;
            for case in self.cases.get(anomaly).into_iter().flatten() {
                writeln!(f, "    {}: {}", case.at, case.text)?;
            }
        }
        Ok(())
    }
}
