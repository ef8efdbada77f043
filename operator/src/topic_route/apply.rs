//! Does one action: the only place from which a move changes brokers, ledgers or the document. What to do, and when, is
//! `step`'s business.

mod ledgers;
mod source;
mod target;

use std::time::{Duration, Instant};

use sluice_mesh::document::Fence;
use sluice_mesh::ledger::TopicState;
use sluice_mesh::name::{ClusterName, TopicName};

use super::action::{Action, Fact};
use super::checks;
use super::dereference::{client, facts};
use super::problem::{Problem, Reason};
use super::restore;
use super::seal::{self, Copy};
use super::situation::{Situation, Standing};
use crate::clock;
use crate::compile::RoutedTopic;
use crate::context::Context;
use crate::publish::PublishError;

/// Longest time for one step behind the fence, whatever the pause budget says.
const STEP: Duration = Duration::from_secs(5);
/// How long one look at the proxies' reports may wait.
const REPORTS: Duration = Duration::from_millis(500);

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
                // Others' publications may carry it, too: it counts from the moment it is said.
                let since = clock::now_millis();
                Ok(Fact::Fenced { revision: self.publish(restore::fenced(self.entry()?, fence)).await?, since })
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

    fn standing(&self) -> Result<Standing, Problem> {
        standing(self.ctx, self.topic)
    }

    /// What the document says of the topic while no fence is up.
    fn entry(&self) -> Result<RoutedTopic, Problem> {
        let merged = self.ctx.ledger.merged();
        let found = merged.topics.get(self.topic).map(AsRef::as_ref);
        restore::entry(found, merged.catalogue.get(self.topic), self.s.now).ok_or_else(|| {
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
}

/// What the ledgers hold of a topic now.
pub fn standing(ctx: &Context, topic: &TopicName) -> Result<Standing, Problem> {
    let merged = ctx.ledger.merged();
    Standing::read(merged.topics.get(topic).map(AsRef::as_ref)).ok_or_else(|| {
        let message =
            format!("where topic {topic} lives is known only to the ledger of a cluster that does not answer");
        Problem::new(Reason::LedgerUnavailable, message)
    })
}

fn publish_problem(error: &PublishError) -> Problem {
    Problem::new(Reason::WaitingForProxies, error.to_string())
}
