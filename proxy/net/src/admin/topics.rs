//! Topics: create, describe, delete, wait until ready.

use std::time::Duration;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, DeleteTopicsRequest};
use tokio::time::Instant;
use uuid::Uuid;

use super::configs::MAX_MESSAGE_BYTES;
use super::epoch_ends::{self, PartitionEpoch};
use super::{ByBroker, broker_timeout_ms, string, topic_name};
use crate::client::{CallError, Client, Target};
use crate::error_code::ErrorCode;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Name.
    pub name: String,
    /// Partitions; -1 for the broker's default.
    pub partitions: i32,
    /// Replication factor; -1 for the broker's default.
    pub replication_factor: i16,
    /// Topic-level configs.
    pub configs: Vec<(String, String)>,
}

/// A topic as a broker's metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// Name.
    pub name: String,
    /// Topic id.
    pub topic_id: Uuid,
    /// Whether Kafka made it for itself.
    pub internal: bool,
    /// Partitions, sorted by index.
    pub partitions: Vec<PartitionView>,
}

/// A partition as a broker's metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// Index.
    pub partition: i32,
    /// Leader, -1 if there is none.
    pub leader: i32,
    /// Leader epoch.
    pub epoch: i32,
    /// Replicas.
    pub replicas: Vec<i32>,
    /// In-sync replicas.
    pub isr: Vec<i32>,
}

impl TopicView {
    fn from_answer(topic: &MetadataResponseTopic) -> Result<Self, ErrorCode> {
        ErrorCode::check(topic.error_code)?;
        let name = topic.name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default();
        let mut partitions: Vec<_> = topic.partitions.iter().map(PartitionView::from_answer).collect();
        partitions.sort_by_key(|partition| partition.partition);
        Ok(Self { name, topic_id: topic.topic_id, internal: topic.is_internal, partitions })
    }

    /// Partitions grouped by leader. A partition without a leader is under -1, which no broker has as its id.
    pub fn by_leader(&self) -> ByBroker<i32> {
        let mut groups = ByBroker::new();
        for partition in &self.partitions {
            groups.entry(partition.leader).or_insert_with(Vec::new).push(partition.partition);
        }
        groups
    }

    /// Partitions grouped by each broker that holds a replica.
    pub fn by_replica(&self) -> ByBroker<i32> {
        let mut groups = ByBroker::new();
        for partition in &self.partitions {
            for &replica in &partition.replicas {
                groups.entry(replica).or_insert_with(Vec::new).push(partition.partition);
            }
        }
        groups
    }
}

impl PartitionView {
    fn from_answer(partition: &MetadataResponsePartition) -> Self {
        let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
        Self {
            partition: partition.partition_index,
            leader: partition.leader_id.0,
            epoch: partition.leader_epoch,
            replicas: ids(&partition.replica_nodes),
            isr: ids(&partition.isr_nodes),
        }
    }
}

/// Creates a topic; `validate_only` is a dry run. The topic's id (nil in a dry run).
pub async fn create(client: &Client, topic: &NewTopic, validate_only: bool) -> Result<Uuid, CallError> {
    let configs = topic
        .configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig::default().with_name(string(name)).with_value(Some(string(value))));
    let new = CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![new])
        .with_timeout_ms(broker_timeout_ms(client))
        .with_validate_only(validate_only);
    let answer = client.call(&Target::Controller, request).await?;
    let what = || format!("creating topic {}", topic.name);
    let result = answer
        .topics
        .iter()
        .find(|result| result.name.as_str() == topic.name)
        .ok_or_else(|| CallError::nonsense(what(), "the topic is not in it"))?;
    match result.error_code {
        // A dry run has an id too, which is nobody's.
        0 if validate_only => Ok(Uuid::nil()),
        0 => Ok(result.topic_id),
        code => Err(CallError::refused(what(), code, result.error_message.as_deref())),
    }
}

/// Creates a topic that is sealed from birth: `max.message.bytes` is `seal_value`, whatever `topic.configs` says.
pub async fn create_sealed(client: &Client, topic: &NewTopic, seal_value: u8) -> Result<Uuid, CallError> {
    let mut sealed = topic.clone();
    sealed.configs.retain(|(name, _)| name != MAX_MESSAGE_BYTES);
    sealed.configs.push((MAX_MESSAGE_BYTES.to_owned(), seal_value.to_string()));
    create(client, &sealed, false).await
}

/// Describes topics, in the order asked; never creates one.
pub async fn describe(
    client: &Client,
    names: &[String],
) -> Result<Vec<(String, Result<TopicView, ErrorCode>)>, CallError> {
    let answer = client.metadata(Some(names), false).await?;
    let find = |name: &String| {
        let found = answer.topics.iter().find(|topic| topic.name.as_ref().is_some_and(|n| n.as_str() == name));
        let view = found.map_or(Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), TopicView::from_answer);
        (name.clone(), view)
    };
    Ok(names.iter().map(find).collect())
}

/// Describes one topic; `None` if the broker asked doesn't know it.
pub async fn describe_one(client: &Client, name: &str) -> Result<Option<TopicView>, CallError> {
    let mut found = describe(client, &[name.to_owned()]).await?;
    match found.pop() {
        Some((_, Ok(view))) => Ok(Some(view)),
        None | Some((_, Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))) => Ok(None),
        Some((_, Err(code))) => Err(CallError::refused(format!("describing topic {name}"), code, None)),
    }
}

/// All topics of the cluster that can be seen, internal ones too, sorted by name. Topics with an error are left out.
pub async fn list(client: &Client) -> Result<Vec<TopicView>, CallError> {
    let answer = client.metadata(None, false).await?;
    let mut topics: Vec<_> = answer.topics.iter().filter_map(|topic| TopicView::from_answer(topic).ok()).collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

/// One topic as the given broker's metadata shows it.
pub async fn describe_at(client: &Client, broker: i32, name: &str) -> Result<TopicView, CallError> {
    let what = || format!("describing topic {name} at broker {broker}");
    let answer = client.metadata_from(broker, Some(&[name.to_owned()])).await?;
    let topic = answer.topics.first().ok_or_else(|| CallError::nonsense(what(), "the topic is not in it"))?;
    TopicView::from_answer(topic).map_err(|code| CallError::refused(what(), code, None))
}

/// Deletes the topic with this name *and* id: one of the same name but another id stays.
/// `Refused` with `UNKNOWN_TOPIC_ID` or `UNKNOWN_TOPIC_OR_PARTITION` if there is none.
pub async fn delete(client: &Client, name: &str, topic_id: Uuid) -> Result<(), CallError> {
    let what = || format!("deleting topic {name} with id {topic_id}");
    let found = describe_one(client, name).await?;
    match found {
        None => return Err(CallError::refused(what(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None)),
        Some(view) if view.topic_id != topic_id => {
            let message = format!("the topic of that name has the id {}", view.topic_id);
            return Err(CallError::refused(what(), ErrorCode::UNKNOWN_TOPIC_ID, Some(&message)));
        }
        Some(_) => {}
    }
    // By id: whatever is created under the name from now on is safe.
    let request = DeleteTopicsRequest::default()
        .with_topics(vec![DeleteTopicState::default().with_name(None).with_topic_id(topic_id)])
        .with_timeout_ms(broker_timeout_ms(client));
    let answer = client.call(&Target::Controller, request).await?;
    let result = answer.responses.first().ok_or_else(|| CallError::nonsense(what(), "the topic is not in it"))?;
    match result.error_code {
        0 => Ok(()),
        code => Err(CallError::refused(what(), code, result.error_message.as_deref())),
    }
}

/// Waits until every broker shows the topic under this id with a leader for each partition, and each leader answers for its
/// log (right after creation a leader shown in metadata may still refuse). The last error when the time is over.
pub async fn wait_ready(
    client: &Client,
    name: &str,
    topic_id: Uuid,
    timeout: Duration,
) -> Result<TopicView, CallError> {
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match ready(client, name, topic_id).await {
            Ok(view) => return Ok(view),
            Err(error) => error,
        };
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn ready(client: &Client, name: &str, topic_id: Uuid) -> Result<TopicView, CallError> {
    let what = || format!("waiting for topic {name}");
    let mut view = describe_one(client, name)
        .await?
        .ok_or_else(|| CallError::refused(what(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None))?;
    let brokers = client.brokers().await?;
    let views = brokers.iter().map(|broker| describe_at(client, broker.id, name));
    for at in futures::future::join_all(views).await {
        let at = at?;
        if at.topic_id != topic_id {
            let message = format!("its id is {}, not {topic_id}", at.topic_id);
            return Err(CallError::refused(what(), ErrorCode::UNKNOWN_TOPIC_ID, Some(&message)));
        }
        let leaders = |view: &TopicView| view.partitions.iter().map(|p| (p.leader, p.epoch)).collect::<Vec<_>>();
        if at.partitions.iter().any(|p| p.leader < 0) || leaders(&at) != leaders(&view) {
            return Err(CallError::refused(what(), ErrorCode::LEADER_NOT_AVAILABLE, None));
        }
        view = at;
    }
    let mut asked = ByBroker::new();
    for p in &view.partitions {
        let one = PartitionEpoch { partition: p.partition, epoch: p.epoch };
        asked.entry(p.leader).or_insert_with(Vec::new).push(one);
    }
    for (partition, end) in epoch_ends::log_ends(client, name, &asked).await {
        if let Err(code) = end {
            return Err(CallError::NoLeader { topic: name.to_owned(), partition, code });
        }
    }
    Ok(view)
}

/// Waits until no broker shows a topic of that name any more.
pub async fn wait_gone(client: &Client, name: &str, timeout: Duration) -> Result<(), CallError> {
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let brokers = client.brokers().await?;
        let views = futures::future::join_all(brokers.iter().map(|b| describe_at(client, b.id, name))).await;
        let left = views.into_iter().find_map(|view| match view {
            Err(CallError::Refused { code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, .. }) => None,
            Err(error) => Some(error),
            Ok(_) => Some(CallError::refused(
                format!("waiting for topic {name} to be gone"),
                ErrorCode::REQUEST_TIMED_OUT,
                Some("a broker still shows it"),
            )),
        });
        let Some(error) = left else { return Ok(()) };
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
