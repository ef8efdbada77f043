//! A move under load, and what it cost.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use sluice_crds::TopicRouteStatus;

use super::Load;
use crate::history::{Event, gaps};
use crate::stage::Stage;

/// A move as its clients and its operator saw it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveReport {
    /// Where from.
    pub from: String,
    /// Where to.
    pub to: String,
    /// From the change of the file to Completed, milliseconds.
    pub total_millis: u64,
    /// What the operator says of the pause, milliseconds.
    pub pause_millis: Option<i64>,
    /// Its parts: fence, seal, record, switch.
    pub parts_millis: Option<[i64; 4]>,
    /// Attempts that it took.
    pub attempts: Option<i64>,
    /// Longest time between two acknowledgements on a partition around the move, milliseconds: the median partition.
    pub client_gap_median_millis: f64,
    /// The same, the worst partition.
    pub client_gap_worst_millis: f64,
    /// The clients' own part: by how much that exceeds the pause, milliseconds; unknown without a pause.
    pub client_millis: Option<f64>,
    /// When it began and ended, microseconds of the history.
    #[serde(skip)]
    pub span: (u64, u64),
}

impl Load {
    /// Moves the topic and waits until it is there. `seen` gets every change of the route's status.
    pub fn move_to(
        &mut self,
        stage: &mut Stage,
        to: &str,
        within: Duration,
        seen: impl FnMut(&TopicRouteStatus),
    ) -> Result<MoveReport> {
        let topic = self.spec.topic.clone();
        let begin = self.recorder.clock().now();
        self.recorder.note(&format!("move {topic} to {to}"));
        let mesh = stage.mesh()?;
        mesh.apply_route(&topic, to)?;
        let status = mesh.wait_moved(&topic, to, within, seen)?;
        let end = self.recorder.clock().now();
        self.recorder.note(&format!("{topic} is on {to}"));
        self.check_alive()?;
        let pause = status.pause.unwrap_or_default();
        Ok(MoveReport {
            from: status.from.unwrap_or_default(),
            to: to.to_owned(),
            total_millis: (end - begin) / 1000,
            pause_millis: pause.last_millis,
            parts_millis: pause
                .parts
                .map(|parts| [parts.fence_millis, parts.seal_millis, parts.record_millis, parts.switch_millis]),
            attempts: pause.attempts,
            client_gap_median_millis: 0.0,
            client_gap_worst_millis: 0.0,
            client_millis: None,
            span: (begin, end),
        })
    }
}

/// Clients take a moment to notice: acknowledgements up to this long after a move count to it.
const AFTERMATH: u64 = 1_500_000;

#[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
pub(super) fn fill_in(report: &mut MoveReport, events: &[Event]) {
    let mut lengths: Vec<u64> =
        gaps(events, report.span.0, report.span.1 + AFTERMATH).into_iter().map(|gap| gap.length).collect();
    lengths.sort_unstable();
    report.client_gap_median_millis = lengths.get(lengths.len() / 2).map_or(0.0, |gap| *gap as f64 / 1000.0);
    report.client_gap_worst_millis = lengths.last().map_or(0.0, |gap| *gap as f64 / 1000.0);
    report.client_millis = report.pause_millis.map(|pause| (report.client_gap_worst_millis - pause as f64).max(0.0));
}
