//! What the proxy counts. The data threads write plain single-writer counters of their own; a scrape adds them up, so
//! that no two threads ever touch the same cache line on the way of a request.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kafka_protocol::messages::ApiKey;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use sluice_engine::fuse::Stopped;

use crate::end::End;

/// API keys counted one by one; higher ones together, as the last.
const APIS: usize = 96;

/// A counter with one writer: no read-modify-write on the bus.
#[derive(Debug)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Only the thread that owns the counter may call this.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where bytes go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    /// Read from clients.
    FromClient,
    /// Written to brokers.
    ToBroker,
    /// Read from brokers.
    FromBroker,
    /// Written to clients.
    ToClient,
}

const DIRECTIONS: [(Direction, &str); 4] = [
    (Direction::FromClient, "from_client"),
    (Direction::ToBroker, "to_broker"),
    (Direction::FromBroker, "from_broker"),
    (Direction::ToClient, "to_client"),
];

/// The counters of one data thread.
#[derive(Debug)]
pub(crate) struct ThreadCounters {
    opened: Tally,
    closed: [Tally; End::COUNT],
    requests: [Tally; APIS],
    bytes: [Tally; DIRECTIONS.len()],
    /// Partitions whose writes fuses have refused.
    fused_produce: Tally,
    /// Partitions whose reads fuses have stopped.
    fused_consume: Tally,
}

impl Default for ThreadCounters {
    fn default() -> Self {
        Self {
            opened: Tally::new(),
            closed: [const { Tally::new() }; End::COUNT],
            requests: [const { Tally::new() }; APIS],
            bytes: [const { Tally::new() }; DIRECTIONS.len()],
            fused_produce: Tally::new(),
            fused_consume: Tally::new(),
        }
    }
}

impl ThreadCounters {
    pub(crate) fn opened(&self) {
        self.opened.add(1);
    }

    pub(crate) fn closed(&self, end: End) {
        self.closed[end.index()].add(1);
    }

    pub(crate) fn request(&self, api_key: i16) {
        let at = usize::try_from(api_key).unwrap_or(APIS).min(APIS - 1);
        self.requests[at].add(1);
    }

    pub(crate) fn bytes(&self, direction: Direction, n: usize) {
        self.bytes[direction as usize].add(n as u64);
    }

    pub(crate) fn fused(&self, stopped: Stopped) {
        self.fused_produce.add(stopped.produce);
        self.fused_consume.add(stopped.consume);
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    threads: Mutex<Vec<Arc<ThreadCounters>>>,
    pub(crate) document_revision: Gauge,
    pub(crate) document_rejected: Counter,
    pub(crate) documents_applied: Counter,
    pub(crate) apply_seconds: Histogram,
    pub(crate) fences_expired: Counter,
    pub(crate) holds: Counter,
    pub(crate) hold_seconds: Histogram,
    pub(crate) asks: Family<[(&'static str, &'static str); 1], Counter>,
    pub(crate) ask_seconds: Histogram,
    pub(crate) upstream_connect_failures: Counter,
    pub(crate) view_refresh_failures: Family<[(&'static str, String); 1], Counter>,
    pub(crate) panics: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            threads: Mutex::default(),
            document_revision: Gauge::default(),
            document_rejected: Counter::default(),
            documents_applied: Counter::default(),
            apply_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            fences_expired: Counter::default(),
            holds: Counter::default(),
            hold_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            asks: Family::default(),
            ask_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            upstream_connect_failures: Counter::default(),
            view_refresh_failures: Family::default(),
            panics: Counter::default(),
        }
    }
}

impl Metrics {
    /// The counters of one more data thread.
    pub(crate) fn thread(&self) -> Arc<ThreadCounters> {
        let counters = Arc::new(ThreadCounters::default());
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }

    /// Connections that are open now.
    pub(crate) fn connections(&self) -> u64 {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().fold(0, |sum, thread| {
            let closed = thread.closed.iter().map(Tally::get).sum();
            sum + thread.opened.get().saturating_sub(closed)
        })
    }

    fn sum(&self, of: impl Fn(&ThreadCounters) -> &Tally) -> u64 {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().map(|thread| of(thread).get()).fold(0, u64::wrapping_add)
    }

    /// The registry that `/metrics` shows.
    pub(crate) fn registry(self: &Arc<Self>) -> Registry {
        let mut registry = Registry::with_prefix("sluice_proxy");
        registry.register("build", "The running binary", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register(
            "document_revision",
            "Revision of the mesh document that is applied; 0 before the first",
            self.document_revision.clone(),
        );
        registry.register(
            "document_rejected",
            "Mesh documents that were refused; the last good one keeps serving",
            self.document_rejected.clone(),
        );
        registry.register("documents_applied", "Mesh documents that were applied", self.documents_applied.clone());
        registry.register(
            "apply_seconds",
            "From the sight of a new mesh document to its use",
            self.apply_seconds.clone(),
        );
        registry.register(
            "fences_expired",
            "Fences that nobody has ended in time: writes to their topics pass again",
            self.fences_expired.clone(),
        );
        registry.register("holds", "Requests and answers that were kept back", self.holds.clone());
        registry.register("hold_seconds", "How long they were kept back", self.hold_seconds.clone());
        registry.register("asks", "Facts that decisions had to ask brokers for", self.asks.clone());
        registry.register("ask_seconds", "How long the facts took", self.ask_seconds.clone());
        registry.register(
            "upstream_connect_failures",
            "Connections to brokers that could not be made",
            self.upstream_connect_failures.clone(),
        );
        registry.register(
            "view_refresh_failures",
            "Times that a cluster could not be listed",
            self.view_refresh_failures.clone(),
        );
        registry.register("panics", "Connections that ended in a panic, a defect of the proxy", self.panics.clone());
        registry.register_collector(Box::new(Traffic(Arc::clone(self))));
        registry
    }
}

/// The sums over the data threads.
struct Traffic(Arc<Metrics>);

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traffic")
    }
}

impl Collector for Traffic {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metrics = &self.0;
        let open = ConstGauge::new(i64::try_from(metrics.connections()).unwrap_or(i64::MAX));
        let to = encoder.encode_descriptor("connections", "Client connections", None, open.metric_type())?;
        open.encode(to)?;

        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family =
            encoder.encode_descriptor("connections_closed", "Client connections that ended, by reason", None, kind)?;
        for end in End::ALL {
            let sum = ConstCounter::new(metrics.sum(|thread| &thread.closed[end.index()]));
            sum.encode(family.encode_family(&[("reason", end.label())])?)?;
        }

        let mut family = encoder.encode_descriptor("requests", "Requests of clients, by API", None, kind)?;
        for key in 0..APIS {
            let sum = metrics.sum(|thread| &thread.requests[key]);
            if sum > 0 {
                ConstCounter::new(sum).encode(family.encode_family(&[("api", api_name(key))])?)?;
            }
        }

        let mut family = encoder.encode_descriptor("bytes", "Bytes moved, by direction", None, kind)?;
        for (direction, label) in DIRECTIONS {
            let sum = ConstCounter::new(metrics.sum(|thread| &thread.bytes[direction as usize]));
            sum.encode(family.encode_family(&[("direction", label)])?)?;
        }

        let mut family = encoder.encode_descriptor(
            "fused_partitions",
            "Partitions of requests that fuses have stopped: writes refused, reads answered empty",
            None,
            kind,
        )?;
        let produce = metrics.sum(|thread| &thread.fused_produce);
        let consume = metrics.sum(|thread| &thread.fused_consume);
        for (label, sum) in [("produce", produce), ("consume", consume)] {
            ConstCounter::new(sum).encode(family.encode_family(&[("direction", label)])?)?;
        }
        Ok(())
    }
}

fn api_name(key: usize) -> String {
    match i16::try_from(key).ok().filter(|_| key < APIS - 1).and_then(|key| ApiKey::try_from(key).ok()) {
        Some(api) => format!("{api:?}"),
        None => "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_added_up() {
        let metrics = Arc::new(Metrics::default());
        for _ in 0..2 {
            let thread = metrics.thread();
            thread.opened();
            thread.opened();
            thread.closed(End::Idle);
            thread.request(3);
            thread.request(-7);
            thread.bytes(Direction::ToClient, 10);
            thread.fused(Stopped { produce: 3, consume: 0 });
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).unwrap();
        for line in [
            "sluice_proxy_connections 2",
            "sluice_proxy_connections_closed_total{reason=\"idle\"} 2",
            "sluice_proxy_requests_total{api=\"Metadata\"} 2",
            "sluice_proxy_requests_total{api=\"unknown\"} 2",
            "sluice_proxy_bytes_total{direction=\"to_client\"} 20",
            "sluice_proxy_fused_partitions_total{direction=\"produce\"} 6",
            "sluice_proxy_fused_partitions_total{direction=\"consume\"} 0",
            "sluice_proxy_document_revision 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
