//! What the proxy says back to the operator. Said at once when something has changed, and renewed every three seconds as
//! a sign of life; taken back when the proxy has ended as it should. Where it is said, a sink knows.

pub(crate) mod directory;
pub(crate) mod lease;

use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;

use sluice_mesh::report::{RENEW_MILLIS, Report};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::args::Settings;
use crate::clock;
use crate::document::Applier;

/// A sign of life.
const RENEW: Duration = Duration::from_millis(RENEW_MILLIS);
/// How soon a report that did not get through is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often leases are looked at while an older document is alive: at first, as moves wait for it, then at leisure.
const POLL: Duration = Duration::from_millis(2);
const POLL_LATER: Duration = Duration::from_millis(50);
const POLL_SHORT_FOR: Duration = Duration::from_secs(10);

/// Why a report is not where it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    #[error("{path}: {source}", path = path.display())]
    File { path: std::path::PathBuf, source: std::io::Error },
    #[error("Lease {lease}: {reason}")]
    Lease { lease: String, reason: String },
}

/// A place for reports.
pub(crate) trait Sink: Send + 'static {
    /// Puts a report in the place of the last. `mesh` is the mesh that is served, if known.
    fn put(&mut self, report: &Report, mesh: Option<&str>) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Takes the report back, if it is still that of this incarnation: a successor under the same name keeps its own.
    fn take_back(&mut self, report: &Report) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Ends a reporter.
#[derive(Debug)]
pub(crate) struct Ender {
    end: oneshot::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Ender {
    /// The report is taken back. Waits for it, but not for long: a report that stays is waited for by the operator.
    pub(crate) fn end(self, patience: Duration) {
        let _ = self.end.send(());
        let _ = self.ended.recv_timeout(patience);
    }
}

/// Writes the reports.
pub(crate) struct Reporter<S> {
    sink: S,
    report: Report,
    applier: Arc<Applier>,
    failing: bool,
    end: oneshot::Receiver<()>,
    /// Dropped with the reporter: that tells the end.
    _ended: mpsc::SyncSender<()>,
}

impl<S: Sink> Reporter<S> {
    pub(crate) fn new(settings: &Settings, applier: Arc<Applier>, sink: S) -> (Self, Ender) {
        let (end, asked) = oneshot::channel();
        let (ending, ended) = mpsc::sync_channel(1);
        let reporter = Self {
            sink,
            report: Report {
                proxy: settings.name.clone(),
                incarnation: uuid::Uuid::new_v4().to_string(),
                host: settings.host.clone(),
                bootstrap_port: settings.bootstrap_port,
                port_base: settings.port_base,
                broker_hosts: settings.broker_hosts.clone(),
                revision: 0,
                drained: 0,
                rejected: None,
                renewed_at: 0,
                version: env!("CARGO_PKG_VERSION").into(),
            },
            applier,
            failing: false,
            end: asked,
            _ended: ending,
        };
        (reporter, Ender { end, ended })
    }

    /// Reports until it is told to end. While a report is on its way, changes gather: the next says them all.
    pub(crate) async fn run(mut self) {
        let mut unsettled_since = None;
        let mut due = Instant::now();
        loop {
            let (changed, settled) = self.look();
            if changed && !self.failing {
                due = Instant::now();
            }
            if due <= Instant::now() {
                self.put().await;
                due = Instant::now() + if self.failing { RETRY } else { RENEW };
                // What has changed meanwhile is not to wait.
                continue;
            }
            let mut pause = due.saturating_duration_since(Instant::now());
            if settled {
                unsettled_since = None;
            } else {
                let since = *unsettled_since.get_or_insert_with(Instant::now);
                pause = pause.min(if since.elapsed() < POLL_SHORT_FOR { POLL } else { POLL_LATER });
            }
            tokio::select! {
                () = self.applier.news.notified() => {}
                () = tokio::time::sleep(pause) => {}
                asked = &mut self.end => {
                    // An ender that was dropped did not ask: the process ends at once, and the report stays.
                    if asked.is_ok() && let Err(error) = self.sink.take_back(&self.report).await {
                        tracing::warn!(%error, "the report cannot be taken back: the operator will wait for this proxy");
                    }
                    return;
                }
            }
        }
    }

    /// Brings the report up to date. Returns whether it has changed, and whether nothing older is alive.
    fn look(&mut self) -> (bool, bool) {
        // The order matters: what is drained is never said of a revision that is not yet said to be applied.
        let revision = self.applier.worlds.model().map_or(0, |model| model.revision);
        let drained = self.applier.worlds.drained();
        let rejected = self.applier.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let new = Report { revision, drained: drained.revision.min(revision), rejected, ..self.report.clone() };
        let changed = new != self.report;
        self.report = new;
        (changed, drained.settled)
    }

    async fn put(&mut self) {
        self.report.renewed_at = clock::unix_millis();
        let model = self.applier.worlds.model();
        let put = self.sink.put(&self.report, model.as_ref().map(|model| model.document.mesh.as_str())).await;
        match put {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("reports get through again");
                }
            }
            // Said once, until it works again.
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "the report cannot be written: the operator will take this proxy for lost");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
