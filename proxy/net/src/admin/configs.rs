//! Topic configs: as one broker sees them, and incremental changes.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::string;
use crate::client::{CallError, Client, Target};

/// Resource type of topics.
const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Config source: set on the topic.
const DYNAMIC_TOPIC_CONFIG: i8 = 1;

/// The config that seals a topic.
pub const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// A topic config as a broker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// Name.
    pub name: String,
    /// Effective value; `None` if it is sensitive or unset.
    pub value: Option<String>,
    /// Whether it is set on the topic itself, not inherited.
    pub overridden: bool,
}

/// A change of a topic config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Set on the topic.
    Set {
        /// Name.
        name: String,
        /// Value.
        value: String,
    },
    /// Remove from the topic: it inherits again.
    Delete {
        /// Name.
        name: String,
    },
}

/// A topic's configs as the given broker sees them: all (`None`) or these; sorted by name.
pub async fn describe(
    client: &Client,
    at: &Target,
    topic: &str,
    names: Option<&[&str]>,
) -> Result<Vec<ConfigValue>, CallError> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(string(topic))
        .with_configuration_keys(names.map(|names| names.iter().map(|name| string(name)).collect()));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(at, request).await?;
    let what = || format!("describing the configs of topic {topic}");
    let result = answer.results.first().ok_or_else(|| CallError::nonsense(what(), "the topic is not in it"))?;
    if result.error_code != 0 {
        return Err(CallError::refused(what(), result.error_code, result.error_message.as_deref()));
    }
    let mut values: Vec<_> = result
        .configs
        .iter()
        .map(|config| ConfigValue {
            name: config.name.to_string(),
            value: config.value.as_ref().map(ToString::to_string),
            overridden: config.config_source == DYNAMIC_TOPIC_CONFIG,
        })
        .collect();
    values.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(values)
}

/// Changes a topic's configs, and no others; `validate_only` is a dry run. The answer is not yet the effect: brokers apply
/// it a moment later.
pub async fn alter(
    client: &Client,
    topic: &str,
    changes: &[ConfigChange],
    validate_only: bool,
) -> Result<(), CallError> {
    let configs = changes.iter().map(|change| match change {
        ConfigChange::Set { name, value } => AlterableConfig::default()
            .with_name(string(name))
            .with_config_operation(SET)
            .with_value(Some(string(value))),
        ConfigChange::Delete { name } => {
            AlterableConfig::default().with_name(string(name)).with_config_operation(DELETE).with_value(None)
        }
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(string(topic))
        .with_configs(configs.collect());
    let request =
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(validate_only);
    let answer = client.call(&Target::Controller, request).await?;
    let what = || format!("changing the configs of topic {topic}");
    let result = answer.responses.first().ok_or_else(|| CallError::nonsense(what(), "the topic is not in it"))?;
    match result.error_code {
        0 => Ok(()),
        code => Err(CallError::refused(what(), code, result.error_message.as_deref())),
    }
}
