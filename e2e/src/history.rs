//! What clients saw, and whether it can have come from one Kafka cluster that never moved anything.
//!
//! `event` is the record (JSON lines), `recorder` collects it while clients run, and [`check`] judges it afterwards in
//! O(n log n), one file per group of anomalies. The checker believes nothing but the history: it must never know
//! Sluice's documents, statuses or processes.

mod cut;
mod event;
mod group;
mod index;
mod liveness;
mod log;
mod order;
mod producer;
mod recorder;
mod sight;
mod verdict;
mod watermark;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub use event::{Event, Mark, Name, Outcome, What};
pub use liveness::{Gap, gaps};
pub use recorder::{Clock, Counts, Recorder};
pub use verdict::{Anomaly, Case, Settings, Verdict};

use index::Index;

/// Judges a history. The order of the events does not matter.
pub fn check(events: &[Event], settings: &Settings) -> Verdict {
    let index = Index::new(events, settings);
    let mut verdict = Verdict::of(&index);
    log::check(&index, &mut verdict);
    order::check(&index, &mut verdict);
    watermark::check(&index, &mut verdict);
    sight::check(&index, &mut verdict);
    cut::check(&index, &mut verdict);
    group::check(&index, &mut verdict);
    producer::check(&index, &mut verdict);
    liveness::check(&index, &mut verdict);
    verdict
}
