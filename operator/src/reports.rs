//! What the proxies say back, and waiting for them. A live proxy has renewed its report within 10 s; one that has not is
//! still waited for by people (`desired`) for some time, but never by a move.

use std::sync::Arc;
use std::time::Duration;

use sluice_crds::ProxyProgress;
use sluice_mesh::name::ProxyName;
use sluice_mesh::report::Report;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::store::Reports;

/// How often a wait looks again without a wake-up: reports also change by growing old.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What the proxies report. A clone is a handle.
#[derive(Debug, Clone)]
pub struct Proxies {
    reports: watch::Receiver<Arc<Reports>>,
}

/// How far the proxies are with a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Proxies that are live.
    pub live: Vec<ProxyName>,
    /// Live proxies that have done it (applied the revision, or drained all that is older).
    pub done: Vec<ProxyName>,
    /// Live proxies that have not.
    pub stale: Vec<ProxyName>,
    /// Those of `stale` that refused the revision or a newer one, with their sentence.
    pub rejected: Vec<(ProxyName, String)>,
    /// Proxies that were lost a moment ago.
    pub lost: Vec<ProxyName>,
    /// Proxies that should have: live ones and those lost a moment ago.
    pub desired: usize,
}

impl Applied {
    /// All live proxies have done it (also if none is live).
    pub fn complete(&self) -> bool {
        self.stale.is_empty()
    }

    /// The proxies that have not, for people: how each stands.
    pub fn late(&self) -> Vec<String> {
        let rejected = |proxy: &ProxyName| self.rejected.iter().any(|(name, _)| name == proxy);
        let stale = self
            .stale
            .iter()
            .map(|proxy| if rejected(proxy) { format!("{proxy} (refuses the document)") } else { proxy.to_string() });
        stale.collect()
    }

    /// [`Applied::late`], and those that were lost a moment ago: they may come back with what they know.
    pub fn late_or_lost(&self) -> Vec<String> {
        let lost = self.lost.iter().map(|proxy| format!("{proxy} (no report any more; waited for 30 s)"));
        self.late().into_iter().chain(lost).collect()
    }

    /// As a status counts it.
    pub fn progress(&self) -> ProxyProgress {
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        ProxyProgress {
            desired: count(self.desired),
            programmed: count(self.done.len()),
            rejected: count(self.rejected.len()),
            stale: count(self.stale.len().saturating_sub(self.rejected.len())),
            summary: format!("{}/{}", self.done.len(), self.desired),
        }
    }
}

/// Counts reports. Pure.
pub fn count(reports: &Reports, revision: u64, now: i64, done: impl Fn(&Report) -> bool) -> Applied {
    let mut applied = Applied::default();
    for (name, report) in reports {
        applied.desired += usize::from(report.is_desired(now));
        if !report.is_live(now) {
            if report.is_desired(now) {
                applied.lost.push(name.clone());
            }
            continue;
        }
        applied.live.push(name.clone());
        if done(report) {
            applied.done.push(name.clone());
            continue;
        }
        applied.stale.push(name.clone());
        if let Some(rejected) = &report.rejected
            && (rejected.revision >= revision || rejected.revision == 0)
        {
            applied.rejected.push((name.clone(), rejected.reason.clone()));
        }
    }
    applied
}

impl Proxies {
    /// What the store sees of the proxies.
    pub fn new(reports: watch::Receiver<Arc<Reports>>) -> Self {
        Self { reports }
    }

    /// How far the proxies are now with applying a revision.
    pub fn applied(&self, revision: u64) -> Applied {
        count(&self.reports.borrow(), revision, clock::now_millis(), |report| report.has_applied(revision))
    }

    /// How far the proxies are now with draining: no Produce decided under a revision below this one waits any more.
    pub fn drained(&self, revision: u64) -> Applied {
        count(&self.reports.borrow(), revision, clock::now_millis(), |report| report.has_drained(revision))
    }

    /// Waits until all live proxies have applied a revision, or the time is over.
    pub async fn wait_applied(&self, revision: u64, timeout: Duration) -> Applied {
        self.wait(timeout, |proxies| proxies.applied(revision)).await
    }

    /// Waits until all live proxies have drained what is older than a revision, or the time is over.
    pub async fn wait_drained(&self, revision: u64, timeout: Duration) -> Applied {
        self.wait(timeout, |proxies| proxies.drained(revision)).await
    }

    async fn wait(&self, timeout: Duration, look: impl Fn(&Self) -> Applied) -> Applied {
        let deadline = Instant::now() + timeout;
        let mut changes = self.reports.clone();
        loop {
            changes.mark_unchanged();
            let seen = look(self);
            let now = Instant::now();
            if seen.complete() || now >= deadline {
                return seen;
            }
            // A closed channel or a time-out only means: look again.
            let _ = tokio::time::timeout_at(deadline.min(now + LOOK_AGAIN), changes.changed()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, revision: u64, drained: u64) -> Report {
        Report {
            proxy: ProxyName::new(name).unwrap(),
            incarnation: "1".into(),
            host: "127.0.1.1".into(),
            bootstrap_port: 9092,
            port_base: 9100,
            broker_hosts: vec![],
            revision,
            drained,
            rejected: None,
            renewed_at: clock::now_millis(),
            version: "0".into(),
        }
    }

    fn reports(list: impl IntoIterator<Item = Report>) -> Arc<Reports> {
        Arc::new(list.into_iter().map(|report| (report.proxy.clone(), report)).collect())
    }

    #[test]
    fn only_live_proxies_are_waited_for() {
        let mut gone = report("gone", 1, 1);
        gone.renewed_at -= 20_000;
        let mut dead = report("dead", 1, 1);
        dead.renewed_at -= 60_000;
        let seen = reports([report("a", 7, 6), report("b", 6, 6), gone, dead]);
        let applied = count(&seen, 7, clock::now_millis(), |report| report.has_applied(7));
        assert_eq!((applied.live.len(), applied.done.len(), applied.stale.len(), applied.desired), (2, 1, 1, 3));
        assert_eq!(applied.late(), ["b"]);
        assert_eq!(applied.late_or_lost(), ["b", "gone (no report any more; waited for 30 s)"]);
        let drained = count(&seen, 6, clock::now_millis(), |report| report.has_drained(6));
        assert!(drained.complete());
        assert!(!count(&seen, 7, clock::now_millis(), |report| report.has_drained(7)).complete());
    }

    #[test]
    fn a_refusal_of_this_revision_is_told_and_an_old_one_is_not() {
        let rejected = |revision| Some(sluice_mesh::report::Rejected { revision, reason: "no".into() });
        let mut old = report("old", 5, 5);
        old.rejected = rejected(6);
        let mut new = report("new", 6, 6);
        new.rejected = rejected(7);
        let applied = count(&reports([old, new]), 7, clock::now_millis(), |report| report.has_applied(7));
        assert_eq!(applied.rejected.len(), 1);
        assert_eq!(applied.rejected[0].0.as_str(), "new");
        assert_eq!(applied.late(), ["new (refuses the document)", "old"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_last_proxy_or_with_the_time() {
        let (sender, receiver) = watch::channel(reports([report("a", 1, 1), report("b", 1, 1)]));
        let proxies = Proxies::new(receiver);
        let waiting = tokio::spawn({
            let proxies = proxies.clone();
            async move { proxies.wait_applied(2, Duration::from_secs(5)).await }
        });
        tokio::task::yield_now().await;
        sender.send_replace(reports([report("a", 2, 1), report("b", 1, 1)]));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        sender.send_replace(reports([report("a", 2, 1), report("b", 2, 2)]));
        assert!(waiting.await.unwrap().complete());
        assert_eq!(proxies.wait_drained(2, Duration::from_millis(200)).await.stale.len(), 1);
    }
}
