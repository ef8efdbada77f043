//! What a move writes into the ledgers, and reads back from them.

use sluice_mesh::ledger::{Fact as LedgerFact, Subject, TopicState};
use sluice_mesh::name::ClusterName;
use sluice_net::admin::topics;

use super::Hands;
use crate::ledger::LedgerError;
use crate::topic_route::action::Fact;
use crate::topic_route::cut;
use crate::topic_route::dereference::client;
use crate::topic_route::problem::{Problem, Reason};
use crate::topic_route::seal::call_problem;
use crate::topic_route::situation::{CutTable, Standing};

/// Chunks of producers in one batch of the ledger: together well below the limit of a message.
const PRODUCERS_AT_ONCE: usize = 2;

impl Hands<'_> {
    pub(super) async fn read_ledgers(&self) -> Result<Fact, Problem> {
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

    pub(super) async fn append(&self, on: &ClusterName, state: &TopicState) -> Result<(), Problem> {
        let fact = LedgerFact::Topic(Box::new(state.clone()));
        let subject = Subject::Topic(self.topic.clone());
        self.ctx.ledger.append(std::slice::from_ref(on), subject, fact).await.map_err(|error| ledger_problem(&error))
    }

    pub(super) async fn record_intent(&self, state: &TopicState) -> Result<Fact, Problem> {
        let fact = LedgerFact::Topic(Box::new(state.clone()));
        let both = [state.to.clone(), state.from.clone()];
        let appended = self.ctx.ledger.append(&both, Subject::Topic(self.topic.clone()), fact).await;
        appended.map_err(|error| ledger_problem(&error))?;
        Ok(Fact::Ledger(self.standing()?))
    }

    pub(super) async fn record_cut(&self, on: &ClusterName, state: &TopicState) -> Result<Fact, Problem> {
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

    pub(super) async fn append_batch(
        &self,
        on: &ClusterName,
        batch: Vec<(Subject, LedgerFact)>,
    ) -> Result<(), Problem> {
        self.ctx.ledger.append_batch(on, batch).await.map_err(|error| ledger_problem(&error))
    }

    pub(super) async fn record_switched(&self, state: &TopicState) -> Result<Fact, Problem> {
        self.append(&state.to, state).await?;
        // The old home's ledger holds the commit already; should it be away now, that is enough.
        if let Err(problem) = self.append(&state.from, state).await {
            tracing::warn!(topic = %self.topic, cluster = %state.from, %problem, "the old home's ledger has not the end of the move");
        }
        Ok(Fact::Ledger(self.standing()?))
    }

    /// The new home's ledger learns of an abort after the fact: it decides nothing.
    pub(super) async fn tell_the_new_home(&self) {
        let Standing::Aborted(state) = &self.s.standing else { return };
        if let Err(problem) = self.append(&state.to, state).await {
            tracing::warn!(topic = %self.topic, cluster = %state.to, %problem, "the new home's ledger has not the abort");
        }
    }

    pub(super) async fn catalogue(&self) -> Result<Fact, Problem> {
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

    pub(super) async fn source_id(&self) -> Result<uuid::Uuid, Problem> {
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
}

fn ledger_problem(error: &LedgerError) -> Problem {
    Problem::new(Reason::LedgerUnavailable, error.to_string())
}
