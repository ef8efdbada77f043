//! Does one action: the only place from which a move changes brokers, ledgers or the document. What to do, and when, is
//! `step`'s business.

use std::time::{Duration, Instant};

use futures::future::{join, try_join};
use sluice_mesh::document::Fence;
use sluice_mesh::ledger::{Fact as LedgerFact, Subject, TopicState};
use sluice_mesh::name::{ClusterName, TopicName};
use sluice_net::admin::configs::{self, ConfigChange, MAX_MESSAGE_BYTES};
use sluice_net::admin::topics::{self, NewTopic};
use sluice_net::admin::{log_ends, transactions};
use sluice_net::{CallError, Client, ErrorCode, Target as Asked};

use super::checks::{self, MAX_SEAL};
use super::cut;
use super::dereference::{client, creation_problem, default_limit, facts};
use super::problem::{Problem, Reason};
use super::restore;
use super::seal::{self, Copy, call_problem};
use super::situation::{Checked, CutTable, Situation, Standing, Target};
use super::step::{Action, Fact};
use crate::compile::RoutedTopic;
use crate::context::Context;
use crate::ledger::LedgerError;
use crate::publish::PublishError;

/// Time for the target to come up; nobody waits for it.
const TARGET_READY: Duration = Duration::from_secs(30);
/// Longest time for one step behind the fence, whatever the pause budget says.
const STEP: Duration = Duration::from_secs(5);
/// How long one look at the proxies' reports may wait.
const REPORTS: Duration = Duration::from_millis(500);
/// Chunks of producers in one batch of the ledger: together well below the limit of a message.
const PRODUCERS_AT_ONCE: usize = 2;

/// Does an action for a topic.
pub async fn apply(ctx: &Context, topic: &TopicName, s: &Situation, action: &Action) -> Result<Fact, Problem> {
    Hands { ctx, topic, s }.apply(action).await
}

struct Hands<'a> {
    ctx: &'a Context,
    topic: &'a TopicName,
    s: &'a Situation,
}

impl Hands<'_> {
    async fn apply(&self, action: &Action) -> Result<Fact, Problem> {
        match action {
            Action::ReadLedgers => self.read_ledgers().await,
            Action::Check { to } => self.check(to).await,
            Action::Catalogue => self.catalogue().await,
            Action::PublishEntry | Action::Unfence => {
                let revision = self.publish(self.entry()?).await?;
                if *action == Action::Unfence {
                    self.tell_the_new_home().await;
                }
                Ok(Fact::Revision(revision))
            }
            Action::AwaitEntry { revision } => {
                // Also proxies that were lost a moment ago: one that wakes up late must not find a second copy first.
                let applied = self.ctx.proxies.wait_applied(*revision, REPORTS).await;
                Ok(Fact::Late(applied.late_or_lost()))
            }
            Action::PrepareTarget { to } => self.prepare_target(to).await,
            Action::TrySeal => self.try_seal().await,
            Action::RecordIntent(state) => self.record_intent(state).await,
            Action::Fence { attempt, hold_millis } => {
                let fence = Fence { attempt: *attempt, hold_millis: *hold_millis };
                Ok(Fact::Revision(self.publish(restore::fenced(self.entry()?, fence)).await?))
            }
            Action::AwaitDrained { revision, millis } => {
                let longest = Duration::from_millis(u64::try_from(*millis).unwrap_or(0));
                let applied = self.ctx.proxies.wait_drained(*revision, longest).await;
                Ok(Fact::Late(applied.late()))
            }
            Action::CheckTransactions => self.check_transactions().await,
            Action::Seal(state) => self.seal(state).await,
            Action::ProveSeal(state) => {
                let copy = self.copy(&state.from, state.from_id)?;
                seal::prove(&copy, state.seal_value, self.deadline()).await?;
                Ok(Fact::Done)
            }
            Action::ReadCut(state) => self.read_cut(state).await,
            Action::RecordCutThere(state) => self.record_cut(&state.to, state).await,
            Action::RecordCut(state) => self.record_cut(&state.from, state).await,
            Action::OpenTarget(state) => self.open_target(state).await,
            Action::PublishChain(state) => self.publish_chain(state).await,
            Action::AwaitSwitched { revision } => {
                let applied = self.ctx.proxies.wait_applied(*revision, REPORTS).await;
                Ok(Fact::Late(applied.late()))
            }
            Action::RecordSwitched(state) => self.record_switched(state).await,
            Action::RecordAbort(state) => {
                self.append(&state.from, state).await?;
                Ok(Fact::Ledger(self.standing()?))
            }
            Action::Unseal(state) => self.unseal(state).await,
            Action::DropTarget { cluster, id } => self.drop_target(cluster, *id).await,
        }
    }

    // --- ledgers -----------------------------------------------------------------------------------------------------

    fn standing(&self) -> Result<Standing, Problem> {
        standing(self.ctx, self.topic)
    }

    async fn read_ledgers(&self) -> Result<Fact, Problem> {
        let state = self.s.standing.state();
        let wanted = self.s.wanted.as_ref().map(|wanted| &wanted.to);
        let mut clusters: Vec<&ClusterName> = state.into_iter().flat_map(|state| [&state.to, &state.from]).collect();
        clusters.extend(wanted);
        clusters.push(&self.s.serving);
        clusters.sort();
        clusters.dedup();
        for cluster in clusters {
            // Only the old home's ledger decides; another one that is away must not stand in the way of that.
            let decides = *cluster == self.s.serving || state.is_some_and(|state| *cluster == state.from);
            if let Err(error) = self.ctx.ledger.settle(cluster).await
                && decides
            {
                return Err(ledger_problem(&error));
            }
        }
        Ok(Fact::Ledger(self.standing()?))
    }

    async fn append(&self, on: &ClusterName, state: &TopicState) -> Result<(), Problem> {
        let fact = LedgerFact::Topic(Box::new(state.clone()));
        let subject = Subject::Topic(self.topic.clone());
        self.ctx.ledger.append(std::slice::from_ref(on), subject, fact).await.map_err(|error| ledger_problem(&error))
    }

    async fn record_intent(&self, state: &TopicState) -> Result<Fact, Problem> {
        let fact = LedgerFact::Topic(Box::new(state.clone()));
        let both = [state.to.clone(), state.from.clone()];
        let appended = self.ctx.ledger.append(&both, Subject::Topic(self.topic.clone()), fact).await;
        appended.map_err(|error| ledger_problem(&error))?;
        Ok(Fact::Ledger(self.standing()?))
    }

    async fn record_cut(&self, on: &ClusterName, state: &TopicState) -> Result<Fact, Problem> {
        let empty = CutTable { partitions: Vec::new() };
        let chunks = cut::chunks(self.s.memory.attempt.cut.as_ref().unwrap_or(&empty));
        let mut batch: Vec<(Subject, LedgerFact)> = Vec::new();
        for (chunk, producers) in (0_u32..).zip(chunks) {
            let subject = Subject::Producers { topic: self.topic.clone(), chunk };
            batch.push((subject, LedgerFact::Producers { attempt: state.attempt, producers }));
            if batch.len() >= PRODUCERS_AT_ONCE {
                self.append_batch(on, std::mem::take(&mut batch)).await?;
            }
        }
        // The cut comes last: whoever reads it has read its producers.
        batch.push((Subject::Topic(self.topic.clone()), LedgerFact::Topic(Box::new(state.clone()))));
        self.append_batch(on, batch).await?;
        Ok(Fact::Ledger(self.standing()?))
    }

    async fn append_batch(&self, on: &ClusterName, batch: Vec<(Subject, LedgerFact)>) -> Result<(), Problem> {
        self.ctx.ledger.append_batch(on, batch).await.map_err(|error| ledger_problem(&error))
    }

    async fn record_switched(&self, state: &TopicState) -> Result<Fact, Problem> {
        self.append(&state.to, state).await?;
        // The old home's ledger holds the commit already; should it be away now, that is enough.
        if let Err(problem) = self.append(&state.from, state).await {
            tracing::warn!(topic = %self.topic, cluster = %state.from, %problem, "the old home's ledger has not the end of the move");
        }
        Ok(Fact::Ledger(self.standing()?))
    }

    /// The new home's ledger learns of an abort after the fact: it decides nothing.
    async fn tell_the_new_home(&self) {
        let Standing::Aborted(state) = &self.s.standing else { return };
        if let Err(problem) = self.append(&state.to, state).await {
            tracing::warn!(topic = %self.topic, cluster = %state.to, %problem, "the new home's ledger has not the abort");
        }
    }

    async fn catalogue(&self) -> Result<Fact, Problem> {
        let cluster = self.s.serving.clone();
        let topic_id = match self.s.standing.state() {
            Some(state) if cluster == state.to && self.s.standing.serving() == Some(&state.to) => state.to_id,
            Some(state) => state.from_id,
            None => self.source_id().await?,
        };
        let merged = self.ctx.ledger.merged();
        let known = merged.catalogue.get(self.topic);
        if known.is_none_or(|known| known.cluster != cluster || known.topic_id != topic_id) {
            let placeholder = known.and_then(|known| known.placeholder);
            let fact = LedgerFact::Catalogue { cluster, topic_id, placeholder };
            let subject = Subject::Catalogue(self.topic.clone());
            self.ctx.ledger.append_everywhere(subject, fact).await.map_err(|error| ledger_problem(&error))?;
        }
        Ok(Fact::Done)
    }

    async fn source_id(&self) -> Result<uuid::Uuid, Problem> {
        if let Some((_, checked)) = &self.s.memory.checked {
            return Ok(checked.source_id);
        }
        let cluster = &self.s.serving;
        match topics::describe_one(&client(self.ctx, cluster)?, self.topic.as_str()).await {
            Ok(Some(view)) => Ok(view.topic_id),
            Ok(None) => {
                let message = format!("topic {} is not on {cluster} any more", self.topic);
                Err(Problem::new(Reason::TopicNotFound, message))
            }
            Err(error) => Err(call_problem(cluster.as_str(), &error)),
        }
    }

    // --- document ----------------------------------------------------------------------------------------------------

    /// What the document says of the topic while no fence is up.
    fn entry(&self) -> Result<RoutedTopic, Problem> {
        let merged = self.ctx.ledger.merged();
        restore::entry(merged.topics.get(self.topic), merged.catalogue.get(self.topic), self.s.now).ok_or_else(|| {
            let message = format!("the ledgers do not say yet where topic {} lives", self.topic);
            Problem::new(Reason::LedgerUnavailable, message)
        })
    }

    async fn publish(&self, entry: RoutedTopic) -> Result<u64, Problem> {
        self.ctx.publisher.set_topic(self.topic, Some(entry)).await.map_err(|error| publish_problem(&error))
    }

    async fn publish_chain(&self, state: &TopicState) -> Result<Fact, Problem> {
        let mut entry = self.entry()?;
        if let Some(cut) = &mut entry.cut {
            cut.switched_at = state.switched_at;
        }
        Ok(Fact::Revision(self.publish(entry).await?))
    }

    // --- brokers -----------------------------------------------------------------------------------------------------

    /// A step behind the fence ends when writers would be held for longer than allowed.
    fn deadline(&self) -> Instant {
        let budget = self.s.wanted.as_ref().map_or(Duration::ZERO, |wanted| wanted.pause_budget);
        let held = self.s.now.saturating_sub(self.s.memory.attempt.timings.fenced);
        let left = budget.saturating_sub(Duration::from_millis(u64::try_from(held).unwrap_or(0)));
        Instant::now() + left.min(STEP)
    }

    fn copy(&self, cluster: &ClusterName, id: uuid::Uuid) -> Result<Copy, Problem> {
        Ok(Copy {
            cluster: cluster.as_str().to_owned(),
            client: client(self.ctx, cluster)?,
            topic: self.topic.as_str().to_owned(),
            id,
            partitions: self.s.memory.checked.as_ref().map(|(_, checked)| checked.partitions),
        })
    }

    async fn check(&self, to: &ClusterName) -> Result<Fact, Problem> {
        let chains = self.ctx.ledger.merged().topics.get(self.topic).and_then(|found| found.serving.clone());
        let chains = chains.map(|serving| serving.chains).unwrap_or_default();
        let facts = facts(self.ctx, self.topic, &self.s.serving, to, chains).await?;
        Ok(Fact::Checked(Box::new(checks::check(&facts)?)))
    }

    async fn prepare_target(&self, to: &ClusterName) -> Result<Fact, Problem> {
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

    async fn create_target(&self, client: &Client, to: &ClusterName, checked: &Checked) -> Result<uuid::Uuid, Problem> {
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
    async fn seal_of_target(&self, client: &Client, to: &ClusterName) -> Result<u8, Problem> {
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
    async fn pin(&self, client: &Client, to: &ClusterName, checked: &Checked) -> Result<(), Problem> {
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

    async fn try_seal(&self) -> Result<Fact, Problem> {
        let cluster = &self.s.serving;
        let value = super::step::seal_value(self.s.standing.attempt().saturating_add(1));
        let change = ConfigChange::Set { name: MAX_MESSAGE_BYTES.to_owned(), value: value.to_string() };
        let tried = configs::alter(&client(self.ctx, cluster)?, self.topic.as_str(), &[change], true).await;
        tried.map_err(|error| seal_problem(cluster, &error))?;
        Ok(Fact::Done)
    }

    async fn check_transactions(&self) -> Result<Fact, Problem> {
        let cluster = &self.s.serving;
        let open = transactions::naming(&client(self.ctx, cluster)?, self.topic.as_str()).await;
        let open = open.map_err(|error| call_problem(cluster.as_str(), &error))?;
        match open.first() {
            Some(first) => Err(checks::open_transaction(self.topic.as_str(), first, open.len())),
            None => Ok(Fact::Done),
        }
    }

    async fn seal(&self, state: &TopicState) -> Result<Fact, Problem> {
        let client = client(self.ctx, &state.from)?;
        let change = ConfigChange::Set { name: MAX_MESSAGE_BYTES.to_owned(), value: state.seal_value.to_string() };
        let sealed = configs::alter(&client, self.topic.as_str(), &[change], false).await;
        sealed.map_err(|error| seal_problem(&state.from, &error))?;
        Ok(Fact::Done)
    }

    async fn read_cut(&self, state: &TopicState) -> Result<Fact, Problem> {
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
        let (table, _) = try_join(read, self.check_transactions()).await?;
        Ok(Fact::Cut(table))
    }

    async fn open_target(&self, state: &TopicState) -> Result<Fact, Problem> {
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
    async fn warn_of_strays(&self, copy: &Copy, state: &TopicState) {
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
    async fn open_value(&self, state: &TopicState) -> Option<String> {
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

    async fn unseal(&self, state: &TopicState) -> Result<Fact, Problem> {
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

    async fn drop_target(&self, cluster: &ClusterName, id: uuid::Uuid) -> Result<Fact, Problem> {
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
}

/// What the ledgers hold of a topic now.
pub fn standing(ctx: &Context, topic: &TopicName) -> Result<Standing, Problem> {
    let merged = ctx.ledger.merged();
    Standing::read(merged.topics.get(topic)).ok_or_else(|| {
        let message =
            format!("where topic {topic} lives is known only to the ledger of a cluster that does not answer");
        Problem::new(Reason::LedgerUnavailable, message)
    })
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

fn ledger_problem(error: &LedgerError) -> Problem {
    Problem::new(Reason::LedgerUnavailable, error.to_string())
}

fn publish_problem(error: &PublishError) -> Problem {
    Problem::new(Reason::WaitingForProxies, error.to_string())
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
