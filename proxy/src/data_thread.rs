//! One data thread: a runtime of its own, and on it everything that its clients need. Nothing of it moves to another
//! thread, and nothing else runs on it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_mesh::model::World;
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;

use crate::args::Limits;
use crate::asker::Asks;
use crate::drain;
use crate::listener::{Listeners, Ports};
use crate::metrics::Metrics;
use crate::thread::Thread;
use crate::world::InUse;

/// A port that could not be bound is tried again this soon.
const BIND_AGAIN: Duration = Duration::from_secs(1);

/// What a data thread is made of.
pub(crate) struct DataThread {
    pub(crate) number: usize,
    pub(crate) worlds: watch::Receiver<Option<Arc<World>>>,
    pub(crate) in_use: InUse,
    pub(crate) asks: Asks,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) ports: Ports,
    pub(crate) slots: Arc<Semaphore>,
    /// Set when the process is to end: how long draining may take.
    pub(crate) stop: watch::Receiver<Option<Duration>>,
    /// All ports of the present document are bound.
    pub(crate) bound: Arc<AtomicBool>,
}

impl DataThread {
    /// Starts it.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("data-{}", self.number)).spawn(move || {
            let local = LocalSet::new();
            runtime.block_on(local.run_until(self.run()));
        })
    }

    async fn run(self) {
        let Self { worlds, in_use, asks, metrics, limits, ports, slots, mut stop, bound, .. } = self;
        let thread = Rc::new(Thread::new(worlds, in_use, asks, metrics, limits));
        let mut listeners = Listeners::new(Rc::clone(&thread), ports, slots);
        let within = loop {
            // The value is dropped here: a thread that waits must not hold an old world.
            let complete = thread.world().is_none_or(|world| {
                let complete = listeners.follow(&world.model);
                bound.store(complete, Ordering::Release);
                complete
            });
            let again = if complete { Duration::from_hours(1) } else { BIND_AGAIN };
            tokio::select! {
                () = thread.changed() => {}
                () = tokio::time::sleep(again) => {}
                stopped = stop.wait_for(Option::is_some) => {
                    break stopped.ok().and_then(|within| *within).unwrap_or_default();
                }
            }
        };
        bound.store(false, Ordering::Release);
        listeners.close();
        // The last to be accepted get their chance to be served, and to be told.
        tokio::task::yield_now().await;
        let following = async {
            loop {
                thread.changed().await;
                thread.world();
            }
        };
        tokio::select! {
            () = drain::drain(&thread, within) => {}
            () = following => {}
        }
    }
}
