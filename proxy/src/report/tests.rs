//! When the proxy reports, whatever the sink.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use sluice_mesh::report::Rejected;
use tokio::sync::Notify;

use super::*;
use crate::cluster_view::Clusters;
use crate::metrics::Metrics;
use crate::world::Worlds;

/// Remembers what was put; takes its time; fails while told to.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    put: Vec<Report>,
    tries: usize,
    taken_back: Vec<String>,
    takes: Duration,
    fails: bool,
}

impl Sink for Memory {
    async fn put(&mut self, report: &Report, _mesh: Option<&str>) -> Result<(), SinkError> {
        let takes = self.0.lock().unwrap().takes;
        tokio::time::sleep(takes).await;
        let mut state = self.0.lock().unwrap();
        state.tries += 1;
        if state.fails {
            return Err(SinkError::Lease { lease: "it".into(), reason: "away".into() });
        }
        state.put.push(report.clone());
        Ok(())
    }

    async fn take_back(&mut self, report: &Report) -> Result<(), SinkError> {
        self.0.lock().unwrap().taken_back.push(report.incarnation.clone());
        Ok(())
    }
}

fn start() -> (Memory, Arc<Applier>, Ender) {
    use clap::Parser;
    let args = ["sluice-proxy", "--name", "node-1", "--host", "127.0.1.1", "--directory", "/tmp"];
    let settings = crate::args::Args::try_parse_from(args).unwrap().settings().unwrap();
    let (worlds, metrics) = (Arc::new(Worlds::default()), Arc::new(Metrics::default()));
    let applier = Arc::new(Applier {
        clusters: Arc::new(Clusters::new(Arc::clone(&worlds), Arc::clone(&metrics))),
        worlds,
        metrics,
        mesh: None,
        rejected: Mutex::default(),
        copy: AtomicBool::default(),
        news: Notify::new(),
    });
    let sink = Memory::default();
    let (reporter, ender) = Reporter::new(&settings, Arc::clone(&applier), sink.clone());
    tokio::spawn(reporter.run());
    (sink, applier, ender)
}

/// Something changes.
fn refuse(applier: &Applier, revision: u64) {
    *applier.rejected.lock().unwrap() = Some(Rejected { revision, reason: "no".into() });
    applier.news.notify_one();
}

fn refused(sink: &Memory) -> Vec<u64> {
    let state = sink.0.lock().unwrap();
    state.put.iter().map(|report| report.rejected.as_ref().map_or(0, |rejected| rejected.revision)).collect()
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_is_said_at_once_and_silence_every_three_seconds() {
    let (sink, applier, _ender) = start();
    pass(1).await;
    assert_eq!(refused(&sink), [0]);
    pass(1_000).await;
    refuse(&applier, 7);
    pass(1).await;
    assert_eq!(refused(&sink), [0, 7]);
    pass(2_900).await;
    assert_eq!(refused(&sink), [0, 7]);
    pass(200).await;
    assert_eq!(refused(&sink), [0, 7, 7]);
}

#[tokio::test(start_paused = true)]
async fn one_report_is_on_its_way_at_a_time_and_the_latest_wins() {
    let (sink, applier, _ender) = start();
    sink.0.lock().unwrap().takes = Duration::from_millis(100);
    pass(110).await;
    for revision in 1..=9 {
        refuse(&applier, revision);
        pass(10).await;
    }
    pass(300).await;
    assert_eq!(refused(&sink), [0, 1, 9]);
}

#[tokio::test(start_paused = true)]
async fn what_did_not_get_through_is_tried_again() {
    let (sink, applier, _ender) = start();
    pass(1).await;
    sink.0.lock().unwrap().fails = true;
    refuse(&applier, 1);
    pass(1_600).await;
    refuse(&applier, 2);
    assert_eq!(sink.0.lock().unwrap().tries, 1 + 4, "twice a second, changes or not");
    sink.0.lock().unwrap().fails = false;
    pass(500).await;
    assert_eq!(refused(&sink), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_end_takes_the_report_back_and_a_sudden_one_does_not() {
    let (sink, _applier, ender) = start();
    pass(1).await;
    let waiting = tokio::task::spawn_blocking(move || ender.end(Duration::from_secs(30)));
    waiting.await.unwrap();
    let incarnation = sink.0.lock().unwrap().put[0].incarnation.clone();
    assert_eq!(sink.0.lock().unwrap().taken_back, [incarnation]);

    let (sink, _applier, ender) = start();
    pass(1).await;
    drop(ender);
    pass(10_000).await;
    assert!(sink.0.lock().unwrap().taken_back.is_empty());
    assert_eq!(refused(&sink), [0], "and nothing is said any more");
}

#[tokio::test]
async fn a_file_is_taken_back_by_its_own_proxy_only() {
    let shared = tempfile::tempdir().unwrap();
    let (sink, _applier, _ender) = start();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let ours = sink.0.lock().unwrap().put[0].clone();
    let other = Report { incarnation: "successor".into(), ..ours.clone() };
    let mut file = directory::ReportFile::new(shared.path(), &ours.proxy).unwrap();
    let path = shared.path().join("reports/node-1.json");
    file.put(&other, None).await.unwrap();
    file.take_back(&ours).await.unwrap();
    assert!(path.exists());
    file.take_back(&other).await.unwrap();
    assert!(!path.exists());
    file.take_back(&other).await.unwrap();
}
