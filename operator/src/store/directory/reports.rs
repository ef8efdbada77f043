//! Reads the proxies' reports. On the way of every pause: a change is read at once, with nothing in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use sluice_mesh::report::{MAX_REPORT_BYTES, Report};
use tokio::sync::watch;

use super::file;
use crate::store::Reports;

/// How often files are looked at without a wake-up.
const POLL: Duration = Duration::from_secs(1);
/// More reports than this are not read.
const MAX_REPORTS: usize = 10_000;

/// What the reader is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Some report changed.
    Changed,
    /// End.
    Stop,
}

/// Reads reports.
pub(super) struct Reader {
    directory: PathBuf,
    sender: watch::Sender<Arc<Reports>>,
}

impl Reader {
    pub(super) fn new(directory: &Path, sender: watch::Sender<Arc<Reports>>) -> Self {
        Self { directory: directory.to_owned(), sender }
    }

    pub(super) fn run(self, inbox: &Receiver<Message>) {
        loop {
            match inbox.recv_timeout(POLL) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Message::Changed) | Err(RecvTimeoutError::Timeout) => {}
            }
            // Several changes, one reading.
            while let Ok(message) = inbox.try_recv() {
                if matches!(message, Message::Stop) {
                    return;
                }
            }
            self.read();
        }
    }

    /// Reads all of them.
    pub(super) fn read(&self) {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            // Somebody cleared the outputs: proxies need a place for the next one.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Err(error) = file::make_directory(&self.directory) {
                    tracing::warn!(%error, "proxies cannot report");
                }
                return;
            }
            Err(error) => {
                tracing::warn!(%error, directory = %self.directory.display(), "reports cannot be listed");
                return;
            }
        };
        let mut reports = Reports::new();
        let paths = entries.flatten().map(|entry| entry.path());
        let wanted = paths.filter(|path| !file::is_hidden(path) && path.extension().is_some_and(|e| e == "json"));
        for path in wanted.take(MAX_REPORTS) {
            if let Some(report) = read_one(&path) {
                reports.insert(report.proxy.clone(), report);
            }
        }
        self.sender.send_if_modified(|known| {
            let news = **known != reports;
            if news {
                *known = Arc::new(reports);
            }
            news
        });
    }
}

fn read_one(path: &Path) -> Option<Report> {
    let limit = u64::try_from(MAX_REPORT_BYTES).unwrap_or(u64::MAX);
    let content = match file::read(path, limit) {
        Ok(content) => content?,
        Err(error) => {
            tracing::warn!(%error, "a report cannot be read");
            return None;
        }
    };
    match Report::parse(&content) {
        // A report under another proxy's name would make that one look alive.
        Ok(report) if path.file_stem().is_some_and(|stem| stem == report.proxy.as_str()) => Some(report),
        Ok(report) => {
            tracing::warn!(path = %path.display(), proxy = %report.proxy, "a report has the wrong file name");
            None
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a report cannot be read");
            None
        }
    }
}
