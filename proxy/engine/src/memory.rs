//! What a session remembers from request to request. Bounded: what falls out is asked for again.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_mesh::model::{BrokerRef, ClusterIndex};
use sluice_mesh::name::TopicName;

use crate::api::fetch::Waiting;
use crate::fuse::Stops;

/// The most entries of each table.
const MAX_ENTRIES: usize = 16 * 1024;

/// How long a topic that was seen open counts as open, milliseconds: longer than clients wait before they try again.
const OPEN_MILLIS: u64 = 10_000;

/// One partition of one topic.
pub(crate) type PartitionKey = (TopicName, i32);

/// A producer on the present home of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ProducerKey {
    /// Topic.
    pub(crate) topic: TopicName,
    /// Partition.
    pub(crate) partition: i32,
    /// Of the segment that takes writes: after the next move everything is first sight again.
    pub(crate) generation: u8,
    /// The id as clients know it.
    pub(crate) producer: i64,
}

/// What has become of a producer's first batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstSight {
    /// Sent; the next batch waits for its answer, or it could overtake it.
    InFlight,
    /// The home knows the producer and checks by itself.
    Done,
}

/// Where in the log of a segment a virtual offset is to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The virtual offset that the client asks for.
    pub(crate) offset: i64,
    /// The segment.
    pub(crate) generation: u8,
    /// The physical offset there.
    pub(crate) physical: i64,
}

/// What is known of an offset that a broker had nothing for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Odd {
    /// Out of its log's range, or empty before the segment's end: has to be asked about.
    Doubt {
        /// Where.
        spot: Spot,
        /// Not before.
        ask_at: u64,
    },
    /// A hole: reading goes on there.
    Jump(Spot),
    /// Below all that is left.
    Gone {
        /// The virtual offset.
        offset: i64,
    },
    /// Above the log end: an empty answer, never an error.
    Beyond {
        /// The virtual offset.
        offset: i64,
        /// Believed until then.
        until: u64,
    },
}

impl Odd {
    /// The virtual offset that this is about.
    pub(crate) fn offset(&self) -> i64 {
        match *self {
            Self::Doubt { spot, .. } | Self::Jump(spot) => spot.offset,
            Self::Gone { offset } | Self::Beyond { offset, .. } => offset,
        }
    }
}

/// What is known of a partition of a topic with an entry in the document, all virtual; -1 for not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Of the segment that takes writes: another one makes the rest void, but for the watermarks, which never fall.
    pub(crate) generation: u8,
    /// High watermark.
    pub(crate) high_watermark: i64,
    /// Last stable offset.
    pub(crate) last_stable: i64,
    /// First living offset.
    pub(crate) log_start: i64,
    /// When the watermarks were seen; `None`: never.
    pub(crate) seen_at: Option<u64>,
    /// The offset at which the client is stuck.
    pub(crate) odd: Option<Odd>,
}

impl Known {
    fn new(generation: u8) -> Self {
        Self { generation, high_watermark: -1, last_stable: -1, log_start: -1, seen_at: None, odd: None }
    }

    /// Watermarks as just seen; they never fall.
    pub(crate) fn saw(&mut self, high_watermark: i64, last_stable: i64, now: u64) {
        self.high_watermark = self.high_watermark.max(high_watermark);
        self.last_stable = self.last_stable.max(last_stable);
        self.seen_at = Some(now);
    }
}

/// The memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    producers: HashMap<ProducerKey, FirstSight>,
    partitions: HashMap<PartitionKey, Known>,
    /// When a fence's hold ends for this connection, by topic and attempt.
    fences: HashMap<(TopicName, u64), u64>,
    /// What fuses have stopped.
    pub(crate) stops: Stops,
    /// Topics that refused a batch as too large and were then found open: since when that is known.
    open_since: HashMap<Arc<str>, u64>,
    /// Brokers whose relay failed, and until when they are left alone.
    relays_down: HashMap<BrokerRef, u64>,
    /// A broker has answered partitions in another order than asked: old segments are asked for one at a time.
    pub(crate) relay_alone: bool,
    /// Counts Fetch requests with old segments: whose turn it is.
    pub(crate) turn: usize,
    /// A broker said that it does not lead a partition.
    pub(crate) stale: Option<ClusterIndex>,
    /// When a refresh was last asked for.
    pub(crate) refreshed_at: Option<u64>,
    /// Buffers for the next Fetch.
    pub(crate) spare_waiting: Option<Waiting>,
    /// The main upstream still owes answers to requests that the session has answered by itself.
    pub(crate) late_answers: bool,
}

impl Memory {
    pub(crate) fn producer(&self, key: &ProducerKey) -> Option<FirstSight> {
        self.producers.get(key).copied()
    }

    pub(crate) fn set_producer(&mut self, key: ProducerKey, sight: FirstSight) {
        if self.producers.len() >= MAX_ENTRIES {
            // Those in flight are needed for order; the others are asked for again.
            self.producers.retain(|_, sight| *sight == FirstSight::InFlight);
        }
        self.producers.insert(key, sight);
    }

    pub(crate) fn forget_producer(&mut self, key: &ProducerKey) {
        self.producers.remove(key);
    }

    /// What is known of a partition, void parts taken out.
    pub(crate) fn partition(&mut self, topic: &TopicName, partition: i32, generation: u8) -> &mut Known {
        if self.partitions.len() >= MAX_ENTRIES {
            self.partitions.clear();
        }
        let known = self.partitions.entry((topic.clone(), partition)).or_insert_with(|| Known::new(generation));
        if known.generation != generation {
            known.generation = generation;
            known.odd = None;
            known.log_start = -1;
            known.seen_at = None;
        }
        known
    }

    /// When the hold by this fence ends: `first` at first sight, then the same for all requests of the connection, so that
    /// pipelined requests do not add up.
    pub(crate) fn fence_until(&mut self, topic: &TopicName, attempt: u64, first: u64) -> u64 {
        if self.fences.len() >= MAX_ENTRIES {
            self.fences.clear();
        }
        *self.fences.entry((topic.clone(), attempt)).or_insert(first)
    }

    /// Whether a request that was begun at `begun` came to a topic that this session had seen open before. Notes that it
    /// is open now, for the next one.
    pub(crate) fn was_open(&mut self, topic: &str, begun: u64, now: u64) -> bool {
        if self.open_since.len() >= MAX_ENTRIES {
            self.open_since.clear();
        }
        match self.open_since.get(topic) {
            Some(since) if now.saturating_sub(*since) < OPEN_MILLIS => *since < begun,
            _ => {
                self.open_since.insert(topic.into(), now);
                false
            }
        }
    }

    /// The topic is sealed: whatever was known of it being open is void.
    pub(crate) fn sealed(&mut self, topic: &str) {
        self.open_since.remove(topic);
    }

    pub(crate) fn relay_failed(&mut self, broker: BrokerRef, until: u64) {
        if self.relays_down.len() >= MAX_ENTRIES {
            self.relays_down.clear();
        }
        self.relays_down.insert(broker, until);
    }

    pub(crate) fn relay_usable(&self, broker: BrokerRef, now: u64) -> bool {
        self.relays_down.get(&broker).is_none_or(|until| now >= *until)
    }

    /// Whether a refresh may be asked for now; notes it if so.
    pub(crate) fn may_refresh(&mut self, now: u64, every: u64) -> bool {
        let may = self.refreshed_at.is_none_or(|at| now >= at.saturating_add(every));
        if may {
            self.refreshed_at = Some(now);
        }
        may
    }
}
