//! What an action's outcome means for what is known: the other half of `step`, as pure as that.

use super::action::{Action, Fact};
use super::cut;
use super::problem::{Problem, Reason};
use super::situation::{Attempt, Memory, PREPARE_MAX_MILLIS, RETRY_MILLIS, Situation, Standing};

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
            p.rechecked = p.is_prepared();
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
        (Action::Fence { .. }, Fact::Fenced { revision, since }) => {
            p.attempt.fenced = Some(revision);
            p.attempt.timings.fenced = since;
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
        (Action::Unfence, Fact::Revision(revision)) => {
            p.unfenced = true;
            // A proxy that has not followed so far would be late for the next attempt, too, and show the old home's end
            // while others write to the new one.
            p.entry = Some(revision);
            p.entry_applied = false;
        }
        (Action::DropTarget { id, .. }, Fact::Done) => {
            p.dropped.push(*id);
            p.target = p.target.take().filter(|target| target.id != *id);
        }
        (Action::RecordIntent(_), Fact::Ledger(standing)) => {
            let number = standing.attempt();
            if matches!(standing, Standing::Uncommitted(_)) {
                begin(p, number);
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

/// An attempt begins: what was reached in one before says nothing of it.
fn begin(p: &mut Memory, number: u64) {
    p.attempt = Attempt { number, ..Attempt::default() };
    p.broken = None;
    p.rechecked = false;
    p.opened = false;
    p.published = None;
    p.switched = false;
    p.unsealed = false;
    p.unfenced = false;
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
    let message =
        format!("waiting for proxies to apply the document {what}: {names}; start them again if they are down");
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
