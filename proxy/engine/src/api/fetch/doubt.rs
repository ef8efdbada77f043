//! Offsets that a broker had nothing for, and watermarks that nobody has seen yet: which questions to ask, and what the
//! answers mean. Below the first living offset a client is told so; a hole is jumped; above the end it waits.

use std::sync::Arc;

use sluice_mesh::model::{TopicModel, World};

use super::answer::ASK_AGAIN;
use super::wants::{At, Wants};
use crate::api::facts::{self, EARLIEST, Fact, LATEST, Question, What};
use crate::ask::{Ask, Reply};
use crate::memory::{Odd, Spot};
use crate::outcome::Scope;

/// How long watermarks are believed while nothing is read from the last segment, milliseconds.
const FRESH: u64 = 1_000;

/// Time limit of the questions, milliseconds: the old cluster may be down.
const ASK_TIMEOUT: u64 = 1_000;

/// What a question is about.
#[derive(Debug, Clone)]
pub(super) enum About {
    /// Watermarks of the last segment.
    Latest { topic: Arc<TopicModel>, partition: i32 },
    /// Log start of the segment at this position.
    Start { doubt: usize, position: usize },
    /// Log end of the segment of the doubt.
    End { doubt: usize },
}

/// A doubt that is being asked about.
#[derive(Debug)]
struct Doubt {
    topic: Arc<TopicModel>,
    partition: i32,
    spot: Spot,
    position: usize,
}

/// The questions and their meaning.
#[derive(Debug, Default)]
pub(super) struct Questions {
    list: Vec<Question>,
    about: Vec<About>,
    doubts: Vec<Doubt>,
}

/// Questions on their way.
#[derive(Debug)]
pub(super) struct Pending {
    asked: facts::Asked,
    about: Vec<About>,
    doubts: Vec<Doubt>,
}

impl Pending {
    /// Some offset is in doubt.
    pub(super) fn is_doubtful(&self) -> bool {
        !self.doubts.is_empty()
    }
}

/// What has to be asked before these can be served.
pub(super) fn questions(wants: &Wants, scope: &mut Scope<'_>, isolation: i8) -> Questions {
    let mut questions = Questions::default();
    for want in &wants.list {
        let (topic, spot) = match &want.at {
            At::Live(topic, spot) => (topic, *spot),
            At::Old(topic, old) => (topic, old.spot),
            At::Plain | At::Blank(..) | At::Fused(_) | At::Error(_) => continue,
        };
        let index = want.index;
        let now = scope.now;
        let known = scope.memory.partition(&topic.name, index, topic.generation(index));
        let stale = known.seen_at.is_none_or(|at| now >= at.saturating_add(FRESH));
        if matches!(want.at, At::Old(..)) && stale {
            // One try a second, whatever comes of it.
            known.seen_at = Some(now);
            let what = What::Offset { timestamp: LATEST, isolation };
            let about = About::Latest { topic: Arc::clone(topic), partition: index };
            questions.push(topic.cluster, topic, index, what, about);
        }
        if let Some(Odd::Doubt { spot: doubted, ask_at }) = &mut known.odd
            && *doubted == spot
            && now >= *ask_at
        {
            *ask_at = now.saturating_add(ASK_AGAIN);
            questions.doubt(topic, index, spot, scope.world);
        }
    }
    questions
}

impl Questions {
    fn push(
        &mut self,
        cluster: sluice_mesh::model::ClusterIndex,
        topic: &TopicModel,
        partition: i32,
        what: What,
        about: About,
    ) {
        self.list.push(Question { cluster, topic: topic.name.as_str().to_owned(), partition, what });
        self.about.push(about);
    }

    /// All log starts up to the segment in doubt, and its own end.
    fn doubt(&mut self, topic: &Arc<TopicModel>, partition: i32, spot: Spot, world: &World) {
        let doubt = self.doubts.len();
        let earliest = What::Offset { timestamp: EARLIEST, isolation: 0 };
        let Some(chain) = topic.chain(partition) else {
            self.doubts.push(Doubt { topic: Arc::clone(topic), partition, spot, position: 0 });
            self.push(topic.cluster, topic, partition, earliest, About::Start { doubt, position: 0 });
            self.push(topic.cluster, topic, partition, What::LogEnd, About::End { doubt });
            return;
        };
        let Some((position, _)) = chain.chain.by_generation(spot.generation) else {
            return;
        };
        self.doubts.push(Doubt { topic: Arc::clone(topic), partition, spot, position });
        for earlier in 0..=position {
            let Some((segment, cluster)) = chain.segment(earlier) else {
                continue;
            };
            // Whatever its cluster would say is about another topic.
            if world.is_dead(segment, cluster, topic.name.as_str()) {
                continue;
            }
            self.push(cluster, topic, partition, earliest, About::Start { doubt, position: earlier });
            if earlier == position {
                self.push(cluster, topic, partition, What::LogEnd, About::End { doubt });
            }
        }
    }
}

/// The ask for these questions.
pub(super) fn ask(questions: Questions, world: &World) -> (Option<Ask>, Pending) {
    let (ask, asked) = facts::ask(questions.list, world, ASK_TIMEOUT);
    (ask, Pending { asked, about: questions.about, doubts: questions.doubts })
}

/// What the answers mean. Without any there is still what the views say.
pub(super) fn learn(pending: &Pending, reply: Option<Reply>, scope: &mut Scope<'_>) {
    let facts = pending.asked.facts(reply);
    let answers: Vec<(&About, Fact)> = pending.about.iter().zip(facts).collect();
    for (about, fact) in &answers {
        if let About::Latest { topic, partition } = about
            && let Some(offset) = fact.offset()
        {
            let shown = offset.saturating_add(topic.shift(*partition));
            let now = scope.now;
            scope.memory.partition(&topic.name, *partition, topic.generation(*partition)).saw(shown, shown, now);
        }
    }
    for (number, doubt) in pending.doubts.iter().enumerate() {
        let start_of = |position: usize| {
            answers.iter().find_map(|(about, fact)| match about {
                About::Start { doubt, position: at } if *doubt == number && *at == position => Some(*fact),
                _ => None,
            })
        };
        let end = answers.iter().find_map(|(about, fact)| match about {
            About::End { doubt } if *doubt == number => Some(*fact),
            _ => None,
        });
        let known_segments = starts(doubt, start_of, scope.world);
        let verdict = verdict(doubt, &known_segments, end.and_then(Fact::offset), scope.now);
        let generation = doubt.topic.generation(doubt.partition);
        let known = scope.memory.partition(&doubt.topic.name, doubt.partition, generation);
        match verdict {
            Verdict::Unknown => {}
            Verdict::Fine => known.odd = None,
            Verdict::Odd(odd) => known.odd = Some(odd),
        }
        if let Some(first) = first_living(doubt, &known_segments) {
            known.log_start = known.log_start.max(first);
        }
    }
}

/// The log start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Physical.
    At(i64),
    /// The topic there is another one.
    Dead,
    /// Nobody could say.
    Unknown,
}

fn starts(doubt: &Doubt, start_of: impl Fn(usize) -> Option<Fact>, world: &World) -> Vec<Start> {
    let dead = |position: usize| {
        let segment = doubt.topic.chain(doubt.partition).and_then(|chain| chain.segment(position));
        segment.is_some_and(|(segment, cluster)| world.is_dead(segment, cluster, doubt.topic.name.as_str()))
    };
    let start = |position: usize| match start_of(position).map(Fact::offset) {
        Some(Some(offset)) => Start::At(offset),
        _ if dead(position) => Start::Dead,
        _ => Start::Unknown,
    };
    (0..=doubt.position).map(start).collect()
}

enum Verdict {
    /// Ask again later; empty until then.
    Unknown,
    /// It can be read now.
    Fine,
    Odd(Odd),
}

/// Whether a segment holds anything, by its log start; `None`: nobody knows.
fn lives(doubt: &Doubt, position: usize, start: Start) -> Option<bool> {
    let end = doubt.topic.chain(doubt.partition).and_then(|chain| chain.segment(position)).map(|(s, _)| s.physical_end);
    match (start, end.flatten()) {
        (Start::Dead, _) => Some(false),
        (Start::At(start), Some(end)) => Some(start < end),
        (Start::At(_), None) => Some(true),
        (Start::Unknown, _) => None,
    }
}

/// The first living virtual offset, if it lies in a segment that was asked about.
fn first_living(doubt: &Doubt, starts: &[Start]) -> Option<i64> {
    let chain = doubt.topic.chain(doubt.partition)?;
    for (position, start) in starts.iter().enumerate() {
        if let (true, Start::At(start)) = (lives(doubt, position, *start)?, start) {
            let (segment, _) = chain.segment(position)?;
            return Some(segment.to_virtual((*start).max(segment.physical_start)));
        }
    }
    None
}

fn verdict(doubt: &Doubt, starts: &[Start], end: Option<i64>, now: u64) -> Verdict {
    let offset = doubt.spot.offset;
    let here = starts.get(doubt.position).copied().unwrap_or(Start::Unknown);
    let segment = doubt.topic.chain(doubt.partition).and_then(|chain| chain.segment(doubt.position));
    let next = doubt.topic.chain(doubt.partition).and_then(|chain| chain.chain.next_after(doubt.position));
    let jump_on = next.map_or(Verdict::Unknown, |(_, next)| {
        Verdict::Odd(Odd::Jump(Spot { offset, generation: next.generation, physical: next.physical_start }))
    });
    let start = match here {
        Start::Unknown => return Verdict::Unknown,
        // Nothing of this segment will ever be read; the reader goes on behind it unless nothing older is left either.
        Start::Dead => i64::MAX,
        Start::At(start) => start,
    };
    if doubt.spot.physical < start {
        let older =
            starts.iter().take(doubt.position).enumerate().map(|(position, start)| lives(doubt, position, *start));
        let older: Vec<Option<bool>> = older.collect();
        return if older.contains(&Some(true)) {
            // A hole in the middle of what is left.
            let limit = segment.and_then(|(segment, _)| segment.physical_end).unwrap_or(i64::MAX);
            if start < limit {
                let generation = doubt.spot.generation;
                Verdict::Odd(Odd::Jump(Spot { offset, generation, physical: start }))
            } else {
                jump_on
            }
        } else if older.contains(&None) {
            Verdict::Unknown
        } else {
            Verdict::Odd(Odd::Gone { offset })
        };
    }
    match (end, segment.and_then(|(segment, _)| segment.physical_end)) {
        (None, _) => Verdict::Unknown,
        // Truncated below the cut: what is missing will not come back.
        (Some(end), Some(limit)) if doubt.spot.physical >= end && end < limit => jump_on,
        (Some(end), Some(limit)) if doubt.spot.physical >= end.min(limit) => jump_on,
        (Some(end), None) if doubt.spot.physical > end => {
            Verdict::Odd(Odd::Beyond { offset, until: now.saturating_add(ASK_AGAIN) })
        }
        _ => Verdict::Fine,
    }
}
