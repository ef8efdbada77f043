//! Metadata: the union of all clusters' topics, told from the model and the views. Everything in it is virtual.

use std::collections::{HashMap, HashSet};

use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::ledger;
use sluice_mesh::model::{BrokerRef, World};
use sluice_mesh::name::TopicName;
use sluice_mesh::view::Located;
use uuid::Uuid;

use crate::ask::{Ask, Call, Reply, Request, Response, Target};
use crate::code;
use crate::outcome::{Frame, Outcome, RequestHead, Scope};

/// From this version on an empty list means "none" and null "all".
const NULL_MEANS_ALL: i16 = 1;

/// How long "all topics" waits for clusters that have not been listed since start, milliseconds: a client that subscribes
/// by pattern would drop what it does not see.
const WAIT_FOR_ALL: u64 = 1_000;

/// How often one connection may have the views refreshed, milliseconds.
const REFRESH: u64 = 250;

/// Time limit for auto-creation, milliseconds.
const ASK_TIMEOUT: u64 = 10_000;

/// A request in the making; survives asks and holds.
struct Job {
    head: RequestHead,
    /// `None`: all topics.
    topics: Option<Vec<MetadataRequestTopic>>,
    auto_create: bool,
    /// When waiting for unlisted clusters ends.
    until: u64,
    refreshed: bool,
    /// What the home cluster said about topics that it was asked to create.
    created: Option<HashMap<String, i16>>,
}

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let head = frame.head;
    let request = match frame.decode::<MetadataRequest>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    let mut topics = request.topics.filter(|topics| head.version >= NULL_MEANS_ALL || !topics.is_empty());
    if let Some(topics) = &mut topics {
        // Each is told once, as a broker does: what is told is far longer than what is asked.
        let mut seen = HashSet::new();
        topics.retain(|topic| seen.insert((topic.name.clone(), topic.topic_id)));
    }
    Job {
        head,
        topics,
        auto_create: request.allow_auto_topic_creation,
        until: scope.now.saturating_add(WAIT_FOR_ALL),
        refreshed: false,
        created: None,
    }
    .go(scope)
}

impl Job {
    fn go(mut self, scope: &mut Scope<'_>) -> Outcome {
        let world = scope.world;
        let Some(topics) = &self.topics else {
            if !world.all_listed() && scope.now < self.until {
                return Outcome::Hold(self.until, Box::new(move |scope| self.go(scope)));
            }
            return self.answer(scope);
        };
        let unknown: Vec<&str> = topics
            .iter()
            .filter_map(|topic| topic.name.as_ref())
            .map(|name| name.as_str())
            .filter(|name| TopicName::new(name).is_ok() && world.locate(name).is_none() && *name != ledger::TOPIC)
            .collect();
        let stale = scope.memory.stale.is_some() || topics.iter().any(|topic| is_leaderless(topic, world));
        if !self.refreshed && (stale || !unknown.is_empty()) && scope.memory.may_refresh(scope.now, REFRESH) {
            // Created a moment ago, or moved to another leader: one look, before anybody is told that there is none.
            self.refreshed = true;
            scope.memory.stale = None;
            return Outcome::Ask(Ask::Refresh, Box::new(move |_, scope| self.go(scope)));
        }
        let home = world.model.home;
        let creatable: Vec<&str> = unknown.into_iter().filter(|name| !world.model.hidden(home, name)).collect();
        if self.auto_create && self.created.is_none() && world.all_listed() && !creatable.is_empty() {
            let ask = create(home, &creatable);
            return Outcome::Ask(
                ask,
                Box::new(move |reply, scope| {
                    self.created = Some(created(reply));
                    // What has been created is shown when the views have it.
                    scope.memory.refreshed_at = Some(scope.now);
                    Outcome::Ask(Ask::Refresh, Box::new(move |_, scope| self.go(scope)))
                }),
            );
        }
        self.answer(scope)
    }

    fn answer(&self, scope: &mut Scope<'_>) -> Outcome {
        let world = scope.world;
        let topics = match &self.topics {
            None => {
                let mut all: Vec<Located<'_>> = world.visible_topics().collect();
                all.sort_unstable_by_key(|located| located.name);
                all.iter().map(|located| shown(located, world)).collect()
            }
            Some(topics) => {
                let named = topics.iter().all(|topic| topic.name.is_some());
                let ids = if named { HashMap::new() } else { by_id(world) };
                topics.iter().map(|topic| self.asked(topic, &ids, world)).collect()
            }
        };
        let model = &world.model;
        let brokers = model.brokers.iter().filter_map(|broker| {
            let (host, port) = broker.shown.as_ref()?;
            let rack = broker.rack.clone().filter(|_| self.head.version >= 1);
            Some(
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(broker.id))
                    .with_host(StrBytes::from_string(host.clone()))
                    .with_port(i32::from(*port))
                    .with_rack(rack.map(StrBytes::from_string)),
            )
        });
        let controller = world.controller().map_or(-1, |broker| model.virtual_id(broker));
        let mut answer = MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_controller_id(BrokerId(controller))
            .with_topics(topics);
        if self.head.version >= 2 {
            answer.cluster_id = Some(StrBytes::from_string(model.cluster_id.clone()));
        }
        self.head.answer(&answer)
    }

    /// The entry of a topic that was asked for.
    fn asked(
        &self,
        topic: &MetadataRequestTopic,
        ids: &HashMap<Uuid, Located<'_>>,
        world: &World,
    ) -> MetadataResponseTopic {
        let Some(name) = &topic.name else {
            return match ids.get(&topic.topic_id) {
                Some(located) => shown(located, world),
                None => error(None, code::UNKNOWN_TOPIC_ID).with_topic_id(topic.topic_id),
            };
        };
        if TopicName::new(name.as_str()).is_err() {
            return error(Some(name.clone()), code::INVALID_TOPIC);
        }
        match world.locate(name.as_str()) {
            Some(located) => shown(&located, world),
            None if world.all_listed() => {
                let said = self.created.as_ref().and_then(|said| said.get(name.as_str()));
                error(Some(name.clone()), said.copied().unwrap_or(code::UNKNOWN_TOPIC_OR_PARTITION))
            }
            None => error(Some(name.clone()), code::LEADER_NOT_AVAILABLE),
        }
    }
}

fn error(name: Option<WireTopicName>, error: i16) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_name(name).with_error_code(error)
}

/// Every topic that clients see, by its id.
pub(super) fn by_id(world: &World) -> HashMap<Uuid, Located<'_>> {
    world.visible_topics().filter_map(|located| Some((located.topic_id()?, located))).collect()
}

/// A partition's leader has gone as far as is known: worth a look.
fn is_leaderless(topic: &MetadataRequestTopic, world: &World) -> bool {
    let located = topic.name.as_ref().and_then(|name| world.locate(name.as_str()));
    located.is_some_and(|located| match located.view {
        Some(view) => view.partitions.iter().any(|partition| partition.leader < 0),
        None => true,
    })
}

/// A topic as clients see it.
fn shown(located: &Located<'_>, world: &World) -> MetadataResponseTopic {
    let name = Some(WireTopicName(StrBytes::from_string(located.name.to_owned())));
    let Some(view) = located.view else {
        return error(name, code::LEADER_NOT_AVAILABLE);
    };
    let model = &world.model;
    let ids = |brokers: &[i32]| {
        let id = |broker: &i32| BrokerId(model.virtual_id(BrokerRef { cluster: located.cluster, broker: *broker }));
        brokers.iter().map(id).collect::<Vec<_>>()
    };
    let partitions = view.partitions.iter().zip(0_i32..).map(|(partition, index)| {
        let leader = located.leader(index).and_then(|(broker, epoch)| {
            let broker = model.broker(broker).filter(|broker| broker.shown.is_some())?;
            Some((broker.id, epoch))
        });
        let (leader, epoch, error) = match leader {
            Some((leader, epoch)) => (leader, epoch, partition.error),
            None => (-1, -1, code::LEADER_NOT_AVAILABLE),
        };
        MetadataResponsePartition::default()
            .with_error_code(error)
            .with_partition_index(index)
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(epoch)
            .with_replica_nodes(ids(&partition.replicas))
            .with_isr_nodes(ids(&partition.isr))
            .with_offline_replicas(ids(&partition.offline))
    });
    MetadataResponseTopic::default()
        .with_name(name)
        .with_topic_id(located.topic_id().unwrap_or_default())
        .with_is_internal(view.internal)
        .with_partitions(partitions.collect())
}

/// The home cluster creates topics if it is set up to: by being asked for their metadata.
fn create(home: sluice_mesh::model::ClusterIndex, names: &[&str]) -> Ask {
    let topic = |name: &&str| {
        MetadataRequestTopic::default().with_name(Some(WireTopicName(StrBytes::from_string((*name).to_owned()))))
    };
    let request = MetadataRequest::default()
        .with_topics(Some(names.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(true);
    Ask::Calls(vec![Call {
        cluster: home,
        to: Target::Any,
        request: Request::Metadata(request),
        timeout_millis: ASK_TIMEOUT,
    }])
}

/// What the home cluster said: topics that it has, or is creating, have no leader yet.
fn created(reply: Reply) -> HashMap<String, i16> {
    let Reply::Calls(results) = reply else {
        return HashMap::new();
    };
    let Some(Ok(Response::Metadata(answer))) = results.into_iter().next() else {
        return HashMap::new();
    };
    let said = answer.topics.iter().filter_map(|topic| {
        let error = if topic.error_code == code::NONE { code::LEADER_NOT_AVAILABLE } else { topic.error_code };
        Some((topic.name.as_ref()?.as_str().to_owned(), error))
    });
    said.collect()
}
