//! `TopicRoute`: moves a live topic from one cluster to another. No data is copied: the old cluster keeps what was written
//! before the cut, the new one takes everything after it, and the proxies show both as one log.
//!
//! ```text
//!  dereference ─> validate ─> step ─> apply ─┐      status: from the same values
//!       ^                                    │
//!       └────────────── absorb <─────────────┘      one action at a time, until there is nothing to do now
//! ```
//!
//! From the fence to the switch one call goes round this loop without anything slow in between; statuses and events are
//! written beside it. What survives a crash is in the ledgers; [`Progress`] holds only what can be seen or done again. Nothing
//! here may rely on a proxy for safety: the fence lives in the brokers.

pub mod absorb;
pub mod action;
pub mod apply;
pub mod checks;
pub mod cut;
pub mod dereference;
mod nudge;
pub mod phase;
pub mod problem;
pub mod restore;
pub mod seal;
pub mod situation;
pub mod status;
pub mod step;
mod tell;
pub mod validate;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sluice_mesh::name::{ClusterName, TopicName};
use tokio::sync::OwnedSemaphorePermit;

pub use restore::{entries, entry};

use crate::clock;
use crate::context::{Action as Again, Context, Queue};
use crate::store::EventType;
use absorb::{absorb, given_up, stand};
use action::Action;
use phase::{Phase, phase};
use problem::{Problem, Reason};
use situation::{Memory, Situation, Standing};
use status::{LastMove, Pause};
use step::{Next, step};
use validate::Asked;

/// How soon to look again when something outside is in the way and nothing may tell of its end.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A wait behind the fence is sat out on the spot.
const SIT_OUT: Duration = Duration::from_millis(500);

/// What a topic's task keeps between two calls of [`reconcile`].
#[derive(Debug, Default)]
pub struct Progress {
    memory: Memory,
    /// Held while a move is under way.
    turn: Option<OwnedSemaphorePermit>,
    /// Held while a move is prepared.
    preparation: Option<OwnedSemaphorePermit>,
    /// The revision that the status counts proxies for; 0: none. Read by whoever wakes the topic.
    shown: Arc<AtomicU64>,
    last: LastMove,
    told_phase: Option<Phase>,
    told_problem: Option<(Reason, String)>,
    phase_since: i64,
}

impl Progress {
    /// The revision that the status counts proxies for; 0: none.
    pub fn shown_revision(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shown)
    }

    /// Takes a permit that was waited for.
    pub fn keep(&mut self, queue: Queue, permit: Option<OwnedSemaphorePermit>) {
        *self.permit(queue) = permit;
    }

    fn leave(&mut self, ctx: &Context, queue: Queue) {
        if let Some(permit) = self.permit(queue).take() {
            ctx.permits(queue).give_back(permit);
        }
    }

    fn permit(&mut self, queue: Queue) -> &mut Option<OwnedSemaphorePermit> {
        match queue {
            Queue::Turns => &mut self.turn,
            Queue::Preparations => &mut self.preparation,
        }
    }
}

/// Brings a topic nearer to where its route wants it, as far as that is possible now.
pub async fn reconcile(ctx: &Arc<Context>, topic: &TopicName, progress: &mut Progress) -> Again {
    let again = Run { ctx, topic, p: progress }.go().await;
    // Between moves others have their turn.
    let busy = standing_busy(ctx, topic);
    if !busy {
        progress.leave(ctx, Queue::Turns);
    }
    progress.leave(ctx, Queue::Preparations);
    again
}

fn standing_busy(ctx: &Context, topic: &TopicName) -> bool {
    matches!(apply::standing(ctx, topic), Ok(Standing::Uncommitted(_) | Standing::Committed(_)))
}

fn ledger_not_read(cluster: &ClusterName) -> Problem {
    let message =
        format!("the ledger of cluster {cluster} has not been read yet; see the status of KafkaCluster {cluster}");
    Problem::new(Reason::LedgerUnavailable, message)
}

fn waits_for_turn(next: &Next) -> bool {
    matches!(next, Next::Wait { problem, .. } if problem.reason == Reason::WaitingForTurn)
}

struct Run<'a> {
    ctx: &'a Arc<Context>,
    topic: &'a TopicName,
    p: &'a mut Progress,
}

impl Run<'_> {
    async fn go(&mut self) -> Again {
        loop {
            if self.ctx.ledger.fenced().is_cancelled() {
                return Again::OnChange; // Another operator acts now.
            }
            let asked = self.asked();
            self.tell_losers(&asked);
            let mut s = match self.situation(&asked) {
                Ok(s) => s,
                Err(problem) => {
                    self.show(&asked, None, Some(&problem));
                    return Again::Again(LOOK_AGAIN);
                }
            };
            let mut next = step(&s);
            if waits_for_turn(&next) && self.take(Queue::Turns) {
                // What is left of the preparation is part of the move.
                self.p.leave(self.ctx, Queue::Preparations);
                s.turn = true;
                next = step(&s);
            }
            let waits = waits_for_turn(&next);
            self.tell_phase(&asked, &s);
            match next {
                Next::Do(action) if action.is_preparation() && s.turn && !s.memory.is_prepared() => {
                    // The move is over, or given up: others may move while this one is prepared anew.
                    self.keep(s);
                    self.p.leave(self.ctx, Queue::Turns);
                }
                Next::Do(action) if action.is_preparation() && !s.turn && self.p.preparation.is_none() => {
                    // A cluster that does not answer would keep the place from routes that have nothing to do with it.
                    if let Some(problem) = self.away(&s) {
                        self.show(&asked, Some(&s), Some(&problem));
                        self.keep(s);
                        return Again::Again(LOOK_AGAIN);
                    }
                    if !self.take(Queue::Preparations) {
                        self.show(&asked, Some(&s), s.memory.problem.as_ref());
                        self.keep(s);
                        return Again::OnPermit(Queue::Preparations);
                    }
                    self.keep(s);
                }
                Next::Do(action) => {
                    if !s.urgent() || self.p.told_phase != Some(phase(&s)) {
                        self.show(&asked, Some(&s), s.memory.problem.as_ref());
                    }
                    self.act(&asked, s, &action).await;
                }
                Next::Wait { until, problem } => {
                    self.show(&asked, Some(&s), Some(&problem));
                    if waits {
                        self.keep(s);
                        return Again::OnPermit(Queue::Turns);
                    }
                    let urgent = s.urgent();
                    let left = Duration::from_millis(u64::try_from(until.saturating_sub(s.now)).unwrap_or(0));
                    self.keep(s);
                    if !urgent || left > SIT_OUT {
                        return Again::Again(left.max(Duration::from_millis(10)));
                    }
                    tokio::time::sleep(left).await;
                }
                Next::Rest => {
                    s.memory.problem = None;
                    s.memory.failures = 0;
                    self.show(&asked, Some(&s), None);
                    let fresh = s.standing == Standing::Fresh;
                    self.keep(s);
                    return if asked.route.is_none() && fresh { Again::Done } else { Again::OnChange };
                }
            }
        }
    }

    fn asked(&self) -> Asked {
        let resources = self.ctx.store.resources();
        let resources = resources.borrow();
        validate::asked(&resources, self.topic)
    }

    /// Puts together what decides the next step.
    fn situation(&mut self, asked: &Asked) -> Result<Situation, Problem> {
        let mut memory = self.p.memory.clone();
        self.ledgers_read(&mut memory)?;
        let standing = apply::standing(self.ctx, self.topic)?;
        let merged = self.ctx.ledger.merged();
        let serving = {
            let (resources, observations) = (self.ctx.store.resources(), self.ctx.observer.observations());
            let (resources, observations) = (resources.borrow(), observations.borrow());
            let catalogue = merged.catalogue.get(self.topic);
            validate::serving(&standing, catalogue, &resources, &observations, &self.ctx.home, self.topic)?
        };
        let known = memory.standing.take();
        let mut s = Situation {
            now: clock::now_millis(),
            wanted: asked.wanted.clone(),
            serving,
            home: self.ctx.home.clone(),
            // While it is not known what a write did, only reading back tells.
            standing: known.clone().unwrap_or_else(|| standing.clone()),
            turn: self.p.turn.is_some(),
            memory,
        };
        if known.is_some() && !s.memory.ledger_unknown && s.standing != standing {
            stand(&mut s, standing);
        }
        if let Some(wanted) = s.wanted.as_ref().filter(|wanted| wanted.to != s.serving && !s.urgent())
            && let Some(shut) = [&wanted.to, &s.serving].into_iter().find(|name| !self.ctx.ledger.is_open(name))
        {
            return Err(ledger_not_read(shut));
        }
        // A route that now points elsewhere, or a topic that has moved, makes old preparations worthless.
        let to = s.wanted.as_ref().map(|wanted| wanted.to.clone());
        if s.memory.asked != to && !s.urgent() {
            s.memory.forget_preparations();
            s.memory.asked = to;
        }
        Ok(s)
    }

    /// Before every ledger of the mesh has been read once, nobody can say what serves a topic. A cluster that is new to the
    /// mesh can't hold anything of it.
    fn ledgers_read(&self, memory: &mut Memory) -> Result<(), Problem> {
        if memory.ledgers_read {
            return Ok(());
        }
        let merged = self.ctx.ledger.merged();
        let known = merged.clusters.values().map(|identity| &identity.name);
        let resources = self.ctx.store.resources();
        let resources = resources.borrow();
        let missing = known
            .filter(|name| resources.clusters.contains_key(name.as_str()))
            .chain([&self.ctx.home])
            .find(|name| !self.ctx.ledger.is_open(name));
        if let Some(cluster) = missing {
            return Err(ledger_not_read(cluster));
        }
        memory.ledgers_read = true;
        Ok(())
    }

    /// What is known now, for the next look: a change of the standing until then is an occurrence of its own.
    fn keep(&mut self, s: Situation) {
        self.p.memory = Memory { standing: Some(s.standing), ..s.memory };
    }

    /// Why the move cannot be prepared now, if one of its clusters does not answer.
    fn away(&self, s: &Situation) -> Option<Problem> {
        let observations = self.ctx.observer.observations();
        let observations = observations.borrow();
        let clusters = s.wanted.iter().map(|wanted| &wanted.to).chain([&s.serving]);
        let mut failing = clusters.filter_map(|name| Some((name, observations.get(name)?.failure.as_ref()?)));
        let (name, failure) = failing.next()?;
        let message = format!("cluster {name} does not answer: {failure}; the move is prepared when it does");
        Some(Problem::new(Reason::ClusterUnreachable, message))
    }

    /// Takes a permit if there is one and nobody was there before.
    fn take(&mut self, queue: Queue) -> bool {
        let permit = self.p.permit(queue);
        if permit.is_none() {
            *permit = self.ctx.permits(queue).try_take();
        }
        permit.is_some()
    }

    async fn act(&mut self, asked: &Asked, mut s: Situation, action: &Action) {
        let given_up_for = s.abort_reason();
        let began = s.memory.attempt.number;
        let result = apply::apply(self.ctx, self.topic, &s, action).await;
        s.now = clock::now_millis();
        if let Err(problem) = &result
            && s.memory.problem.as_ref() == Some(problem)
        {
            tracing::debug!(topic = %self.topic, action = action.name(), %problem, "failed again");
        } else if let Err(problem) = &result {
            tracing::warn!(topic = %self.topic, action = action.name(), %problem, "a step of the move failed");
        } else {
            tracing::debug!(topic = %self.topic, action = action.name(), "done");
        }
        let done = result.is_ok();
        let timings = s.memory.attempt.timings;
        let retention = s.memory.checked.as_ref().and_then(|(_, checked)| checked.retention_millis());
        absorb(&mut s, action, result);
        match action {
            Action::RecordIntent(state) if s.memory.attempt.number != began => {
                self.begin(state.from.as_str(), state.to.as_str(), s.now);
            }
            Action::RecordAbort(_) if matches!(s.standing, Standing::Aborted(_)) => {
                let problem = given_up_for
                    .unwrap_or_else(|| Problem::new(Reason::Interrupted, "the attempt was rolled back".to_owned()));
                tracing::warn!(topic = %self.topic, %problem, "the attempt is given up");
                self.ctx.metrics.move_ended("aborted");
                self.tell_problem(asked, &problem);
                given_up(&mut s, problem);
            }
            Action::RecordSwitched(state) if done && matches!(s.standing, Standing::Switched(_)) => {
                self.complete(asked, state.from.as_str(), state.to.as_str(), &timings, s.now);
                let kept_until = retention.map(|millis| s.now.saturating_add(millis));
                self.p.last.kept_until = kept_until.unwrap_or(0);
            }
            _ => {}
        }
        if done && matches!(action, Action::Unfence) {
            tracing::info!(topic = %self.topic, "rolled back: the topic takes writes where it was");
        }
        self.keep(s);
    }

    fn begin(&mut self, from: &str, to: &str, now: i64) {
        let last = &mut self.p.last;
        if last.completed_at > 0 || last.from != from || last.to != to || last.started_at == 0 {
            *last = LastMove { from: from.to_owned(), to: to.to_owned(), started_at: now, ..LastMove::default() };
        }
        last.attempts = last.attempts.saturating_add(1);
        tracing::info!(topic = %self.topic, from, to, attempt = last.attempts, "the move begins");
    }

    fn complete(&mut self, asked: &Asked, from: &str, to: &str, timings: &situation::Timings, now: i64) {
        let last = &mut self.p.last;
        if last.from != from || last.to != to || last.started_at == 0 {
            // Begun by an operator before this one.
            *last = LastMove {
                from: from.to_owned(),
                to: to.to_owned(),
                started_at: now,
                attempts: 1,
                ..LastMove::default()
            };
        }
        last.completed_at = now;
        last.pause = Pause::of(timings);
        from.clone_into(&mut last.ledger);
        self.ctx.metrics.move_ended("completed");
        let pause = last.pause;
        let text = match pause {
            Some(pause) => {
                self.ctx.metrics.move_paused(Duration::from_millis(u64::try_from(pause.total).unwrap_or(0)));
                format!(
                    "moved from {from} to {to}; writes paused for {} ms (fence {}, seal {}, record {}, switch {})",
                    pause.total, pause.fence, pause.seal, pause.record, pause.switch
                )
            }
            None => format!("moved from {from} to {to}"),
        };
        tracing::info!(topic = %self.topic, "{text}");
        self.event(asked, EventType::Normal, Phase::Completed.as_str(), text);
        self.p.told_phase = Some(Phase::Completed);
    }
}
