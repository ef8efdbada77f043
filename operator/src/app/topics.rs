//! One task per topic that a route names or that a ledger knows moves of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt};
use sluice_mesh::name::TopicName;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::concern::Concern;
use crate::context::{Action, Context, Queue};
use crate::topic_route::{self, Progress};

/// How long a stop waits for moves that are under way: longer than the longest pause budget would only prolong an outage.
const LET_FINISH: Duration = Duration::from_secs(20);
/// A topic is looked at so often even if nothing seems to happen.
const LONGEST: Duration = Duration::from_mins(1);

/// The tasks.
pub(super) struct Topics {
    context: Arc<Context>,
    stop: CancellationToken,
    tasks: BTreeMap<TopicName, Task>,
}

struct Task {
    handle: JoinHandle<()>,
    wake: Arc<Notify>,
    /// The revision that its status counts proxies for; 0: none.
    shown: Arc<AtomicU64>,
}

impl Topics {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, stop: CancellationToken::new(), tasks: BTreeMap::new() }
    }

    /// Sees to it that each of these topics has a task.
    pub(super) fn set(&mut self, topics: &BTreeSet<TopicName>) {
        self.tasks.retain(|_, task| !task.handle.is_finished());
        for topic in topics {
            if !self.tasks.contains_key(topic) {
                let (wake, progress) = (Arc::new(Notify::new()), Progress::default());
                let shown = progress.shown_revision();
                let context = Arc::clone(&self.context);
                let run = Run { context, topic: topic.clone(), wake: Arc::clone(&wake), progress };
                let handle = tokio::spawn(run.run(self.stop.clone()));
                self.tasks.insert(topic.clone(), Task { handle, wake, shown });
            }
        }
    }

    /// Something changed.
    pub(super) fn wake(&self, concern: &Concern) {
        match concern {
            Concern::All => self.tasks.values().for_each(|task| task.wake.notify_one()),
            Concern::Only(topics) => {
                topics.iter().filter_map(|topic| self.tasks.get(topic)).for_each(|task| task.wake.notify_one());
            }
        }
    }

    /// Proxies have applied other revisions than before.
    pub(super) fn wake_by_revision(&self, counts_anew: impl Fn(u64) -> bool) {
        let concerned = self.tasks.values().filter(|task| counts_anew(task.shown.load(Ordering::Relaxed)));
        concerned.for_each(|task| task.wake.notify_one());
    }

    /// No reconciliation is begun any more; those under way may finish, so that no topic is left sealed without need.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        let finish = futures::future::join_all(self.tasks.values_mut().map(|task| &mut task.handle));
        if tokio::time::timeout(LET_FINISH, finish).await.is_err() {
            tracing::warn!("a move is still under way; the next operator goes on with it");
        }
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.handle.abort();
        }
    }
}

/// One topic's task.
struct Run {
    context: Arc<Context>,
    topic: TopicName,
    wake: Arc<Notify>,
    progress: Progress,
}

/// A place in a queue.
struct Place {
    queue: Queue,
    permit: BoxFuture<'static, Option<OwnedSemaphorePermit>>,
}

impl Run {
    async fn run(mut self, stop: CancellationToken) {
        // Kept over wake-ups: whoever is woken must not begin at the end of the queue again.
        let mut place: Option<Place> = None;
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let action = topic_route::reconcile(&self.context, &self.topic, &mut self.progress).await;
            self.context.metrics.reconciled("TopicRoute", true, begun.elapsed());
            let (queue, longest) = match action {
                Action::Done => return,
                Action::Again(after) => (None, after),
                Action::OnPermit(queue) => (Some(queue), LONGEST),
                // A wake-up that got lost must not stop a topic for ever.
                Action::OnChange => (None, LONGEST),
            };
            let held = place.filter(|place| Some(place.queue) == queue);
            place = queue.map(|queue| held.unwrap_or_else(|| self.queue_up(queue)));
            let permit = async {
                match &mut place {
                    Some(place) => (place.queue, place.permit.as_mut().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                (queue, permit) = permit => {
                    self.progress.keep(queue, permit);
                    place = None;
                }
                () = stop.cancelled() => return,
                () = tokio::time::sleep(longest) => {}
            }
        }
    }

    fn queue_up(&self, queue: Queue) -> Place {
        Place { queue, permit: self.context.permits(queue).take().boxed() }
    }
}
