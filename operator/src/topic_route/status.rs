//! The status of a route, from the same values as the next step, so that it can't disagree with it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use sluice_crds::condition::{ConditionType, Conditions};
use sluice_crds::topic_route::{
    ChainSegment, CutStatus, OldSegment, PartitionProgress, PauseParts, PauseStatus, TopicRoute, TopicRouteStatus,
};
use sluice_mesh::chain::Chain;
use sluice_mesh::ledger::{TOPIC as LEDGER, TopicLedger};

use super::phase::{Phase, phase};
use super::problem::{Problem, Reason};
use super::situation::{Situation, Standing, Timings};
use crate::reports::Applied;

/// The most rows of a list in a status.
const ROWS: usize = 32;

/// The latest move of a topic, for people. It outlives the move itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LastMove {
    /// Where it came from.
    pub from: String,
    /// Where it goes.
    pub to: String,
    /// When it began, milliseconds since the Unix epoch.
    pub started_at: i64,
    /// When it was done; 0 while it is not.
    pub completed_at: i64,
    /// Attempts so far.
    pub attempts: u64,
    /// The pause and its parts, once it is over.
    pub pause: Option<Pause>,
    /// The clusters' ledger that holds the commit.
    pub ledger: String,
    /// When time-based retention will about have removed what was left behind, milliseconds since the Unix epoch; 0 = not
    /// known.
    pub kept_until: i64,
}

/// A pause, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pause {
    /// From the fence to the last proxy that applied the chain.
    pub total: i64,
    /// Fence and drain.
    pub fence: i64,
    /// Seal, proof, cut.
    pub seal: i64,
    /// Both ledgers.
    pub record: i64,
    /// Open, publish, apply.
    pub switch: i64,
}

impl Pause {
    /// The pause by its timings, if the move went through in one process.
    pub fn of(t: &Timings) -> Option<Self> {
        let part = |from: i64, to: i64| to.saturating_sub(from).max(0);
        (t.fenced > 0 && t.switched > 0).then(|| Self {
            total: part(t.fenced, t.switched),
            fence: part(t.fenced, t.drained),
            seal: part(t.drained, t.cut),
            record: part(t.cut, t.committed),
            switch: part(t.committed, t.switched),
        })
    }
}

/// All that a status is made from.
pub struct Inputs<'a> {
    /// The route.
    pub route: &'a TopicRoute,
    /// The situation; none if it is not known where the topic lives.
    pub situation: Option<&'a Situation>,
    /// What stands in the way, or what is waited for.
    pub problem: Option<&'a Problem>,
    /// Why the latest spec is not followed.
    pub refused: Option<&'a Problem>,
    /// Why its cluster can't be used.
    pub unresolved: Option<&'a Problem>,
    /// What the ledgers say.
    pub ledger: Option<&'a TopicLedger>,
    /// The latest move.
    pub last: &'a LastMove,
    /// The revision that carries the topic, and how far the proxies are with it.
    pub revision: Option<(u64, Applied)>,
    /// Now.
    pub now: Timestamp,
}

/// The status of the route that counts.
pub fn status(i: &Inputs<'_>) -> TopicRouteStatus {
    let now_phase = i.situation.map_or(Phase::Pending, phase);
    let before = i.route.status.clone().unwrap_or_default();
    let chains = i.ledger.and_then(|found| found.serving.as_ref()).map(|serving| serving.chains.as_slice());
    let chains = chains.unwrap_or_default();
    let mut status = TopicRouteStatus {
        observed_generation: i.route.metadata.generation,
        phase: Some(now_phase),
        partitions: i.situation.and_then(|s| partitions(s, chains)),
        cut: i.ledger.and_then(|found| cut(found, &i.last.ledger)),
        chain: segments(chains),
        old_segments: old_segments(chains, i.last, &before.old_segments),
        revision: i.revision.as_ref().map(|(revision, _)| i64::try_from(*revision).unwrap_or(i64::MAX)),
        proxies: i.revision.as_ref().map(|(_, applied)| applied.progress()),
        conditions: conditions(i, now_phase, &before),
        ..TopicRouteStatus::default()
    };
    let cluster = &i.route.spec.cluster_ref.name;
    let shown_to = if i.last.started_at > 0 { Some(&i.last.to) } else { before.to.as_ref() };
    if now_phase == Phase::Completed && shown_to.is_some_and(|to| to != cluster) {
        // The last thing tried was a move elsewhere, which was given up: nothing of it is true of this topic now.
        status.to = Some(cluster.clone());
    } else if i.last.started_at > 0 {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        status.from = text(&i.last.from);
        status.to = text(&i.last.to);
        status.started_at = time(i.last.started_at);
        status.completed_at = time(i.last.completed_at);
        status.pause = Some(pause(i.last));
    } else {
        let (from, to) = (before.from, before.to);
        (status.from, status.to) = (from, to.or_else(|| Some(cluster.clone())));
        (status.started_at, status.completed_at) = (before.started_at, before.completed_at);
        status.pause = before.pause;
    }
    status
}

/// The status of a route that lost against an older one.
pub fn conflicted(route: &TopicRoute, problem: &Problem, now: Timestamp) -> TopicRouteStatus {
    let before = route.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(route.metadata.generation.unwrap_or(0), now, &before.conditions);
    conditions
        .no(ConditionType::Accepted, problem.reason, problem.message.clone())
        .no(ConditionType::Ready, problem.reason, problem.message.clone())
        .yes(ConditionType::Stalled, problem.reason, problem.message.clone());
    TopicRouteStatus {
        observed_generation: route.metadata.generation,
        phase: Some(Phase::Pending),
        conditions: conditions.finish(),
        ..TopicRouteStatus::default()
    }
}

/// The status of a route of which nothing can be said before the mesh's ledgers have been read; none if this generation of
/// it has a status already, which is then truer than that nothing is known.
pub fn unread(route: &TopicRoute, message: &str, now: Timestamp) -> Option<TopicRouteStatus> {
    let before = route.status.clone().unwrap_or_default();
    let generation = route.metadata.generation;
    if before.observed_generation.is_some() && before.observed_generation == generation {
        return None;
    }
    let mut conditions = Conditions::new(generation.unwrap_or(0), now, &before.conditions);
    conditions.no(ConditionType::Ready, Reason::LedgerUnavailable, message).yes(
        ConditionType::Reconciling,
        Reason::LedgerUnavailable,
        message,
    );
    Some(TopicRouteStatus {
        observed_generation: generation,
        phase: Some(Phase::Pending),
        conditions: conditions.finish(),
        ..before
    })
}

fn conditions(
    i: &Inputs<'_>,
    now_phase: Phase,
    before: &TopicRouteStatus,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    let mut c = Conditions::new(i.route.metadata.generation.unwrap_or(0), i.now, &before.conditions);
    let cluster = &i.route.spec.cluster_ref.name;
    match i.refused {
        Some(problem) => c.no(ConditionType::Accepted, problem.reason, problem.message.clone()),
        None => c.yes(ConditionType::Accepted, Reason::Accepted, "the route obeys the rules"),
    };
    match i.unresolved {
        Some(problem) => c.no(ConditionType::ResolvedRefs, problem.reason, problem.message.clone()),
        None => c.yes(ConditionType::ResolvedRefs, Reason::Resolved, format!("KafkaCluster {cluster} exists")),
    };
    let programmed = i.revision.as_ref().is_some_and(|(_, applied)| applied.complete());
    if let Some((revision, applied)) = &i.revision {
        match applied.rejected.first() {
            Some((proxy, why)) => {
                c.no(ConditionType::Programmed, Reason::RejectedByProxy, format!("proxy {proxy}: {why}"))
            }
            None if programmed => {
                let message =
                    format!("{} of {} proxies serve revision {revision}", applied.done.len(), applied.desired);
                c.yes(ConditionType::Programmed, Reason::Programmed, message)
            }
            None => {
                let message =
                    format!("{} of {} proxies serve revision {revision}", applied.done.len(), applied.desired);
                c.no(ConditionType::Programmed, Reason::WaitingForProxies, message)
            }
        };
    }
    let rejected = i.revision.as_ref().and_then(|(_, applied)| applied.rejected.first());
    let problem = i.refused.or(i.unresolved).or(i.problem);
    let waiting = i.revision.is_some() && !programmed;
    match problem {
        Some(problem) => {
            c.no(ConditionType::Ready, problem.reason, problem.message.clone());
            let kind = if problem.reason.needs_person() { ConditionType::Stalled } else { ConditionType::Reconciling };
            c.yes(kind, problem.reason, problem.message.clone());
        }
        None if now_phase == Phase::Completed && !waiting => {
            c.yes(ConditionType::Ready, Reason::Completed, format!("the topic lives on {cluster}"));
        }
        None if rejected.is_some() => {
            let message = "a proxy refuses the mesh document; see the condition Programmed";
            c.no(ConditionType::Ready, Reason::RejectedByProxy, message);
            c.yes(ConditionType::Stalled, Reason::RejectedByProxy, message);
        }
        None => {
            let message = sentence(now_phase, cluster);
            c.no(ConditionType::Ready, Reason::Progressing, message.clone());
            c.yes(ConditionType::Reconciling, Reason::Progressing, message);
        }
    }
    c.finish()
}

/// What a phase means, in a sentence.
pub fn sentence(phase: Phase, cluster: &str) -> String {
    match phase {
        Phase::Pending => format!("the move to {cluster} waits"),
        Phase::Preparing => format!("preparing the move to {cluster}: checks, catalogue, sealed target"),
        Phase::Fencing => "the proxies hold new writes of the topic".to_owned(),
        Phase::Sealing => "the old cluster is made to refuse writes, and the log ends are read".to_owned(),
        Phase::Recording => "the cut goes into the ledgers".to_owned(),
        Phase::Switching => format!("committed: {cluster} is opened and shown to clients"),
        Phase::Completed => format!("the topic lives on {cluster}"),
    }
}

/// An event for a problem is good or bad news.
pub fn is_warning(reason: Reason) -> bool {
    !matches!(reason, Reason::WaitingForTurn | Reason::WaitingForProxies | Reason::RouteChanged)
}

fn partitions(s: &Situation, chains: &[Chain]) -> Option<PartitionProgress> {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let known = s.memory.checked.as_ref().map(|(_, checked)| checked.partitions);
    let total = known.or(Some(chains.len()).filter(|n| *n > 0)).map(count)?;
    let (switched, drained) = match &s.standing {
        Standing::Committed(_) => (if s.memory.switched { total } else { 0 }, total),
        Standing::Uncommitted(_) => (0, if s.memory.attempt.cut.is_some() { total } else { 0 }),
        Standing::Switched(_) if s.wanted.as_ref().is_some_and(|wanted| wanted.to == s.serving) => (total, total),
        Standing::Fresh | Standing::Aborted(_) | Standing::Switched(_) => (0, 0),
    };
    Some(PartitionProgress { total, switched, drained })
}

fn cut(found: &TopicLedger, ledger: &str) -> Option<CutStatus> {
    if !found.standing.is_committed() {
        return None;
    }
    let cluster = if ledger.is_empty() { found.record.from.as_str() } else { ledger };
    Some(CutStatus {
        attempt: i64::try_from(found.record.attempt).unwrap_or(i64::MAX),
        offsets: found.record.chains.iter().filter_map(Chain::last).map(|last| last.start).fold(0, i64::saturating_add),
        producers: i64::try_from(found.producers.len()).unwrap_or(i64::MAX),
        ledger: format!("{LEDGER} on {cluster}, attempt {}", found.record.attempt),
    })
}

/// Offsets of each segment over all partitions, by generation; absent for the open one.
fn lengths(chains: &[Chain]) -> BTreeMap<u8, (String, Option<i64>)> {
    let mut all: BTreeMap<u8, (String, Option<i64>)> = BTreeMap::new();
    for segment in chains.iter().flat_map(Chain::segments) {
        let length = segment.physical_end.map(|end| end.saturating_sub(segment.physical_start));
        let entry = all.entry(segment.generation).or_insert_with(|| (segment.cluster.to_string(), length.map(|_| 0)));
        entry.1 = entry.1.zip(length).map(|(sum, length)| sum.saturating_add(length));
    }
    all
}

fn segments(chains: &[Chain]) -> Vec<ChainSegment> {
    let all = lengths(chains);
    let skip = all.len().saturating_sub(ROWS);
    let row = |(generation, (cluster, offsets)): (u8, (String, Option<i64>))| ChainSegment {
        cluster,
        generation: i32::from(generation),
        offsets,
    };
    all.into_iter().skip(skip).map(row).collect()
}

/// By cluster. Until when each is needed was told when the topic left it.
fn old_segments(chains: &[Chain], last: &LastMove, before: &[OldSegment]) -> Vec<OldSegment> {
    let closed = lengths(chains).into_values().filter_map(|(cluster, offsets)| Some((cluster, offsets?)));
    let mut rows: Vec<OldSegment> = Vec::new();
    for (cluster, offsets) in closed {
        if let Some(row) = rows.iter_mut().find(|row| row.cluster == cluster) {
            row.offsets = row.offsets.saturating_add(offsets);
            continue;
        }
        let needed_until = if last.completed_at > 0 && last.from == cluster {
            time(last.kept_until)
        } else {
            before.iter().find(|row| row.cluster == cluster).and_then(|row| row.needed_until.clone())
        };
        rows.push(OldSegment { cluster, offsets, needed_until });
    }
    rows.truncate(ROWS);
    rows
}

fn pause(last: &LastMove) -> PauseStatus {
    PauseStatus {
        last_millis: last.pause.map(|pause| pause.total),
        parts: last.pause.map(|pause| PauseParts {
            fence_millis: pause.fence,
            seal_millis: pause.seal,
            record_millis: pause.record,
            switch_millis: pause.switch,
        }),
        attempts: Some(i64::try_from(last.attempts).unwrap_or(i64::MAX)),
    }
}

fn time(millis: i64) -> Option<Time> {
    if millis <= 0 { None } else { Timestamp::from_second(millis / 1_000).ok().map(Time) }
}

#[cfg(test)]
mod tests;
