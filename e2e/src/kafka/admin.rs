//! Topics and their settings, as any admin tool would ask for them: of a cluster itself, or of whatever stands in front.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

/// librdkafka's admin client, one call at a time.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

impl Admin {
    /// A client of `bootstrap`.
    pub fn new(bootstrap: &str) -> Result<Self> {
        let client = ClientConfig::new().set("bootstrap.servers", bootstrap).set("log_level", "3").create()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client, runtime })
    }

    fn options() -> AdminOptions {
        AdminOptions::new()
            .operation_timeout(Some(Duration::from_secs(20)))
            .request_timeout(Some(Duration::from_secs(30)))
    }

    /// Creates a topic and waits until all its partitions have leaders that this client's bootstrap shows.
    pub fn create_topic(&self, name: &str, partitions: usize, replicas: usize, configs: &[(&str, &str)]) -> Result<()> {
        let replicas = i32::try_from(replicas).context("a replication factor")?;
        let mut topic = NewTopic::new(
            name,
            i32::try_from(partitions).context("a partition count")?,
            TopicReplication::Fixed(replicas),
        );
        for (key, value) in configs {
            topic = topic.set(key, value);
        }
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let results = self.runtime.block_on(self.client.create_topics([&topic], &Self::options()))?;
            match results.into_iter().next().context("create topics: an empty answer")? {
                Ok(_) => return self.wait_topic(name, partitions),
                // librdkafka leaves it to its user to try this one again.
                Err((_, RDKafkaErrorCode::NotController)) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err((topic, code)) => bail!("create topic {topic}: {code}"),
            }
        }
    }

    /// Waits until the topic shows this many partitions with leaders.
    pub fn wait_topic(&self, name: &str, partitions: usize) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let metadata = self.client.inner().fetch_metadata(Some(name), Duration::from_secs(5));
            if let Ok(metadata) = &metadata
                && let Some(topic) = metadata.topics().first()
                && topic.partitions().len() == partitions
                && topic.partitions().iter().all(|partition| partition.leader() >= 0)
            {
                return Ok(());
            }
            ensure!(Instant::now() < end, "topic {name} does not show {partitions} partitions with leaders");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Names of all topics that are shown.
    pub fn topics(&self) -> Result<Vec<String>> {
        let metadata = self.client.inner().fetch_metadata(None, Duration::from_secs(10))?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        for result in self.runtime.block_on(self.client.delete_topics(&[name], &Self::options()))? {
            if let Err((topic, code)) = result {
                bail!("delete topic {topic}: {code}");
            }
        }
        Ok(())
    }

    /// The value of a topic's configuration entry.
    pub fn topic_config(&self, topic: &str, key: &str) -> Result<Option<String>> {
        let resources = [ResourceSpecifier::Topic(topic)];
        let results = self.runtime.block_on(self.client.describe_configs(&resources, &Self::options()))?;
        let result = results.into_iter().next().context("describe configs: an empty answer")?;
        let resource = result.map_err(|code| anyhow::anyhow!("describe configs of {topic}: {code}"))?;
        Ok(resource.get(key).and_then(|entry| entry.value.clone()))
    }

    /// *Replaces* a topic's configuration by this one entry.
    pub fn set_topic_config(&self, topic: &str, key: &str, value: &str) -> Result<()> {
        let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
        for result in self.runtime.block_on(self.client.alter_configs([&config], &Self::options()))? {
            if let Err((_, code)) = result {
                bail!("alter configs of {topic}: {code}");
            }
        }
        Ok(())
    }
}
