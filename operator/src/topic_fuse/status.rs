//! The status of a fuse and what is told of its changes, from the same values. Pure.
//!
//! What stands in the document is what is shown as tripped or closed: a fuse that could not be published yet has not
//! tripped, whatever its spec says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use sluice_crds::condition::{self, ConditionType, Conditions, Reason as _};
use sluice_crds::topic_fuse::{FuseDirection, Position, TopicFuse, TopicFuseReason as Reason, TopicFuseStatus};
use sluice_mesh::document::{Fuse, FuseAction};
use sluice_mesh::name::ProxyName;

use super::validate::{Asked, Problem};
use crate::reports::Applied;

/// All that a status is made from.
pub struct Inputs<'a> {
    /// The fuse, and what it comes to.
    pub asked: &'a Asked,
    /// What was told of it last.
    pub before: Option<&'a TopicFuseStatus>,
    /// What the document says; none before the first.
    pub published: Option<Published<'a>>,
    /// Why the latest try to publish failed, if it did.
    pub publish_trouble: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

/// What the document says of a fuse.
pub struct Published<'a> {
    /// Its entry; none: it stops nothing.
    pub entry: Option<&'a Fuse>,
    /// A revision since which the document says this.
    pub revision: u64,
    /// How far the proxies are with that.
    pub applied: &'a Applied,
}

/// Something to tell once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Things go as they should.
    pub good: bool,
    /// CamelCase word out of a closed list.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// The status of a fuse.
pub fn status(i: &Inputs<'_>) -> TopicFuseStatus {
    let generation = i.asked.fuse.object.metadata.generation;
    let before = i.before.cloned().unwrap_or_default();
    let mut c = Conditions::new(generation.unwrap_or(0), i.now, &before.conditions);
    if let Some(problem) = &i.asked.lost {
        c.no(ConditionType::Accepted, problem.reason, problem.message.clone());
        c.no(ConditionType::Tripped, problem.reason, "this fuse stops nothing");
        stall(&mut c, problem);
        return TopicFuseStatus {
            observed_generation: generation,
            conditions: c.finish(),
            ..TopicFuseStatus::default()
        };
    }
    let conditions = conditions(i, &mut c);
    let Some(published) = &i.published else {
        // What is not known to have changed stays.
        return TopicFuseStatus { observed_generation: generation, conditions, ..before };
    };
    let direction = |stopped| Some(FuseDirection { state: if stopped { Position::Tripped } else { Position::Closed } });
    let produce = direction(published.entry.is_some_and(|entry| entry.produce.is_some()));
    let consume = direction(published.entry.is_some_and(|entry| entry.consume));
    let stays = before.produce == produce && before.consume == consume;
    TopicFuseStatus {
        observed_generation: generation,
        conditions,
        produce,
        consume,
        since: before.since.filter(|_| stays).or(Some(Time(i.now))),
        revision: Some(i64::try_from(published.revision).unwrap_or(i64::MAX)),
        proxies: Some(published.applied.progress()),
    }
}

/// The status of a fuse while nothing can be published; none if this generation of it has a status already, which is then
/// truer than that nothing is known.
pub fn unread(fuse: &TopicFuse, message: &str, now: Timestamp) -> Option<TopicFuseStatus> {
    let before = fuse.status.clone().unwrap_or_default();
    let generation = fuse.metadata.generation;
    if before.observed_generation.is_some() && before.observed_generation == generation {
        return None;
    }
    let mut c = Conditions::new(generation.unwrap_or(0), now, &before.conditions);
    for kind in [ConditionType::Programmed, ConditionType::Ready] {
        c.no(kind, Reason::NotPublished, message);
    }
    c.yes(ConditionType::Reconciling, Reason::NotPublished, message);
    Some(TopicFuseStatus { observed_generation: generation, conditions: c.finish(), ..before })
}

/// What is to be told of a fuse after its status was made; `revision` is that of the document which says so.
pub fn news(asked: &Asked, before: Option<&TopicFuseStatus>, after: &TopicFuseStatus, revision: u64) -> Vec<News> {
    if let Some(problem) = &asked.lost {
        let known = before.and_then(|before| condition::find(&before.conditions, ConditionType::Accepted));
        let told = known.is_some_and(|known| known.status == "False" && known.reason == problem.reason.as_str());
        let news = || News { good: false, reason: problem.reason.as_str(), message: problem.message.clone() };
        return if told { Vec::new() } else { vec![news()] };
    }
    let was = |stops: fn(&TopicFuseStatus) -> bool| before.is_some_and(stops);
    let directions = [
        ("writes", was(TopicFuseStatus::stops_produce), after.stops_produce()),
        ("reads", was(TopicFuseStatus::stops_consume), after.stops_consume()),
    ];
    let topic = asked.topic();
    let mut news = Vec::new();
    if directions.iter().any(|(_, before, now)| !before && *now) {
        let all = condition::find(&after.conditions, ConditionType::Tripped).map_or("", |row| row.message.as_str());
        news.push(News {
            good: true,
            reason: Position::Tripped.as_str(),
            message: format!("{all} (revision {revision})"),
        });
    }
    let closed: Vec<&str> =
        directions.iter().filter(|(_, before, now)| *before && !now).map(|(name, ..)| *name).collect();
    if !closed.is_empty() {
        let message = format!("{} of topic {topic} pass again (revision {revision})", closed.join(" and "));
        news.push(News { good: true, reason: Position::Closed.as_str(), message });
    }
    news
}

/// What is told of a fuse that was deleted while it had tripped.
pub fn deleted(entry: &Fuse, revision: u64) -> News {
    let topic = &entry.topic;
    let message = format!("the fuse was deleted: it stops nothing of topic {topic} any more (revision {revision})");
    News { good: true, reason: Position::Closed.as_str(), message }
}

fn stall(c: &mut Conditions, problem: &Problem) {
    c.no(ConditionType::Ready, problem.reason, problem.message.clone());
    c.yes(ConditionType::Stalled, problem.reason, problem.message.clone());
}

fn wait(c: &mut Conditions, problem: &Problem) {
    c.no(ConditionType::Ready, problem.reason, problem.message.clone());
    c.yes(ConditionType::Reconciling, problem.reason, problem.message.clone());
}

fn conditions(i: &Inputs<'_>, c: &mut Conditions) -> Vec<Condition> {
    let topic = i.asked.topic();
    match &i.asked.refused {
        Some(problem) => c.no(ConditionType::Accepted, problem.reason, problem.message.clone()),
        None => c.yes(ConditionType::Accepted, Reason::Accepted, "the fuse obeys the rules"),
    };
    if let Some(published) = &i.published {
        match published.entry {
            Some(entry) => c.yes(ConditionType::Tripped, Reason::Blocked, sentence(entry)),
            None => c.no(ConditionType::Tripped, Reason::Closed, format!("writes and reads of topic {topic} pass")),
        };
    }
    let missing = missing(i);
    if let Some(problem) = &missing {
        c.no(ConditionType::Programmed, problem.reason, problem.message.clone());
    } else if let Some(published) = &i.published {
        c.yes(ConditionType::Programmed, Reason::Programmed, serve(published));
    }
    match (&i.asked.refused, missing) {
        (Some(problem), _) => stall(c, problem),
        (None, Some(problem)) if problem.reason == Reason::RejectedByProxy => stall(c, &problem),
        (None, Some(problem)) => wait(c, &problem),
        (None, None) => {
            let entry = i.published.as_ref().and_then(|published| published.entry);
            let message = entry.map_or_else(|| format!("writes and reads of topic {topic} pass"), sentence);
            c.yes(ConditionType::Ready, Reason::Programmed, message);
        }
    }
    c.finish()
}

/// What is missing until every live proxy does what the fuse says.
fn missing(i: &Inputs<'_>) -> Option<Problem> {
    let problem = |reason, message| Some(Problem { reason, message });
    let published = i.published.as_ref().filter(|published| published.entry == i.asked.entry.as_ref());
    let Some(published) = published else {
        let message = i.publish_trouble.unwrap_or("the mesh document with it is being made");
        return problem(Reason::NotPublished, message.to_owned());
    };
    if let Some((proxy, why)) = published.applied.rejected.first() {
        return problem(Reason::RejectedByProxy, format!("proxy {proxy} refuses the mesh document: {why}"));
    }
    if published.applied.complete() {
        return None;
    }
    let message = format!("{}; waiting for {}", serve(published), published.applied.late().join(", "));
    problem(Reason::WaitingForProxies, message)
}

fn serve(published: &Published<'_>) -> String {
    let Published { revision, applied, .. } = published;
    let mut text = format!("{} of {} proxies serve revision {revision}", applied.done.len(), applied.desired);
    if !applied.lost.is_empty() {
        let lost: Vec<&str> = applied.lost.iter().map(ProxyName::as_str).collect();
        text.push_str("; no report any more from ");
        text.push_str(&lost.join(", "));
        text.push_str(": while it runs, it does what it heard last");
    }
    text
}

/// What a tripped fuse does, for people.
pub fn sentence(entry: &Fuse) -> String {
    let topic = &entry.topic;
    let writes = entry.produce.map(|action| match action {
        FuseAction::Hold => {
            format!(
                "writes of topic {topic} wait, then they are refused with NOT_ENOUGH_REPLICAS, which clients try again"
            )
        }
        FuseAction::Reject => format!("writes of topic {topic} are refused with POLICY_VIOLATION"),
    });
    let reads = entry.consume.then(|| format!("reads of topic {topic} are answered empty"));
    [writes, reads].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
