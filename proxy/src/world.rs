//! The present [`World`]: the applied document, the clusters as last seen and the fences that have expired, put together
//! here and handed to the data threads. It also knows what "drained" means: each thread says which revision its decisions
//! are made under, and each Produce that waits for its answer holds its model's lease.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sluice_mesh::model::{Model, World};
use sluice_mesh::name::ClusterName;
use sluice_mesh::view::{ClusterView, Views};
use tokio::sync::watch;

use crate::fences::{Expired, Fences};

pub(crate) mod expiry;

/// What a data thread tells: the revision that its decisions are made under.
#[derive(Debug, Clone)]
pub(crate) struct InUse(Arc<AtomicU64>);

impl InUse {
    /// The thread has let go of every world before this revision: no decision under an older one can begin any more.
    pub(crate) fn set(&self, revision: u64) {
        self.0.store(revision, Ordering::Release);
    }

    /// The thread decides nothing any more.
    pub(crate) fn end(&self) {
        self.set(u64::MAX);
    }
}

/// The present world and its past.
#[derive(Debug)]
pub(crate) struct Worlds {
    state: Mutex<State>,
    sender: watch::Sender<Option<Arc<World>>>,
}

#[derive(Debug, Default)]
struct State {
    model: Option<Arc<Model>>,
    views: Arc<Views>,
    fences: Fences,
    /// Oldest first; those that may still have a Produce in flight.
    superseded: Vec<Arc<Model>>,
    threads: Vec<InUse>,
}

impl Default for Worlds {
    fn default() -> Self {
        Self { state: Mutex::default(), sender: watch::Sender::new(None) }
    }
}

impl Worlds {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To follow the world by.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<World>>> {
        self.sender.subscribe()
    }

    /// One more data thread. It has no world yet, so it holds nothing back.
    pub(crate) fn thread(&self) -> InUse {
        let in_use = InUse(Arc::new(AtomicU64::new(u64::MAX)));
        self.state().threads.push(in_use.clone());
        in_use
    }

    /// The applied document.
    pub(crate) fn model(&self) -> Option<Arc<Model>> {
        self.state().model.clone()
    }

    /// The present world; none before the first document.
    pub(crate) fn current(&self) -> Option<Arc<World>> {
        self.sender.borrow().clone()
    }

    /// A new document is in force from now on.
    pub(crate) fn apply(&self, model: Arc<Model>) {
        let mut state = self.state();
        let mut views = Views::clone(&state.views);
        views.clusters.retain(|name, _| model.clusters.iter().any(|cluster| cluster.name == *name));
        state.views = Arc::new(views);
        state.fences.follow(&model, Instant::now());
        if let Some(old) = state.model.replace(model) {
            state.superseded.push(old);
        }
        self.send(&state);
    }

    /// A cluster looks like this now. A view that says nothing new wakes nobody.
    pub(crate) fn see(&self, cluster: &ClusterName, view: ClusterView) {
        let mut state = self.state();
        let known = state.model.as_ref().is_some_and(|model| model.clusters.iter().any(|one| one.name == *cluster));
        let same = state.views.clusters.get(cluster).is_some_and(|old| **old == view);
        if !known || same {
            return;
        }
        let mut views = Views::clone(&state.views);
        views.clusters.insert(cluster.clone(), Arc::new(view));
        state.views = Arc::new(views);
        self.send(&state);
    }

    /// When the next fence expires.
    pub(crate) fn next_fence_end(&self) -> Option<Instant> {
        self.state().fences.next()
    }

    /// Ends the fences that are old enough by now; held writes of their topics go on.
    pub(crate) fn expire_fences(&self, now: Instant) -> Vec<Expired> {
        let mut state = self.state();
        let expired = state.fences.expire(now);
        if !expired.is_empty() {
            self.send(&state);
        }
        expired
    }

    fn send(&self, state: &State) {
        let world = state.model.as_ref().map(|model| {
            let (model, views) = (Arc::clone(model), Arc::clone(&state.views));
            Arc::new(World { model, views, expired_fences: Arc::clone(state.fences.expired()) })
        });
        self.sender.send_replace(world);
    }

    /// The highest revision R such that no Produce decided under a revision below R waits for its answer; 0 before the
    /// first document. `settled` is false while an older one is still alive.
    pub(crate) fn drained(&self) -> Drained {
        let mut state = self.state();
        let Some(revision) = state.model.as_ref().map(|model| model.revision) else {
            return Drained { revision: 0, settled: true };
        };
        // The threads first: once each has moved on, no lease of an older model can be taken any more, so a lease that
        // is free after that stays free.
        let in_use = state.threads.iter().map(|thread| thread.0.load(Ordering::Acquire)).min().unwrap_or(u64::MAX);
        state.superseded.retain(|model| model.revision >= in_use || Arc::strong_count(&model.produce_lease) > 1);
        let oldest = state.superseded.first().map_or(revision, |model| model.revision);
        let drained = oldest.min(in_use).min(revision);
        Drained { revision: drained, settled: state.superseded.is_empty() && in_use >= revision }
    }
}

/// How far the proxy has drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drained {
    /// The revision.
    pub(crate) revision: u64,
    /// Nothing older is alive: it stays so until the next document.
    pub(crate) settled: bool,
}

#[cfg(test)]
mod tests;
