//! One task per topic that a route names or that a ledger knows moves of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_mesh::name::TopicName;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::context::{Action, Context};
use crate::topic_route::{self, Progress};

/// How long a stop waits for moves that are under way: longer than the longest pause budget would only prolong an outage.
const LET_FINISH: Duration = Duration::from_secs(20);

/// The tasks.
pub(super) struct Topics {
    context: Arc<Context>,
    /// Counts wake-ups.
    wake: watch::Sender<u64>,
    stop: CancellationToken,
    tasks: BTreeMap<TopicName, JoinHandle<()>>,
}

impl Topics {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, wake: watch::Sender::new(0), stop: CancellationToken::new(), tasks: BTreeMap::new() }
    }

    /// Sees to it that each of these topics has a task.
    pub(super) fn set(&mut self, topics: &BTreeSet<TopicName>) {
        self.tasks.retain(|_, task| !task.is_finished());
        for topic in topics {
            if !self.tasks.contains_key(topic) {
                let task = run(Arc::clone(&self.context), topic.clone(), self.wake.subscribe(), self.stop.clone());
                self.tasks.insert(topic.clone(), tokio::spawn(task));
            }
        }
    }

    /// Something changed that any topic may care about.
    pub(super) fn wake(&self) {
        self.wake.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// No reconciliation is begun any more; those under way may finish, so that no topic is left sealed without need.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        let finish = futures::future::join_all(self.tasks.values_mut());
        if tokio::time::timeout(LET_FINISH, finish).await.is_err() {
            tracing::warn!("a move is still under way; the next operator goes on with it");
        }
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

async fn run(context: Arc<Context>, topic: TopicName, mut wake: watch::Receiver<u64>, stop: CancellationToken) {
    let mut progress = Progress::default();
    while !stop.is_cancelled() {
        wake.mark_unchanged();
        let begun = Instant::now();
        let action = topic_route::reconcile(&context, &topic, &mut progress).await;
        context.metrics.reconciled("TopicRoute", true, begun.elapsed());
        let longest = match action {
            Action::Done => return,
            Action::Again(after) => after,
            // A wake-up that got lost must not stop a topic for ever.
            Action::OnChange => Duration::from_mins(1),
        };
        let change = tokio::time::timeout(longest, wake.changed());
        if let Some(Ok(Err(_))) = stop.run_until_cancelled(change).await {
            return;
        }
    }
}
