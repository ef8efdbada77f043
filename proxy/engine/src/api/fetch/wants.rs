//! The asked partitions of a Fetch, each with its place, and the entries that are made up here.

use std::sync::Arc;

use bytes::Bytes;
use sluice_mesh::model::{BrokerRef, ClusterIndex, TopicModel};
use sluice_wire::WireError;
use sluice_wire::fetch_answer::{self, Entry};
use sluice_wire::walk::fetch::Head as AnswerHead;
use sluice_wire::walk::fetch_request::Partition;

use super::Waiting;
use crate::api::facts;
use crate::code;
use crate::fuse;
use crate::memory::{Odd, Spot};
use crate::outcome::{RequestHead, Scope};
use crate::route;

const ANSWER: AnswerHead = AnswerHead { throttle_time_ms: 0, error_code: 0, session_id: 0, topics: 0, size: 0 };

/// One asked partition.
pub(super) struct Want {
    /// Its topic's position in [`Wants::names`].
    pub(super) topic: usize,
    pub(super) index: i32,
    /// The most bytes that the client wants of it.
    pub(super) max_bytes: i32,
    pub(super) at: At,
}

/// Where it is.
pub(super) enum At {
    Plain,
    Live(Arc<TopicModel>, Spot),
    Old(Arc<TopicModel>, OldSpot),
    /// Here, but nothing can be read at this offset: an empty entry, or this error.
    Blank(Arc<TopicModel>, i16),
    /// Here, but a fuse stops its reads: an empty entry, and nothing is asked for.
    Fused(Option<Arc<TopicModel>>),
    /// On another cluster, or nowhere.
    Error(i16),
}

impl At {
    /// The broker is not asked for it at all.
    pub(super) fn is_left_out(&self) -> bool {
        matches!(self, Self::Fused(_) | Self::Error(_))
    }
}

#[derive(Clone, Copy)]
pub(super) struct OldSpot {
    pub(super) spot: Spot,
    pub(super) position: usize,
    pub(super) cluster: ClusterIndex,
    pub(super) end: i64,
}

/// The asked partitions with their places, and the names of their topics.
pub(super) struct Wants {
    pub(super) names: Vec<String>,
    pub(super) list: Vec<Want>,
}

impl Wants {
    /// The old segments that can be read now: position in the list, where, and from which broker.
    pub(super) fn relays(&self, scope: &Scope<'_>) -> Vec<(usize, OldSpot, BrokerRef)> {
        let usable = |(position, want): (usize, &Want)| {
            let At::Old(topic, old) = &want.at else {
                return None;
            };
            let (segment, cluster) = topic.chain(want.index)?.segment(old.position)?;
            if scope.world.is_dead(segment, cluster, topic.name.as_str()) {
                return None;
            }
            let broker = facts::leader(scope.world, old.cluster, topic.name.as_str(), want.index)?;
            let broker = BrokerRef { cluster: old.cluster, broker };
            scope.memory.relay_usable(broker, scope.now).then_some((position, *old, broker))
        };
        self.list.iter().enumerate().filter_map(usable).collect()
    }

    /// Partitions whose reads are stopped by fuses.
    pub(super) fn fused(&self) -> usize {
        self.list.iter().filter(|want| matches!(want.at, At::Fused(_))).count()
    }

    /// All of it, for the time that the request may wait at its broker.
    pub(super) fn remember(&self, waiting: &mut Waiting) {
        let mut last = None;
        for want in &self.list {
            if last.replace(want.topic) != Some(want.topic) {
                let name = self.names.get(want.topic).map_or("", String::as_str);
                waiting.topic(name, matches!(want.at, At::Fused(_)));
            }
            let generation = match &want.at {
                At::Live(topic, _) | At::Old(topic, _) | At::Blank(topic, _) | At::Fused(Some(topic)) => {
                    topic.generation(want.index)
                }
                At::Plain | At::Fused(None) | At::Error(_) => 0,
            };
            waiting.partition(want.index, generation);
        }
    }

    /// Whole topics of local entries for the partitions that `take` says yes to, and their count.
    pub(super) fn extra(
        &self,
        version: i16,
        take: impl Fn(&Want) -> bool,
        scope: &mut Scope<'_>,
    ) -> Result<(Bytes, u32), WireError> {
        let mut out = Vec::new();
        let mut count = 0_u32;
        for (name, entries) in self.entries(take, scope) {
            fetch_answer::encode_topic(version, name, &entries, &mut out)?;
            count = count.saturating_add(1);
        }
        Ok((Bytes::from(out), count))
    }

    /// The whole answer from here.
    pub(super) fn fallback(&self, head: RequestHead, scope: &mut Scope<'_>) -> Result<Bytes, WireError> {
        let topics = self.entries(|_| true, scope);
        let topics: Vec<(&str, &[Entry])> = topics.iter().map(|(name, list)| (*name, list.as_slice())).collect();
        fetch_answer::encode(head.version, head.correlation_id, &ANSWER, &topics)
    }

    fn entries(&self, take: impl Fn(&Want) -> bool, scope: &mut Scope<'_>) -> Vec<(&str, Vec<Entry>)> {
        let mut topics: Vec<(usize, &str, Vec<Entry>)> = Vec::new();
        for want in self.list.iter().filter(|want| take(want)) {
            let name = self.names.get(want.topic).map_or("", String::as_str);
            let entry = entry(name, want, scope);
            match topics.last_mut() {
                Some((topic, _, entries)) if *topic == want.topic => entries.push(entry),
                _ => topics.push((want.topic, name, vec![entry])),
            }
        }
        topics.into_iter().map(|(_, name, entries)| (name, entries)).collect()
    }
}

/// A local entry.
fn entry(name: &str, want: &Want, scope: &mut Scope<'_>) -> Entry {
    let index = want.index;
    match &want.at {
        At::Plain | At::Fused(None) => Entry::empty(index, -1, -1, -1),
        At::Error(error) => {
            let hint = (*error == code::NOT_LEADER_OR_FOLLOWER).then(|| route::hint(scope.world, name, index));
            let leader = hint.flatten().map(|hint| hint.leader());
            Entry { leader, ..Entry::error(index, *error) }
        }
        At::Live(topic, _) | At::Old(topic, _) | At::Fused(Some(topic)) | At::Blank(topic, code::NONE) => {
            let marks = watermarks(topic, index, scope);
            Entry::empty(index, marks.high_watermark, marks.last_stable, marks.log_start)
        }
        At::Blank(_, error) => Entry::error(index, *error),
    }
}

/// The last known watermarks, virtual.
pub(super) struct Marks {
    pub(super) high_watermark: i64,
    pub(super) last_stable: i64,
    pub(super) log_start: i64,
}

pub(super) fn watermarks(topic: &TopicModel, partition: i32, scope: &mut Scope<'_>) -> Marks {
    let known = *scope.memory.partition(&topic.name, partition, topic.generation(partition));
    // At the very least everything before the last segment has been written.
    let least = topic.chain(partition).and_then(|chain| chain.chain.last()).map_or(-1, |last| last.start);
    let start = topic.chain(partition).map_or(-1, |chain| chain.chain.start());
    Marks {
        high_watermark: known.high_watermark.max(least),
        last_stable: known.last_stable.max(least),
        log_start: known.log_start.max(start),
    }
}

/// Where an asked partition is.
pub(super) fn at(name: &str, partition: &Partition, scope: &mut Scope<'_>) -> At {
    let topic = match route::place(scope.world, scope.broker.cluster, name).entry() {
        Ok(entry) if fuse::stops_reads(name, scope.world) => return At::Fused(entry.map(Arc::clone)),
        Ok(None) => return At::Plain,
        Ok(Some(topic)) => Arc::clone(topic),
        Err(error) => return At::Error(error),
    };
    let world = scope.world;
    let offset = partition.fetch_offset;
    let generation = topic.generation(partition.index);
    let now = scope.now;
    let known = scope.memory.partition(&topic.name, partition.index, generation);
    if known.odd.is_some_and(|odd| odd.offset() != offset) {
        // The reader has got on, or has been set elsewhere.
        known.odd = None;
    }
    let spot = match known.odd {
        // Asked about already, and nobody could say.
        Some(Odd::Doubt { ask_at, .. }) if now < ask_at => return At::Blank(topic, code::NONE),
        Some(Odd::Jump(spot) | Odd::Doubt { spot, .. }) => Some(spot),
        Some(Odd::Gone { .. }) => return At::Blank(topic, code::OFFSET_OUT_OF_RANGE),
        Some(Odd::Beyond { until, .. }) if now < until => return At::Blank(topic, code::NONE),
        Some(Odd::Beyond { .. }) => {
            known.odd = None;
            None
        }
        None => None,
    };
    let Some(chain) = topic.chain(partition.index) else {
        return At::Live(topic, Spot { offset, generation: 0, physical: offset });
    };
    let found = match spot {
        Some(spot) => chain.chain.by_generation(spot.generation).map(|(position, segment)| (position, segment, spot)),
        None => chain.chain.segment_at(offset).map(|(position, segment)| {
            let physical = segment.to_physical(offset);
            (position, segment, Spot { offset, generation: segment.generation, physical })
        }),
    };
    let Some((position, segment, spot)) = found else {
        // Below the first segment that is left.
        return At::Blank(topic, code::OFFSET_OUT_OF_RANGE);
    };
    match (segment.physical_end, chain.clusters.get(position)) {
        (Some(end), Some(cluster)) => {
            if known.odd != Some(Odd::Doubt { spot, ask_at: now }) && world.is_dead(segment, *cluster, name) {
                known.odd = Some(Odd::Doubt { spot, ask_at: now });
            }
            let old = OldSpot { spot, position, cluster: *cluster, end };
            At::Old(topic, old)
        }
        _ => At::Live(topic, spot),
    }
}
