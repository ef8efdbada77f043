//! What a cut becomes in the ledger: chains with one more segment, and the producers in chunks that fit a record. Pure
//! arithmetic over what was read from the brokers.

use std::collections::BTreeMap;

use sluice_mesh::chain::{Chain, CutPoint, NewHome};
use sluice_mesh::document::CutProducer;
use sluice_mesh::ledger::TopicState;

use super::problem::{Problem, Reason};
use super::situation::CutTable;

/// Producers in one record: about 70 bytes each as JSON, well below the smallest message limit that a ledger may have.
pub const PRODUCERS_PER_RECORD: usize = 4_000;

/// Bits 48-55 of a producer id: the generation under which a segment's cluster knows a producer.
const GENERATION_BITS: i64 = 0xff << 48;
/// Bits 56-62: the tag of the cluster that handed the id out; 0 = not by the mesh, or transactional.
const TAG_BITS: i64 = 0x7f << 56;

/// A producer as the last segment's leader names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Producer id, with tag and generation.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence of its last record there.
    pub last_sequence: i32,
}

/// The producers of one partition at a cut: those that the old home knows under the segment's generation, and those of
/// earlier cuts that have not written since. Ids without a tag are left out: they were not handed out by the mesh or are
/// transactional, and are never checked.
pub fn producers(seen: &[Seen], generation: u8, earlier: &[CutProducer]) -> Vec<CutProducer> {
    let mut table: BTreeMap<i64, CutProducer> = earlier.iter().map(|producer| (producer.id, *producer)).collect();
    for producer in seen {
        let tagged = producer.id >= 0 && producer.id & TAG_BITS != 0;
        if !tagged || (producer.id & GENERATION_BITS) >> 48 != i64::from(generation) {
            continue;
        }
        let id = producer.id & !GENERATION_BITS;
        table.insert(id, CutProducer { id, epoch: producer.epoch, last_sequence: producer.last_sequence });
    }
    table.into_values().collect()
}

/// The producers of a cut in chunks, each small enough for a record.
pub fn chunks(table: &CutTable) -> Vec<Vec<(i32, CutProducer)>> {
    let all: Vec<(i32, CutProducer)> = (0_i32..)
        .zip(&table.partitions)
        .flat_map(|(index, partition)| partition.producers.iter().map(move |producer| (index, *producer)))
        .collect();
    all.chunks(PRODUCERS_PER_RECORD).map(<[_]>::to_vec).collect()
}

/// The chains that serve under `state`, whether or not the topic ever moved.
pub fn serving_chains(state: &TopicState, partitions: usize) -> Vec<Chain> {
    if state.chains.is_empty() {
        vec![Chain::single(state.from.clone(), state.from_id); partitions]
    } else {
        state.chains.clone()
    }
}

/// The generation of the segments that take writes under these chains.
pub fn generation(chains: &[Chain]) -> u8 {
    chains.iter().map(Chain::generation).max().unwrap_or(0)
}

/// The cut record: the intent's chains, cut, with a segment on the new home.
pub fn record(intent: &TopicState, table: &CutTable) -> Result<TopicState, Problem> {
    let before = serving_chains(intent, table.partitions.len());
    if before.len() != table.partitions.len() {
        return Err(Problem::new(
            Reason::TopicChanged,
            format!(
                "the topic has {} partitions now and had {} when it last moved; partitions can't be added to a moved \
                 topic yet",
                table.partitions.len(),
                before.len()
            ),
        ));
    }
    let Some(generation) = generation(&before).checked_add(1) else {
        return Err(generations_used_up());
    };
    let chains: Result<Vec<Chain>, _> = before
        .iter()
        .zip(&table.partitions)
        .map(|(chain, cut)| {
            let last_epoch = chain.last().map_or(-1, |last| last.epoch_to_virtual(cut.epoch));
            chain.append(
                CutPoint { physical_end: cut.end, last_epoch },
                NewHome {
                    cluster: intent.to.clone(),
                    topic_id: intent.to_id,
                    physical_start: cut.target_end,
                    generation,
                },
            )
        })
        .collect();
    let chains = chains.map_err(|error| {
        let message = format!("the cut does not fit the chain ({error}); look at the ledger entry of the topic");
        Problem::new(Reason::TopicChanged, message)
    })?;
    let producer_chunks = u32::try_from(chunks(table).len()).unwrap_or(u32::MAX);
    Ok(intent.to_cut(chains, producer_chunks))
}

/// The topic can't move again: its next generation would be one that was used before.
pub fn generations_used_up() -> Problem {
    Problem::new(
        Reason::GenerationReused,
        "the topic has moved 255 times: its next move would use a generation of producer ids again; re-create the topic",
    )
}

#[cfg(test)]
mod tests {
    use sluice_mesh::ledger::Stage;
    use sluice_mesh::name::ClusterName;
    use uuid::Uuid;

    use super::*;
    use crate::topic_route::situation::PartitionCut;

    fn intent() -> TopicState {
        TopicState {
            attempt: 1,
            from: ClusterName::new("a").unwrap(),
            to: ClusterName::new("b").unwrap(),
            topic_id: Uuid::from_u128(1),
            from_id: Uuid::from_u128(1),
            to_id: Uuid::from_u128(2),
            original_max_message_bytes: None,
            seal_value: 1,
            fenced_at: 0,
            chains: Vec::new(),
            producer_chunks: 0,
            switched_at: 0,
            stage: Stage::Intent,
        }
    }

    fn partition(end: i64, target_end: i64) -> PartitionCut {
        PartitionCut { end, epoch: 3, target_end, producers: Vec::new() }
    }

    #[test]
    fn a_first_cut_and_the_way_back_share_one_log() {
        let table = CutTable { partitions: vec![partition(100, 0), partition(0, 0)] };
        let cut = record(&intent(), &table).unwrap();
        assert_eq!(cut.stage, Stage::Cut);
        assert_eq!(cut.chains[0].0[0].physical_end, Some(100));
        assert_eq!((cut.chains[0].0[1].start, cut.chains[0].0[1].physical_start), (100, 0));
        assert_eq!((cut.chains[0].0[1].epoch_shift, cut.chains[0].0[1].generation), (1024, 1));
        // Back again: the old log has one stray record more than the cut knew.
        let back = TopicState {
            attempt: 2,
            from: cut.to.clone(),
            to: cut.from.clone(),
            from_id: cut.to_id,
            to_id: cut.from_id,
            stage: Stage::Intent,
            ..cut.clone()
        };
        let table = CutTable { partitions: vec![partition(20, 101), partition(5, 0)] };
        let back = record(&back, &table).unwrap();
        let last = &back.chains[0].0[2];
        assert_eq!((last.start, last.physical_start, last.generation), (120, 101, 2));
        assert_eq!(last.epoch_shift, 2048);
    }

    #[test]
    fn taking_a_cut_off_again_gives_what_served_before() {
        let table = CutTable { partitions: vec![partition(100, 0)] };
        let cut = record(&intent(), &table).unwrap();
        assert_eq!(cut.chains_before(), Vec::<Chain>::new());
        let second = TopicState { attempt: 2, from: cut.to.clone(), to: cut.from.clone(), stage: Stage::Intent, ..cut };
        let table = CutTable { partitions: vec![partition(7, 100)] };
        let again = record(&second, &table).unwrap();
        assert_eq!(again.chains_before(), second.chains);
    }

    #[test]
    fn producers_are_cumulative_and_without_generation() {
        let id = |generation: i64, raw: i64| (5 << 56) + (generation << 48) + raw;
        let seen = [
            Seen { id: id(1, 10), epoch: 0, last_sequence: 7 },
            Seen { id: id(0, 11), epoch: 0, last_sequence: 99 }, // generation 0: of an earlier segment in the same log
            Seen { id: 12, epoch: 0, last_sequence: 1 },         // raw: transactional, or not through the mesh
        ];
        let earlier = [
            CutProducer { id: id(0, 10), epoch: 0, last_sequence: 3 },
            CutProducer { id: id(0, 13), epoch: 2, last_sequence: 4 },
        ];
        let table = producers(&seen, 1, &earlier);
        assert_eq!(
            table,
            vec![
                CutProducer { id: id(0, 10), epoch: 0, last_sequence: 7 },
                CutProducer { id: id(0, 13), epoch: 2, last_sequence: 4 },
            ]
        );
    }

    #[test]
    fn chunks_hold_every_producer_once() {
        let producers: Vec<CutProducer> = (0..9_001).map(|id| CutProducer { id, epoch: 0, last_sequence: 0 }).collect();
        let table = CutTable { partitions: vec![PartitionCut { producers: producers.clone(), ..partition(1, 0) }] };
        let chunks = chunks(&table);
        assert_eq!(chunks.len(), 3);
        let all: Vec<CutProducer> = chunks.into_iter().flatten().map(|(_, producer)| producer).collect();
        assert_eq!(all, producers);
    }

    #[test]
    fn the_last_generation_is_refused() {
        let mut intent = intent();
        intent.chains = vec![Chain::single(intent.from.clone(), intent.from_id)];
        intent.chains[0].0[0].generation = 255;
        let table = CutTable { partitions: vec![partition(1, 0)] };
        assert_eq!(record(&intent, &table).unwrap_err().reason, Reason::GenerationReused);
    }
}
