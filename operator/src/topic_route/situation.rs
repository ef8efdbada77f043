//! Everything that decides what a move does next, as values: what the route wants, what the ledger says, and what this
//! process has seen and done so far. A crash loses [`Memory`] and nothing else: it holds only what can be seen or done
//! again.

use std::time::Duration;

use sluice_mesh::document::CutProducer;
use sluice_mesh::ledger::{self, TopicLedger, TopicState};
use sluice_mesh::name::ClusterName;
use uuid::Uuid;

use super::problem::{Problem, Reason};

/// What an accepted route asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where the topic is to live.
    pub to: ClusterName,
    /// Longest hold of writers in one attempt.
    pub pause_budget: Duration,
}

/// What the ledgers say of a topic's latest attempt, taken together.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// No attempt is recorded.
    Fresh,
    /// An attempt was begun; the old home's ledger holds neither its cut nor its abort.
    Uncommitted(Box<TopicState>),
    /// The attempt was given up; the old home may still be sealed.
    Aborted(Box<TopicState>),
    /// The old home's ledger holds the cut: only forward.
    Committed(Box<TopicState>),
    /// The new home serves.
    Switched(Box<TopicState>),
}

impl Standing {
    /// The latest attempt's record.
    pub fn state(&self) -> Option<&TopicState> {
        match self {
            Self::Fresh => None,
            Self::Uncommitted(state) | Self::Aborted(state) | Self::Committed(state) | Self::Switched(state) => {
                Some(state)
            }
        }
    }

    /// The cluster that the ledger says takes the topic's writes.
    pub fn serving(&self) -> Option<&ClusterName> {
        match self {
            Self::Fresh => None,
            Self::Uncommitted(state) | Self::Aborted(state) => Some(&state.from),
            Self::Committed(state) | Self::Switched(state) => Some(&state.to),
        }
    }

    /// Number of the latest attempt, 0 if there was none.
    pub fn attempt(&self) -> u64 {
        self.state().map_or(0, |state| state.attempt)
    }

    /// What the ledgers together say of a topic; `None` if what only an unread ledger can say is needed.
    pub fn read(found: Option<&TopicLedger>) -> Option<Self> {
        let Some(found) = found else { return Some(Self::Fresh) };
        let record = Box::new(found.record.clone());
        match found.standing {
            ledger::Standing::Uncommitted => Some(Self::Uncommitted(record)),
            ledger::Standing::Aborted => Some(Self::Aborted(record)),
            ledger::Standing::Committed => Some(Self::Committed(record)),
            ledger::Standing::Switched => Some(Self::Switched(record)),
            ledger::Standing::Unknown => None,
        }
    }
}

/// What the checks found out, as far as later steps need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The topic's id on its present home.
    pub source_id: Uuid,
    /// Number of partitions.
    pub partitions: usize,
    /// Replicas that a new target gets.
    pub replication_factor: i16,
    /// The topic's effective configs on its present home, except the seal's: what the target is pinned to.
    pub configs: Vec<(String, String)>,
    /// The topic-level override of max.message.bytes, if there is one.
    pub original_max_message_bytes: Option<String>,
    /// The max.message.bytes that the new home is opened with; `None` = its own default is the same.
    pub open_max_message_bytes: Option<String>,
    /// Sentences about what is allowed but worth knowing.
    pub warnings: Vec<String>,
}

impl Checked {
    /// How long the topic's present home keeps records; `None` if not by time.
    pub fn retention_millis(&self) -> Option<i64> {
        let (_, value) = self.configs.iter().find(|(name, _)| name == "retention.ms")?;
        value.parse().ok().filter(|millis| *millis >= 0)
    }
}

/// The new home's copy, sealed and answering on every leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its topic id.
    pub id: Uuid,
    /// This process created it.
    pub created: bool,
}

/// One partition of a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionCut {
    /// Log end on the old home, proven for `epoch`.
    pub end: i64,
    /// The leader epoch under which it was read.
    pub epoch: i32,
    /// Log end of the new home's copy: 0, or that of a former segment.
    pub target_end: i64,
    /// The producers that the old home knows, ids without generation.
    pub producers: Vec<CutProducer>,
}

/// A cut of all partitions, by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTable {
    /// By partition.
    pub partitions: Vec<PartitionCut>,
}

/// When the parts of the pause ended, milliseconds on the clock of [`Situation::now`]; 0 = not yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// The fence was on its way to the proxies, who may have it from then on.
    pub fenced: i64,
    /// The proxies were drained, or the wait for them was over.
    pub drained: i64,
    /// The cut table was complete.
    pub cut: i64,
    /// The cut was acknowledged on the old home's ledger.
    pub committed: i64,
    /// The new home was seen open.
    pub opened: i64,
    /// The last proxy applied the chain.
    pub switched: i64,
}

/// What the running attempt has reached. Made anew with each attempt.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a milestone of its own: together they are the state")]
pub struct Attempt {
    /// Its number; 0 = none is running in this process.
    pub number: u64,
    /// Revision of the document with the fence.
    pub fenced: Option<u64>,
    /// The wait for the proxies is over.
    pub drained: bool,
    /// No transaction was found before the seal.
    pub quiet_before: bool,
    /// The brokers accepted the seal.
    pub sealed: bool,
    /// Every holder shows the seal, every leader refuses, every earlier append is over.
    pub proven: bool,
    /// The cut; no transaction was found after the seal either.
    pub cut: Option<CutTable>,
    /// The cut as it goes into the ledgers.
    pub record: Option<Box<TopicState>>,
    /// The new home's ledger holds the cut.
    pub recorded_there: bool,
    /// The pause.
    pub timings: Timings,
}

/// What this process has seen and done for a topic.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a milestone of its own: together they are the state")]
pub struct Memory {
    /// The latest checks, for the cluster that they were made for.
    pub checked: Option<(ClusterName, Checked)>,
    /// The checks were repeated just before the fence.
    pub rechecked: bool,
    /// The catalogue record is in every ledger.
    pub catalogued: bool,
    /// Revision of the document that names the topic's present home.
    pub entry: Option<u64>,
    /// Every proxy that reports has applied it.
    pub entry_applied: bool,
    /// The target.
    pub target: Option<Target>,
    /// The brokers would accept the seal.
    pub seal_tried: bool,
    /// The running attempt.
    pub attempt: Attempt,
    /// A ledger was written to, and what it holds is not known yet.
    pub ledger_unknown: bool,
    /// The new home is open.
    pub opened: bool,
    /// When it was, milliseconds since the Unix epoch.
    pub opened_at: i64,
    /// Revision of the document with the new chain.
    pub published: Option<u64>,
    /// Every proxy that reports has applied it.
    pub switched: bool,
    /// The given-up attempt ran, or was found running, in this process: its seal may be on the way without showing yet.
    pub may_be_sealed: bool,
    /// The old home was seen without the seal of the given-up attempt.
    pub unsealed: bool,
    /// The document is free of the given-up attempt's fence.
    pub unfenced: bool,
    /// Leftover targets that were looked after.
    pub dropped: Vec<Uuid>,
    /// Attempts given up since the last success.
    pub failures: u32,
    /// No new attempt before this time.
    pub not_before: i64,
    /// What went wrong last; gone with the next success.
    pub problem: Option<Problem>,
    /// What went wrong in the running attempt: it is given up.
    pub broken: Option<Problem>,
    /// An action failed and is to be repeated not before this time.
    pub retry_at: i64,
    /// Every ledger was read once since this process began: before that nothing is done.
    pub ledgers_read: bool,
    /// The cluster that the route asked for when this process looked last.
    pub asked: Option<ClusterName>,
    /// What the ledgers said when this process looked last: a change of it is an occurrence of its own.
    pub standing: Option<Standing>,
}

impl Memory {
    /// All that is left before the fence is the second check.
    pub fn is_prepared(&self) -> bool {
        self.target.is_some() && self.seal_tried
    }

    /// Forgets what was prepared for a move that is not wanted any more. A target that was made is remembered: it has to
    /// be looked after.
    pub fn forget_preparations(&mut self) {
        self.checked = None;
        self.rechecked = false;
        self.seal_tried = false;
        self.problem = None;
        self.failures = 0;
        self.not_before = 0;
        self.retry_at = 0;
    }
}

/// Everything that decides what comes next.
#[derive(Debug, Clone, PartialEq)]
pub struct Situation {
    /// Now, milliseconds since the Unix epoch.
    pub now: i64,
    /// What the route asks for; none if there is no accepted route.
    pub wanted: Option<Wanted>,
    /// The cluster that takes the topic's writes now.
    pub serving: ClusterName,
    /// The mesh's home cluster.
    pub home: ClusterName,
    /// What the ledgers say.
    pub standing: Standing,
    /// Fewer moves than the mesh allows are under way.
    pub turn: bool,
    /// What this process has seen and done.
    pub memory: Memory,
}

/// Longest wait for proxies to drain: the fence is only smoothness, the seal is safety.
pub const DRAIN_MILLIS: i64 = 200;
/// First back-off after a given-up attempt; doubles with each.
pub const BACK_OFF_MILLIS: i64 = 1_000;
/// Longest back-off.
pub const BACK_OFF_MAX_MILLIS: i64 = 60_000;
/// Longest pause before failed preparations are tried again: nothing is held meanwhile, and people wait for the answer.
pub const PREPARE_MAX_MILLIS: i64 = 5_000;
/// Pause before an action that failed is tried again.
pub const RETRY_MILLIS: i64 = 200;

impl Situation {
    /// An attempt of this process is between intent and commit.
    pub fn attempting(&self) -> bool {
        matches!(&self.standing, Standing::Uncommitted(state) if state.attempt == self.memory.attempt.number)
    }

    /// Writers are held or refused: nothing slow may come between two steps.
    pub fn urgent(&self) -> bool {
        match &self.standing {
            Standing::Uncommitted(_) | Standing::Committed(_) => true,
            Standing::Aborted(_) => !self.memory.unsealed || !self.memory.unfenced,
            Standing::Fresh | Standing::Switched(_) => false,
        }
    }

    /// The back-off after the failures so far.
    pub fn back_off(&self) -> i64 {
        let doublings = self.memory.failures.saturating_sub(1).min(10);
        BACK_OFF_MILLIS.saturating_mul(1_i64 << doublings).min(BACK_OFF_MAX_MILLIS)
    }

    /// Why the running attempt has to be given up, if it has.
    pub fn abort_reason(&self) -> Option<Problem> {
        let Standing::Uncommitted(state) = &self.standing else { return None };
        if !self.attempting() {
            return Some(Problem::new(
                Reason::Interrupted,
                format!("attempt {} was cut short by the end of an operator; it is rolled back", state.attempt),
            ));
        }
        match &self.wanted {
            Some(wanted) if wanted.to == state.to => {}
            Some(wanted) => {
                return Some(Problem::new(
                    Reason::RouteChanged,
                    format!("the route now points to {} instead of {}; the move is rolled back", wanted.to, state.to),
                ));
            }
            None => {
                return Some(Problem::new(
                    Reason::RouteChanged,
                    "the route was deleted before the cut; the move is rolled back".to_owned(),
                ));
            }
        }
        if let Some(problem) = &self.memory.broken {
            return Some(problem.clone());
        }
        let budget = self.wanted.as_ref().map_or(Duration::ZERO, |wanted| wanted.pause_budget);
        let held = self.now.saturating_sub(self.memory.attempt.timings.fenced);
        if self.memory.attempt.fenced.is_some() && i128::from(held) > budget.as_millis().cast_signed() {
            return Some(Problem::new(
                Reason::PauseBudgetExceeded,
                format!(
                    "writers were held for {held} ms in attempt {}, more than the pause budget of {} ms; raise \
                     spec.move.pauseBudget or look for a slow broker",
                    state.attempt,
                    budget.as_millis()
                ),
            ));
        }
        None
    }
}
