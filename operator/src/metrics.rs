//! What the operator counts, in `OpenMetrics` text. Labels are closed sets, but for the names of kinds and clusters.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Buckets for anything between a broker's answer and a time-out, seconds.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// One kind's reconciliations by how they ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    result: &'static str,
}

/// A part of a move.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

/// How a move ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// One state out of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// What a fuse stops.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    cluster: String,
}

#[derive(Debug, Clone)]
struct SecondsBuckets;

impl MetricConstructor<Histogram> for SecondsBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

/// All metrics of the operator.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    revision: Gauge<i64, std::sync::atomic::AtomicI64>,
    published: Counter<u64, AtomicU64>,
    publish_failures: Counter<u64, AtomicU64>,
    publish_seconds: Histogram,
    leader: Gauge<i64, std::sync::atomic::AtomicI64>,
    proxies: Family<StateLabels, Gauge>,
    reconciliations: Family<ReconcileLabels, Counter>,
    reconcile_seconds: Family<ReconcileLabels, Histogram, SecondsBuckets>,
    phase_seconds: Family<PhaseLabels, Histogram, SecondsBuckets>,
    pause_seconds: Histogram,
    moves: Family<ResultLabels, Counter>,
    cluster_up: Family<ClusterLabels, Gauge>,
    fuses_tripped: Family<DirectionLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers everything under the prefix `sluice_operator`.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sluice_operator");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of this binary", build);
        let mut metrics = Self {
            registry: Registry::default(),
            revision: Gauge::default(),
            published: Counter::default(),
            publish_failures: Counter::default(),
            publish_seconds: Histogram::new(SECONDS),
            leader: Gauge::default(),
            proxies: Family::default(),
            reconciliations: Family::default(),
            reconcile_seconds: Family::new_with_constructor(SecondsBuckets),
            phase_seconds: Family::new_with_constructor(SecondsBuckets),
            pause_seconds: Histogram::new(SECONDS),
            moves: Family::default(),
            cluster_up: Family::default(),
            fuses_tripped: Family::default(),
        };
        registry.register("revision", "Revision of the mesh document published last", metrics.revision.clone());
        registry.register("documents_published", "Mesh documents published", metrics.published.clone());
        registry.register(
            "publish_failures",
            "Mesh documents that could not be made or published",
            metrics.publish_failures.clone(),
        );
        registry.register_with_unit(
            "publish_duration",
            "Time to compile and publish a mesh document",
            Unit::Seconds,
            metrics.publish_seconds.clone(),
        );
        registry.register("leader", "1 while this operator leads, 0 while it stands by", metrics.leader.clone());
        registry.register("proxies", "Proxies by state of their report", metrics.proxies.clone());
        registry.register("reconciliations", "Reconciliations by kind and result", metrics.reconciliations.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Time of a reconciliation by kind and result",
            Unit::Seconds,
            metrics.reconcile_seconds.clone(),
        );
        registry.register_with_unit(
            "move_phase_duration",
            "Time that moves spent in a phase",
            Unit::Seconds,
            metrics.phase_seconds.clone(),
        );
        registry.register_with_unit(
            "move_pause",
            "Pause of writes by moves, without the clients' own part",
            Unit::Seconds,
            metrics.pause_seconds.clone(),
        );
        registry.register("moves", "Attempts of moves by result", metrics.moves.clone());
        registry.register("cluster_up", "1 if the latest look at a cluster succeeded", metrics.cluster_up.clone());
        registry.register(
            "fuses_tripped",
            "Fuses that stop their topic's writes or reads, by the mesh document published last",
            metrics.fuses_tripped.clone(),
        );
        metrics.registry = registry;
        metrics
    }

    /// A document was published.
    pub fn document_published(&self, revision: u64, took: Duration) {
        self.revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
        self.published.inc();
        self.publish_seconds.observe(took.as_secs_f64());
    }

    /// A document could not be made or published.
    pub fn publish_failed(&self) {
        self.publish_failures.inc();
    }

    /// This operator leads, or stands by.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Proxies by state.
    pub fn set_proxies(&self, live: usize, lost: usize, stale: usize, rejecting: usize) {
        for (state, count) in [("live", live), ("lost", lost), ("stale", stale), ("rejecting", rejecting)] {
            self.proxies.get_or_create(&StateLabels { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// A reconciliation of a kind is over.
    pub fn reconciled(&self, kind: &'static str, ok: bool, took: Duration) {
        let labels = ReconcileLabels { kind, result: if ok { "ok" } else { "error" } };
        self.reconciliations.get_or_create(&labels).inc();
        self.reconcile_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A move left a phase.
    pub fn move_phase(&self, phase: &'static str, took: Duration) {
        self.phase_seconds.get_or_create(&PhaseLabels { phase }).observe(took.as_secs_f64());
    }

    /// A move has switched: its whole pause.
    pub fn move_paused(&self, pause: Duration) {
        self.pause_seconds.observe(pause.as_secs_f64());
    }

    /// An attempt ended: `completed` or `aborted`.
    pub fn move_ended(&self, result: &'static str) {
        self.moves.get_or_create(&ResultLabels { result }).inc();
    }

    /// The latest look at a cluster succeeded or not.
    pub fn set_cluster_up(&self, cluster: &str, up: bool) {
        self.cluster_up.get_or_create(&ClusterLabels { cluster: cluster.to_owned() }).set(i64::from(up));
    }

    /// A cluster has left.
    pub fn forget_cluster(&self, cluster: &str) {
        self.cluster_up.remove(&ClusterLabels { cluster: cluster.to_owned() });
    }

    /// Topics whose writes, and topics whose reads, are stopped by a fuse.
    pub fn set_fuses_tripped(&self, produce: usize, consume: usize) {
        for (direction, count) in [("produce", produce), ("consume", consume)] {
            let gauge = self.fuses_tripped.get_or_create(&DirectionLabels { direction });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// As `OpenMetrics` text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = text::encode(&mut text, &self.registry) {
            // Writing to a string does not fail; an empty answer would look like a healthy one without metrics.
            text.clear();
            let _ = writeln!(text, "# {error}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::new();
        metrics.document_published(7, Duration::from_millis(3));
        metrics.set_proxies(2, 1, 0, 0);
        metrics.reconciled("TopicRoute", true, Duration::from_millis(1));
        metrics.move_phase("Sealing", Duration::from_millis(40));
        metrics.move_paused(Duration::from_millis(120));
        metrics.set_cluster_up("east", true);
        metrics.set_fuses_tripped(2, 0);
        let text = metrics.encode();
        for line in [
            "sluice_operator_revision 7",
            "sluice_operator_documents_published_total 1",
            "sluice_operator_proxies{state=\"live\"} 2",
            "sluice_operator_reconciliations_total{kind=\"TopicRoute\",result=\"ok\"} 1",
            "sluice_operator_move_phase_duration_seconds_bucket{le=\"0.05\",phase=\"Sealing\"} 1",
            "sluice_operator_move_pause_seconds_count 1",
            "sluice_operator_cluster_up{cluster=\"east\"} 1",
            "sluice_operator_fuses_tripped{direction=\"produce\"} 2",
            "sluice_operator_fuses_tripped{direction=\"consume\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        metrics.forget_cluster("east");
        assert!(!metrics.encode().contains("east"));
    }
}
