//! Waiting for what operator and proxies have been told.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use sluice_crds::topic_route::Phase;
use sluice_crds::{TopicRouteStatus, condition};

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
                if !condition::is_true(&conditions, condition::ConditionType::Ready) {
                    let message = condition::find(&conditions, condition::ConditionType::Ready)
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
        mut seen: impl FnMut(&TopicRouteStatus),
        done: impl Fn(&TopicRouteStatus) -> bool,
    ) -> Result<TopicRouteStatus> {
        let end = Instant::now() + within;
        let mut last: Option<TopicRouteStatus> = None;
        loop {
            let status = self.route_status(name)?;
            if let Some(status) = status
                && last.as_ref() != Some(&status)
            {
                seen(&status);
                if done(&status) {
                    return Ok(status);
                }
                last = Some(status);
            }
            if Instant::now() > end {
                let last = last.map_or_else(|| "none was written".to_owned(), |status| summary(&status));
                bail!("TopicRoute {name} is not there after {within:?}; its status: {last}");
            }
            std::thread::sleep(Duration::from_millis(3));
        }
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
                && condition::is_true(&status.conditions, condition::ConditionType::Ready)
        })
    }
}

/// A status in one line.
pub fn summary(status: &TopicRouteStatus) -> String {
    let phase = status.phase.map_or("no phase", Phase::as_str);
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .map(|condition| {
            format!("{}={} ({}: {})", condition.type_, condition.status, condition.reason, condition.message)
        })
        .collect();
    format!("{phase}; {}", conditions.join("; "))
}
