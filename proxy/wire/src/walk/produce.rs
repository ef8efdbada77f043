//! Produce requests, versions 3 to 11, streaming.

use super::feed::{Feed, Held, Name, Tags};
use crate::WireError;
use crate::batch::HEADER;
use crate::cursor::{Cursor, MAX_NAME};

/// Versions that this walker knows.
pub const VERSIONS: std::ops::RangeInclusive<i16> = 3..=11;

/// What precedes the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// A transactional id is present ([`Walker::transactional_id`] has it).
    pub transactional: bool,
    /// -1, 0 or 1.
    pub acks: i16,
    /// How long the broker may wait for followers, milliseconds.
    pub timeout_ms: i32,
    /// Topics in the frame.
    pub topics: u32,
}

/// One partition's place in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// Bytes of its records; `None` if null. Below 61 no [`Event::Batch`] follows: the broker refuses it by itself.
    pub records: Option<u32>,
    /// It is the last one of its topic, and its topic is the last one: nothing but tagged fields follows its records.
    pub last: bool,
}

/// What comes next. Events but `Pass` and `Kept` take no bytes of the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `chunk[..n]` may go on as it is now (n > 0).
    Pass(usize),
    /// `chunk[..n]` has been taken: a piece of a batch header whose rest is in the next chunk. Nothing of it may go on:
    /// [`Event::Emit`] gives it back.
    Kept(usize),
    /// The head is known. Its bytes have been passed or will be.
    Head(Head),
    /// A topic begins ([`Walker::topic`]), with so many partitions.
    Topic(u32),
    /// A partition begins; none of its records has been passed.
    Partition(Partition),
    /// The first batch header of this partition, whole and not yet passed: [`Walker::batch`] gives access for reading and
    /// patching until the next call.
    Batch,
    /// The bytes of [`Walker::kept`] go on before anything of the chunk.
    Emit,
    /// All bytes of this partition's records have been passed.
    PartitionEnd,
    /// The whole body has been passed; the rest of the chunk belongs to the next frame.
    End,
    /// The chunk is used up.
    NeedMore,
}

/// Where the walker stands: what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    TransactionalLength,
    Transactional,
    Acks,
    Topics,
    ReportHead,
    /// The next topic, or the end.
    Topic,
    TopicName,
    Partitions,
    /// The next partition, or the topic's end.
    Partition,
    RecordsLength,
    Batch,
    BatchSeen,
    Records(usize),
    PartitionTags(Tags),
    TopicTags(Tags),
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
    /// The chunk is used up.
    Dry,
}

/// The walker. One per connection; [`Walker::restart`] for each frame keeps its buffers.
#[derive(Debug)]
pub struct Walker {
    feed: Feed,
    state: State,
    /// Told once what precedes it has been passed.
    pending: Option<Event>,
    head: Head,
    transactional_id: Name,
    topic: Name,
    topics_left: u32,
    partitions_left: u32,
    partition: Partition,
}

impl Walker {
    /// A walker over a body (after the request header) of `length` bytes.
    pub fn new(version: i16, length: usize) -> Result<Self, WireError> {
        Ok(Self {
            feed: Feed::new(flexible(version)?, length),
            state: State::TransactionalLength,
            pending: None,
            head: Head { transactional: false, acks: 0, timeout_ms: 0, topics: 0 },
            transactional_id: Name::default(),
            topic: Name::default(),
            topics_left: 0,
            partitions_left: 0,
            partition: Partition { index: 0, records: None, last: false },
        })
    }

    /// As new, for the next frame.
    pub fn restart(&mut self, version: i16, length: usize) -> Result<(), WireError> {
        self.feed.restart(flexible(version)?, length);
        self.state = State::TransactionalLength;
        self.pending = None;
        Ok(())
    }

    /// What comes next in `chunk`. Call until `NeedMore` or `End`, each time with the rest of the chunk.
    pub fn next(&mut self, chunk: &mut [u8]) -> Result<Event, WireError> {
        if let Some(event) = self.pending.take() {
            return Ok(event);
        }
        // What lies behind the body belongs to the next frame.
        let body = chunk.get(..self.feed.left().min(chunk.len())).unwrap_or_default();
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
                Step::Dry => return Ok(if at == 0 { Event::NeedMore } else { Event::Pass(at) }),
            }
        }
    }

    fn step(&mut self, chunk: &[u8], at: &mut usize) -> Result<Step, WireError> {
        match self.state {
            State::TransactionalLength => {
                let Some(length) = self.feed.name_length(chunk, at, "the transactional id")? else {
                    return Ok(Step::Dry);
                };
                self.head.transactional = length.0.is_some();
                self.transactional_id.begin(length.0.unwrap_or(0));
                self.state = State::Transactional;
            }
            State::Transactional => {
                if !self.transactional_id.feed(&mut self.feed, chunk, at, "the transactional id")? {
                    return Ok(Step::Dry);
                }
                self.state = State::Acks;
            }
            State::Acks => {
                let Some(fields) = self.feed.fixed::<6>(chunk, at, "acks and timeout")? else {
                    return Ok(Step::Dry);
                };
                let mut fields = Cursor::new(&fields);
                self.head.acks = fields.i16("acks")?;
                self.head.timeout_ms = fields.i32("the timeout")?;
                self.state = State::Topics;
            }
            State::Topics => {
                let min_size = if self.feed.flexible() { 3 } else { 6 };
                let Some(count) = self.feed.count(min_size, chunk, at, "topics")? else {
                    return Ok(Step::Dry);
                };
                self.head.topics = count;
                self.topics_left = count;
                self.state = State::ReportHead;
            }
            State::ReportHead => {
                self.state = State::Topic;
                return Ok(Step::Tell(Event::Head(self.head)));
            }
            State::Topic | State::TopicName | State::Partitions => return self.topic_step(chunk, at),
            State::Partition | State::RecordsLength => return self.partition_step(chunk, at),
            State::Batch => return self.batch_step(chunk, *at),
            State::BatchSeen => {
                // Either the header is still in the chunk, and passes with the rest, or it has been kept.
                let records = self.partition.records.unwrap_or(0) as usize;
                let kept = self.feed.kept().len();
                self.state = State::Records(records.saturating_sub(kept));
                if kept > 0 {
                    return Ok(Step::Tell(Event::Emit));
                }
            }
            State::Records(mut left) => {
                self.feed.release();
                let done = self.feed.skip(&mut left, chunk, at, "records")?;
                self.state = State::Records(left);
                if !done {
                    return Ok(Step::Dry);
                }
                self.state = if self.feed.flexible() { State::PartitionTags(Tags::Count) } else { State::Partition };
                return Ok(Step::Tell(Event::PartitionEnd));
            }
            State::PartitionTags(_) | State::TopicTags(_) | State::FrameTags(_) => return self.tags_step(chunk, at),
            State::End => {
                return match self.feed.left() {
                    0 => Ok(Step::Tell(Event::End)),
                    count => Err(WireError::Trailing { count }),
                };
            }
        }
        Ok(Step::Go)
    }

    fn topic_step(&mut self, chunk: &[u8], at: &mut usize) -> Result<Step, WireError> {
        if self.state == State::Topic {
            if self.topics_left == 0 {
                self.state = if self.feed.flexible() { State::FrameTags(Tags::Count) } else { State::End };
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
            let min_size = if self.feed.flexible() { 6 } else { 8 };
            let Some(count) = self.feed.count(min_size, chunk, at, "partitions")? else {
                return Ok(Step::Dry);
            };
            self.partitions_left = count;
            self.state = State::Partition;
            return Ok(Step::Tell(Event::Topic(count)));
        }
        Ok(Step::Go)
    }

    fn partition_step(&mut self, chunk: &[u8], at: &mut usize) -> Result<Step, WireError> {
        if self.state == State::Partition {
            if self.partitions_left == 0 {
                self.state = if self.feed.flexible() { State::TopicTags(Tags::Count) } else { State::Topic };
                return Ok(Step::Go);
            }
            let Some(index) = self.feed.fixed(chunk, at, "a partition's index")? else {
                return Ok(Step::Dry);
            };
            self.partitions_left = self.partitions_left.saturating_sub(1);
            self.partition.index = i32::from_be_bytes(index);
            self.partition.last = self.partitions_left == 0 && self.topics_left == 0;
            self.state = State::RecordsLength;
            return Ok(Step::Go);
        }
        let Some(records) = self.feed.length(chunk, at, "records")? else {
            return Ok(Step::Dry);
        };
        self.partition.records = records.0;
        let length = records.0.unwrap_or(0) as usize;
        self.state = if length >= HEADER { State::Batch } else { State::Records(length) };
        Ok(Step::Tell(Event::Partition(self.partition)))
    }

    fn batch_step(&mut self, chunk: &[u8], at: usize) -> Result<Step, WireError> {
        if at > 0 {
            return Ok(Step::Flush);
        }
        Ok(match self.feed.hold(HEADER, chunk, at, "a batch header")? {
            Held::InChunk | Held::Kept => {
                self.state = State::BatchSeen;
                Step::Tell(Event::Batch)
            }
            Held::Took(count) => Step::Tell(Event::Kept(count)),
            Held::Flush => Step::Flush,
            Held::Dry => Step::Dry,
        })
    }

    fn tags_step(&mut self, chunk: &[u8], at: &mut usize) -> Result<Step, WireError> {
        let after = if matches!(self.state, State::PartitionTags(_)) {
            State::Partition
        } else if matches!(self.state, State::TopicTags(_)) {
            State::Topic
        } else {
            State::End
        };
        let (State::PartitionTags(tags) | State::TopicTags(tags) | State::FrameTags(tags)) = &mut self.state else {
            return Ok(Step::Go);
        };
        if !self.feed.tags(tags, chunk, at)? {
            return Ok(Step::Dry);
        }
        self.state = after;
        Ok(Step::Go)
    }

    /// After [`Event::Batch`] only, with the same chunk: the 61 bytes, wherever they lie.
    pub fn batch<'a>(&'a mut self, chunk: &'a mut [u8]) -> Option<&'a mut [u8; HEADER]> {
        if self.state != State::BatchSeen {
            return None;
        }
        let held = if self.feed.kept().is_empty() { chunk } else { self.feed.kept_mut() };
        held.first_chunk_mut()
    }

    /// After [`Event::Emit`] only: the bytes to send on (at most 61).
    pub fn kept(&self) -> &[u8] {
        self.feed.kept()
    }

    /// The name of the present topic.
    pub fn topic(&self) -> &str {
        self.topic.as_str()
    }

    /// The transactional id, if there is one.
    pub fn transactional_id(&self) -> Option<&str> {
        self.head.transactional.then(|| self.transactional_id.as_str())
    }

    /// Bytes of the body that are still to come.
    pub fn remaining(&self) -> usize {
        self.feed.left()
    }
}

/// The start of a frame up to its first batch header, before any byte has been passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek<'a> {
    /// The head.
    pub head: Head,
    /// The transactional id.
    pub transactional_id: Option<&'a str>,
    /// The first partition that is there, with its topic's name; `None` if the frame has no partition.
    pub first: Option<(&'a str, Partition)>,
    /// The first 61 bytes of its records, if there are so many.
    pub batch: Option<&'a [u8; HEADER]>,
    /// The frame has exactly one topic with exactly one partition.
    pub single: bool,
}

/// The most bytes that [`peek`] asks for.
pub const MAX_PEEK: usize = 2 * 32_767 + 4 * 1024;

/// Parses the start of a body of `length` bytes without consuming it. `None`: more bytes are needed (never more than
/// [`MAX_PEEK`]).
pub fn peek(version: i16, length: usize, prefix: &[u8]) -> Result<Option<Peek<'_>>, WireError> {
    let flexible = flexible(version)?;
    let prefix = prefix.get(..length.min(prefix.len())).unwrap_or_default();
    match read_start(flexible, length, prefix) {
        Err(WireError::Truncated { .. }) if prefix.len() < length.min(MAX_PEEK) => Ok(None),
        Err(error) => Err(error),
        Ok(peek) => Ok(Some(peek)),
    }
}

fn read_start(flexible: bool, length: usize, prefix: &[u8]) -> Result<Peek<'_>, WireError> {
    let mut cursor = Cursor::new(prefix);
    let transactional_id = cursor.nullable_name(flexible, "the transactional id")?;
    let acks = cursor.i16("acks")?;
    let timeout_ms = cursor.i32("the timeout")?;
    let min_size = if flexible { 3 } else { 6 };
    let topics = cursor.bounded_count(flexible, min_size, length.saturating_sub(cursor.at()), "topics")?;
    let head = Head { transactional: transactional_id.is_some(), acks, timeout_ms, topics };
    let mut peek = Peek { head, transactional_id, first: None, batch: None, single: false };
    for topics_before in 0..topics {
        let topic = cursor.name(flexible, "a topic's name")?;
        let min_size = if flexible { 6 } else { 8 };
        let left = length.saturating_sub(cursor.at());
        let partitions = cursor.bounded_count(flexible, min_size, left, "partitions")?;
        if partitions == 0 {
            if flexible {
                cursor.skip_tags("tagged fields")?;
            }
            continue;
        }
        let index = cursor.i32("a partition's index")?;
        let records = cursor.blob_length(flexible, "records")?;
        let left = length.saturating_sub(cursor.at());
        if let Some(records) = records.filter(|records| *records as usize > left) {
            return Err(WireError::Length { what: "records", length: i64::from(records), limit: left });
        }
        let last = partitions == 1 && topics_before.saturating_add(1) == topics;
        peek.first = Some((topic, Partition { index, records, last }));
        peek.single = topics == 1 && partitions == 1;
        if records.unwrap_or(0) as usize >= HEADER {
            peek.batch = cursor.take(HEADER, "a batch header")?.first_chunk();
        }
        break;
    }
    Ok(peek)
}

fn flexible(version: i16) -> Result<bool, WireError> {
    if VERSIONS.contains(&version) { Ok(version >= 9) } else { Err(WireError::Unsupported { key: 0, version }) }
}

#[cfg(test)]
mod tests;
