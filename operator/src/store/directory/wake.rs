//! Wakes the readers when files change. Only a help: they look by themselves once a second.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecursiveMode, Watcher as _};

use super::{keeper, reports};

/// Watches for as long as it lives.
pub(super) type Watcher = Arc<Mutex<notify::RecommendedWatcher>>;

/// Starts to watch; `None`, with a warning, where the system does not allow it.
pub(super) fn watch(
    root: &Path,
    objects: Sender<keeper::Message>,
    report_reader: Sender<reports::Message>,
) -> Option<Watcher> {
    // Events have resolved paths.
    let root = root.canonicalize().ok()?;
    let (resources, report_files, settings) =
        (root.join("resources"), root.join("reports"), root.join("settings.yaml"));
    let (again, to_watch_again) = channel();
    let handler = {
        let (resources, report_files) = (resources.clone(), report_files.clone());
        let (objects, report_reader) = (objects.clone(), report_reader.clone());
        move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else {
                // The queue ran over: anything may have changed.
                let _ = objects.send(keeper::Message::FilesChanged);
                let _ = report_reader.send(reports::Message::Changed);
                return;
            };
            if !is_change(event.kind) {
                return;
            }
            let visible = |path: &&std::path::PathBuf| !super::file::is_hidden(path);
            for path in event.paths.iter().filter(visible) {
                if *path == resources || *path == report_files {
                    let _ = again.send(());
                }
                if path.starts_with(&report_files) {
                    let _ = report_reader.send(reports::Message::Changed);
                } else if path.starts_with(&resources) || *path == settings {
                    let _ = objects.send(keeper::Message::FilesChanged);
                }
            }
        }
    };
    let directories = [(resources, RecursiveMode::Recursive), (report_files, RecursiveMode::NonRecursive)];
    let start = || -> notify::Result<Watcher> {
        let mut watcher = notify::recommended_watcher(handler)?;
        for (directory, mode) in &directories {
            watcher.watch(directory, *mode)?;
        }
        watcher.watch(&root, RecursiveMode::NonRecursive)?;
        let watcher = Arc::new(Mutex::new(watcher));
        let held = Arc::downgrade(&watcher);
        let wake = move || {
            let _ = objects.send(keeper::Message::FilesChanged);
            let _ = report_reader.send(reports::Message::Changed);
        };
        std::thread::Builder::new()
            .name("watch-again".into())
            .spawn(move || watch_again(&to_watch_again, &held, &directories, wake))
            .map_err(notify::Error::io)?;
        Ok(watcher)
    };
    match start() {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "file changes cannot be watched; they are seen once a second");
            None
        }
    }
}

/// A watch ends with its directory: one that somebody removed and made again is watched again. Not from the handler, in
/// which the watcher would wait for itself.
fn watch_again(
    told: &Receiver<()>,
    watcher: &Weak<Mutex<notify::RecommendedWatcher>>,
    directories: &[(PathBuf, RecursiveMode)],
    wake: impl Fn(),
) {
    while told.recv().is_ok() {
        let Some(watcher) = watcher.upgrade() else { return };
        let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
        for (directory, mode) in directories.iter().filter(|(directory, _)| directory.is_dir()) {
            if let Err(error) = watcher.watch(directory, *mode) {
                tracing::warn!(directory = %directory.display(), %error, "file changes are seen once a second");
            }
        }
        // What was put there before the watch.
        wake();
    }
}

/// Reading is not a change, and a file that is being written is worth a look only when it is closed.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(notify::event::ModifyKind::Data(_)) => false,
        _ => true,
    }
}
