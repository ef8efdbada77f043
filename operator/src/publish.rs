//! The one writer of the mesh document: compiles, numbers, seals and publishes it.
//!
//! A move publishes through here while writers are held, so nothing on this way waits for a ledger: revisions are
//! recorded in blocks, ahead of their use. A new operator begins above the block, so no revision is ever used twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sluice_mesh::document::{Document, Fuse, Limits};
use sluice_mesh::ledger::{Fact, Subject};
use sluice_mesh::model::Model;
use sluice_mesh::name::{ClusterName, TopicName};
use tokio::sync::watch;

use crate::clock;
use crate::compile::{Compiled, Inputs, Member, NotYet, RoutedTopic, compile};
use crate::ledger::{Ledger, LedgerError};
use crate::metrics::Metrics;
use crate::observe::Observations;
use crate::store::{Reports, Store, StoreError};

/// Revisions recorded at once.
const BLOCK: u64 = 1_000;
/// With fewer left than this the next block is recorded, beside the way.
const LOW: u64 = 200;

/// Publishes documents. A clone is a handle.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    mesh: String,
    home: ClusterName,
    store: Arc<dyn Store>,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    observations: watch::Receiver<Arc<Observations>>,
    reports: watch::Receiver<Arc<Reports>>,
    /// What moves say. A lock of its own, so that saying and reading it never wait for a publication.
    routed: Mutex<Routed>,
    /// Held while a document is compiled and published: one at a time, in order.
    state: tokio::sync::Mutex<State>,
    document: watch::Sender<Option<Arc<Document>>>,
    compiled: watch::Sender<Option<Arc<Compiled>>>,
    failure: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Routed {
    topics: BTreeMap<TopicName, RoutedTopic>,
    /// Grows with everything that is said.
    said: u64,
}

/// What people wrote, as far as the document carries it just so.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    /// Accepted clusters, oldest first.
    pub members: Vec<Member>,
    /// Fuses that are to trip, sorted by topic.
    pub fuses: Vec<Fuse>,
    /// Bounds that proxies keep.
    pub limits: Limits,
}

#[derive(Default)]
struct State {
    declared: Declared,
    /// No document is published before every ledger has been read; see [`Publisher::start`].
    started: bool,
    /// Highest revision that any document may have had so far.
    floor: u64,
    /// Highest revision that the ledger knows to be in use.
    ceiling: u64,
    /// A publication failed, or was cut off: proxies may or may not see it, whatever was published last.
    unsure: bool,
    /// What had been said when the document that stands was compiled.
    carried: u64,
}

impl State {
    /// The revision of the document published last, if proxies surely see that one and it says what is to be said now.
    fn standing(&self, current: Option<&Document>, next: &Document) -> Option<u64> {
        current.filter(|current| !self.unsure && says_the_same(current, next)).map(|current| current.revision)
    }

    /// The document that proxies surely see carries what was said up to here.
    fn carries(&self, said: u64) -> bool {
        !self.unsure && self.carried >= said
    }
}

/// Why a document was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The outside could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger could not be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What is known does not make a document yet; the last one stays, and what was set goes out with the next one.
    #[error("the mesh document cannot be made yet: {0}")]
    NotYet(#[from] NotYet),
    /// Not every ledger has been read yet.
    #[error("the mesh document cannot be made before every ledger has been read")]
    NotStarted,
}

/// What a publisher works with.
pub struct Parts {
    /// The mesh's name.
    pub mesh: String,
    /// The home cluster.
    pub home: ClusterName,
    /// Where documents go.
    pub store: Arc<dyn Store>,
    /// Where revisions are recorded.
    pub ledger: Ledger,
    /// Where publications are counted.
    pub metrics: Arc<Metrics>,
    /// Clusters as last seen.
    pub observations: watch::Receiver<Arc<Observations>>,
    /// Proxies.
    pub reports: watch::Receiver<Arc<Reports>>,
}

impl Publisher {
    /// Publishes nothing before [`Publisher::start`].
    pub fn new(parts: Parts) -> Self {
        let Parts { mesh, home, store, ledger, metrics, observations, reports } = parts;
        let inner = Inner {
            mesh,
            home,
            store,
            ledger,
            metrics,
            observations,
            reports,
            routed: Mutex::default(),
            state: tokio::sync::Mutex::default(),
            document: watch::Sender::new(None),
            compiled: watch::Sender::new(None),
            failure: watch::Sender::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Begins to publish: every ledger has been read. `routed` is what the ledgers say of moved topics.
    pub async fn start(
        &self,
        routed: BTreeMap<TopicName, RoutedTopic>,
        declared: Declared,
    ) -> Result<u64, PublishError> {
        let mut state = self.inner.state.lock().await;
        self.routed().topics = routed;
        let last = self.inner.store.last_document().await;
        let reported = self.inner.reports.borrow().values().map(|report| report.revision).max().unwrap_or(0);
        let recorded = self.inner.ledger.merged().revision;
        let written = last.as_ref().map_or(0, |document| document.revision);
        state.floor = recorded.max(reported).max(written);
        state.ceiling = recorded;
        state.started = true;
        state.declared = declared;
        // The last document is continued if nobody can have seen a newer one; if it still says the same, nothing changes.
        if let Some(last) = last.filter(|last| last.revision >= reported && last.mesh == self.inner.mesh) {
            self.inner.document.send_replace(Some(Arc::new(last)));
        }
        self.publish(&mut state).await
    }

    /// Takes over what resources say now and publishes if that changes the document. The revision that carries it.
    pub async fn update(&self, declared: Declared) -> Result<u64, PublishError> {
        let mut state = self.inner.state.lock().await;
        state.declared = declared;
        self.publish(&mut state).await
    }

    /// Sets, or with `None` removes, what a move says about a topic, and publishes at once. The revision that carries it: the
    /// present one if nothing changes. What several say while a publication is under way goes out with the next one.
    pub async fn set_topic(&self, topic: &TopicName, entry: Option<RoutedTopic>) -> Result<u64, PublishError> {
        let said = {
            let mut routed = self.routed();
            match entry {
                Some(entry) => routed.topics.insert(topic.clone(), entry),
                None => routed.topics.remove(topic),
            };
            routed.said = routed.said.saturating_add(1);
            routed.said
        };
        let mut state = self.inner.state.lock().await;
        let standing = self.inner.document.borrow().as_ref().map(|document| document.revision);
        match standing.filter(|_| state.carries(said)) {
            Some(revision) => Ok(revision),
            None => self.publish(&mut state).await,
        }
    }

    /// What was set last for a topic.
    pub fn topic(&self, topic: &TopicName) -> Option<RoutedTopic> {
        self.routed().topics.get(topic).cloned()
    }

    /// Writes the present document again, for example because somebody removed it.
    pub async fn write_again(&self) -> Result<(), PublishError> {
        let _one_at_a_time = self.inner.state.lock().await;
        let document = self.inner.document.borrow().clone();
        if let Some(document) = document {
            self.inner.store.publish(&document).await?;
        }
        Ok(())
    }

    /// The document published last; `None` before the first. Changes wake up.
    pub fn document(&self) -> watch::Receiver<Option<Arc<Document>>> {
        self.inner.document.subscribe()
    }

    /// The revision published last, 0 before the first.
    pub fn revision(&self) -> u64 {
        self.inner.document.borrow().as_ref().map_or(0, |document| document.revision)
    }

    /// What showed when a document was compiled last.
    pub fn compiled(&self) -> watch::Receiver<Option<Arc<Compiled>>> {
        self.inner.compiled.subscribe()
    }

    /// Why the latest try to publish failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.inner.failure.borrow().clone()
    }

    async fn publish(&self, state: &mut State) -> Result<u64, PublishError> {
        let begun = Instant::now();
        let result = self.publish_locked(state, begun).await;
        let failure = result.as_ref().err().map(ToString::to_string);
        if let Some(failure) = &failure {
            self.inner.metrics.publish_failed();
            if self.inner.failure.borrow().as_ref() != Some(failure) {
                tracing::warn!(%failure, "the mesh document was not published; the last one stays");
            }
        }
        self.inner.failure.send_replace(failure);
        result
    }

    async fn publish_locked(&self, state: &mut State, begun: Instant) -> Result<u64, PublishError> {
        if !state.started {
            return Err(PublishError::NotStarted);
        }
        if self.inner.ledger.fenced().is_cancelled() {
            return Err(LedgerError::Fenced { cluster: self.inner.home.clone() }.into());
        }
        let (compiled, said) = self.compile(state)?;
        let next = compiled.document.clone();
        self.inner.compiled.send_if_modified(|known| {
            let news = known.as_deref() != Some(&compiled);
            if news {
                *known = Some(Arc::new(compiled));
            }
            news
        });
        let current = self.inner.document.borrow().clone();
        if let Some(revision) = state.standing(current.as_deref(), &next) {
            state.carried = said;
            return Ok(revision);
        }
        // A proxy may come back with a revision that nothing else remembers.
        let reported = self.inner.reports.borrow().values().map(|report| report.revision).max().unwrap_or(0);
        let revision = state.floor.max(reported).saturating_add(1);
        if revision > state.ceiling {
            state.ceiling = self.reserve(revision.saturating_add(BLOCK)).await?;
        }
        let document = Document { revision, ..next }.seal();
        // What proxies would refuse must not leave this process.
        Model::build(document.clone()).map_err(|error| NotYet::Unfit(error.to_string()))?;
        // From here on the revision may have been seen, whatever comes of the write.
        state.floor = revision;
        state.unsure = true;
        self.inner.store.publish(&document).await?;
        state.unsure = false;
        state.carried = said;
        self.inner.metrics.document_published(revision, begun.elapsed());
        let (topics, fuses) = (document.topics.len(), document.fuses.len());
        tracing::info!(revision, topics, fuses, took = ?begun.elapsed(), "mesh document published");
        self.inner.document.send_replace(Some(Arc::new(document)));
        if state.ceiling.saturating_sub(revision) < LOW {
            self.reserve_beside(revision.saturating_add(BLOCK));
        }
        Ok(revision)
    }

    /// The document, and how much of what was said it carries.
    fn compile(&self, state: &State) -> Result<(Compiled, u64), NotYet> {
        let observations = Arc::clone(&self.inner.observations.borrow());
        let reports = Arc::clone(&self.inner.reports.borrow());
        let ledger = self.inner.ledger.merged();
        let routed = self.routed();
        let compiled = compile(&Inputs {
            mesh: &self.inner.mesh,
            home: &self.inner.home,
            members: &state.declared.members,
            observations: &observations,
            ledger: &ledger,
            routed: &routed.topics,
            reports: &reports,
            now: clock::now_millis(),
            fuses: &state.declared.fuses,
            limits: &state.declared.limits,
        })?;
        Ok((compiled, routed.said))
    }

    /// Records that revisions up to `ceiling` may be in use. The home cluster's ledger must have it; another one that is
    /// away gets it when it is back.
    async fn reserve(&self, ceiling: u64) -> Result<u64, LedgerError> {
        let written =
            self.inner.ledger.append_everywhere(Subject::Revision, Fact::Revision { revision: ceiling }).await;
        match written {
            Ok(()) => Ok(ceiling),
            Err(error @ LedgerError::Fenced { .. }) => Err(error),
            Err(error) => {
                let at_home = self.inner.ledger.on(&self.inner.home, &Subject::Revision);
                match at_home.map(|record| record.fact) {
                    Some(Fact::Revision { revision }) if revision >= ceiling => {
                        tracing::warn!(%error, "the revision is recorded on the home cluster only");
                        Ok(ceiling)
                    }
                    _ => Err(error),
                }
            }
        }
    }

    fn reserve_beside(&self, ceiling: u64) {
        let publisher = self.clone();
        tokio::spawn(async move {
            match publisher.reserve(ceiling).await {
                Ok(reserved) => {
                    let mut state = publisher.inner.state.lock().await;
                    state.ceiling = state.ceiling.max(reserved);
                }
                Err(error) => tracing::warn!(%error, "revisions could not be recorded ahead; it is tried again"),
            }
        });
    }

    fn routed(&self) -> std::sync::MutexGuard<'_, Routed> {
        self.inner.routed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All but number and digest are equal.
fn says_the_same(a: &Document, b: &Document) -> bool {
    a.format_version == b.format_version
        && a.mesh == b.mesh
        && a.home == b.home
        && a.clusters == b.clusters
        && a.proxies == b.proxies
        && a.brokers == b.brokers
        && a.topics == b.topics
        && a.fuses == b.fuses
        && a.limits == b.limits
}

#[cfg(test)]
mod tests {
    use sluice_mesh::document::FuseAction;

    use super::*;
    use crate::testing::document;

    #[test]
    fn a_fuse_that_trips_or_does_something_else_makes_another_document() {
        let state = State::default();
        let (closed, mut tripped) = (document(7), document(0));
        let topic = TopicName::new("orders").unwrap();
        tripped.fuses = vec![Fuse { topic, name: "stop".into(), produce: None, consume: true }];
        assert_eq!(state.standing(Some(&closed), &tripped), None);
        assert_eq!(state.standing(Some(&tripped), &tripped), Some(0));
        let mut both = tripped.clone();
        both.fuses[0].produce = Some(FuseAction::Hold);
        assert_eq!(state.standing(Some(&tripped), &both), None);
    }

    #[test]
    fn after_a_publication_of_unknown_outcome_the_old_document_is_not_taken_for_the_present_one() {
        let mut state = State::default();
        assert_eq!(state.standing(None, &document(0)), None);
        assert_eq!(state.standing(Some(&document(7)), &document(0)), Some(7));
        // A fence, say, was sent and not answered; its end says what was said before it.
        state.carried = 3;
        assert!(state.carries(3) && !state.carries(4));
        state.unsure = true;
        assert_eq!(state.standing(Some(&document(7)), &document(0)), None);
        assert!(!state.carries(3));
    }
}
