//! `document.json` in the directory that is shared with the operator, which replaces it by rename. The kernel tells of
//! the rename at once; a look every second makes up for what it may miss (a directory that was itself replaced, a file
//! system that tells nothing).

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::source::{DocumentSource, Seen};

/// The file's name in the directory.
const FILE: &str = "document.json";
/// The slow look.
const LOOK: Duration = Duration::from_secs(1);
/// A larger file is no document.
const MAX_BYTES: u64 = 64 << 20;

/// The source.
pub(crate) struct Directory {
    path: PathBuf,
    events: Arc<Notify>,
    /// Ends the watch when dropped.
    watcher: Option<RecommendedWatcher>,
    last: Option<Stamp>,
    last_bytes: Option<Vec<u8>>,
}

/// Tells one file from another without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(of: &Metadata) -> Self {
        Self { inode: of.ino(), size: of.size(), modified: (of.mtime(), of.mtime_nsec()) }
    }
}

impl Directory {
    /// Watches a directory.
    pub(crate) fn new(directory: &Path) -> Self {
        let events = Arc::new(Notify::new());
        let watcher = watch(directory, &events)
            .inspect_err(|error| tracing::warn!(%error, "no file events; the document is looked at once a second"))
            .ok();
        Self { path: directory.join(FILE), events, watcher, last: None, last_bytes: None }
    }

    /// The content, if it has changed.
    fn look(&mut self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let stamp = Stamp::from(&file.metadata()?);
        if self.last.as_ref() == Some(&stamp) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        self.last = Some(stamp);
        if self.last_bytes.as_ref() == Some(&bytes) {
            return Ok(None);
        }
        self.last_bytes = Some(bytes.clone());
        Ok(Some(bytes))
    }
}

fn watch(directory: &Path, events: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let events = Arc::clone(events);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name == FILE);
        // Our own reading is an event too.
        let changed = |event: &notify::Event| {
            let kind = event.kind;
            !kind.is_access() || matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
        };
        if event.map_or(true, |event| event.need_rescan() || (changed(&event) && event.paths.iter().any(ours))) {
            events.notify_one();
        }
    })?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

impl DocumentSource for Directory {
    async fn next(&mut self) -> Seen {
        loop {
            let at = Instant::now();
            match self.look() {
                Ok(Some(bytes)) => return Seen { content: Ok(bytes), at, copy: false },
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "the document cannot be read");
                }
            }
            if self.watcher.is_none()
                && let Some(directory) = self.path.parent()
            {
                self.watcher = watch(directory, &self.events).ok();
            }
            let _ = tokio::time::timeout(LOOK, self.events.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(directory: &Path, content: &str) {
        let temporary = directory.join(".document.json.tmp");
        std::fs::write(&temporary, content).unwrap();
        std::fs::rename(temporary, directory.join(FILE)).unwrap();
    }

    #[tokio::test]
    async fn a_rename_is_seen_at_once_and_only_once() {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "one");
        let mut source = Directory::new(directory.path());
        assert_eq!(source.next().await.content.unwrap(), b"one");
        // The same content again, then other files, are no news.
        put(directory.path(), "one");
        std::fs::write(directory.path().join("events.jsonl"), "x").unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(200), source.next()).await;
        assert!(waited.is_err());

        let began = Instant::now();
        let path = directory.path().to_owned();
        let writer = std::thread::spawn(move || put(&path, "two"));
        assert_eq!(source.next().await.content.unwrap(), b"two");
        assert!(began.elapsed() < Duration::from_millis(500), "not by the slow look");
        writer.join().unwrap();
    }

    #[tokio::test]
    async fn a_directory_without_a_document_is_waited_on() {
        let directory = tempfile::tempdir().unwrap();
        let mut source = Directory::new(directory.path());
        assert!(tokio::time::timeout(Duration::from_millis(100), source.next()).await.is_err());
        put(directory.path(), "late");
        assert_eq!(source.next().await.content.unwrap(), b"late");
    }
}
