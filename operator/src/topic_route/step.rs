//! The next thing to do for a topic, from everything that is known: pure, so that a restart at any point just computes
//! again. It must never know how a thing is done, nor wait for anything itself.

use sluice_mesh::chain::Chain;
use sluice_mesh::ledger::{Stage, TopicState};
use sluice_mesh::name::ClusterName;
use uuid::Uuid;

use super::action::Action;
use super::problem::{Problem, Reason};
use super::situation::{Checked, DRAIN_MILLIS, RETRY_MILLIS, Situation, Standing, Target, Wanted};

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Do this.
    Do(Action),
    /// Nothing before that time, or before something changes.
    Wait {
        /// The time, milliseconds since the Unix epoch.
        until: i64,
        /// What is waited for.
        problem: Problem,
    },
    /// Nothing until something changes.
    Rest,
}

/// The next thing to do.
pub fn step(s: &Situation) -> Next {
    if s.memory.retry_at > s.now
        && let Some(problem) = &s.memory.problem
    {
        return Next::Wait { until: s.memory.retry_at, problem: problem.clone() };
    }
    if s.memory.ledger_unknown {
        return Next::Do(Action::ReadLedgers);
    }
    match &s.standing {
        Standing::Committed(state) => forward(s, state),
        Standing::Uncommitted(state) => attempt(s, state),
        Standing::Aborted(state) if !s.memory.unsealed => Next::Do(Action::Unseal(state.clone())),
        Standing::Aborted(_) if !s.memory.unfenced => Next::Do(Action::Unfence),
        Standing::Fresh | Standing::Aborted(_) | Standing::Switched(_) => prepare(s),
    }
}

/// After the commit: only forward.
fn forward(s: &Situation, state: &TopicState) -> Next {
    if !s.memory.opened {
        return Next::Do(Action::OpenTarget(Box::new(state.clone())));
    }
    let state = state.to_switched(s.memory.opened_at);
    let Some(revision) = s.memory.published else {
        return Next::Do(Action::PublishChain(Box::new(state)));
    };
    if !s.memory.switched {
        return Next::Do(Action::AwaitSwitched { revision });
    }
    Next::Do(Action::RecordSwitched(Box::new(state)))
}

/// Between intent and commit.
fn attempt(s: &Situation, state: &TopicState) -> Next {
    if s.abort_reason().is_some() {
        return Next::Do(Action::RecordAbort(Box::new(state.to_abort())));
    }
    let state = || Box::new(state.clone());
    let a = &s.memory.attempt;
    let Some(revision) = a.fenced else {
        let hold = s.wanted.as_ref().map_or(0, |wanted| wanted.pause_budget.as_millis());
        let hold_millis = u64::try_from(hold).unwrap_or(u64::MAX);
        return Next::Do(Action::Fence { attempt: a.number, hold_millis });
    };
    Next::Do(if !a.drained {
        Action::AwaitDrained { revision, millis: drain_millis(s) }
    } else if !a.quiet_before {
        Action::CheckTransactions
    } else if !a.sealed {
        Action::Seal(state())
    } else if !a.proven {
        Action::ProveSeal(state())
    } else {
        match &a.record {
            Some(record) if a.recorded_there => Action::RecordCut(record.clone()),
            Some(record) => Action::RecordCutThere(record.clone()),
            None => Action::ReadCut(state()),
        }
    })
}

/// Longest wait for the proxies: it must leave most of a small pause budget to the seal.
fn drain_millis(s: &Situation) -> i64 {
    let budget = s.wanted.as_ref().map_or(0, |wanted| wanted.pause_budget.as_millis());
    i64::try_from(budget / 4).map_or(DRAIN_MILLIS, |share| share.min(DRAIN_MILLIS))
}

/// Before an intent: nothing has changed for clients.
fn prepare(s: &Situation) -> Next {
    if let Some(next) = leftover(s) {
        return next;
    }
    let p = &s.memory;
    let Some(wanted) = &s.wanted else { return Next::Rest };
    if wanted.to == s.serving {
        return if s.serving == s.home && s.standing == Standing::Fresh {
            Next::Rest
        } else if !p.catalogued {
            Next::Do(Action::Catalogue)
        } else if p.entry.is_none() {
            Next::Do(Action::PublishEntry)
        } else {
            Next::Rest
        };
    }
    let Some((_, checked)) = p.checked.as_ref().filter(|(to, _)| *to == wanted.to) else {
        return Next::Do(Action::Check { to: wanted.to.clone() });
    };
    if !p.catalogued {
        return Next::Do(Action::Catalogue);
    }
    let Some(revision) = p.entry else { return Next::Do(Action::PublishEntry) };
    if !p.entry_applied {
        return Next::Do(Action::AwaitEntry { revision });
    }
    let Some(target) = p.target.as_ref().filter(|target| target.cluster == wanted.to) else {
        return Next::Do(Action::PrepareTarget { to: wanted.to.clone() });
    };
    if !p.seal_tried {
        return Next::Do(Action::TrySeal);
    }
    if s.now < p.not_before {
        let problem = p.problem.clone().unwrap_or_else(|| {
            Problem::new(Reason::BackingOff, "the last attempt was given up; the next one waits a little")
        });
        return Next::Wait { until: p.not_before, problem };
    }
    if !s.turn {
        let message = "waiting for other moves of this mesh to finish";
        let problem = Problem::new(Reason::WaitingForTurn, message);
        return Next::Wait { until: s.now.saturating_add(RETRY_MILLIS), problem };
    }
    if !p.rechecked {
        return Next::Do(Action::Check { to: wanted.to.clone() });
    }
    Next::Do(Action::RecordIntent(Box::new(intent(s, wanted, checked, target))))
}

/// An empty target that nobody wants any more.
fn leftover(s: &Situation) -> Option<Next> {
    let wanted = s.wanted.as_ref().map(|wanted| &wanted.to);
    let ours = s.memory.target.as_ref().filter(|target| target.created).map(|t| (&t.cluster, t.id));
    let recorded = match &s.standing {
        Standing::Aborted(state) => Some((&state.to, state.to_id)),
        Standing::Fresh | Standing::Uncommitted(_) | Standing::Committed(_) | Standing::Switched(_) => None,
    };
    let segment = |id: Uuid| {
        let chains = s.standing.state().map(|state| state.chains.as_slice()).unwrap_or_default();
        chains.iter().any(|chain| chain.segments().iter().any(|segment| segment.topic_id == id))
    };
    let wanted_by_someone =
        |cluster: &ClusterName| Some(cluster) == wanted || *cluster == s.home || *cluster == s.serving;
    let (cluster, id) = ours
        .into_iter()
        .chain(recorded)
        .find(|(cluster, id)| !s.memory.dropped.contains(id) && !wanted_by_someone(cluster) && !segment(*id))?;
    Some(Next::Do(Action::DropTarget { cluster: cluster.clone(), id }))
}

/// The record with which the next attempt begins.
fn intent(s: &Situation, wanted: &Wanted, checked: &Checked, target: &Target) -> TopicState {
    let last = s.standing.state();
    let attempt = s.standing.attempt().saturating_add(1);
    TopicState {
        attempt,
        from: s.serving.clone(),
        to: wanted.to.clone(),
        topic_id: last.map_or(checked.source_id, |state| state.topic_id),
        from_id: checked.source_id,
        to_id: target.id,
        original_max_message_bytes: checked.original_max_message_bytes.clone(),
        seal_value: seal_value(attempt),
        fenced_at: s.now,
        chains: last.map(serving_chains).unwrap_or_default(),
        producer_chunks: 0,
        // Until the cut this says since when the present home serves.
        switched_at: last.map_or(0, |state| state.switched_at),
        stage: Stage::Intent,
    }
}

/// The chains that serve, before a move begins.
fn serving_chains(last: &TopicState) -> Vec<Chain> {
    if last.stage == Stage::Switched { last.chains.clone() } else { last.chains_before() }
}

/// The value of max.message.bytes that seals in that attempt: 0 to 60, never that of the attempt before.
pub fn seal_value(attempt: u64) -> u8 {
    u8::try_from(attempt % 61).unwrap_or(0)
}

#[cfg(test)]
mod tests;
