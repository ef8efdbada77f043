//! The ledger's topic: made right, or set right.

use std::time::Duration;

use super::{LedgerLog, LedgerTopic, LogError, MAX_MESSAGE_BYTES};
use crate::admin::configs::{self, ConfigChange, ConfigValue};
use crate::admin::topics::{self, NewTopic, TopicView};
use crate::client::{CallError, Target};
use crate::error_code::ErrorCode;

const MOST_REPLICAS: usize = 3;
const MIN_INSYNC: &str = "min.insync.replicas";
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// What the topic must be set to, so that no default of the cluster can weaken it. `producer`: a broker that compresses would
/// hide the records from readers that know no codec.
fn settings(replicas: usize) -> Vec<(String, String)> {
    [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("max.message.bytes", MAX_MESSAGE_BYTES.to_string()),
        (MIN_INSYNC, replicas.clamp(1, 2).to_string()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// What is not as it must be: to be set, and as found.
fn wrong(wanted: &[(String, String)], found: &[ConfigValue]) -> (Vec<ConfigChange>, Vec<(String, String)>) {
    wanted
        .iter()
        .filter_map(|(name, value)| {
            let found = found.iter().find(|config| config.name == *name);
            let right = found.is_some_and(|config| config.overridden && config.value.as_ref() == Some(value));
            let as_found = found.and_then(|config| config.value.clone()).unwrap_or_default();
            let set = ConfigChange::Set { name: name.clone(), value: value.clone() };
            (!right).then(|| (set, (name.clone(), as_found)))
        })
        .unzip()
}

impl LedgerLog {
    /// Makes the topic if it is missing (compacted, one partition, three replicas or as many as there are brokers, min.insync 2
    /// where there are two replicas, no unclean election), else checks it and sets wrong settings right.
    pub async fn ensure_topic(&self) -> Result<LedgerTopic, LogError> {
        self.client.metadata(Some(&[]), false).await?;
        let brokers = self.client.brokers().await?.len();
        let found = topics::describe_one(&self.client, &self.topic).await?;
        let created = found.is_none() && self.create(brokers.clamp(1, MOST_REPLICAS)).await?;
        let view = match found {
            Some(view) => view,
            None => self.seen().await?,
        };
        self.check(&view)?;
        let view = topics::wait_ready(&self.client, &self.topic, view.topic_id, READY_PATIENCE).await?;
        let replicas = view.partitions.first().map_or(0, |partition| partition.replicas.len());

        let at = Target::Any;
        let wanted = settings(replicas);
        let names: Vec<_> = wanted.iter().map(|(name, _)| name.as_str()).collect();
        let as_found = configs::describe(&self.client, &at, &self.topic, Some(&names)).await?;
        let (changes, corrected) = wrong(&wanted, &as_found);
        if !changes.is_empty() {
            configs::alter(&self.client, &self.topic, &changes, false).await?;
            tracing::info!(topic = %self.topic, ?corrected, "ledger settings set right");
        }
        let mut warnings = Vec::new();
        if replicas < brokers.min(MOST_REPLICAS) {
            warnings.push(format!(
                "{} has {replicas} replicas where {} are possible; reassign its partition to more brokers",
                self.topic,
                brokers.min(MOST_REPLICAS)
            ));
        }
        if replicas < 2 {
            warnings.push(format!("{} lies on one broker only; with it the truth about moves is lost", self.topic));
        }
        Ok(LedgerTopic {
            created,
            replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
            min_insync_replicas: if replicas < 2 { 1 } else { 2 },
            corrected,
            warnings,
        })
    }

    /// Whether it was us.
    async fn create(&self, replicas: usize) -> Result<bool, LogError> {
        let topic = NewTopic {
            name: self.topic.clone(),
            partitions: 1,
            replication_factor: i16::try_from(replicas).unwrap_or(1),
            configs: settings(replicas),
        };
        match topics::create(&self.client, &topic, false).await {
            Ok(_) => Ok(true),
            Err(CallError::Refused { code: ErrorCode::TOPIC_ALREADY_EXISTS, .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The topic just made, as soon as a broker shows it.
    async fn seen(&self) -> Result<TopicView, LogError> {
        let deadline = tokio::time::Instant::now() + READY_PATIENCE;
        loop {
            // Right after creation a broker shows it without leaders, or not at all.
            match topics::describe_one(&self.client, &self.topic).await {
                Ok(Some(view)) if !view.partitions.is_empty() => return Ok(view),
                Err(error) if !error.is_retriable() => return Err(error.into()),
                Ok(_) | Err(_) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(super::FIRST_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                    return Err(CallError::refused(format!("waiting for topic {}", self.topic), code, None).into());
                }
            }
        }
    }

    fn check(&self, view: &TopicView) -> Result<(), LogError> {
        match view.partitions.len() {
            1 => Ok(()),
            count => {
                let reason = format!("it has {count} partitions, one is right");
                Err(LogError::NotALedger { topic: self.topic.clone(), reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, value: &str, overridden: bool) -> ConfigValue {
        ConfigValue { name: name.to_owned(), value: Some(value.to_owned()), overridden }
    }

    #[test]
    fn min_insync_follows_the_replicas() {
        let min = |replicas| settings(replicas).into_iter().find(|(name, _)| name == MIN_INSYNC).unwrap().1;
        assert_eq!([min(0), min(1), min(2), min(3)], ["1", "1", "2", "2"]);
    }

    #[test]
    fn wrong_inherited_and_missing_settings_are_set() {
        let mut as_found: Vec<_> = settings(3).iter().map(|(name, value)| found(name, value, true)).collect();
        assert_eq!(wrong(&settings(3), &as_found), (vec![], vec![]));
        as_found[0] = found("cleanup.policy", "delete", true);
        as_found[1].overridden = false;
        as_found.pop();
        let (changes, corrected) = wrong(&settings(3), &as_found);
        assert_eq!(changes.len(), 3);
        let expected =
            [("cleanup.policy", "delete"), ("compression.type", "producer"), ("unclean.leader.election.enable", "")];
        assert_eq!(corrected, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
