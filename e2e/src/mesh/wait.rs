//! Waiting for what operator and proxies have been told.

use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sluice_crds::condition::{self, ConditionType};
use sluice_crds::topic_fuse::{FuseDirection, Position};
use sluice_crds::topic_route::Phase;
use sluice_crds::{TopicFuseStatus, TopicRouteStatus};

use super::Mesh;

impl Mesh {
    /// Waits until these clusters are Ready and every running proxy has applied the document.
    pub fn wait_ready(&mut self, clusters: &[&str], within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        loop {
            self.check_alive()?;
            let mut waiting = Vec::new();
            for name in clusters {
                let conditions = self.cluster_status(name)?.map(|status| status.conditions).unwrap_or_default();
                if !condition::is_true(&conditions, ConditionType::Ready) {
                    let message = condition::find(&conditions, ConditionType::Ready)
                        .map_or_else(|| "no Ready condition yet".to_owned(), |ready| ready.message.clone());
                    waiting.push(format!("KafkaCluster {name}: {message}"));
                }
            }
            let revision = match self.document() {
                Ok(document) => document.map_or(0, |document| document.revision),
                Err(error) => {
                    waiting.push(format!("the mesh document: {error:#}"));
                    0
                }
            };
            for node in self.proxies.keys() {
                let applied = self.reports()?.iter().find(|r| r.proxy.as_str() == node).map_or(0, |r| r.revision);
                if revision == 0 || applied < revision {
                    waiting.push(format!("proxy {node}: has applied revision {applied} of {revision}"));
                } else if self.get_from_proxy(node, "/ready").is_ok_and(|answer| !answer.starts_with("HTTP/1.1 200")) {
                    waiting.push(format!("proxy {node}: is not ready"));
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the mesh is not ready after {within:?}: {}", waiting.join("; "));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Follows a route until `done`; `seen` gets each status that differs from the last.
    pub fn follow_route(
        &mut self,
        name: &str,
        within: Duration,
        seen: impl FnMut(&TopicRouteStatus),
        done: impl Fn(&TopicRouteStatus) -> bool,
    ) -> Result<TopicRouteStatus> {
        let followed = follow(|| self.route_status(name), within, seen, done)?;
        followed.map_err(|last| missed("TopicRoute", name, within, last.as_ref().map(summary)))
    }

    /// Follows a fuse until `done`.
    pub fn follow_fuse(
        &self,
        name: &str,
        within: Duration,
        done: impl Fn(&TopicFuseStatus) -> bool,
    ) -> Result<TopicFuseStatus> {
        let followed = follow(|| self.fuse_status(name), within, |_| {}, done)?;
        followed.map_err(|last| missed("TopicFuse", name, within, last.as_ref().map(fuse_summary)))
    }

    /// Waits until every live proxy does what a fuse says of writes and of reads, and its status tells so. A direction that
    /// the status does not name passes.
    pub fn wait_fuse(
        &self,
        name: &str,
        produce: Position,
        consume: Position,
        within: Duration,
    ) -> Result<TopicFuseStatus> {
        let of = |direction: Option<&FuseDirection>| direction.map_or(Position::Closed, |one| one.state);
        self.follow_fuse(name, within, |status| {
            (of(status.produce.as_ref()), of(status.consume.as_ref())) == (produce, consume)
                && condition::is_true(&status.conditions, ConditionType::Ready)
        })
    }

    /// Waits until a route's move to `cluster` is Completed.
    pub fn wait_moved(
        &mut self,
        name: &str,
        cluster: &str,
        within: Duration,
        seen: impl FnMut(&TopicRouteStatus),
    ) -> Result<TopicRouteStatus> {
        self.follow_route(name, within, seen, |status| {
            status.phase == Some(Phase::Completed)
                && status.to.as_deref() == Some(cluster)
                && condition::is_true(&status.conditions, ConditionType::Ready)
        })
    }
}

/// Reads a status until it is `done`; `seen` gets each one that differs from the last. The inner error is the last one.
fn follow<S: PartialEq>(
    mut read: impl FnMut() -> Result<Option<S>>,
    within: Duration,
    mut seen: impl FnMut(&S),
    done: impl Fn(&S) -> bool,
) -> Result<Result<S, Option<S>>> {
    let end = Instant::now() + within;
    let mut last: Option<S> = None;
    loop {
        let status = read()?;
        if let Some(status) = status
            && last.as_ref() != Some(&status)
        {
            seen(&status);
            if done(&status) {
                return Ok(Ok(status));
            }
            last = Some(status);
        }
        if Instant::now() > end {
            return Ok(Err(last));
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn missed(kind: &str, name: &str, within: Duration, last: Option<String>) -> Error {
    let last = last.unwrap_or_else(|| "none was written".to_owned());
    anyhow!("{kind} {name} is not there after {within:?}; its status: {last}")
}

/// A route's status in one line.
pub fn summary(status: &TopicRouteStatus) -> String {
    format!("{}; {}", status.phase.map_or("no phase", Phase::as_str), told(&status.conditions))
}

/// A fuse's status in one line.
pub fn fuse_summary(status: &TopicFuseStatus) -> String {
    let of = |direction: Option<&FuseDirection>| direction.map(|one| one.state);
    let (produce, consume) = (of(status.produce.as_ref()), of(status.consume.as_ref()));
    let proxies = status.proxies.as_ref().map_or("no proxies", |proxies| proxies.summary.as_str());
    format!("produce {produce:?}, consume {consume:?}, {proxies}; {}", told(&status.conditions))
}

fn told(conditions: &[Condition]) -> String {
    let one = |condition: &Condition| {
        format!("{}={} ({}: {})", condition.type_, condition.status, condition.reason, condition.message)
    };
    conditions.iter().map(one).collect::<Vec<_>>().join("; ")
}
