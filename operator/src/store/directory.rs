//! A directory as the outside: an embedded API server made of files, for a laptop or bare metal.
//!
//! ```text
//! resources/**/*.yaml       in   what people write
//! settings.yaml             in   mesh settings, optional
//! reports/<proxy>.json      in   what proxies say
//! status/<kind>/<name>.yaml out  objects as stored, with status
//! document.json             out  the mesh document
//! events.jsonl              out  what happened, one line each
//! operator.lock             -    held by the leader
//! ```
//!
//! Two threads of its own do all the reading and writing, so that no task ever waits for a disk: one keeps objects, one
//! reads reports. Only the document is written from the outside, by whoever publishes.

mod file;
mod intake;
mod keeper;
mod lock;
mod objects;
mod reports;
mod wake;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt};
use serde::Serialize;
use sluice_crds::{KafkaClusterStatus, TopicFuseStatus, TopicRouteStatus};
use sluice_mesh::document::{Document, MAX_DOCUMENT_BYTES};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Event, Kind, Reports, Resources, Store, StoreError};
use keeper::Message;

/// The directory, led by this process.
pub struct Directory {
    document: PathBuf,
    resources: watch::Receiver<Arc<Resources>>,
    reports: watch::Receiver<Arc<Reports>>,
    keeper: Sender<Message>,
    report_reader: Sender<reports::Message>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    /// Dropped after the threads have ended: the last status is written while this process still leads.
    leadership: Mutex<Option<lock::Leadership>>,
    _wake: Option<wake::Watcher>,
}

impl Directory {
    /// Opens the directory, making what is missing in it, and waits until this process leads. `standby` is called once if
    /// another process leads now. When this returns, all files have been read once.
    pub async fn open(root: &Path, standby: impl FnOnce()) -> Result<Self, StoreError> {
        for part in ["resources", "status", "reports"] {
            file::make_directory(&root.join(part))?;
        }
        let leadership = lock::lead(&root.join("operator.lock"), standby).await?;
        let (keeper, keeper_inbox) = channel();
        let (report_reader, reports_inbox) = channel();
        // The watch is set before the first reading: what changes in between is read again.
        let wake = wake::watch(root, keeper.clone(), report_reader.clone());
        let failed = |source| StoreError::File { action: "start a thread for", path: root.to_owned(), source };
        let (resources_sender, resources) = watch::channel(Arc::default());
        let (reports_sender, reports) = watch::channel(Arc::default());
        let mut objects = keeper::Keeper::new(root, resources_sender);
        let reader = reports::Reader::new(&root.join("reports"), reports_sender);
        objects.restore()?;
        objects.read();
        reader.read();
        let threads = vec![
            std::thread::Builder::new()
                .name("objects".into())
                .spawn(move || objects.run(&keeper_inbox))
                .map_err(failed)?,
            std::thread::Builder::new()
                .name("reports".into())
                .spawn(move || reader.run(&reports_inbox))
                .map_err(failed)?,
        ];
        Ok(Self {
            document: root.join("document.json"),
            resources,
            reports,
            keeper,
            report_reader,
            threads: Mutex::new(threads),
            leadership: Mutex::new(Some(leadership)),
            _wake: wake,
        })
    }

    /// As [`Store::close`].
    fn close_now(&self) {
        let _ = self.keeper.send(Message::Stop);
        let _ = self.report_reader.send(reports::Message::Stop);
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join();
        }
        self.leadership.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn put_status(&self, kind: Kind, name: &str, status: &impl Serialize) {
        if let Ok(status) = serde_json::to_value(status) {
            self.tell(Message::Status((kind, name.to_owned()), status));
        }
    }

    fn tell(&self, message: Message) {
        // The thread only ends with `close`.
        let _ = self.keeper.send(message);
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.close_now();
    }
}

impl Store for Directory {
    fn resources(&self) -> watch::Receiver<Arc<Resources>> {
        self.resources.clone()
    }

    fn reports(&self) -> watch::Receiver<Arc<Reports>> {
        self.reports.clone()
    }

    fn put_cluster_status(&self, name: &str, status: KafkaClusterStatus) {
        self.put_status(Kind::KafkaCluster, name, &status);
    }

    fn put_route_status(&self, name: &str, status: TopicRouteStatus) {
        self.put_status(Kind::TopicRoute, name, &status);
    }

    fn put_fuse_status(&self, name: &str, status: TopicFuseStatus) {
        self.put_status(Kind::TopicFuse, name, &status);
    }

    fn record_event(&self, event: Event) {
        self.tell(Message::Event(event));
    }

    fn release_cluster(&self, name: &str) {
        self.tell(Message::Release((Kind::KafkaCluster, name.to_owned())));
    }

    fn publish<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<(), StoreError>> {
        let path = self.document.clone();
        let content = document.to_json_pretty();
        async move {
            let failed =
                StoreError::File { action: "write", path: path.clone(), source: std::io::Error::other("interrupted") };
            tokio::task::spawn_blocking(move || file::write(&path, &content)).await.unwrap_or(Err(failed))
        }
        .boxed()
    }

    /// Always: it is as near as this process itself.
    fn reach(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }

    fn document_is_there(&self) -> bool {
        self.document.exists()
    }

    fn last_document(&self) -> BoxFuture<'_, Option<Document>> {
        let path = self.document.clone();
        async move {
            let limit = u64::try_from(MAX_DOCUMENT_BYTES).unwrap_or(u64::MAX);
            let content = tokio::task::spawn_blocking(move || file::read(&path, limit)).await.ok()?.ok()??;
            match Document::parse(&content) {
                Ok(document) => Some(document),
                Err(error) => {
                    tracing::warn!(%error, "the last mesh document cannot be read; a new one will be made");
                    None
                }
            }
        }
        .boxed()
    }

    /// Never: the system frees the lock only when this process ends.
    fn lost(&self) -> CancellationToken {
        CancellationToken::new()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async { self.close_now() }.boxed()
    }
}

#[cfg(test)]
mod tests;
