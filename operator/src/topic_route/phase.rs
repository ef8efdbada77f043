//! The phase of a move, derived from what is known and never stored: it can't disagree with the ledger.

pub use sluice_crds::topic_route::Phase;

use super::problem::Reason;
use super::situation::{Situation, Standing};
use super::step::{Next, step};

/// The phase that the situation is in.
pub fn phase(s: &Situation) -> Phase {
    let a = &s.memory.attempt;
    match &s.standing {
        Standing::Committed(_) => Phase::Switching,
        Standing::Uncommitted(_) if !s.attempting() => Phase::Pending,
        Standing::Uncommitted(_) if a.record.is_some() => Phase::Recording,
        Standing::Uncommitted(_) if a.drained => Phase::Sealing,
        Standing::Uncommitted(_) => Phase::Fencing,
        Standing::Fresh | Standing::Aborted(_) | Standing::Switched(_) => match &s.wanted {
            Some(wanted) if wanted.to == s.serving => Phase::Completed,
            // What failed is tried again and again: that is waiting, not progress.
            Some(_) if s.memory.problem.as_ref().is_some_and(|p| p.reason != Reason::WaitingForProxies) => {
                Phase::Pending
            }
            Some(_) if matches!(step(s), Next::Wait { problem, .. } if problem.reason != Reason::WaitingForProxies) => {
                Phase::Pending
            }
            Some(_) => Phase::Preparing,
            None => Phase::Pending,
        },
    }
}
