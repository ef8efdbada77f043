//! What every reconciler is handed: the ports to the outside and the shared values. Nothing here decides anything.

use std::sync::Arc;
use std::time::Duration;

use sluice_mesh::name::ClusterName;
use tokio::sync::Semaphore;

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
    pub turns: Arc<Semaphore>,
    /// One permit per topic that is being prepared for its move at the same time: of hundreds, a few at a time load the
    /// brokers, and the first can move while the others wait.
    pub preparations: Arc<Semaphore>,
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
    pub fn permits(&self, queue: Queue) -> &Arc<Semaphore> {
        match queue {
            Queue::Turns => &self.turns,
            Queue::Preparations => &self.preparations,
        }
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
