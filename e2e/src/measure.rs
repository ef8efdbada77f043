//! Figures of a run, for people and as JSON: how they spread, and the machine on which they were taken.

use std::time::Duration;

use serde::Serialize;

use crate::load::MoveReport;
use crate::mesh::HotLoad;

/// How a figure spreads over its samples, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// How many samples there are.
    pub samples: usize,
    /// The middle one; of an even number, halfway between the two in the middle.
    pub median: f64,
    /// The longest.
    pub worst: f64,
    /// The shortest.
    pub best: f64,
}

impl Spread {
    /// Of these samples; none of none.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        samples.sort_by(f64::total_cmp);
        let middle = samples.len() / 2;
        let upper = *samples.get(middle)?;
        let lower = if samples.len().is_multiple_of(2) { samples[middle - 1] } else { upper };
        let (best, worst) = (*samples.first()?, *samples.last()?);
        Some(Self { samples: samples.len(), median: f64::midpoint(lower, upper), worst, best })
    }
}

fn millis(time: Duration) -> f64 {
    // Microseconds are enough for people who read the file.
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// From a change (of a file, or by a request to the API server) to the last proxy that serves by it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HotLoads {
    /// The whole way.
    pub total: Spread,
    /// From the change to the mesh document that has it.
    pub change_to_document: Spread,
    /// From that document to the last proxy's report.
    pub document_to_proxies: Spread,
}

impl HotLoads {
    /// Of these samples; none of none.
    pub fn of(samples: &[HotLoad]) -> Option<Self> {
        let spread = |part: fn(&HotLoad) -> Duration| Spread::of(samples.iter().map(|sample| millis(part(sample))));
        Some(Self {
            total: spread(HotLoad::total)?,
            change_to_document: spread(|sample| sample.to_document)?,
            document_to_proxies: spread(|sample| sample.to_proxies)?,
        })
    }

    /// Name and figure, for a table.
    pub fn rows(&self) -> [(&'static str, Spread); 3] {
        [
            ("change to all proxies", self.total),
            ("  change to document", self.change_to_document),
            ("  document to all proxies", self.document_to_proxies),
        ]
    }
}

/// The moves of a run, by part. Whatever a move did not tell is missing from its part's samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pauses {
    /// What the operator says of the pause of writes: from the fence to the last proxy that follows.
    pub pause: Option<Spread>,
    /// Of it: proxies take up the fence and finish what is in flight.
    pub fence: Option<Spread>,
    /// The old cluster is made to refuse writes and its log ends are read.
    pub seal: Option<Spread>,
    /// The cut is written to both ledgers.
    pub record: Option<Spread>,
    /// The new cluster is opened and the proxies follow.
    pub switch: Option<Spread>,
    /// The clients' own: by how much the longest time without an acknowledgement on any partition exceeds the pause.
    pub client: Option<Spread>,
    /// Longest time without an acknowledgement, the median partition of each move.
    pub gap_median_partition: Option<Spread>,
    /// The same, the worst partition of each move.
    pub gap_worst_partition: Option<Spread>,
    /// From the changed route to Completed.
    pub total: Option<Spread>,
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
impl Pauses {
    /// Of these moves.
    pub fn of(moves: &[MoveReport]) -> Self {
        let part = |index: usize| {
            Spread::of(moves.iter().filter_map(|report| Some(report.parts_millis?.get(index).copied()? as f64)))
        };
        Self {
            pause: Spread::of(moves.iter().filter_map(|report| Some(report.pause_millis? as f64))),
            fence: part(0),
            seal: part(1),
            record: part(2),
            switch: part(3),
            client: Spread::of(moves.iter().filter_map(|report| report.client_millis)),
            gap_median_partition: Spread::of(moves.iter().map(|report| report.client_gap_median_millis)),
            gap_worst_partition: Spread::of(moves.iter().map(|report| report.client_gap_worst_millis)),
            total: Spread::of(moves.iter().map(|report| report.total_millis as f64)),
        }
    }

    /// Name and figure, for a table.
    pub fn rows(&self) -> [(&'static str, Option<Spread>); 9] {
        [
            ("pause of writes", self.pause),
            ("  fence", self.fence),
            ("  seal and cut", self.seal),
            ("  record", self.record),
            ("  switch", self.switch),
            ("clients' own, beyond it", self.client),
            ("client's gap, median part.", self.gap_median_partition),
            ("client's gap, worst part.", self.gap_worst_partition),
            ("changed route to Completed", self.total),
        ]
    }
}

/// How busy the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LoadAverage(pub [f64; 3]);

impl LoadAverage {
    /// Over the last 1, 5 and 15 minutes; none where the system does not tell.
    pub fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/loadavg").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut figures = text.split(' ').map_while(|word| word.parse().ok());
        Some(Self([figures.next()?, figures.next()?, figures.next()?]))
    }
}

impl std::fmt::Display for LoadAverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [one, five, fifteen] = self.0;
        write!(f, "{one:.2} {five:.2} {fifteen:.2}")
    }
}

/// The machine of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Cores that we may use.
    pub cpus: usize,
    /// When the run began.
    pub load_average_at_begin: Option<LoadAverage>,
    /// When it ended.
    pub load_average_at_end: Option<LoadAverage>,
}

impl Machine {
    /// At the beginning of a run.
    pub fn at_begin() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { cpus, load_average_at_begin: LoadAverage::now(), load_average_at_end: None }
    }

    /// At its end.
    pub fn at_end(&mut self) {
        self.load_average_at_end = LoadAverage::now();
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |load: Option<LoadAverage>| load.map_or_else(|| "unknown".to_owned(), |load| load.to_string());
        let (begin, end) = (told(self.load_average_at_begin), told(self.load_average_at_end));
        write!(f, "{} cores, load average {begin} at the beginning, {end} at the end", self.cpus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_of_all_samples() {
        assert_eq!(Spread::of([]), None);
        let odd = Spread { samples: 3, median: 2.0, worst: 9.0, best: 1.0 };
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), Some(odd));
        let even = Spread { samples: 2, median: 1.5, worst: 2.0, best: 1.0 };
        assert_eq!(Spread::of([2.0, 1.0]), Some(even));
    }

    #[test]
    fn hot_loads_are_told_by_part() {
        let sample = |document, proxies| HotLoad {
            to_document: Duration::from_micros(document),
            to_proxies: Duration::from_micros(proxies),
        };
        assert_eq!(HotLoads::of(&[]), None);
        let found = HotLoads::of(&[sample(10_000, 2_500), sample(30_000, 1_500), sample(20_000, 500)]).unwrap();
        assert_eq!((found.total.median, found.total.worst), (20.5, 31.5));
        assert_eq!((found.change_to_document.median, found.change_to_document.worst), (20.0, 30.0));
        assert_eq!((found.document_to_proxies.median, found.document_to_proxies.worst), (1.5, 2.5));
    }

    #[test]
    fn the_systems_load_is_read() {
        let found = LoadAverage::parse("0.20 0.60 2.40 1/123 456\n").unwrap();
        assert_eq!(found.to_string(), "0.20 0.60 2.40");
        assert_eq!(LoadAverage::parse("0.20 0.60"), None);
    }

    #[test]
    fn moves_are_told_by_part() {
        let report = |pause: Option<i64>, gap: f64| MoveReport {
            pause_millis: pause,
            parts_millis: pause.map(|pause| [1, 2, 3, pause - 6]),
            client_gap_worst_millis: gap,
            client_millis: pause.map(|_| gap - 100.0),
            ..MoveReport::default()
        };
        let found = Pauses::of(&[report(Some(100), 130.0), report(None, 50.0), report(Some(300), 140.0)]);
        assert_eq!(found.pause.map(|pause| (pause.samples, pause.median, pause.worst)), Some((2, 200.0, 300.0)));
        assert_eq!(found.switch.map(|part| part.worst), Some(294.0));
        assert_eq!(found.client.map(|own| (own.samples, own.worst)), Some((2, 40.0)));
        assert_eq!(found.gap_worst_partition.map(|gap| gap.samples), Some(3));
        assert_eq!(Pauses::of(&[]), Pauses::default());
    }
}
