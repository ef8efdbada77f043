//! What the document says of a topic by the ledger alone: after the loss of everything but Kafka, routing comes from here,
//! also for topics that no route names any more. Pure.

use std::collections::BTreeMap;

use sluice_mesh::document::{Cut, Fence};
use sluice_mesh::ledger::{CatalogueEntry, Merged, TopicLedger};
use sluice_mesh::name::TopicName;

use crate::compile::RoutedTopic;

/// How long after a switch the first batch of a producer is checked: the default of `producer.id.expiration.ms`.
pub const CHECK_MILLIS: i64 = 24 * 60 * 60 * 1_000;

/// The entry of a topic, never fenced: a fence belongs to a running attempt. `None`: the ledger says nothing, or can't say
/// before another ledger is read.
pub fn entry(found: Option<&TopicLedger>, catalogue: Option<&CatalogueEntry>, now: i64) -> Option<RoutedTopic> {
    let Some(found) = found else {
        return catalogue.map(|entry| RoutedTopic {
            topic_id: entry.topic_id,
            cluster: entry.cluster.clone(),
            chains: Vec::new(),
            fence: None,
            cut: None,
        });
    };
    let serving = found.serving.as_ref()?;
    Some(RoutedTopic {
        topic_id: found.record.topic_id,
        cluster: serving.cluster.clone(),
        cut: if serving.chains.is_empty() { None } else { cut(found, now) },
        chains: serving.chains.clone(),
        fence: None,
    })
}

/// The producers for the first-batch check, while it lasts.
fn cut(found: &TopicLedger, now: i64) -> Option<Cut> {
    // An intent carries on when its present home began to serve; a cut does not know when its new home will.
    let switched_at = if found.record.switched_at > 0 { found.record.switched_at } else { now };
    let partitions = found.serving.as_ref().map_or(0, |serving| serving.chains.len());
    (now.saturating_sub(switched_at) <= CHECK_MILLIS)
        .then(|| Cut { switched_at, producers: found.producers_by_partition(partitions) })
}

/// The entries of all topics that ever began to move; `None` if the ledgers that were read can't say of one where it lives:
/// then nothing may be published.
pub fn entries(ledger: &Merged, now: i64) -> Option<BTreeMap<TopicName, RoutedTopic>> {
    ledger.topics.iter().map(|(topic, found)| Some((topic.clone(), entry(Some(found), None, now)?))).collect()
}

/// The entry with a fence.
#[must_use]
pub fn fenced(entry: RoutedTopic, fence: Fence) -> RoutedTopic {
    RoutedTopic { fence: Some(fence), ..entry }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluice_mesh::chain::Chain;
    use sluice_mesh::document::CutProducer;
    use sluice_mesh::ledger::{Serving, Stage, Standing, TopicState};
    use sluice_mesh::name::ClusterName;
    use uuid::Uuid;

    use super::*;

    fn ledger(standing: Standing, switched_at: i64) -> TopicLedger {
        let (from, to) = (ClusterName::new("a").unwrap(), ClusterName::new("b").unwrap());
        let chains = vec![Chain::single(to.clone(), Uuid::from_u128(2))];
        TopicLedger {
            standing,
            record: TopicState {
                attempt: 1,
                from,
                to: to.clone(),
                topic_id: Uuid::from_u128(1),
                from_id: Uuid::from_u128(1),
                to_id: Uuid::from_u128(2),
                original_max_message_bytes: None,
                seal_value: 1,
                fenced_at: 0,
                chains: chains.clone(),
                producer_chunks: 1,
                switched_at,
                stage: Stage::Switched,
            },
            serving: (standing != Standing::Unknown).then_some(Serving { cluster: to, chains }),
            behind: Vec::new(),
            producers: BTreeMap::from([((0, 7), CutProducer { id: 7, epoch: 0, last_sequence: 3 })]),
            producers_complete: true,
        }
    }

    #[test]
    fn the_chain_comes_back_without_a_route() {
        let entry = entry(Some(&ledger(Standing::Switched, 1_000)), None, 2_000).unwrap();
        assert_eq!(entry.cluster.as_str(), "b");
        assert_eq!(entry.topic_id, Uuid::from_u128(1));
        assert_eq!(entry.chains.len(), 1);
        assert_eq!(entry.fence, None);
        let cut = entry.cut.unwrap();
        assert_eq!((cut.switched_at, cut.producers[0].len()), (1_000, 1));
    }

    #[test]
    fn the_check_ends_and_what_is_unknown_is_not_guessed() {
        let old = entry(Some(&ledger(Standing::Switched, 1_000)), None, 1_001 + CHECK_MILLIS).unwrap();
        assert_eq!(old.cut, None);
        let catalogue =
            CatalogueEntry { cluster: ClusterName::new("c").unwrap(), topic_id: Uuid::from_u128(3), placeholder: None };
        assert_eq!(entry(Some(&ledger(Standing::Unknown, 0)), Some(&catalogue), 0), None);
        assert_eq!(entry(None, Some(&catalogue), 0).unwrap().cluster, catalogue.cluster);
        assert_eq!(entry(None, None, 0), None);
        let mut merged = Merged::default();
        let name = |name: &str| TopicName::new(name).unwrap();
        merged.topics.insert(name("known"), Arc::new(ledger(Standing::Switched, 1)));
        assert!(entries(&merged, 2).unwrap().contains_key(&name("known")));
        merged.topics.insert(name("unknown"), Arc::new(ledger(Standing::Unknown, 1)));
        assert_eq!(entries(&merged, 2), None);
    }
}
