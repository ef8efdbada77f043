//! One line of a history.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name that repeats on many lines and is stored once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an operation ended, as far as the client can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Ok,
    /// Certainly not done.
    Fail,
    /// Unknown: a time-out, a lost connection.
    Info,
}

/// A figure of a partition that must not fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mark {
    /// Log start offset.
    LogStart,
    /// High watermark.
    High,
    /// Last stable offset.
    Stable,
    /// `ListOffsets` earliest.
    Earliest,
    /// `ListOffsets` latest.
    Latest,
    /// `ListOffsets` by one and the same timestamp; -1 before there is a record that new.
    ByTime,
    /// `ListOffsets` of the record with the highest timestamp.
    MaxTimestamp,
    /// Current leader epoch in Metadata.
    Epoch,
    /// Leader epoch in the answer to `ListOffsets` latest.
    LatestEpoch,
}

impl Mark {
    /// A leader epoch; everything else is an offset.
    pub fn is_epoch(self) -> bool {
        matches!(self, Self::Epoch | Self::LatestEpoch)
    }
}

/// One event: who, when, what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The client.
    pub process: Name,
    /// When it was begun, microseconds since the history's start; none if that was not seen (a foreign process).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t_invoke: Option<u64>,
    /// When it was over.
    pub t_complete: u64,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. Offsets and epochs are what the client was told, unless `cluster` is named: those are the broker's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum What {
    /// A record was sent. Values are unique and read `producer:sequence` (or `producer.sequence`).
    Send {
        /// Topic.
        topic: Name,
        /// Partition; -1 if it was never chosen.
        partition: i32,
        /// The value.
        value: String,
        /// The offset acknowledged; none if there is none, or the broker did not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<i64>,
        /// How it ended.
        outcome: Outcome,
        /// The client library's name of the error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A reader starts over on a partition: an assignment, a seek, a rebalance.
    Assign {
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// Number of the assignment; later reads name it.
        session: u32,
        /// The consumer group, if the position comes from one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<Name>,
        /// The offset asked for, if the reader chose one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<i64>,
    },
    /// A record was read.
    Read {
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// Number of the assignment.
        session: u32,
        /// Its offset.
        offset: i64,
        /// Leader epoch of its batch, where the reader sees it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<i32>,
        /// The value.
        value: String,
        /// The consumer group, for a member.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<Name>,
    },
    /// A reader from the very beginning has read everything below `end`, which was the partition's end when it began.
    CaughtUp {
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// One past the last offset.
        end: i64,
    },
    /// A group's position was committed.
    Commit {
        /// Group.
        group: Name,
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// The next offset to process.
        offset: i64,
        /// How it ended.
        outcome: Outcome,
    },
    /// A group's committed position was asked for.
    Committed {
        /// Group.
        group: Name,
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// The answer; none if the group has no position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<i64>,
    },
    /// A figure of a partition was seen.
    Observe {
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// Which figure.
        mark: Mark,
        /// Its value.
        value: i64,
    },
    /// A watcher asked for a figure and was not told.
    Unanswered {
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// Which figure.
        mark: Mark,
        /// Why not.
        error: String,
    },
    /// A reader asked the end offset of an epoch that it has read (`OffsetForLeaderEpoch`).
    EpochEnd {
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// The epoch asked for.
        epoch: i32,
        /// The end answered, -1 if unknown.
        end: i64,
    },
    /// A run of a partition's offsets as it was placed: the oldest first, `index` from 0.
    Segment {
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// Place in the chain.
        index: u32,
        /// The cluster that stores it.
        cluster: Name,
        /// First offset as clients see it.
        start: i64,
        /// The cluster's own offset of `start`.
        physical_start: i64,
        /// One past the cluster's own last offset; none for the run that takes writes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        physical_end: Option<i64>,
    },
    /// A record as a cluster itself stores it.
    Stored {
        /// The cluster.
        cluster: Name,
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// The cluster's own offset.
        offset: i64,
        /// The value.
        value: String,
    },
    /// The end of a cluster's own log.
    StoredEnd {
        /// The cluster.
        cluster: Name,
        /// Topic.
        topic: Name,
        /// Partition.
        partition: i32,
        /// First offset that it still has.
        start: i64,
        /// One past its last offset.
        end: i64,
    },
    /// A client said that something is wrong.
    Error {
        /// The client library's name of the error.
        code: String,
        /// The client cannot go on.
        fatal: bool,
        /// Its words.
        text: String,
    },
    /// Something that people want to find in the file: a phase, a fault.
    Note {
        /// The words.
        text: String,
    },
}

impl What {
    /// Splits a value into its producer and its sequence number.
    pub fn parse_value(value: &str) -> Option<(&str, u64)> {
        let (producer, sequence) = value.rsplit_once([':', '.'])?;
        Some((producer, sequence.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_flat_json_and_comes_back() {
        let event = Event {
            process: "rd-0".into(),
            t_invoke: Some(3),
            t_complete: 9,
            what: What::Send {
                topic: "orders".into(),
                partition: 1,
                value: "rd-0:7".to_owned(),
                offset: Some(4),
                outcome: Outcome::Ok,
                error: None,
            },
        };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"process":"rd-0","t_invoke":3,"t_complete":9,"op":"send","topic":"orders","partition":1,"value":"rd-0:7","offset":4,"outcome":"ok"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn values_name_their_producer_and_number() {
        assert_eq!(What::parse_value("rd-0:17"), Some(("rd-0", 17)));
        assert_eq!(What::parse_value("7.123"), Some(("7", 123)));
        assert_eq!(What::parse_value("123"), None);
        assert_eq!(What::parse_value("a:b"), None);
    }
}
