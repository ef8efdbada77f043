//! Reads what the checks look at from both clusters. Changes nothing, decides nothing.

use futures::future::{join, try_join};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeConfigsRequest, MetadataRequest, TopicName as KafkaTopic,
};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::chain::Chain;
use sluice_mesh::name::{ClusterName, TopicName};
use sluice_net::admin::topics::{self, NewTopic};
use sluice_net::admin::{cluster, configs, log_ends, transactions};
use sluice_net::{CallError, Client, ErrorCode, Target};

use super::checks::{Facts, Rights, Side, config};
use super::problem::{Problem, Reason};
use super::seal::call_problem;
use crate::context::Context;

/// The client of a cluster.
pub fn client(ctx: &Context, cluster: &ClusterName) -> Result<Client, Problem> {
    ctx.observer.client(cluster).ok_or_else(|| {
        let message = format!("there is no KafkaCluster {cluster} any more; create it again under that name");
        Problem::new(Reason::ClusterNotFound, message)
    })
}

/// Reads all that the checks look at.
pub async fn facts(
    ctx: &Context,
    topic: &TopicName,
    from: &ClusterName,
    to: &ClusterName,
    chains: Vec<Chain>,
) -> Result<Facts, Problem> {
    let (old, new) = (client(ctx, from)?, client(ctx, to)?);
    let naming =
        async { transactions::naming(&old, topic.as_str()).await.map_err(|error| call_problem(from.as_str(), &error)) };
    let sides = try_join(side(&old, from, topic), side(&new, to, topic));
    let ((from_side, to_side), transactions) = try_join(sides, naming).await?;
    let creation = match (&from_side.topic, &to_side.topic) {
        (Some(source), None) => {
            let partitions = i32::try_from(source.partitions.len()).unwrap_or(i32::MAX);
            let replicas = source.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(1);
            let replication_factor = i16::try_from(replicas.min(to_side.brokers).max(1)).unwrap_or(1);
            let name = topic.as_str().to_owned();
            let new_topic = NewTopic { name, partitions, replication_factor, configs: Vec::new() };
            topics::create(&new, &new_topic, true).await.err().map(|error| creation_problem(to, topic, &error))
        }
        _ => None,
    };
    let merged = ctx.ledger.merged();
    let strangers = merged.strangers.get(topic).map(|meshes| meshes.iter().cloned().collect()).unwrap_or_default();
    Ok(Facts {
        topic: topic.as_str().to_owned(),
        from: from_side,
        to: to_side,
        transactions,
        chains,
        strangers,
        creation,
    })
}

/// What a refused creation means.
pub fn creation_problem(cluster: &ClusterName, topic: &TopicName, error: &CallError) -> Problem {
    match error.code() {
        ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => {
            let message =
                format!("the operator may not create topic {topic} on cluster {cluster}; grant it Create by an ACL");
            Problem::new(Reason::MissingRights, message)
        }
        ErrorCode::NETWORK_EXCEPTION => call_problem(cluster.as_str(), error),
        _ => {
            let message =
                format!("cluster {cluster} refuses to create topic {topic}: {error}; look at its create.topic.policy");
            Problem::new(Reason::TargetNotCreated, message)
        }
    }
}

async fn side(client: &Client, name: &ClusterName, topic: &TopicName) -> Result<Side, Problem> {
    let problem = |error: &CallError| call_problem(name.as_str(), error);
    let known = join(cluster_rights(client), default_limit(client));
    let (view, (found, (cluster_rights, default_limit))) =
        join(cluster::view(client), join(topics::describe_one(client, topic.as_str()), known)).await;
    let view = view.map_err(|error| problem(&error))?;
    let found = match found {
        Err(CallError::Refused { code, .. }) if code == ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
            let message = format!("the operator may not Describe topic {topic} on cluster {name}; grant it by an ACL");
            return Err(Problem::new(Reason::MissingRights, message));
        }
        found => found.map_err(|error| problem(&error))?,
    };
    let mut side = Side {
        cluster: name.clone(),
        kraft: view.kraft,
        brokers: view.brokers.len(),
        topic: found,
        configs: Vec::new(),
        ends: Vec::new(),
        topic_rights: Rights::UNKNOWN,
        cluster_rights,
        default_limit,
    };
    let Some(found) = &side.topic else { return Ok(side) };
    let indexes: Vec<i32> = found.partitions.iter().map(|partition| partition.partition).collect();
    let ((configs, ends), topic_rights) = join(
        join(
            configs::describe(client, &Target::Any, topic.as_str(), None),
            log_ends::list_offsets(client, topic.as_str(), &indexes, log_ends::LATEST),
        ),
        topic_rights(client, topic),
    )
    .await;
    side.topic_rights = topic_rights;
    side.configs = match configs {
        Err(error) if error.code() == ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
            let message =
                format!("the operator lacks DescribeConfigs on topic {topic} of cluster {name}; grant it by an ACL");
            return Err(Problem::new(Reason::MissingRights, message));
        }
        configs => configs.map_err(|error| problem(&error))?,
    };
    // A partition without a leader is a finding of the checks, not a failure to read.
    side.ends = ends.into_iter().map(|(_, end)| end.map_or(0, |end| end.offset)).collect();
    if config(&side.configs, configs::MAX_MESSAGE_BYTES).is_none() {
        let message = format!("cluster {name} does not tell max.message.bytes of topic {topic}");
        return Err(Problem::new(Reason::ClusterUnreachable, message));
    }
    Ok(side)
}

/// What we may do to the topic, if the broker tells.
async fn topic_rights(client: &Client, topic: &TopicName) -> Rights {
    let name = KafkaTopic(StrBytes::from_string(topic.as_str().to_owned()));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name))]))
        .with_allow_auto_topic_creation(false)
        .with_include_topic_authorized_operations(true);
    let answer = client.call(&Target::Any, request).await;
    let rights = answer.ok().and_then(|answer| answer.topics.first().map(|topic| topic.topic_authorized_operations));
    rights.map_or(Rights::UNKNOWN, Rights)
}

/// What we may do to the cluster, if the broker tells.
async fn cluster_rights(client: &Client) -> Rights {
    let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    let answer = client.call(&Target::Any, request).await;
    answer.map_or(Rights::UNKNOWN, |answer| Rights(answer.cluster_authorized_operations))
}

/// A cluster's own limit for messages, which its topics inherit.
pub async fn default_limit(client: &Client) -> Option<String> {
    const BROKER: i8 = 4;
    let broker = client.brokers().await.ok()?.first()?.id;
    let resource = DescribeConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(StrBytes::from_string(broker.to_string()))
        .with_configuration_keys(Some(vec![StrBytes::from_static_str("message.max.bytes")]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(&Target::Broker(broker), request).await.ok()?;
    let found = answer.results.into_iter().next()?.configs.into_iter().next()?;
    found.value.map(|value| value.to_string())
}
