//! What every reconciler is handed: the ports to the outside and the shared values. Nothing here decides anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_mesh::name::ClusterName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::publish::Publisher;
use crate::reports::Proxies;
use crate::store::Store;

/// Shared by all reconcilers. Cheap to share through an `Arc`.
pub struct Context {
    /// The mesh's name: keys the ledger.
    pub mesh: String,
    /// The home cluster. The operator does nothing before there is exactly one.
    pub home: ClusterName,
    /// Resources in, status and events out.
    pub store: Arc<dyn Store>,
    /// The one writer of all ledgers.
    pub ledger: Ledger,
    /// Clusters as last seen, and the clients to ask them.
    pub observer: Observer,
    /// The one writer of the mesh document.
    pub publisher: Publisher,
    /// What the proxies report.
    pub proxies: Proxies,
    /// Where reconcilers count.
    pub metrics: Arc<Metrics>,
    /// One permit per move that may be under way at the same time.
    pub turns: Permits,
    /// One permit per topic that is being prepared for its move at the same time: of hundreds, a few at a time load the
    /// brokers, and the first can move while the others wait.
    pub preparations: Permits,
}

/// Where topics wait, first come, first served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// For [`Context::turns`].
    Turns,
    /// For [`Context::preparations`].
    Preparations,
}

/// Topics that are prepared at the same time.
pub const PREPARATIONS: usize = 8;

impl Context {
    /// A queue's permits.
    pub fn permits(&self, queue: Queue) -> &Permits {
        match queue {
            Queue::Turns => &self.turns,
            Queue::Preparations => &self.preparations,
        }
    }
}

/// Permits whose number may change while they are out. Whoever waits is served in order.
#[derive(Debug)]
pub struct Permits {
    free: Arc<Semaphore>,
    count: Mutex<Count>,
}

#[derive(Debug)]
struct Count {
    /// How many there should be.
    wanted: usize,
    /// How many more than that are still out: they end when they are given back.
    excess: usize,
}

impl Permits {
    /// So many.
    pub fn new(wanted: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(wanted)), count: Mutex::new(Count { wanted, excess: 0 }) }
    }

    /// From now on so many. Those that are out and too many end when they are given back.
    pub fn set(&self, wanted: usize) {
        let mut count = self.count();
        if wanted >= count.wanted {
            let more = wanted - count.wanted;
            let kept = more.min(count.excess);
            count.excess -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = count.wanted - wanted;
            count.excess += fewer - self.free.forget_permits(fewer);
        }
        count.wanted = wanted;
    }

    /// One, if it is free and nobody waits.
    pub fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// One, as soon as it is this caller's turn. Dropping the future gives the place away.
    pub fn take(&self) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + use<> {
        let free = Arc::clone(&self.free);
        async move { free.acquire_owned().await.ok() }
    }

    /// Gives one back.
    pub fn give_back(&self, permit: OwnedSemaphorePermit) {
        let mut count = self.count();
        if count.excess > 0 {
            count.excess -= 1;
            permit.forget();
        }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the caller of a reconciler should do next.
///
/// The reconciler of a topic is `topic_route::reconcile(ctx: &Arc<Context>, topic: &TopicName, progress: &mut Progress) ->
/// Action` (`Progress: Default`): each topic that a route names, or that the ledger knows moves of, has a task of its own
/// which owns the progress and calls again after the time asked for, or when resources, observations, reports or ledgers
/// change. What the ledger says of a topic before its task has run is `topic_route::entry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Call again when anything changes, and at the latest after this time.
    Again(Duration),
    /// Call again with a permit of that queue, or when anything changes.
    OnPermit(Queue),
    /// Call again when anything changes.
    OnChange,
    /// Nothing is left to do for this object, ever, unless it appears again.
    Done,
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn fewer_permits_count_also_while_others_wait() {
        let permits = Permits::new(2);
        let (one, two) = (permits.try_take().unwrap(), permits.try_take().unwrap());
        let mut waiting = Box::pin(permits.take());
        assert!((&mut waiting).now_or_never().is_none());
        permits.set(1);
        permits.give_back(one);
        assert!((&mut waiting).now_or_never().is_none(), "one is out, and one is all there is");
        permits.give_back(two);
        let next = (&mut waiting).now_or_never().unwrap().unwrap();
        assert!(permits.try_take().is_none());
        // One that was to end may stay when there are to be more again.
        permits.set(0);
        permits.set(2);
        assert!(permits.try_take().is_some_and(|more| permits.try_take().is_none() && {
            permits.give_back(more);
            true
        }));
        permits.give_back(next);
        let (one, two) = (permits.try_take(), permits.try_take());
        assert!(one.is_some() && two.is_some() && permits.try_take().is_none());
    }
}
