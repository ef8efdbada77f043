//! What a move does to the old home's copy: sealed, read, and unsealed if the attempt is given up.

use std::time::Instant;

use futures::future::try_join;
use sluice_mesh::ledger::TopicState;
use sluice_mesh::name::ClusterName;
use sluice_net::admin::configs::{self, ConfigChange, MAX_MESSAGE_BYTES};
use sluice_net::admin::transactions;
use sluice_net::{CallError, ErrorCode, Target as Asked};

use super::{Hands, STEP};
use crate::topic_route::action::Fact;
use crate::topic_route::dereference::client;
use crate::topic_route::problem::{Problem, Reason};
use crate::topic_route::seal::{self, Copy, call_problem};
use crate::topic_route::step::seal_value;
use crate::topic_route::{checks, cut, restore};

impl Hands<'_> {
    pub(super) async fn try_seal(&self) -> Result<Fact, Problem> {
        let cluster = &self.s.serving;
        let value = seal_value(self.s.standing.attempt().saturating_add(1));
        let change = ConfigChange::Set { name: MAX_MESSAGE_BYTES.to_owned(), value: value.to_string() };
        let tried = configs::alter(&client(self.ctx, cluster)?, self.topic.as_str(), &[change], true).await;
        tried.map_err(|error| seal_problem(cluster, &error))?;
        Ok(Fact::Done)
    }

    pub(super) async fn check_transactions(&self) -> Result<Fact, Problem> {
        let cluster = &self.s.serving;
        let open = transactions::naming(&client(self.ctx, cluster)?, self.topic.as_str()).await;
        let open = open.map_err(|error| call_problem(cluster.as_str(), &error))?;
        match open.first() {
            Some(first) => Err(checks::open_transaction(self.topic.as_str(), first, open.len())),
            None => Ok(Fact::Done),
        }
    }

    pub(super) async fn seal(&self, state: &TopicState) -> Result<Fact, Problem> {
        let client = client(self.ctx, &state.from)?;
        let change = ConfigChange::Set { name: MAX_MESSAGE_BYTES.to_owned(), value: state.seal_value.to_string() };
        let sealed = configs::alter(&client, self.topic.as_str(), &[change], false).await;
        sealed.map_err(|error| seal_problem(&state.from, &error))?;
        Ok(Fact::Done)
    }

    pub(super) async fn read_cut(&self, state: &TopicState) -> Result<Fact, Problem> {
        let from = self.copy(&state.from, state.from_id)?;
        let to = self.copy(&state.to, state.to_id)?;
        let partitions = from.partitions.unwrap_or(0);
        let merged = self.ctx.ledger.merged();
        let earlier = merged
            .topics
            .get(self.topic)
            .filter(|_| state.switched_at > 0 && self.s.now.saturating_sub(state.switched_at) <= restore::CHECK_MILLIS);
        let earlier = earlier.map(|found| found.producers_by_partition(partitions)).unwrap_or_default();
        let generation = cut::generation(&state.chains);
        // One that began since the first look would write its marker to the sealed log.
        let read = seal::read(&from, &to, state.seal_value, generation, &earlier, self.deadline());
        // A cut that proxies cannot be told of would stop writers until they can.
        let beside = try_join(self.check_transactions(), self.reach_proxies());
        let (table, _) = try_join(read, beside).await?;
        Ok(Fact::Cut(table))
    }

    /// The way to the proxies is open.
    async fn reach_proxies(&self) -> Result<(), Problem> {
        let asked = tokio::time::timeout_at(self.deadline().into(), self.ctx.store.reach()).await;
        let closed = |why: &str| {
            let message = format!("proxies could not be told of the new home, so the topic stays where it is: {why}");
            Problem::new(Reason::WaitingForProxies, message)
        };
        asked.map_err(|_| closed("there was no answer in time"))?.map_err(|error| closed(&error.to_string()))
    }

    pub(super) async fn unseal(&self, state: &TopicState) -> Result<Fact, Problem> {
        let copy = Copy { partitions: None, ..self.copy(&state.from, state.from_id)? };
        let problem = |error: &CallError| call_problem(state.from.as_str(), error);
        let names = Some([MAX_MESSAGE_BYTES].as_slice());
        let shown = configs::describe(&copy.client, &Asked::Any, self.topic.as_str(), names).await;
        let shown = match shown {
            Err(error) if error.code() == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => return Ok(Fact::Done),
            shown => shown.map_err(|error| problem(&error))?,
        };
        let ours = checks::override_of_seal(&shown) == Some(state.seal_value.to_string());
        // The attempt's own alteration may not show yet: then it is undone without looking.
        if !ours && !self.s.memory.may_be_sealed {
            return Ok(Fact::Done);
        }
        let change = match &state.original_max_message_bytes {
            Some(value) => ConfigChange::Set { name: MAX_MESSAGE_BYTES.to_owned(), value: value.clone() },
            None => ConfigChange::Delete { name: MAX_MESSAGE_BYTES.to_owned() },
        };
        let undone = configs::alter(&copy.client, self.topic.as_str(), &[change], false).await;
        undone.map_err(|error| problem(&error))?;
        seal::prove_open(&copy, Instant::now() + STEP).await?;
        Ok(Fact::Done)
    }
}

fn seal_problem(cluster: &ClusterName, error: &CallError) -> Problem {
    match error {
        CallError::Refused { code, .. } if *code == ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
            let message =
                format!("the operator lacks AlterConfigs on the topic on cluster {cluster}; grant it by an ACL");
            Problem::new(Reason::MissingRights, message)
        }
        CallError::Refused { .. } => {
            let message = format!(
                "cluster {cluster} refuses to seal the topic by max.message.bytes ({error}); look at its alter.config.policy"
            );
            Problem::new(Reason::SealRefused, message)
        }
        error => call_problem(cluster.as_str(), error),
    }
}
