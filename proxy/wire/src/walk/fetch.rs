//! Fetch answers, versions 4 to 12, streaming.
//!
//! The head (up to the count of topics, at most [`MAX_HEAD`] bytes) is parsed by [`Head::parse`] before anything is sent,
//! so that the caller can change it, the frame's length with it, and add topics of its own; the [`Walker`] starts after it.

mod head;
mod patch;
mod peek;

pub use head::Head;
pub use patch::{Field, Partition, PartitionPatch};
pub use peek::{Peek, peek};

use super::feed::{Feed, Held, Name, Tags};
use crate::WireError;
use crate::batch::{LENGTH_OVERHEAD, clip, shift_prefix};
use crate::cursor::{Cursor, MAX_NAME, check_count};

use patch::{fixed_size, patch_offset, patch_partition, patch_replica, patch_tag, read_partition};

/// Versions that this walker knows.
pub const VERSIONS: std::ops::RangeInclusive<i16> = 4..=12;

/// The most bytes of a head.
pub const MAX_HEAD: usize = 15;

/// The first version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 12;

/// Bytes of a batch that are held: up to and with its magic.
const BATCH_RUN: usize = 17;

// Tags of a partition.
const DIVERGING_EPOCH: u32 = 0;
const CURRENT_LEADER: u32 = 1;

/// What a partition was, at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionEnd {
    /// Its index.
    pub index: i32,
    /// Bytes of its records.
    pub records: u32,
    /// A batch was hidden because of `physical_end`.
    pub clipped: bool,
    /// Physical base offset of the first batch.
    pub first_base_offset: Option<i64>,
}

/// What comes next. Events but `Pass` and `Kept` take no bytes of the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `chunk[..n]` may go on as it is now (n > 0); patches have been made.
    Pass(usize),
    /// `chunk[..n]` has been taken: a piece of a field that may be patched and whose rest is in the next chunk.
    /// [`Event::Emit`] gives it back.
    Kept(usize),
    /// The bytes of [`Walker::kept`] go on before anything of the chunk.
    Emit,
    /// A topic begins ([`Walker::topic`]), with so many partitions.
    Topic(u32),
    /// A partition begins; nothing of it has been passed: now is the time for [`Walker::patch`].
    Partition(Partition),
    /// A partition has been passed (but for the bytes of its tagged fields).
    PartitionEnd(PartitionEnd),
    /// All topics have been passed: whatever the caller wants to add goes here, before the rest.
    TopicsEnd,
    /// The whole body has been passed; the rest of the chunk belongs to the next frame.
    End,
    /// The chunk is used up.
    NeedMore,
}

/// Where the walker stands: what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next topic, or the end.
    Topic,
    TopicName,
    Partitions,
    /// The next partition, or the topic's end.
    Partition,
    /// The fixed fields have been told and wait for the patch.
    PartitionSeen,
    AbortedCount,
    /// So many are left.
    Aborted(u32),
    /// The tagged fields of one; so many are left after it.
    AbortedTags(u32, Tags),
    PreferredReplica,
    RecordsLength,
    /// So many bytes of records are left; a batch begins.
    Batch(usize),
    /// So many bytes are left up to the next batch, so many after that.
    Payload(usize, usize),
    PartitionTags(Tags),
    /// A tagged field with something to patch: so many tagged fields are left after it, this is its tag and its size.
    KnownTag(u32, u32, usize),
    TopicTags(Tags),
    ReportTopicsEnd,
    FrameTags(Tags),
    End,
}

enum Step {
    /// Something has been read; go on.
    Go,
    /// Tell the caller.
    Tell(Event),
    /// What has been read so far must be passed before more can be said.
    Flush,
    /// The held run has been patched and goes on first.
    Emit,
    /// The chunk is used up.
    Dry,
}

/// The walker. One per source; [`Walker::restart`] for each answer keeps its buffers.
#[derive(Debug)]
pub struct Walker {
    version: i16,
    feed: Feed,
    state: State,
    /// Told once what precedes it has been passed.
    pending: Option<Event>,
    /// The held run has been given out by [`Event::Emit`].
    emitted: bool,
    topic: Name,
    topics_left: u32,
    partitions_left: u32,
    patch: PartitionPatch,
    end: PartitionEnd,
}

impl Walker {
    /// A walker over the `length` bytes of a body that follow its head.
    pub fn new(version: i16, head: &Head, length: usize) -> Result<Self, WireError> {
        let mut walker = Self {
            version,
            feed: Feed::new(flexible(version)?, length),
            state: State::Topic,
            pending: None,
            emitted: false,
            topic: Name::default(),
            topics_left: 0,
            partitions_left: 0,
            patch: PartitionPatch::default(),
            end: PartitionEnd::default(),
        };
        walker.restart(version, head, length)?;
        Ok(walker)
    }

    /// As new, for the next answer.
    pub fn restart(&mut self, version: i16, head: &Head, length: usize) -> Result<(), WireError> {
        let flexible = flexible(version)?;
        let min_size = if flexible { 3 } else { 6 };
        self.topics_left = check_count(Some(head.topics), min_size, length, "topics")?;
        self.version = version;
        self.feed.restart(flexible, length);
        self.state = State::Topic;
        self.pending = None;
        self.emitted = false;
        Ok(())
    }

    /// What comes next in `chunk`. Call until `NeedMore` or `End`, each time with the rest of the chunk.
    pub fn next(&mut self, chunk: &mut [u8]) -> Result<Event, WireError> {
        if std::mem::take(&mut self.emitted) {
            self.feed.release();
        }
        if let Some(event) = self.pending.take() {
            return Ok(event);
        }
        // What lies behind the body belongs to the next frame.
        let length = self.feed.left().min(chunk.len());
        let body = chunk.get_mut(..length).unwrap_or_default();
        let mut at = 0;
        loop {
            match self.step(body, &mut at)? {
                Step::Go => {}
                Step::Tell(event) if at == 0 => return Ok(event),
                Step::Tell(event) => {
                    self.pending = Some(event);
                    return Ok(Event::Pass(at));
                }
                Step::Flush => return Ok(Event::Pass(at)),
                Step::Emit => {
                    self.emitted = true;
                    return Ok(Event::Emit);
                }
                Step::Dry => return Ok(if at == 0 { Event::NeedMore } else { Event::Pass(at) }),
            }
        }
    }

    fn step(&mut self, chunk: &mut [u8], at: &mut usize) -> Result<Step, WireError> {
        match self.state {
            State::Topic | State::TopicName | State::Partitions => self.topic_step(chunk, at),
            State::Partition | State::PartitionSeen => self.partition_step(chunk, at),
            State::AbortedCount | State::Aborted(_) | State::AbortedTags(..) => self.aborted_step(chunk, at),
            State::PreferredReplica => {
                let patch = self.patch;
                self.held(4, State::RecordsLength, chunk, at, |replica| patch_replica(replica, &patch))
            }
            State::RecordsLength => {
                let Some(length) = self.feed.length(chunk, at, "records")? else {
                    return Ok(Step::Dry);
                };
                let length = length.0.unwrap_or(0);
                self.end.records = length;
                // Nothing to change in the batches: they are not even looked at.
                let plain = self.patch.shift == 0 && self.patch.epoch_shift == 0 && self.patch.physical_end.is_none();
                let length = length as usize;
                self.state = if plain { State::Payload(length, 0) } else { State::Batch(length) };
                Ok(Step::Go)
            }
            State::Batch(left) => self.batch_step(left, chunk, at),
            State::Payload(mut left, after) => {
                let done = self.feed.skip(&mut left, chunk, at, "records")?;
                self.state = State::Payload(left, after);
                if !done {
                    return Ok(Step::Dry);
                }
                if after > 0 {
                    self.state = State::Batch(after);
                    return Ok(Step::Go);
                }
                self.state = if self.feed.flexible() { State::PartitionTags(Tags::Count) } else { State::Partition };
                Ok(Step::Tell(Event::PartitionEnd(self.end)))
            }
            State::PartitionTags(_) | State::KnownTag(..) => self.partition_tags_step(chunk, at),
            State::TopicTags(_) | State::FrameTags(_) => self.tags_step(chunk, at),
            State::ReportTopicsEnd => {
                self.state = if self.feed.flexible() { State::FrameTags(Tags::Count) } else { State::End };
                Ok(Step::Tell(Event::TopicsEnd))
            }
            State::End => match self.feed.left() {
                0 => Ok(Step::Tell(Event::End)),
                count => Err(WireError::Trailing { count }),
            },
        }
    }

    fn topic_step(&mut self, chunk: &[u8], at: &mut usize) -> Result<Step, WireError> {
        if self.state == State::Topic {
            if self.topics_left == 0 {
                self.state = State::ReportTopicsEnd;
                return Ok(Step::Go);
            }
            let Some(length) = self.feed.name_length(chunk, at, "a topic's name")? else {
                return Ok(Step::Dry);
            };
            let length = length.0.ok_or(WireError::Length { what: "a topic's name", length: -1, limit: MAX_NAME })?;
            self.topics_left = self.topics_left.saturating_sub(1);
            self.topic.begin(length);
            self.state = State::TopicName;
        } else if self.state == State::TopicName {
            if !self.topic.feed(&mut self.feed, chunk, at, "a topic's name")? {
                return Ok(Step::Dry);
            }
            self.state = State::Partitions;
        } else {
            let Some(count) = self.feed.count(fixed_size(self.version), chunk, at, "partitions")? else {
                return Ok(Step::Dry);
            };
            self.partitions_left = count;
            self.state = State::Partition;
            return Ok(Step::Tell(Event::Topic(count)));
        }
        Ok(Step::Go)
    }

    fn partition_step(&mut self, chunk: &mut [u8], at: &mut usize) -> Result<Step, WireError> {
        if self.state == State::PartitionSeen {
            let (version, patch) = (self.version, self.patch);
            let patch_fields = |fields: &mut [u8]| patch_partition(fields, version, &patch);
            return self.held(fixed_size(version), State::AbortedCount, chunk, at, patch_fields);
        }
        if self.partitions_left == 0 {
            self.state = if self.feed.flexible() { State::TopicTags(Tags::Count) } else { State::Topic };
            return Ok(Step::Go);
        }
        if *at > 0 {
            return Ok(Step::Flush);
        }
        let fields = match self.feed.hold(fixed_size(self.version), chunk, *at, "a partition")? {
            Held::InChunk => &*chunk,
            Held::Kept => self.feed.kept(),
            Held::Took(count) => return Ok(Step::Tell(Event::Kept(count))),
            Held::Flush => return Ok(Step::Flush),
            Held::Dry => return Ok(Step::Dry),
        };
        let partition = read_partition(self.version, &mut Cursor::new(fields))?;
        self.partitions_left = self.partitions_left.saturating_sub(1);
        self.patch = PartitionPatch::default();
        self.end = PartitionEnd { index: partition.index, ..PartitionEnd::default() };
        self.state = State::PartitionSeen;
        Ok(Step::Tell(Event::Partition(partition)))
    }

    /// Holds a run until it is whole, patches it where it lies, and goes on to `next`.
    fn held(
        &mut self,
        need: usize,
        next: State,
        chunk: &mut [u8],
        at: &mut usize,
        patch: impl FnOnce(&mut [u8]),
    ) -> Result<Step, WireError> {
        Ok(match self.feed.hold(need, chunk, *at, "a partition's fields")? {
            Held::InChunk => {
                if let Some(run) = chunk.get_mut(*at..).and_then(|rest| rest.get_mut(..need)) {
                    patch(run);
                }
                self.feed.advance(at, need);
                self.state = next;
                Step::Go
            }
            // Before anything of this chunk.
            Held::Kept if *at > 0 => Step::Flush,
            Held::Kept => {
                patch(self.feed.kept_mut());
                self.state = next;
                Step::Emit
            }
            Held::Took(count) => Step::Tell(Event::Kept(count)),
            Held::Flush => Step::Flush,
            Held::Dry => Step::Dry,
        })
    }

    fn aborted_step(&mut self, chunk: &mut [u8], at: &mut usize) -> Result<Step, WireError> {
        if let State::Aborted(left) = self.state {
            let Some(left) = left.checked_sub(1) else {
                self.state = if self.version >= 11 { State::PreferredReplica } else { State::RecordsLength };
                return Ok(Step::Go);
            };
            let next = if self.feed.flexible() { State::AbortedTags(left, Tags::Count) } else { State::Aborted(left) };
            let shift = self.patch.shift;
            return self.held(16, next, chunk, at, |fields| patch_offset(fields, 8, shift));
        }
        if let State::AbortedTags(left, tags) = &mut self.state {
            if !self.feed.tags(tags, chunk, at)? {
                return Ok(Step::Dry);
            }
            self.state = State::Aborted(*left);
            return Ok(Step::Go);
        }
        let Some(count) = self.feed.length(chunk, at, "aborted transactions")? else {
            return Ok(Step::Dry);
        };
        let count = check_count(Some(count.0.unwrap_or(0)), 16, self.feed.left(), "aborted transactions")?;
        self.state = State::Aborted(count);
        Ok(Step::Go)
    }

    /// A batch begins, and `left` bytes of records are left. What is too short for the fields up to the magic is a batch
    /// cut short that no client looks at.
    fn batch_step(&mut self, left: usize, chunk: &mut [u8], at: &mut usize) -> Result<Step, WireError> {
        if left < BATCH_RUN {
            self.state = State::Payload(left, 0);
            return Ok(Step::Go);
        }
        let run = match self.feed.hold(BATCH_RUN, chunk, *at, "a batch header")? {
            Held::InChunk => chunk.get(*at..).unwrap_or_default(),
            Held::Kept => self.feed.kept(),
            Held::Took(count) => return Ok(Step::Tell(Event::Kept(count))),
            Held::Flush => return Ok(Step::Flush),
            Held::Dry => return Ok(Step::Dry),
        };
        let mut fields = Cursor::new(run);
        let base_offset = fields.i64("a base offset")?;
        let length = fields.i32("a batch length")?;
        let _epoch = fields.i32("a leader epoch")?;
        let magic = fields.i8("a batch format")?;
        let size = usize::try_from(length).ok().and_then(|length| length.checked_add(LENGTH_OVERHEAD));
        let size = size.filter(|size| *size >= BATCH_RUN).ok_or(WireError::Length {
            what: "a record batch",
            length: i64::from(length),
            limit: left,
        })?;
        let is_first = self.end.first_base_offset.is_none();
        let hidden = !is_first && self.patch.physical_end.is_some_and(|end| base_offset >= end);
        let size = if hidden { left } else { size.min(left) };
        let next = State::Payload(size.saturating_sub(BATCH_RUN), left.saturating_sub(size));
        let (shift, epoch_shift) = (self.patch.shift, self.patch.epoch_shift);
        let step = self.held(BATCH_RUN, next, chunk, at, |run| {
            if magic >= 2 {
                shift_prefix(run, shift, epoch_shift);
            } else {
                // An offset is all that older formats have here.
                patch_offset(run, 0, shift);
            }
            if hidden {
                clip(run);
            }
        })?;
        if self.state == next {
            self.end.first_base_offset.get_or_insert(base_offset);
            self.end.clipped |= hidden;
        }
        Ok(step)
    }

    fn partition_tags_step(&mut self, chunk: &mut [u8], at: &mut usize) -> Result<Step, WireError> {
        if let State::KnownTag(after, tag, size) = self.state {
            let need = if tag == CURRENT_LEADER { 8 } else { 12 };
            let next = State::PartitionTags(Tags::Skip(after, size.saturating_sub(need)));
            let patch = self.patch;
            return self.held(need, next, chunk, at, |fields| patch_tag(fields, tag, &patch));
        }
        let State::PartitionTags(tags) = &mut self.state else {
            return Ok(Step::Go);
        };
        if let Tags::Size(after, tag) = *tags {
            let Some(size) = self.feed.uvarint(chunk, at, "tagged fields")? else {
                return Ok(Step::Dry);
            };
            let size = size as usize;
            let known = tag == CURRENT_LEADER && size >= 8 || tag == DIVERGING_EPOCH && size >= 12;
            self.state =
                if known { State::KnownTag(after, tag, size) } else { State::PartitionTags(Tags::Skip(after, size)) };
            return Ok(Step::Go);
        }
        if !self.feed.tags_until_size(tags, chunk, at)? {
            return Ok(Step::Dry);
        }
        if *tags == Tags::Tag(0) {
            self.state = State::Partition;
        }
        Ok(Step::Go)
    }

    fn tags_step(&mut self, chunk: &[u8], at: &mut usize) -> Result<Step, WireError> {
        let (State::TopicTags(tags) | State::FrameTags(tags)) = &mut self.state else {
            return Ok(Step::Go);
        };
        if !self.feed.tags(tags, chunk, at)? {
            return Ok(Step::Dry);
        }
        self.state = if matches!(self.state, State::TopicTags(_)) { State::Topic } else { State::End };
        Ok(Step::Go)
    }

    /// After [`Event::Partition`] only: what to do with this partition. Without: nothing is changed.
    pub fn patch(&mut self, patch: PartitionPatch) {
        if self.state == State::PartitionSeen {
            self.patch = patch;
        }
    }

    /// After [`Event::Emit`] only: the bytes to send on (at most 64).
    pub fn kept(&self) -> &[u8] {
        self.feed.kept()
    }

    /// The name of the present topic.
    pub fn topic(&self) -> &str {
        self.topic.as_str()
    }

    /// Bytes of the body that are still to come.
    pub fn remaining(&self) -> usize {
        self.feed.left()
    }
}

fn flexible(version: i16) -> Result<bool, WireError> {
    if VERSIONS.contains(&version) { Ok(version >= FLEXIBLE) } else { Err(WireError::Unsupported { key: 1, version }) }
}

#[cfg(test)]
mod tests;
