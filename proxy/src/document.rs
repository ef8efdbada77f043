//! The mesh document on its way into use: seen, read, checked, applied. A bad one is refused whole, said and counted;
//! the last good one keeps serving.

pub(crate) mod directory;
pub(crate) mod kube;
pub(crate) mod mounted;
pub(crate) mod source;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sluice_mesh::document::{Document, DocumentError};
use sluice_mesh::model::{BuildError, Model};
use sluice_mesh::report::Rejected;
use tokio::sync::Notify;

use self::source::{DocumentSource, Seen, Unreadable};
use crate::cluster_view::Clusters;
use crate::metrics::Metrics;
use crate::world::Worlds;

/// Why a document was not applied.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{source}")]
    Build { revision: u64, source: BuildError },
    #[error("revision {revision} came a second time with other content: two writers? Look for a second operator")]
    Changed { revision: u64 },
    #[error("it is of mesh {found:?}, this proxy serves {wanted:?}: check --mesh and --directory or --namespace")]
    OtherMesh { revision: u64, found: String, wanted: String },
}

impl Refused {
    fn revision(&self) -> u64 {
        match self {
            Self::Document(error) => error.revision(),
            Self::Unreadable(_) => 0,
            Self::Build { revision, .. } | Self::Changed { revision } | Self::OtherMesh { revision, .. } => *revision,
        }
    }
}

/// Applies documents.
pub(crate) struct Applier {
    pub(crate) worlds: Arc<Worlds>,
    pub(crate) clusters: Arc<Clusters>,
    pub(crate) metrics: Arc<Metrics>,
    /// The mesh to serve, if the proxy was told.
    pub(crate) mesh: Option<String>,
    /// The last document that was refused, until a newer one is applied or the applied one is shown again.
    pub(crate) rejected: Mutex<Option<Rejected>>,
    /// The applied document came from a copy.
    pub(crate) copy: AtomicBool,
    /// Woken when there is something new to report.
    pub(crate) news: Notify,
}

impl Applier {
    /// Applies what the source shows, for ever.
    pub(crate) async fn run(self: Arc<Self>, mut source: impl DocumentSource) {
        loop {
            let seen = source.next().await;
            let this = Arc::clone(&self);
            // Reading a large document is work for a thread that nobody waits for.
            let handled = tokio::task::spawn_blocking(move || this.handle(&seen)).await;
            if let Ok(Some(model)) = handled {
                self.clusters.follow(&model);
            }
        }
    }

    /// Looks at one document. Returns its model if it is in force now.
    fn handle(&self, seen: &Seen) -> Option<Arc<Model>> {
        match self.build(seen) {
            Ok(Outcome::Old) => None,
            Ok(Outcome::Same) => {
                self.copy.fetch_and(seen.copy, Ordering::Relaxed);
                // Whatever was refused since has been put right.
                if self.rejected.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
                    self.news.notify_one();
                }
                None
            }
            Ok(Outcome::New(model)) => {
                let model = Arc::new(*model);
                self.copy.store(seen.copy, Ordering::Relaxed);
                self.worlds.apply(Arc::clone(&model));
                *self.rejected.lock().unwrap_or_else(PoisonError::into_inner) = None;
                let took = seen.at.elapsed();
                self.metrics.apply_seconds.observe(took.as_secs_f64());
                self.metrics.documents_applied.inc();
                self.metrics.document_revision.set(i64::try_from(model.revision).unwrap_or(i64::MAX));
                tracing::info!(
                    revision = model.revision,
                    clusters = model.clusters.len(),
                    brokers = model.brokers.len(),
                    topics = model.topics.len(),
                    fenced = model.topics.values().filter(|topic| topic.fence.is_some()).count(),
                    ?took,
                    "document applied"
                );
                self.news.notify_one();
                Some(model)
            }
            Err(refused) => {
                self.metrics.document_rejected.inc();
                tracing::error!(revision = refused.revision(), "document refused, the last good one stays: {refused}");
                let rejected = Rejected { revision: refused.revision(), reason: refused.to_string() };
                *self.rejected.lock().unwrap_or_else(PoisonError::into_inner) = Some(rejected);
                self.news.notify_one();
                None
            }
        }
    }

    /// Reads and checks.
    fn build(&self, seen: &Seen) -> Result<Outcome, Refused> {
        let document = Document::parse(seen.content.as_ref().map_err(Clone::clone)?)?;
        let revision = document.revision;
        if let Some(wanted) = self.mesh.as_ref().filter(|mesh| **mesh != document.mesh) {
            return Err(Refused::OtherMesh { revision, found: document.mesh, wanted: wanted.clone() });
        }
        if let Some(applied) = self.worlds.model() {
            if revision < applied.revision {
                tracing::warn!(revision, applied = applied.revision, "an older document is passed over");
                return Ok(Outcome::Old);
            }
            if revision == applied.revision {
                if document.digest == applied.document.digest {
                    return Ok(Outcome::Same);
                }
                match (self.copy.load(Ordering::Relaxed), seen.copy) {
                    (true, false) => {}
                    (false, true) => return Ok(Outcome::Old),
                    _ => return Err(Refused::Changed { revision }),
                }
            }
        }
        let model = Model::build(document).map_err(|source| Refused::Build { revision, source })?;
        Ok(Outcome::New(Box::new(model)))
    }
}

/// What a document that was read means.
enum Outcome {
    /// The applied one is newer.
    Old,
    /// It is the applied one.
    Same,
    /// It is to be applied.
    New(Box<Model>),
}

#[cfg(test)]
mod tests;
