//! Collects events from many threads, counts them for people, and writes them to a file as they come.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};

use super::event::{Event, Name, Outcome, What};

/// Microseconds since the start of a history; never goes back.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Now.
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Running totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Sends that are over.
    pub sent: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Sends that ended otherwise.
    pub not_acknowledged: u64,
    /// Records read by group members.
    pub group_read: u64,
    /// Records read by others.
    pub read: u64,
    /// Commits that went well.
    pub commits: u64,
    /// Errors that clients reported.
    pub errors: u64,
}

/// The history in the making.
#[derive(Debug)]
pub struct Recorder {
    clock: Clock,
    events: Mutex<Vec<Event>>,
    file: Option<Mutex<BufWriter<File>>>,
    acknowledged: AtomicU64,
    not_acknowledged: AtomicU64,
    group_read: AtomicU64,
    read: AtomicU64,
    commits: AtomicU64,
    errors: AtomicU64,
}

impl Recorder {
    /// A recorder that writes JSON lines to `file` too, if one is named.
    pub fn new(file: Option<&Path>) -> Result<Arc<Self>> {
        let file = file
            .map(|path| {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                File::create(path)
            })
            .transpose()
            .context("create the history file")?
            .map(|file| Mutex::new(BufWriter::new(file)));
        Ok(Arc::new(Self {
            clock: Clock(Instant::now()),
            events: Mutex::new(Vec::new()),
            file,
            acknowledged: AtomicU64::new(0),
            not_acknowledged: AtomicU64::new(0),
            group_read: AtomicU64::new(0),
            read: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }))
    }

    /// The clock of all its events.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Records an event.
    pub fn record(&self, event: Event) {
        let counter = match &event.what {
            What::Send { outcome: Outcome::Ok, .. } => Some(&self.acknowledged),
            What::Send { .. } => Some(&self.not_acknowledged),
            What::Read { group: Some(_), .. } => Some(&self.group_read),
            What::Read { .. } => Some(&self.read),
            What::Commit { outcome: Outcome::Ok, .. } => Some(&self.commits),
            What::Error { .. } => Some(&self.errors),
            _ => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk must not stop the run: the history in memory is what is judged.
            if serde_json::to_writer(&mut *file, &event).is_ok() {
                let _ = file.write_all(b"\n");
            }
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Records something that took no time.
    pub fn now(&self, process: &Name, what: What) {
        let now = self.clock.now();
        self.record(Event { process: process.clone(), t_invoke: Some(now), t_complete: now, what });
    }

    /// Records something that began at `invoke` and is over now.
    pub fn since(&self, process: &Name, invoke: u64, what: What) {
        self.record(Event { process: process.clone(), t_invoke: Some(invoke), t_complete: self.clock.now(), what });
    }

    /// Records a remark for people.
    pub fn note(&self, text: &str) {
        self.now(&Name::from("note"), What::Note { text: text.to_owned() });
    }

    /// Running totals.
    pub fn counts(&self) -> Counts {
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let not_acknowledged = self.not_acknowledged.load(Ordering::Relaxed);
        Counts {
            sent: acknowledged + not_acknowledged,
            acknowledged,
            not_acknowledged,
            group_read: self.group_read.load(Ordering::Relaxed),
            read: self.read.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }

    /// Looks at everything so far; clients wait meanwhile.
    pub fn with_events<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        look(&self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Event> {
        if let Some(file) = &self.file {
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).flush();
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
