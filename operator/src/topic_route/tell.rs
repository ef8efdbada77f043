//! What the task of a topic tells people: phases and problems as events, and the status. It decides nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::phase::{Phase, phase};
use super::problem::Problem;
use super::situation::Situation;
use super::validate::{self, Asked};
use super::{Run, status};
use crate::clock;
use crate::store::{Event, EventType, Kind};

impl Run<'_> {
    pub(super) fn tell_phase(&mut self, asked: &Asked, s: &Situation) {
        let now = phase(s);
        if self.p.told_phase == Some(now) {
            return;
        }
        if let Some(before) = self.p.told_phase {
            let took = Duration::from_millis(u64::try_from(s.now.saturating_sub(self.p.phase_since)).unwrap_or(0));
            self.ctx.metrics.move_phase(before.as_str(), took);
        }
        self.p.phase_since = s.now;
        let first = self.p.told_phase.is_none();
        self.p.told_phase = Some(now);
        let Some(wanted) = &s.wanted else { return };
        if first && now == Phase::Completed {
            return; // It was there before this process began.
        }
        let sentence = status::sentence(now, wanted.to.as_str());
        tracing::info!(topic = %self.topic, phase = %now.as_str(), "{sentence}");
        self.event(asked, EventType::Normal, now.as_str(), sentence);
        self.show(asked, Some(s), s.memory.problem.as_ref());
    }

    pub(super) fn tell_problem(&mut self, asked: &Asked, problem: &Problem) {
        if self.p.told_problem.as_ref().is_some_and(|(reason, _)| *reason == problem.reason) {
            return;
        }
        self.p.told_problem = Some((problem.reason, problem.message.clone()));
        let kind = if status::is_warning(problem.reason) { EventType::Warning } else { EventType::Normal };
        self.event(asked, kind, problem.reason.as_str(), problem.message.clone());
    }

    pub(super) fn tell_losers(&self, asked: &Asked) {
        for (route, problem) in &asked.losers {
            let status = status::conflicted(&route.object, problem, clock::now());
            self.ctx.store.put_route_status(validate::name(route), status);
        }
    }

    pub(super) fn event(&self, asked: &Asked, event_type: EventType, reason: &'static str, message: String) {
        let Some(route) = &asked.route else { return };
        let name = validate::name(route).to_owned();
        self.ctx.store.record_event(Event { kind: Kind::TopicRoute, name, event_type, reason, message });
    }

    /// Hands the status to the store, which writes it beside.
    pub(super) fn show(&mut self, asked: &Asked, s: Option<&Situation>, problem: Option<&Problem>) {
        let problem = asked.unresolved.as_ref().or(problem).cloned();
        match &problem {
            Some(problem) => self.tell_problem(asked, problem),
            None => self.p.told_problem = None,
        }
        let Some(route) = &asked.route else { return };
        let merged = self.ctx.ledger.merged();
        let revision = s.and_then(|s| s.memory.published.or(s.memory.attempt.fenced).or(s.memory.entry));
        // First said, then counted: a report that comes in between wakes the topic.
        self.p.shown.store(revision.unwrap_or(0), Ordering::SeqCst);
        let revision = revision.map(|revision| (revision, self.ctx.proxies.applied(revision)));
        let status = status::status(&status::Inputs {
            route: &route.object,
            situation: s,
            problem: problem.as_ref(),
            refused: asked.refused.as_ref(),
            unresolved: asked.unresolved.as_ref(),
            ledger: merged.topics.get(self.topic).map(AsRef::as_ref),
            last: &self.p.last,
            revision,
            now: clock::now(),
        });
        self.ctx.store.put_route_status(validate::name(route), status);
    }
}
