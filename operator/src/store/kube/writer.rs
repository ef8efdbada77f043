//! Writes statuses and finalizers beside everything else. What is to be written is looked up when it is written, so the
//! latest always wins and nothing is queued twice, but for the steps that people watch, which are written one after the other;
//! what fails is tried again for as long as it is still wanted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::View;
use super::api::{MANAGER, Trouble, call};
use super::objects::{Kept, Objects, Table, Taken};
use crate::store::Kind;
use crate::store::told::Told;

/// Writes at the same time.
const AT_ONCE: usize = 8;
/// First and longest pause while the server is away.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Something to look after. Finalizers first: they decide whether an object is there at all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Job {
    /// A KafkaCluster's finalizer must be there.
    Hold(String),
    /// A KafkaCluster's finalizer must go.
    Release(String),
    /// An object's status.
    Status(Kind, String),
}

/// What is left to do.
#[derive(Debug)]
pub(super) struct Jobs {
    waiting: Mutex<BTreeSet<Job>>,
    more: Notify,
    idle: watch::Sender<bool>,
}

impl Jobs {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::default(), more: Notify::new(), idle: watch::Sender::new(true) }
    }

    pub(super) fn add(&self, job: Job) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.idle.send_replace(false);
        waiting.insert(job);
        drop(waiting);
        self.more.notify_one();
    }

    /// Waits until everything is written.
    pub(super) async fn done(&self) {
        let _ = self.idle.subscribe().wait_for(|idle| *idle).await;
    }

    fn take(&self) -> BTreeSet<Job> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            self.idle.send_replace(true);
        }
        std::mem::take(&mut *waiting)
    }
}

/// What came of a job.
enum Outcome {
    /// Nothing is left of it.
    Done,
    /// Once more, when the view has caught up.
    Again(Job),
    /// Once more, when the server is back.
    Away(Job),
}

/// The writer.
pub(super) struct Writer {
    clusters: Api<DynamicObject>,
    routes: Api<DynamicObject>,
    fuses: Api<DynamicObject>,
    view: Arc<View>,
    jobs: Arc<Jobs>,
    lost: CancellationToken,
    told: Mutex<Told>,
}

impl Writer {
    pub(super) fn new(
        client: &Client,
        namespace: &str,
        view: Arc<View>,
        jobs: Arc<Jobs>,
        lost: CancellationToken,
    ) -> Self {
        let clusters = super::api_of::<sluice_crds::KafkaCluster>(client, namespace);
        let routes = super::api_of::<sluice_crds::TopicRoute>(client, namespace);
        let fuses = super::api_of::<sluice_crds::TopicFuse>(client, namespace);
        Self { clusters, routes, fuses, view, jobs, lost, told: Mutex::default() }
    }

    /// Writes for as long as this process leads.
    pub(super) async fn run(self) {
        let lost = self.lost.clone();
        lost.run_until_cancelled(self.work()).await;
    }

    async fn work(&self) {
        let mut pause = PAUSE;
        loop {
            let jobs = self.jobs.take();
            if jobs.is_empty() {
                self.jobs.more.notified().await;
                continue;
            }
            let outcomes: Vec<Outcome> =
                stream::iter(jobs).map(|job| self.do_one(job)).buffer_unordered(AT_ONCE).collect().await;
            let (mut again, mut away) = (false, false);
            for outcome in outcomes {
                match outcome {
                    Outcome::Done => {}
                    Outcome::Again(job) => {
                        again = true;
                        self.jobs.add(job);
                    }
                    Outcome::Away(job) => {
                        away = true;
                        self.jobs.add(job);
                    }
                }
            }
            if away {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else {
                pause = PAUSE;
                if again {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn do_one(&self, job: Job) -> Outcome {
        let (name, written) = match &job {
            Job::Status(Kind::KafkaCluster, name) => {
                (name, self.write_status(&self.clusters, name, |objects| &mut objects.clusters).await)
            }
            Job::Status(Kind::TopicRoute, name) => {
                (name, self.write_status(&self.routes, name, |objects| &mut objects.routes).await)
            }
            Job::Status(Kind::TopicFuse, name) => {
                (name, self.write_status(&self.fuses, name, |objects| &mut objects.fuses).await)
            }
            Job::Hold(name) => (name, self.write_finalizers(name, true).await),
            Job::Release(name) => (name, self.write_finalizers(name, false).await),
        };
        match written {
            // The watch shows soon what became of the object; a status is put again every round.
            Ok(()) | Err(Trouble::Missing | Trouble::Exists) => Outcome::Done,
            Err(Trouble::Conflict) if matches!(job, Job::Status(..)) => Outcome::Done,
            Err(Trouble::Conflict) => Outcome::Again(job),
            Err(trouble @ Trouble::Away(_)) => {
                self.tell(&job, name, &trouble);
                Outcome::Away(job)
            }
            Err(trouble @ Trouble::Refused(_)) => {
                self.tell(&job, name, &trouble);
                Outcome::Done
            }
        }
    }

    async fn write_status<K: Kept>(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
        table: impl Fn(&mut Objects) -> &mut Table<K> + Send,
    ) -> Result<(), Trouble> {
        let parameters = PatchParams::apply(MANAGER).force();
        // One after the other: who watches sees every phase of a move, in order.
        while let Some(wanted) = self.view.with(|objects| table(objects).wanted_status(name)) {
            let written = call(api.patch_status(name, &parameters, &Patch::Apply(&wanted.apply))).await?;
            self.view.take(|objects| table(objects).note_written(written));
            // The last one is written once: a server that stores it otherwise than it was put is not argued with.
            if !wanted.more {
                break;
            }
        }
        Ok(())
    }

    async fn write_finalizers(&self, name: &str, held: bool) -> Result<(), Trouble> {
        let merge: Option<Value> = self.view.with(|objects| objects.clusters.wanted_finalizers(name, held));
        let Some(merge) = merge else { return Ok(()) };
        let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let written = call(self.clusters.patch(name, &parameters, &Patch::Merge(&merge))).await?;
        // The last finalizer is gone, and so is the object; the watch says that.
        let gone = written.metadata.deletion_timestamp.is_some() && written.metadata.finalizers.is_none();
        self.view.take(|objects| if gone { Taken::default() } else { objects.clusters.note_written(written) });
        Ok(())
    }

    fn tell(&self, job: &Job, name: &str, trouble: &Trouble) {
        let (kind, what) = match job {
            Job::Status(kind, _) => (kind.as_str(), "status"),
            Job::Hold(_) | Job::Release(_) => (Kind::KafkaCluster.as_str(), "finalizer"),
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let message = trouble.to_string();
        if !told.is_last(kind, name, what, &message) {
            told.note(kind, name, what, &message);
            tracing::warn!(kind, name, what, %trouble, "cannot be written");
        }
    }
}
