//! What the proxy says back to the operator: `reports/<proxy>.json`. Written at once when something has changed, and
//! renewed every three seconds as a sign of life.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sluice_mesh::report::Report;

use crate::args::Settings;
use crate::clock;
use crate::document::Applier;

/// A sign of life.
const RENEW: Duration = Duration::from_secs(3);
/// How often leases are looked at while an older document is alive: at first, as moves wait for it, then at leisure.
const POLL: Duration = Duration::from_millis(2);
const POLL_LATER: Duration = Duration::from_millis(50);
const POLL_SHORT_FOR: Duration = Duration::from_secs(10);

/// Writes the reports.
pub(crate) struct Reporter {
    file: PathBuf,
    report: Report,
    applier: Arc<Applier>,
}

impl Reporter {
    /// Makes the directory of reports if there is none.
    pub(crate) fn new(settings: &Settings, applier: Arc<Applier>) -> io::Result<Self> {
        let directory = settings.directory.join("reports");
        std::fs::create_dir_all(&directory)?;
        Ok(Self {
            file: directory.join(format!("{}.json", settings.name)),
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
        })
    }

    pub(crate) async fn run(mut self) {
        let mut unsettled_since = None;
        let mut written = tokio::time::Instant::now();
        let mut first = true;
        loop {
            let (changed, settled) = self.look();
            if changed || first || written.elapsed() >= RENEW {
                self.write();
                written = tokio::time::Instant::now();
                first = false;
            }
            let pause = if settled {
                unsettled_since = None;
                RENEW.saturating_sub(written.elapsed())
            } else {
                let since = *unsettled_since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() < POLL_SHORT_FOR { POLL } else { POLL_LATER }
            };
            let _ = tokio::time::timeout(pause, self.applier.news.notified()).await;
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

    fn write(&mut self) {
        self.report.renewed_at = clock::unix_millis();
        if let Err(error) = replace(&self.file, &self.report.to_json_pretty()) {
            tracing::warn!(file = %self.file.display(), %error, "the report cannot be written: the operator will take this proxy for lost");
        }
    }
}

/// Readers see the old file or the new one, never half of one. Names that begin with a dot are skipped by all readers.
fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = file.with_file_name(format!(".{name}.tmp"));
    std::fs::write(&temporary, content)?;
    std::fs::rename(&temporary, file)
}
