//! What a move does to the new home's copy: made sealed, opened after the commit, deleted if it is not wanted any more.

use std::time::{Duration, Instant};

use futures::future::join;
use sluice_mesh::ledger::TopicState;
use sluice_mesh::name::ClusterName;
use sluice_net::admin::configs::{self, ConfigChange, MAX_MESSAGE_BYTES};
use sluice_net::admin::log_ends;
use sluice_net::admin::topics::{self, NewTopic};
use sluice_net::{CallError, Client, Target as Asked};

use super::{Hands, STEP};
use crate::topic_route::action::Fact;
use crate::topic_route::checks::{self, MAX_SEAL};
use crate::topic_route::dereference::{client, creation_problem, default_limit};
use crate::topic_route::problem::{Problem, Reason};
use crate::topic_route::seal::{self, Copy, call_problem};
use crate::topic_route::situation::{Checked, Target};

/// Time for the target to come up; nobody waits for it.
const TARGET_READY: Duration = Duration::from_secs(30);

impl Hands<'_> {
    pub(super) async fn prepare_target(&self, to: &ClusterName) -> Result<Fact, Problem> {
        let Some((_, checked)) = &self.s.memory.checked else {
            return Err(Problem::new(Reason::Invalid, "internal: the target comes after the checks; report this"));
        };
        let client = client(self.ctx, to)?;
        let problem = |error: &CallError| call_problem(to.as_str(), error);
        let found = topics::describe_one(&client, self.topic.as_str()).await.map_err(|error| problem(&error))?;
        let (id, created) = match found {
            Some(view) => (view.topic_id, false),
            None => (self.create_target(&client, to, checked).await?, true),
        };
        let ready = topics::wait_ready(&client, self.topic.as_str(), id, TARGET_READY).await;
        ready.map_err(|error| problem(&error))?;
        let value = self.seal_of_target(&client, to).await?;
        self.pin(&client, to, checked).await?;
        let copy = Copy { partitions: Some(checked.partitions), ..self.copy(to, id)? };
        seal::prove(&copy, value, Instant::now() + TARGET_READY).await?;
        Ok(Fact::Target(Target { cluster: to.clone(), id, created }))
    }

    pub(super) async fn create_target(
        &self,
        client: &Client,
        to: &ClusterName,
        checked: &Checked,
    ) -> Result<uuid::Uuid, Problem> {
        let new = NewTopic {
            name: self.topic.as_str().to_owned(),
            partitions: i32::try_from(checked.partitions).unwrap_or(i32::MAX),
            replication_factor: checked.replication_factor,
            configs: Vec::new(),
        };
        match topics::create_sealed(client, &new, 0).await {
            Ok(id) => Ok(id),
            Err(error) => Err(creation_problem(to, self.topic, &error)),
        }
    }

    /// The target's seal. A former segment whose seal was undone by somebody else is sealed again.
    pub(super) async fn seal_of_target(&self, client: &Client, to: &ClusterName) -> Result<u8, Problem> {
        let problem = |error: &CallError| call_problem(to.as_str(), error);
        let names = Some([MAX_MESSAGE_BYTES].as_slice());
        let configs = configs::describe(client, &Asked::Any, self.topic.as_str(), names).await;
        let configs = configs.map_err(|error| problem(&error))?;
        let shown = checks::config(&configs, MAX_MESSAGE_BYTES).and_then(|(value, _)| value.parse::<u64>().ok());
        if let Some(value) = shown.filter(|value| *value <= MAX_SEAL) {
            return Ok(u8::try_from(value).unwrap_or(0));
        }
        tracing::warn!(topic = %self.topic, cluster = %to, "the seal of an old segment was undone; it is set again");
        let change = ConfigChange::Set { name: MAX_MESSAGE_BYTES.to_owned(), value: "0".to_owned() };
        configs::alter(client, self.topic.as_str(), &[change], false).await.map_err(|error| problem(&error))?;
        Ok(0)
    }

    /// Makes the target's effective configs those of the topic.
    pub(super) async fn pin(&self, client: &Client, to: &ClusterName, checked: &Checked) -> Result<(), Problem> {
        let there = configs::describe(client, &Asked::Any, self.topic.as_str(), None).await;
        let there = there.map_err(|error| call_problem(to.as_str(), &error))?;
        let changes = pins(&checked.configs, &there);
        if changes.is_empty() {
            return Ok(());
        }
        configs::alter(client, self.topic.as_str(), &changes, false).await.map_err(|error| {
            let names: Vec<&str> = changes.iter().map(name_of).collect();
            let message =
                format!("cluster {to} refuses settings of topic {} ({}): {error}", self.topic, names.join(", "));
            Problem::new(Reason::ConfigDiffers, message)
        })
    }

    pub(super) async fn drop_target(&self, cluster: &ClusterName, id: uuid::Uuid) -> Result<Fact, Problem> {
        let client = client(self.ctx, cluster)?;
        let problem = |error: &CallError| call_problem(cluster.as_str(), error);
        let found = topics::describe_one(&client, self.topic.as_str()).await.map_err(|error| problem(&error))?;
        let Some(view) = found.filter(|view| view.topic_id == id) else { return Ok(Fact::Done) };
        let indexes: Vec<i32> = view.partitions.iter().map(|partition| partition.partition).collect();
        let ends = log_ends::list_offsets(&client, self.topic.as_str(), &indexes, log_ends::LATEST).await;
        let names = Some([MAX_MESSAGE_BYTES].as_slice());
        let configs = configs::describe(&client, &Asked::Any, self.topic.as_str(), names).await;
        let configs = configs.map_err(|error| problem(&error))?;
        let empty = ends.len() == indexes.len()
            && ends.iter().all(|(_, end)| end.as_ref().is_ok_and(|end| end.offset == 0))
            && checks::is_sealed(&configs);
        if empty {
            match topics::delete(&client, self.topic.as_str(), id).await {
                Ok(()) => {
                    tracing::info!(topic = %self.topic, %cluster, "deleted the empty target of a move that was given up");
                }
                Err(error) => return Err(problem(&error)),
            }
        }
        Ok(Fact::Done)
    }

    pub(super) async fn open_target(&self, state: &TopicState) -> Result<Fact, Problem> {
        let copy = Copy { partitions: Some(state.chains.len()), ..self.copy(&state.to, state.to_id)? };
        let change = match self.open_value(state).await {
            Some(value) => ConfigChange::Set { name: MAX_MESSAGE_BYTES.to_owned(), value },
            None => ConfigChange::Delete { name: MAX_MESSAGE_BYTES.to_owned() },
        };
        let changes = [change];
        let alter = configs::alter(&copy.client, self.topic.as_str(), &changes, false);
        // No proxy sends anything there before the chain is published: what is found did not come through the mesh.
        let ((), opened) = join(self.warn_of_strays(&copy, state), alter).await;
        opened.map_err(|error| call_problem(state.to.as_str(), &error))?;
        seal::prove_open(&copy, Instant::now() + STEP).await?;
        Ok(Fact::Done)
    }

    /// Records that got in while the target was sealed belong to the new segment now: told, not hidden.
    pub(super) async fn warn_of_strays(&self, copy: &Copy, state: &TopicState) {
        if self.s.memory.problem.is_some() || self.s.memory.attempt.number != state.attempt {
            return; // A second try, or another process before this one: it may have been open already.
        }
        if let Ok(Ok(ends)) = seal::log_ends_now(copy).await {
            for (index, (chain, end)) in state.chains.iter().zip(ends).enumerate() {
                if chain.last().is_some_and(|last| last.physical_start != end) {
                    tracing::warn!(topic = %self.topic, cluster = %state.to, partition = index, end,
                        "records were written to the sealed target from outside the mesh; they become part of the topic");
                }
            }
        }
    }

    /// The max.message.bytes that makes the new home take what the old one took: the override, or the old home's own default
    /// where the new one's differs.
    pub(super) async fn open_value(&self, state: &TopicState) -> Option<String> {
        if let Some((_, checked)) = &self.s.memory.checked {
            return checked.open_max_message_bytes.clone();
        }
        if state.original_max_message_bytes.is_some() {
            return state.original_max_message_bytes.clone();
        }
        let (old, new) = (client(self.ctx, &state.from).ok()?, client(self.ctx, &state.to).ok()?);
        let (old, new) = join(default_limit(&old), default_limit(&new)).await;
        old.filter(|old| new.as_ref() != Some(old))
    }
}

/// Settings that say something about brokers, replicas or this move, not about the topic's records.
const NOT_PINNED: [&str; 4] = [
    MAX_MESSAGE_BYTES,
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
    "message.format.version",
];

/// The changes that make the effective configs of the target those of the topic. What the target's version does not know
/// is left out.
fn pins(wanted: &[(String, String)], there: &[configs::ConfigValue]) -> Vec<ConfigChange> {
    let differs = |(name, value): &&(String, String)| {
        !NOT_PINNED.contains(&name.as_str())
            && there.iter().any(|config| config.name == *name && config.value.as_ref() != Some(value))
    };
    wanted
        .iter()
        .filter(differs)
        .map(|(name, value)| ConfigChange::Set { name: name.clone(), value: value.clone() })
        .collect()
}

fn name_of(change: &ConfigChange) -> &str {
    match change {
        ConfigChange::Set { name, .. } | ConfigChange::Delete { name } => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_and_is_known_is_pinned() {
        let wanted = [
            ("retention.ms", "1000"),
            ("segment.bytes", "5"),
            ("only.here", "x"),
            (MAX_MESSAGE_BYTES, "7"),
            ("message.format.version", "3.0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let there = [
            ("retention.ms", "2000"),
            ("segment.bytes", "5"),
            (MAX_MESSAGE_BYTES, "0"),
            ("message.format.version", "2.0"),
        ]
        .map(|(name, value)| configs::ConfigValue {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            overridden: false,
        });
        let expected = ConfigChange::Set { name: "retention.ms".to_owned(), value: "1000".to_owned() };
        assert_eq!(pins(&wanted, &there), vec![expected]);
    }
}
