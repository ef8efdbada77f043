//! What a client remembers of its cluster: brokers, the controller, leaders.

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use uuid::Uuid;

/// More topics than this are not remembered: a miss costs one Metadata request.
const MAX_TOPICS: usize = 10_000;

/// A broker as metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub id: i32,
    /// Host of the listener that was asked.
    pub host: String,
    /// Port of that listener.
    pub port: u16,
    /// `broker.rack`.
    pub rack: Option<String>,
}

impl Broker {
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[derive(Debug, Default)]
struct Leaders {
    topic_id: Uuid,
    /// (leader, epoch) by partition; leader -1 if there was none, or it was forgotten.
    partitions: HashMap<i32, (i32, i32)>,
}

/// What is remembered. Everything in it may be out of date: it says whom to ask, never what is true.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    brokers: BTreeMap<i32, Broker>,
    controller: Option<i32>,
    topics: HashMap<String, Leaders>,
    /// A broker could not be reached under its address: look again before the next try.
    suspect: bool,
}

impl AddressBook {
    pub(super) fn brokers(&self) -> Vec<Broker> {
        self.brokers.values().cloned().collect()
    }

    pub(super) fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    pub(super) fn controller(&self) -> Option<i32> {
        self.controller
    }

    pub(super) fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        self.topics.get(topic)?.partitions.get(&partition).copied().filter(|&(leader, _)| leader >= 0)
    }

    pub(super) fn forget_leader(&mut self, topic: &str, partition: i32) {
        let known = self.topics.get_mut(topic).and_then(|leaders| leaders.partitions.get_mut(&partition));
        if let Some((leader, _)) = known {
            // The epoch stays: a broker that is behind must not bring the same leader back by an older one.
            *leader = -1;
        }
    }

    pub(super) fn forget_controller(&mut self) {
        self.controller = None;
    }

    pub(super) fn suspect(&mut self) {
        self.suspect = true;
    }

    pub(super) fn take_suspicion(&mut self) -> bool {
        std::mem::take(&mut self.suspect)
    }

    /// Takes in an answer. Of topics that are not remembered yet only those that were asked for by name.
    pub(super) fn learn(&mut self, answer: &MetadataResponse, asked_by_name: bool) {
        if !answer.brokers.is_empty() {
            self.brokers = answer
                .brokers
                .iter()
                .filter_map(|broker| {
                    let id = broker.node_id.0;
                    // A port that is none leaves the broker out: it can't be connected to.
                    let port = u16::try_from(broker.port).ok().filter(|&port| port != 0)?;
                    let rack = broker.rack.as_ref().map(ToString::to_string);
                    Some((id, Broker { id, host: broker.host.to_string(), port, rack }))
                })
                .collect();
            self.controller = Some(answer.controller_id.0).filter(|&id| id >= 0);
        }
        for topic in &answer.topics {
            self.learn_topic(topic, asked_by_name);
        }
    }

    fn learn_topic(&mut self, topic: &MetadataResponseTopic, asked_by_name: bool) {
        let Some(name) = topic.name.as_ref().map(|name| name.as_str().to_owned()) else { return };
        if topic.error_code != 0 {
            self.topics.remove(&name);
            return;
        }
        if !self.topics.contains_key(&name) {
            if !asked_by_name || self.topics.len() >= MAX_TOPICS {
                return;
            }
            self.topics.insert(name.clone(), Leaders::default());
        }
        let Some(known) = self.topics.get_mut(&name) else { return };
        if known.topic_id != topic.topic_id {
            *known = Leaders { topic_id: topic.topic_id, partitions: HashMap::new() };
        }
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let (leader, epoch) = (partition.leader_id.0, partition.leader_epoch);
            // A broker that is behind must not bring an old leader back.
            let older = known.partitions.get(&index).is_some_and(|&(_, seen)| epoch < seen && epoch >= 0);
            if !older {
                known.partitions.insert(index, (leader, epoch));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition};
    use kafka_protocol::messages::{BrokerId, TopicName};
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn answer(topic_id: u128, leader: i32, epoch: i32, error: i16) -> MetadataResponse {
        let broker = |id: i32, port| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(id))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(port)
        };
        let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch);
        MetadataResponse::default()
            .with_brokers(vec![broker(1, 9092), broker(2, 70_000), broker(3, 0)])
            .with_controller_id(BrokerId(1))
            .with_topics(vec![
                MetadataResponseTopic::default()
                    .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
                    .with_topic_id(Uuid::from_u128(topic_id))
                    .with_error_code(error)
                    .with_partitions(vec![partition]),
            ])
    }

    #[test]
    fn brokers_with_an_impossible_port_are_left_out() {
        let mut book = AddressBook::default();
        book.learn(&answer(1, 1, 5, 0), true);
        assert_eq!(book.brokers().iter().map(|b| b.id).collect::<Vec<_>>(), [1]);
        assert_eq!(book.controller(), Some(1));
    }

    #[test]
    fn an_older_epoch_does_not_bring_an_old_leader_back_but_a_new_topic_does() {
        let mut book = AddressBook::default();
        book.learn(&answer(1, 2, 5, 0), true);
        book.learn(&answer(1, 1, 4, 0), false);
        assert_eq!(book.leader("t", 0), Some((2, 5)));
        book.learn(&answer(2, 1, 0, 0), false);
        assert_eq!(book.leader("t", 0), Some((1, 0)));
        book.learn(&answer(2, -1, 1, 0), false);
        assert_eq!(book.leader("t", 0), None);
        book.learn(&answer(2, 1, 0, 0), false);
        assert_eq!(book.leader("t", 0), None);
        book.learn(&answer(2, 2, 2, 0), false);
        book.forget_leader("t", 0);
        book.learn(&answer(2, 1, 1, 0), false);
        assert_eq!(book.leader("t", 0), None);
        book.learn(&answer(2, 2, 2, 0), false);
        assert_eq!(book.leader("t", 0), Some((2, 2)));
    }

    #[test]
    fn topics_not_asked_for_by_name_are_not_remembered_and_vanished_ones_are_forgotten() {
        let mut book = AddressBook::default();
        book.learn(&answer(1, 2, 5, 0), false);
        assert_eq!(book.leader("t", 0), None);
        book.learn(&answer(1, 2, 5, 0), true);
        assert_eq!(book.leader("t", 0), Some((2, 5)));
        book.learn(&answer(0, -1, 0, 3), true);
        assert_eq!(book.leader("t", 0), None);
    }
}
