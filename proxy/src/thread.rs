//! What all connections of one data thread share: the world as this thread sees it, scratch memory, counters, the way
//! for asks, and the list of connections. Never leaves its thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use sluice_mesh::model::{BrokerRef, World};
use sluice_mesh::name::ClusterName;
use tokio::sync::watch;

use crate::args::Limits;
use crate::asker::Asks;
use crate::clock::Clock;
use crate::metrics::{Metrics, ThreadCounters};
use crate::scratch::Scratch;
use crate::world::InUse;

/// What the connections of a thread share.
pub(crate) struct Thread {
    pub(crate) scratch: Scratch,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<ThreadCounters>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) asks: Asks,
    pub(crate) limits: Limits,
    pub(crate) connections: Connections,
    worlds: RefCell<watch::Receiver<Option<Arc<World>>>>,
    world: RefCell<Option<Rc<World>>>,
    /// Grows with each change of `world`.
    version: Cell<u64>,
    /// The clusters in the order of `world`, and how often one of them has changed its place.
    clusters: RefCell<Vec<ClusterName>>,
    order: Cell<u64>,
    in_use: InUse,
    last_complaint: Cell<u64>,
    complaints: Cell<u64>,
}

impl Thread {
    pub(crate) fn new(
        worlds: watch::Receiver<Option<Arc<World>>>,
        in_use: InUse,
        asks: Asks,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Self {
        Self {
            scratch: Scratch::default(),
            clock: Clock::new(),
            counters: metrics.thread(),
            metrics,
            asks,
            limits,
            connections: Connections::default(),
            worlds: RefCell::new(worlds),
            world: RefCell::default(),
            version: Cell::new(0),
            clusters: RefCell::default(),
            order: Cell::new(0),
            in_use,
            last_complaint: Cell::new(0),
            complaints: Cell::new(0),
        }
    }

    /// The world as of now. Cheap: one load of a shared word, unless it has changed. Must be asked anew at the start of each
    /// poll, and the answer dropped by its end: from the moment that a thread has a newer world, it is taken to decide
    /// nothing under an older one.
    pub(crate) fn world(&self) -> Option<Rc<World>> {
        let mut worlds = self.worlds.borrow_mut();
        // A closed channel means that the control side is gone: the last world stays.
        if worlds.has_changed().unwrap_or(false) || self.version.get() == 0 {
            let world = worlds.borrow_and_update().clone();
            let revision = world.as_ref().map_or(u64::MAX, |world| world.model.revision);
            let clusters = world.iter().flat_map(|world| &world.model.clusters);
            let clusters: Vec<_> = clusters.map(|cluster| cluster.name.clone()).collect();
            if !clusters.starts_with(&self.clusters.borrow()) {
                self.order.set(self.order.get() + 1);
            }
            *self.clusters.borrow_mut() = clusters;
            *self.world.borrow_mut() = world.map(|world| Rc::new(World::clone(&world)));
            self.version.set(self.version.get() + 1);
            self.in_use.set(revision);
            self.connections.wake_held();
        }
        self.world.borrow().clone()
    }

    /// Grows whenever [`Thread::world`] has a new answer.
    pub(crate) fn version(&self) -> u64 {
        self.version.get()
    }

    /// Grows when a cluster's place in the document changes. Sessions know clusters by that place: one that began under
    /// another order must not decide anything more.
    pub(crate) fn order(&self) -> u64 {
        self.order.get()
    }

    /// Waits for the next change of the world.
    pub(crate) async fn changed(&self) {
        let mut worlds = self.worlds.borrow().clone();
        if worlds.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether a complaint may be logged now: one a second, so that no client can fill a disk. Tells how many were left out.
    pub(crate) fn may_complain(&self) -> Option<u64> {
        let now = self.clock.now();
        if now < self.last_complaint.get() {
            self.complaints.set(self.complaints.get().saturating_add(1));
            return None;
        }
        self.last_complaint.set(now.saturating_add(1000));
        Some(self.complaints.replace(0))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.in_use.end();
    }
}

/// What others on the thread may know of a connection, and do to it.
#[derive(Debug, Default)]
pub(crate) struct Handle {
    /// A request or answer is kept back until the world changes.
    pub(crate) held: Cell<bool>,
    /// To be closed at the next good moment.
    pub(crate) draining: Cell<bool>,
    /// No request is under way.
    pub(crate) quiet: Cell<bool>,
    /// The port that the client dialled, and the broker that it answered as.
    pub(crate) dialled: Cell<Option<(u16, BrokerRef)>>,
    /// [`Thread::order`] when that broker was looked up.
    pub(crate) order: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Handle {
    /// Called at each poll; keeps the task's waker.
    pub(crate) fn polled(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Close it at the next good moment.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }
}

/// The open connections of one thread.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: RefCell<HashMap<u64, Rc<Handle>>>,
    next: Cell<u64>,
}

impl Connections {
    /// One more.
    pub(crate) fn open(&self) -> (u64, Rc<Handle>) {
        let id = self.next.get();
        self.next.set(id + 1);
        let handle = Rc::new(Handle::default());
        handle.quiet.set(true);
        self.open.borrow_mut().insert(id, Rc::clone(&handle));
        (id, handle)
    }

    /// One less.
    pub(crate) fn close(&self, id: u64) {
        self.open.borrow_mut().remove(&id);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// All of them, the idle ones first.
    pub(crate) fn idle_first(&self) -> Vec<Rc<Handle>> {
        let mut all: Vec<_> = self.open.borrow().values().map(Rc::clone).collect();
        all.sort_by_key(|handle| !handle.quiet.get());
        all
    }

    fn wake_held(&self) {
        for handle in self.open.borrow().values() {
            if handle.held.get() {
                handle.wake();
            }
        }
    }
}
