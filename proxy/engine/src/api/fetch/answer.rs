//! Answers to Fetch: what becomes of each partition as it passes.

use sluice_mesh::model::TopicModel;
use sluice_wire::walk::fetch::{Field, Partition, PartitionEnd, PartitionPatch, Peek};

use super::wants::watermarks;
use super::{FetchPlan, Role};
use crate::code;
use crate::memory::{Known, Odd, Spot};
use crate::outcome::Scope;

/// How long after an odd answer the brokers are asked what it means, milliseconds: at once at first.
pub(super) const ASK_AGAIN: u64 = 1_000;

/// A relay whose broker does not lead the partition is left alone so long, milliseconds.
const NOT_LEADER_BACKOFF: u64 = 200;

/// What becomes of a relayed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relayed {
    /// It goes on, patched.
    Serve,
    /// The answer without it goes instead.
    Replace,
}

/// What to do with a partition of the source's answer.
pub(crate) fn patch(
    plan: Option<&mut FetchPlan>,
    topic: &str,
    partition: &Partition,
    scope: &mut Scope<'_>,
) -> PartitionPatch {
    let source = plan.as_ref().and_then(|plan| plan.relay);
    let cluster = source.map_or(scope.broker.cluster, |broker| broker.cluster);
    let node_id_base = scope.world.model.cluster(cluster).map_or(0, |cluster| cluster.node_id_base);
    let unchanged = PartitionPatch { node_id_base, ..PartitionPatch::default() };
    let planned = plan.and_then(|plan| plan.find(topic, partition.index));
    // A partition that is asked for beside another one may well be led elsewhere, as the view says.
    let beside = planned.is_some_and(|planned| matches!(planned.role, Role::Blank(_)));
    if !beside && matches!(partition.error_code, code::NOT_LEADER_OR_FOLLOWER | code::FENCED_LEADER_EPOCH) {
        scope.memory.stale = Some(cluster);
    }
    let Some(planned) = planned else {
        return unchanged;
    };
    let topic = &planned.topic;
    match planned.role {
        Role::Blank(error) => blank(unchanged, topic, partition.index, error, scope),
        Role::Live(spot) => live(unchanged, topic, partition, spot, scope),
        Role::Old { .. } if partition.error_code != code::NONE => {
            blank(unchanged, topic, partition.index, code::NONE, scope)
        }
        Role::Old { position, end, .. } => {
            let segment = topic.chain(partition.index).and_then(|chain| chain.segment(position));
            let Some((segment, _)) = segment else {
                return blank(unchanged, topic, partition.index, code::NONE, scope);
            };
            let marks = watermarks(topic, partition.index, scope);
            PartitionPatch {
                shift: segment.shift(),
                epoch_shift: segment.epoch_shift,
                high_watermark: Field::Set(marks.high_watermark),
                last_stable_offset: Field::Set(marks.last_stable),
                log_start_offset: Field::Set(marks.log_start),
                physical_end: Some(end),
                no_preferred_replica: true,
                ..unchanged
            }
        }
    }
}

fn live(
    unchanged: PartitionPatch,
    topic: &TopicModel,
    partition: &Partition,
    spot: Spot,
    scope: &mut Scope<'_>,
) -> PartitionPatch {
    let index = partition.index;
    if partition.error_code == code::OFFSET_OUT_OF_RANGE {
        // Above the log end it means "a late metadata", below the log start perhaps a hole: it is asked about before the
        // client hears of it, for a client would reset.
        let now = scope.now;
        note_doubt(known(topic, index, scope), spot, now);
        return blank(unchanged, topic, index, code::NONE, scope);
    }
    let chain = topic.chain(index).map(|chain| &chain.chain);
    let last = chain.and_then(|chain| chain.last());
    let (shift, epoch_shift) = last.map_or((0, 0), |last| (last.shift(), last.epoch_shift));
    if partition.error_code == code::NONE {
        let now = scope.now;
        let up = |offset: i64| if offset < 0 { offset } else { offset.saturating_add(shift) };
        known(topic, index, scope).saw(up(partition.high_watermark), up(partition.last_stable_offset), now);
    }
    let stitched = chain.is_some_and(|chain| chain.segments().len() > 1);
    let log_start_offset = if stitched && partition.error_code == code::NONE {
        Field::Set(watermarks(topic, index, scope).log_start)
    } else {
        Field::Shift
    };
    PartitionPatch {
        shift,
        epoch_shift,
        high_watermark: Field::Shift,
        last_stable_offset: Field::Shift,
        log_start_offset,
        ..unchanged
    }
}

fn blank(
    unchanged: PartitionPatch,
    topic: &TopicModel,
    partition: i32,
    error: i16,
    scope: &mut Scope<'_>,
) -> PartitionPatch {
    let marks = watermarks(topic, partition, scope);
    let (high_watermark, last_stable, log_start) = match error {
        code::NONE => (marks.high_watermark, marks.last_stable, marks.log_start),
        _ => (-1, -1, -1),
    };
    PartitionPatch {
        error_code: Some(error),
        high_watermark: Field::Set(high_watermark),
        last_stable_offset: Field::Set(last_stable),
        log_start_offset: Field::Set(log_start),
        no_preferred_replica: true,
        ..unchanged
    }
}

fn known<'a>(topic: &TopicModel, partition: i32, scope: &'a mut Scope<'_>) -> &'a mut Known {
    scope.memory.partition(&topic.name, partition, topic.generation(partition))
}

/// The broker had nothing for this spot: the next request for it asks why, but not all the time.
fn note_doubt(known: &mut Known, spot: Spot, now: u64) {
    let seen = matches!(known.odd, Some(Odd::Doubt { spot: before, .. }) if before == spot);
    let ask_at = if seen { now.saturating_add(ASK_AGAIN) } else { now };
    known.odd = Some(Odd::Doubt { spot, ask_at });
}

/// The start of a relayed answer, up to its first batch: whether it can go on, and what it tells about the segment.
pub(crate) fn relayed(plan: &mut FetchPlan, peek: &Peek<'_>, scope: &mut Scope<'_>) -> Relayed {
    let (Some(broker), Some(planned)) = (plan.relay, plan.entries.first()) else {
        return Relayed::Replace;
    };
    let Role::Old { spot, position, end } = planned.role else {
        return Relayed::Replace;
    };
    let topic = &planned.topic;
    let index = planned.partition;
    let partition = match &peek.first {
        // Throttled: no topic at all.
        None => return Relayed::Serve,
        Some((name, partition)) if *name == topic.name.as_str() && partition.index == index => partition,
        Some(_) => {
            // Nobody can tell from here what the partition's first batch is.
            scope.memory.relay_alone = true;
            return Relayed::Replace;
        }
    };
    let now = scope.now;
    let Some((segment, next)) = topic.chain(index).and_then(|chain| {
        let (segment, _) = chain.segment(position)?;
        let next = chain.chain.next_after(position).map(|(_, next)| Spot {
            offset: spot.offset,
            generation: next.generation,
            physical: next.physical_start,
        });
        Some((segment, next))
    }) else {
        return Relayed::Replace;
    };
    match partition.error_code {
        code::NONE => {}
        code::OFFSET_OUT_OF_RANGE => {
            note_doubt(known(topic, index, scope), spot, now);
            return Relayed::Serve;
        }
        _ => {
            scope.memory.stale = Some(broker.cluster);
            scope.memory.relay_failed(broker, now.saturating_add(NOT_LEADER_BACKOFF));
            return Relayed::Serve;
        }
    }
    let is_first = position == 0;
    let known = known(topic, index, scope);
    if is_first && partition.log_start_offset >= 0 {
        let living = segment.to_virtual(partition.log_start_offset.max(segment.physical_start));
        known.log_start = known.log_start.max(living.min(segment.end().unwrap_or(living)));
    }
    let jump = |known: &mut Known| known.odd = next.map(Odd::Jump);
    match peek.first_base_offset {
        // What lies there belongs to a later segment of the same log.
        Some(base) if base >= end => {
            jump(known);
            Relayed::Replace
        }
        Some(_) => Relayed::Serve,
        None if partition.high_watermark >= end => {
            jump(known);
            Relayed::Serve
        }
        None => {
            note_doubt(known, spot, now);
            Relayed::Serve
        }
    }
}

/// A partition has passed.
pub(crate) fn partition_end(plan: &mut FetchPlan, topic: &str, end: &PartitionEnd, scope: &mut Scope<'_>) {
    let Some(planned) = plan.find(topic, end.index) else {
        return;
    };
    if end.records == 0 || matches!(planned.role, Role::Blank(_)) {
        return;
    }
    // The reader gets on: what was odd at its offset is settled by what it has been given.
    let known = scope.memory.partition(&planned.topic.name, end.index, planned.topic.generation(end.index));
    if matches!(known.odd, Some(Odd::Doubt { .. })) {
        known.odd = None;
    }
}
