//! The next thing to do for a topic, from everything that is known: pure, so that a restart at any point just computes
//! again. It must never know how a thing is done, nor wait for anything itself.

use sluice_mesh::chain::Chain;
use sluice_mesh::ledger::{Stage, TopicState};
use sluice_mesh::name::ClusterName;
use uuid::Uuid;

use super::cut;
use super::problem::{Problem, Reason};
use super::situation::{
    Attempt, Checked, CutTable, DRAIN_MILLIS, Memory, PREPARE_MAX_MILLIS, RETRY_MILLIS, Situation, Standing, Target,
    Wanted,
};

/// One thing to do. Each can be done again after a crash at any instruction of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Read the ledgers again: what a write did is not known.
    ReadLedgers,
    /// All checks for a move to that cluster. Reads only.
    Check {
        /// The cluster.
        to: ClusterName,
    },
    /// Record in every ledger where the topic lives now.
    Catalogue,
    /// Publish a document that names the topic's present home.
    PublishEntry,
    /// See whether every proxy that reports has applied that revision.
    AwaitEntry {
        /// The revision.
        revision: u64,
    },
    /// Create the target sealed, or take over one that is; pin its configs; wait until its leaders refuse writes.
    PrepareTarget {
        /// Its cluster.
        to: ClusterName,
    },
    /// Ask the brokers whether they would accept the seal.
    TrySeal,
    /// Record that an attempt begins.
    RecordIntent(Box<TopicState>),
    /// Publish a document that fences the topic.
    Fence {
        /// The attempt.
        attempt: u64,
        /// Longest hold, milliseconds.
        hold_millis: u64,
    },
    /// Wait for the proxies to drain, at most so long.
    AwaitDrained {
        /// Revision of the fence.
        revision: u64,
        /// Longest wait, milliseconds.
        millis: i64,
    },
    /// See that no transaction can touch the topic, before it is sealed.
    CheckTransactions,
    /// Have the old home's brokers refuse writes.
    Seal(Box<TopicState>),
    /// See that they do, on every holder and for every append that was under way.
    ProveSeal(Box<TopicState>),
    /// Read log ends and producers of all partitions, and see again that no transaction can touch the topic.
    ReadCut(Box<TopicState>),
    /// Record the cut on the new home's ledger: producers first.
    RecordCutThere(Box<TopicState>),
    /// Record the cut on the old home's ledger: the commit.
    RecordCut(Box<TopicState>),
    /// Remove the target's seal and see it gone.
    OpenTarget(Box<TopicState>),
    /// Publish a document with the new chains.
    PublishChain(Box<TopicState>),
    /// See whether every proxy that reports has applied that revision.
    AwaitSwitched {
        /// The revision.
        revision: u64,
    },
    /// Record that the new home serves.
    RecordSwitched(Box<TopicState>),
    /// Record on the old home's ledger that the attempt is given up.
    RecordAbort(Box<TopicState>),
    /// Remove the seal of a given-up attempt from the old home.
    Unseal(Box<TopicState>),
    /// Publish a document without the fence of a given-up attempt.
    Unfence,
    /// Delete an empty target that a given-up move left behind.
    DropTarget {
        /// Its cluster.
        cluster: ClusterName,
        /// Its topic id: another topic of the same name is left alone.
        id: Uuid,
    },
}

impl Action {
    /// Its name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ReadLedgers => "ReadLedgers",
            Self::Check { .. } => "Check",
            Self::Catalogue => "Catalogue",
            Self::PublishEntry => "PublishEntry",
            Self::AwaitEntry { .. } => "AwaitEntry",
            Self::PrepareTarget { .. } => "PrepareTarget",
            Self::TrySeal => "TrySeal",
            Self::RecordIntent(_) => "RecordIntent",
            Self::Fence { .. } => "Fence",
            Self::AwaitDrained { .. } => "AwaitDrained",
            Self::CheckTransactions => "CheckTransactions",
            Self::Seal(_) => "Seal",
            Self::ProveSeal(_) => "ProveSeal",
            Self::ReadCut(_) => "ReadCut",
            Self::RecordCutThere(_) => "RecordCutThere",
            Self::RecordCut(_) => "RecordCut",
            Self::OpenTarget(_) => "OpenTarget",
            Self::PublishChain(_) => "PublishChain",
            Self::AwaitSwitched { .. } => "AwaitSwitched",
            Self::RecordSwitched(_) => "RecordSwitched",
            Self::RecordAbort(_) => "RecordAbort",
            Self::Unseal(_) => "Unseal",
            Self::Unfence => "Unfence",
            Self::DropTarget { .. } => "DropTarget",
        }
    }
}

/// What an action brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// It is done.
    Done,
    /// The checks passed.
    Checked(Box<Checked>),
    /// A document was published.
    Revision(u64),
    /// The proxies, by name, that have not applied the revision; none = all have.
    Late(Vec<String>),
    /// The target is there, sealed.
    Target(Target),
    /// The cut is complete.
    Cut(CutTable),
    /// What the ledgers hold now.
    Ledger(Standing),
}

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
        Action::AwaitDrained { revision, millis: DRAIN_MILLIS }
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

/// Takes in what an action brought. `s.now` is the time after it.
pub fn absorb(s: &mut Situation, action: &Action, result: Result<Fact, Problem>) {
    match result {
        Ok(fact) => {
            s.memory.retry_at = 0;
            accept(s, action, fact);
        }
        Err(problem) => reject(s, action, problem),
    }
}

fn accept(s: &mut Situation, action: &Action, fact: Fact) {
    let now = s.now;
    let p = &mut s.memory;
    match (action, fact) {
        (Action::Check { to }, Fact::Checked(checked)) => {
            // A first check prepares, the second one stands directly before the fence.
            p.rechecked = p.target.is_some() && p.seal_tried;
            p.checked = Some((to.clone(), *checked));
            // Why the last attempt was given up stays in sight until the next one may begin.
            if p.not_before <= now {
                p.problem = None;
            }
        }
        (Action::Catalogue, Fact::Done) => p.catalogued = true,
        (Action::PublishEntry, Fact::Revision(revision)) => p.entry = Some(revision),
        (Action::AwaitEntry { .. }, Fact::Late(late)) => {
            p.entry_applied = late.is_empty();
            wait_for(s, &late, "before the target may be created");
        }
        (Action::PrepareTarget { .. }, Fact::Target(target)) => {
            p.target = Some(target);
        }
        (Action::TrySeal, Fact::Done) => p.seal_tried = true,
        (Action::Fence { .. }, Fact::Revision(revision)) => {
            p.attempt.fenced = Some(revision);
            p.attempt.timings.fenced = now;
        }
        (Action::AwaitDrained { .. }, Fact::Late(_)) => {
            p.attempt.drained = true;
            p.attempt.timings.drained = now;
        }
        (Action::CheckTransactions, Fact::Done) => {
            p.attempt.quiet_before = true;
        }
        (Action::Seal(_), Fact::Done) => p.attempt.sealed = true,
        (Action::ProveSeal(_), Fact::Done) => p.attempt.proven = true,
        (Action::ReadCut(state), Fact::Cut(table)) => match cut::record(state, &table) {
            Ok(record) => {
                p.attempt.cut = Some(table);
                p.attempt.timings.cut = now;
                p.attempt.record = Some(Box::new(record));
            }
            Err(problem) => p.broken = Some(problem),
        },
        (Action::RecordCutThere(_), Fact::Ledger(standing)) => {
            p.attempt.recorded_there = true;
            stand(s, standing);
        }
        (Action::OpenTarget(_), Fact::Done) => {
            p.opened = true;
            p.opened_at = now;
            p.attempt.timings.opened = now;
        }
        (Action::PublishChain(_), Fact::Revision(revision)) => p.published = Some(revision),
        (Action::AwaitSwitched { .. }, Fact::Late(late)) => {
            p.switched = late.is_empty();
            if p.switched {
                p.attempt.timings.switched = now;
            }
            wait_for(s, &late, "to show the new home to clients");
        }
        (Action::Unseal(_), Fact::Done) => {
            p.unsealed = true;
            p.may_be_sealed = false;
        }
        (Action::Unfence, Fact::Revision(_)) => p.unfenced = true,
        (Action::DropTarget { id, .. }, Fact::Done) => {
            p.dropped.push(*id);
            p.target = p.target.take().filter(|target| target.id != *id);
        }
        (Action::RecordIntent(_), Fact::Ledger(standing)) => {
            let number = standing.attempt();
            if matches!(standing, Standing::Uncommitted(_)) {
                p.attempt = Attempt { number, ..Attempt::default() };
                p.broken = None;
                p.rechecked = false;
            }
            stand(s, standing);
        }
        (
            Action::ReadLedgers | Action::RecordCut(_) | Action::RecordAbort(_) | Action::RecordSwitched(_),
            Fact::Ledger(standing),
        ) => {
            p.ledger_unknown = false;
            // The write that failed did nothing: a ledger that goes on refusing it must not be asked without a pause.
            let nothing_new = matches!(action, Action::ReadLedgers) && standing == s.standing;
            stand(s, standing);
            if nothing_new {
                s.memory.retry_at = now.saturating_add(RETRY_MILLIS);
            }
        }
        (action, fact) => {
            debug_assert!(false, "{action:?} can't bring {fact:?}");
            let reason = format!("internal: {action:?} brought an answer of another kind; report this");
            p.broken = Some(Problem::new(Reason::Invalid, reason));
        }
    }
}

/// Proxies named in a sentence; more are counted.
const NAMED: usize = 8;

fn wait_for(s: &mut Situation, late: &[String], what: &str) {
    let p = &mut s.memory;
    if late.is_empty() {
        if p.problem.as_ref().is_some_and(|problem| problem.reason == Reason::WaitingForProxies) {
            p.problem = None;
        }
        return;
    }
    let mut names = late.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if late.len() > NAMED {
        names = format!("{names} and {} more", late.len().saturating_sub(NAMED));
    }
    p.retry_at = s.now.saturating_add(RETRY_MILLIS);
    let message = format!("waiting for proxies to apply the document {what}: {names}; start them again if they are down");
    p.problem = Some(Problem::new(Reason::WaitingForProxies, message));
}

/// Takes in what the ledgers hold now.
pub fn stand(s: &mut Situation, standing: Standing) {
    let was = std::mem::replace(&mut s.standing, standing);
    let now = s.now;
    let p = &mut s.memory;
    match (&was, &s.standing) {
        (Standing::Uncommitted(_), Standing::Committed(_)) => {
            p.attempt.timings.committed = now;
            p.opened = false;
            p.published = None;
            p.switched = false;
        }
        (Standing::Aborted(_), Standing::Aborted(_)) | (Standing::Switched(_), Standing::Switched(_)) => {}
        (_, Standing::Aborted(_)) => {
            p.may_be_sealed = matches!(was, Standing::Uncommitted(_));
            p.unsealed = false;
            p.unfenced = false;
            p.attempt.number = 0;
            p.rechecked = false;
        }
        (_, Standing::Switched(state)) => {
            // The next move starts from nothing but the measured pause.
            let timings = p.attempt.timings;
            s.serving = state.to.clone();
            s.memory = Memory {
                attempt: Attempt { timings, ..Attempt::default() },
                entry: p.published,
                published: p.published,
                ledgers_read: p.ledgers_read,
                ..Memory::default()
            };
        }
        _ => {}
    }
    if let Some(serving) = s.standing.serving() {
        s.serving = serving.clone();
    }
}

fn reject(s: &mut Situation, action: &Action, problem: Problem) {
    let retry = s.now.saturating_add(RETRY_MILLIS);
    let back_off = s.now.saturating_add(s.back_off());
    let p = &mut s.memory;
    match action {
        // What a failed append did is not known: read it back, never guess.
        Action::RecordIntent(_) | Action::RecordCut(_) | Action::RecordAbort(_) | Action::RecordSwitched(_) => {
            p.ledger_unknown = true;
            // Time has passed: before another fence everything is checked again.
            p.rechecked = false;
            if matches!(action, Action::RecordIntent(_) | Action::RecordCut(_)) {
                p.broken = Some(problem.clone());
            }
        }
        // Within an attempt a failure ends it.
        Action::Fence { .. }
        | Action::AwaitDrained { .. }
        | Action::CheckTransactions
        | Action::Seal(_)
        | Action::ProveSeal(_)
        | Action::ReadCut(_)
        | Action::RecordCutThere(_) => p.broken = Some(problem.clone()),
        // Ways that have to be gone to the end: again, soon.
        Action::ReadLedgers | Action::OpenTarget(_) | Action::PublishChain(_) | Action::AwaitSwitched { .. } => {
            p.retry_at = retry;
        }
        Action::Unseal(_) | Action::Unfence => p.retry_at = retry,
        // A seal that a given-up attempt set after all, by a request that was late.
        Action::Check { .. } if problem.reason == Reason::SealedByOthers && p.unsealed => {
            p.unsealed = false;
            p.retry_at = back_off;
        }
        // Nothing has changed for clients: again, at leisure.
        Action::Check { .. }
        | Action::Catalogue
        | Action::PublishEntry
        | Action::AwaitEntry { .. }
        | Action::PrepareTarget { .. }
        | Action::TrySeal
        | Action::DropTarget { .. } => {
            p.failures = p.failures.saturating_add(1);
            p.retry_at = back_off.min(s.now.saturating_add(PREPARE_MAX_MILLIS));
        }
    }
    p.problem = Some(problem);
}

/// Notes that an attempt was given up, for the back-off and the condition.
pub fn given_up(s: &mut Situation, problem: Problem) {
    let p = &mut s.memory;
    match problem.reason {
        Reason::RouteChanged => p.failures = 0,
        Reason::Interrupted => {}
        _ => p.failures = p.failures.saturating_add(1),
    }
    p.broken = None;
    // What was prepared may be what failed: the next attempt prepares anew.
    p.checked = None;
    p.seal_tried = false;
    p.target = None;
    p.problem = Some(problem);
    let failures = s.memory.failures;
    s.memory.not_before = if failures == 0 { 0 } else { s.now.saturating_add(s.back_off()) };
}

#[cfg(test)]
mod tests;
