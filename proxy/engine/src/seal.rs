//! Whether a topic is sealed: asked at a broker, which is the only one to know for sure. It must never know why one asks.

use kafka_protocol::messages::DescribeConfigsResponse;
use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::model::BrokerRef;

use crate::ask::{Ask, Call, Reply, Request, Response, Target};

/// Time limit of the question, milliseconds.
const ASK_TIMEOUT: u64 = 1_000;

/// A batch header alone is longer than this: a topic with such a limit is sealed.
const SEAL_MAX: i64 = 60;

/// The limit that is the seal.
const LIMIT: &str = "max.message.bytes";

/// Kafka's number for topics among the resources that have configs.
const TOPIC: i8 = 2;

/// Is each of these topics sealed?
pub(crate) fn ask<'a>(names: impl Iterator<Item = &'a str>, broker: BrokerRef) -> Ask {
    let resources = names.map(|name| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(name.to_owned()))
            .with_configuration_keys(Some(vec![StrBytes::from_static_str(LIMIT)]))
    });
    Ask::Calls(vec![Call {
        cluster: broker.cluster,
        to: Target::Broker(broker.broker),
        request: Request::DescribeConfigs(DescribeConfigsRequest::default().with_resources(resources.collect())),
        timeout_millis: ASK_TIMEOUT,
    }])
}

/// The reply to [`ask`].
#[derive(Debug)]
pub(crate) struct Seals(Option<DescribeConfigsResponse>);

impl Seals {
    pub(crate) fn read(reply: Reply) -> Self {
        let Reply::Calls(results) = reply else {
            return Self(None);
        };
        match results.into_iter().next() {
            Some(Ok(Response::DescribeConfigs(answer))) => Self(Some(answer)),
            _ => Self(None),
        }
    }

    /// The topic is sealed, or the broker has not answered.
    pub(crate) fn may_be_sealed(&self, topic: &str) -> bool {
        self.0.is_none() || self.limit(topic).is_some_and(|limit| limit <= SEAL_MAX)
    }

    /// The broker has said that the topic is not sealed.
    pub(crate) fn is_open(&self, topic: &str) -> bool {
        self.limit(topic).is_some_and(|limit| limit > SEAL_MAX)
    }

    fn limit(&self, topic: &str) -> Option<i64> {
        let found = self.0.as_ref()?.results.iter().find(|result| result.resource_name.as_str() == topic)?;
        let config = found.configs.iter().find(|config| config.name.as_str() == LIMIT)?;
        config.value.as_ref()?.as_str().parse().ok()
    }
}
