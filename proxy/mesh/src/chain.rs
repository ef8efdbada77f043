//! A partition's chain: the segments in which its one virtual log is stored, oldest first.
//!
//! Pure arithmetic between what clients see (virtual offsets and epochs) and what brokers store (physical ones). It
//! must never know which broker leads a segment, nor anything of requests.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::name::ClusterName;

#[cfg(test)]
mod tests;

/// The step to which the epoch shift of a new segment is rounded up: room for elections that the old cluster holds
/// while a late proxy still shows it.
pub const EPOCH_STEP: i32 = 1024;

/// A run of a partition's offsets that lives on one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// The cluster that stores the run.
    pub cluster: ClusterName,
    /// The topic id on that cluster; a live id that differs means that the segment is dead.
    pub topic_id: Uuid,
    /// First virtual offset of the segment.
    pub start: i64,
    /// The physical offset of `start` on the cluster.
    pub physical_start: i64,
    /// One past the last physical offset; absent while the segment is the last and takes writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_end: Option<i64>,
    /// `virtual epoch = physical epoch + epoch_shift`.
    pub epoch_shift: i32,
    /// Grows by one per move of the topic and never resets.
    pub generation: u8,
}

impl Segment {
    /// `virtual offset = physical offset + shift`.
    pub fn shift(&self) -> i64 {
        self.start.saturating_sub(self.physical_start)
    }

    /// One past the last virtual offset; `None` while the segment is open.
    pub fn end(&self) -> Option<i64> {
        self.physical_end.map(|end| self.to_virtual(end))
    }

    /// Takes writes: no end is set.
    pub fn is_open(&self) -> bool {
        self.physical_end.is_none()
    }

    /// Holds nothing and never will: it was cut before anything was written.
    pub fn is_empty(&self) -> bool {
        self.physical_end.is_some_and(|end| end <= self.physical_start)
    }

    /// The virtual offset lies in this segment. An open segment has no upper end.
    pub fn contains(&self, offset: i64) -> bool {
        offset >= self.start && self.end().is_none_or(|end| offset < end)
    }

    /// Physical from virtual. Negative offsets are Kafka's special values and pass unchanged.
    pub fn to_physical(&self, offset: i64) -> i64 {
        if offset < 0 { offset } else { offset.saturating_sub(self.shift()) }
    }

    /// Virtual from physical. Negative offsets are Kafka's special values and pass unchanged.
    pub fn to_virtual(&self, physical: i64) -> i64 {
        if physical < 0 { physical } else { physical.saturating_add(self.shift()) }
    }

    /// Virtual epoch from physical; -1 (unknown) stays -1.
    pub fn epoch_to_virtual(&self, physical: i32) -> i32 {
        if physical < 0 { physical } else { physical.saturating_add(self.epoch_shift) }
    }

    /// Physical epoch from virtual; -1 for one that this segment never had.
    pub fn epoch_to_physical(&self, epoch: i32) -> i32 {
        if epoch < self.epoch_shift { -1 } else { epoch.saturating_sub(self.epoch_shift) }
    }
}

/// A partition's segments in order. Never empty; only the last is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain(pub Vec<Segment>);

/// Where the last segment ends, as read from the sealed leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutPoint {
    /// One past the last physical offset on the old home.
    pub physical_end: i64,
    /// The highest *virtual* leader epoch that clients can have seen; -1 if none.
    pub last_epoch: i32,
}

/// Where the next segment begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHome {
    /// The new cluster.
    pub cluster: ClusterName,
    /// The topic's id there.
    pub topic_id: Uuid,
    /// The log end there: physical offset of the first record to come.
    pub physical_start: i64,
    /// The move's generation: above every earlier one.
    pub generation: u8,
}

/// The answer to "where does this epoch end?": virtual or physical, as the function says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch known that is not above the one asked for; -1 if undefined.
    pub epoch: i32,
    /// One past its last offset; -1 if undefined.
    pub end: i64,
}

impl EpochEnd {
    /// Kafka's "no such epoch".
    pub const UNDEFINED: Self = Self { epoch: -1, end: -1 };
}

/// What [`Chain::offset_for_epoch`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochLookup {
    /// The (virtual) answer; no broker needs to be asked.
    Answer(EpochEnd),
    /// Ask the leader of the segment at `index` for `epoch`, then map its answer with [`Chain::epoch_answer`].
    Ask {
        /// Position of the segment in the chain.
        index: usize,
        /// The physical epoch to ask for.
        epoch: i32,
        /// The (virtual) answer if that segment's cluster gives none: its recorded end. `None` for the open segment,
        /// about whose end only its leader can speak.
        otherwise: Option<EpochEnd>,
    },
}

/// Why a chain is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No segment at all.
    #[error("a chain needs at least one segment: give the topic's own cluster as the first")]
    Empty,
    /// An offset or epoch shift below zero.
    #[error("segment {generation} has a negative offset or epoch shift: read it again from the broker")]
    Negative {
        /// Generation of the segment.
        generation: u8,
    },
    /// The end lies before the start, or the offsets do not fit 63 bits.
    #[error("segment {generation} ends before it starts: the log end was read from another log or a stale leader")]
    Backwards {
        /// Generation of the segment.
        generation: u8,
    },
    /// A segment that is not the last is open.
    #[error("segment {generation} is open but not the last: only the last segment takes writes")]
    OpenInside {
        /// Generation of the segment.
        generation: u8,
    },
    /// The last segment has an end.
    #[error("the last segment ({generation}) has an end: a chain must end on the cluster that takes writes")]
    ClosedLast {
        /// Generation of the segment.
        generation: u8,
    },
    /// Virtual offsets overlap or leave a hole between two segments.
    #[error("segment {generation} starts at {start}, but the one before ends at {expected}")]
    Gap {
        /// Generation of the later segment.
        generation: u8,
        /// Its start.
        start: i64,
        /// Where it has to start.
        expected: i64,
    },
    /// Generations do not grow.
    #[error(
        "generation {found} does not follow {previous}: a topic's generations grow with every move and never reset"
    )]
    Generation {
        /// Of the earlier segment.
        previous: u8,
        /// Of the later segment.
        found: u8,
    },
    /// The epoch shift is not a step, or does not grow.
    #[error(
        "segment {generation} has epoch shift {shift}: it must be a multiple of 1024 above the one before (0 first)"
    )]
    EpochShift {
        /// Generation of the segment.
        generation: u8,
        /// Its epoch shift.
        shift: i32,
    },
    /// Two segments share offsets of one log.
    #[error(
        "segment {generation} begins at physical offset {physical_start} of a log on {cluster} that an earlier segment \
         already uses up to {used}"
    )]
    Overlap {
        /// Generation of the later segment.
        generation: u8,
        /// The cluster.
        cluster: ClusterName,
        /// Where the later one begins.
        physical_start: i64,
        /// Where the earlier one ends.
        used: i64,
    },
    /// The virtual epochs are used up.
    #[error("virtual leader epochs are used up: the topic has to be re-created")]
    EpochsExhausted,
}

impl Chain {
    /// The chain of a partition that never moved.
    pub fn single(cluster: ClusterName, topic_id: Uuid) -> Self {
        Self(vec![Segment {
            cluster,
            topic_id,
            start: 0,
            physical_start: 0,
            physical_end: None,
            epoch_shift: 0,
            generation: 0,
        }])
    }

    /// All segments, oldest first.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The segment that takes writes; `None` only for a chain that [`Chain::validate`] refuses.
    pub fn last(&self) -> Option<&Segment> {
        self.0.last()
    }

    /// Where the chain begins: the first virtual offset that it can still place.
    pub fn start(&self) -> i64 {
        self.0.first().map_or(0, |first| first.start)
    }

    /// Shift of the segment that takes writes.
    pub fn shift(&self) -> i64 {
        self.last().map_or(0, Segment::shift)
    }

    /// Epoch shift of the segment that takes writes.
    pub fn epoch_shift(&self) -> i32 {
        self.last().map_or(0, |last| last.epoch_shift)
    }

    /// Generation of the segment that takes writes.
    pub fn generation(&self) -> u8 {
        self.last().map_or(0, |last| last.generation)
    }

    /// The segment that holds a virtual offset, with its position. `None` below the first segment. An offset at the end
    /// of one segment lies in the next that is not empty.
    pub fn segment_at(&self, offset: i64) -> Option<(usize, &Segment)> {
        self.0.iter().enumerate().find(|(_, segment)| segment.contains(offset))
    }

    /// The segment with this generation, with its position. Positions change when old segments go, generations never.
    pub fn by_generation(&self, generation: u8) -> Option<(usize, &Segment)> {
        self.0.iter().enumerate().find(|(_, segment)| segment.generation == generation)
    }

    /// The next segment after a position that holds anything, with its position: where a reader jumps who has come to
    /// the end of one, or into a hole.
    pub fn next_after(&self, index: usize) -> Option<(usize, &Segment)> {
        self.0.iter().enumerate().skip(index.saturating_add(1)).find(|(_, segment)| !segment.is_empty())
    }

    /// Checks every rule that the arithmetic relies on.
    pub fn validate(&self) -> Result<(), ChainError> {
        let (last, older) = self.0.split_last().ok_or(ChainError::Empty)?;
        if !last.is_open() {
            return Err(ChainError::ClosedLast { generation: last.generation });
        }
        if let Some(segment) = older.iter().find(|segment| segment.is_open()) {
            return Err(ChainError::OpenInside { generation: segment.generation });
        }
        self.0.iter().try_for_each(validate_segment)?;
        for (previous, next) in self.0.iter().zip(self.0.iter().skip(1)) {
            validate_link(previous, next)?;
        }
        for (index, later) in self.0.iter().enumerate() {
            let used =
                self.0.iter().take(index).filter(|earlier| same_log(earlier, later)).filter_map(|s| s.physical_end);
            if let Some(used) = used.max().filter(|used| later.physical_start < *used) {
                return Err(ChainError::Overlap {
                    generation: later.generation,
                    cluster: later.cluster.clone(),
                    physical_start: later.physical_start,
                    used,
                });
            }
        }
        Ok(())
    }

    /// The chain after a move: the last segment ends at the cut, a new one begins on the new home. The new epoch shift is
    /// the next multiple of [`EPOCH_STEP`] strictly above the last virtual epoch, so every epoch of the new home is newer
    /// than what clients have seen.
    pub fn append(&self, cut: CutPoint, to: NewHome) -> Result<Chain, ChainError> {
        let mut segments = self.0.clone();
        let last = segments.last_mut().ok_or(ChainError::Empty)?;
        if cut.physical_end < last.physical_start {
            return Err(ChainError::Backwards { generation: last.generation });
        }
        last.physical_end = Some(cut.physical_end);
        let start = last.to_virtual(cut.physical_end);
        let epoch_shift = next_epoch_shift(cut.last_epoch.max(last.epoch_shift))?;
        segments.push(Segment {
            cluster: to.cluster,
            topic_id: to.topic_id,
            start,
            physical_start: to.physical_start,
            physical_end: None,
            epoch_shift,
            generation: to.generation,
        });
        let chain = Chain(segments);
        chain.validate()?;
        Ok(chain)
    }

    /// The chain before its last [`Chain::append`]: the last segment is taken off, the one before it is open again. A
    /// single segment stays.
    #[must_use]
    pub fn without_last(&self) -> Chain {
        let mut segments = self.0.clone();
        if segments.len() > 1 {
            segments.pop();
            if let Some(last) = segments.last_mut() {
                last.physical_end = None;
            }
        }
        Chain(segments)
    }

    /// The chain without the segments older than `generation`: retention has emptied them, or they are dead. The last
    /// segment always stays.
    #[must_use]
    pub fn trim(&self, generation: u8) -> Chain {
        let keep_from = self.0.iter().position(|segment| segment.generation >= generation);
        let keep_from = keep_from.unwrap_or(self.0.len()).min(self.0.len().saturating_sub(1));
        Chain(self.0.get(keep_from..).unwrap_or_default().to_vec())
    }

    /// Where a virtual epoch ends: which segment's leader to ask, or the answer at once.
    pub fn offset_for_epoch(&self, epoch: i32) -> EpochLookup {
        let Some(first) = self.0.first().filter(|_| epoch >= 0) else {
            return EpochLookup::Answer(EpochEnd::UNDEFINED);
        };
        // Older than all that is left: as a broker does for an epoch below its first, the log start ends it.
        let Some(index) = self.0.iter().rposition(|segment| segment.epoch_shift <= epoch) else {
            return EpochLookup::Answer(EpochEnd { epoch, end: first.start });
        };
        let segment = &self.0[index];
        let otherwise = segment.end().map(|end| EpochEnd { epoch, end });
        match otherwise {
            Some(answer) if segment.is_empty() => EpochLookup::Answer(answer),
            _ => EpochLookup::Ask { index, epoch: segment.epoch_to_physical(epoch), otherwise },
        }
    }

    /// The virtual answer for the virtual epoch `asked` from the physical one of the leader of the segment at `index`:
    /// never beyond the segment, in either direction.
    pub fn epoch_answer(&self, index: usize, asked: i32, found: EpochEnd) -> EpochEnd {
        let Some(segment) = self.0.get(index) else {
            return EpochEnd::UNDEFINED;
        };
        if found.epoch >= 0 && found.end >= 0 {
            let end = segment.to_virtual(found.end).max(segment.start);
            let end = segment.end().map_or(end, |limit| end.min(limit));
            return EpochEnd { epoch: segment.epoch_to_virtual(found.epoch).min(asked), end };
        }
        match segment.end() {
            // Everything up to the cut is at or below this epoch, everything after is above.
            Some(end) => EpochEnd { epoch: asked, end },
            // The new home does not know the epoch: what came before it ends at the cut.
            None if segment.epoch_shift > 0 => EpochEnd { epoch: segment.epoch_shift - 1, end: segment.start },
            None => EpochEnd::UNDEFINED,
        }
    }
}

/// The epoch shift of a segment that follows one whose virtual epochs went up to `last_epoch`.
pub fn next_epoch_shift(last_epoch: i32) -> Result<i32, ChainError> {
    let steps = last_epoch.max(0) / EPOCH_STEP + 1;
    steps.checked_mul(EPOCH_STEP).ok_or(ChainError::EpochsExhausted)
}

fn same_log(a: &Segment, b: &Segment) -> bool {
    a.cluster == b.cluster && a.topic_id == b.topic_id
}

fn validate_segment(segment: &Segment) -> Result<(), ChainError> {
    let generation = segment.generation;
    if segment.start < 0 || segment.physical_start < 0 || segment.epoch_shift < 0 {
        return Err(ChainError::Negative { generation });
    }
    if let Some(end) = segment.physical_end {
        let length = end.checked_sub(segment.physical_start).filter(|length| *length >= 0);
        if length.and_then(|length| segment.start.checked_add(length)).is_none() {
            return Err(ChainError::Backwards { generation });
        }
    }
    if segment.epoch_shift % EPOCH_STEP != 0 || (generation == 0) != (segment.epoch_shift == 0) {
        return Err(ChainError::EpochShift { generation, shift: segment.epoch_shift });
    }
    Ok(())
}

fn validate_link(previous: &Segment, next: &Segment) -> Result<(), ChainError> {
    if next.generation <= previous.generation {
        return Err(ChainError::Generation { previous: previous.generation, found: next.generation });
    }
    if next.epoch_shift <= previous.epoch_shift {
        return Err(ChainError::EpochShift { generation: next.generation, shift: next.epoch_shift });
    }
    match previous.end() {
        Some(end) if end == next.start => Ok(()),
        Some(expected) => Err(ChainError::Gap { generation: next.generation, start: next.start, expected }),
        None => Err(ChainError::OpenInside { generation: previous.generation }),
    }
}
