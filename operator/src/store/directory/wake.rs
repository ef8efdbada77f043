//! Wakes the readers when files change. Only a help: they look by themselves once a second.

use std::path::Path;
use std::sync::mpsc::Sender;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecursiveMode, Watcher as _};

use super::{keeper, reports};

/// Watches for as long as it lives.
pub(super) type Watcher = notify::RecommendedWatcher;

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
    let handler = {
        let (resources, report_files) = (resources.clone(), report_files.clone());
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
                if path.starts_with(&report_files) {
                    let _ = report_reader.send(reports::Message::Changed);
                } else if path.starts_with(&resources) || *path == settings {
                    let _ = objects.send(keeper::Message::FilesChanged);
                }
            }
        }
    };
    let start = || -> notify::Result<Watcher> {
        let mut watcher = notify::recommended_watcher(handler)?;
        watcher.watch(&resources, RecursiveMode::Recursive)?;
        watcher.watch(&report_files, RecursiveMode::NonRecursive)?;
        watcher.watch(&root, RecursiveMode::NonRecursive)?;
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

/// Reading is not a change, and a file that is being written is worth a look only when it is closed.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(notify::event::ModifyKind::Data(_)) => false,
        _ => true,
    }
}
