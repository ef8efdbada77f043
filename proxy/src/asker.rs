//! Facts that decisions need and that take I/O. A connection hands its ask over and stops; here it is carried out with
//! the clusters' clients, beside all traffic. Bounded: over the bound an ask is answered at once with failures, and the
//! session decides without the fact.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::join_all;
use sluice_engine::ask::{Ask, Call, CallFailed, Reply, Request, Response, Target};
use sluice_mesh::model::ClusterIndex;
use sluice_mesh::name::ClusterName;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::cluster_view::Clusters;
use crate::metrics::Metrics;
use crate::world::Worlds;

/// Asks that may wait to be begun.
const QUEUE: usize = 1024;

/// Asks that are carried out at a time: each costs a few requests to brokers.
const CONCURRENT: usize = 64;

/// Longer time limits than this are cut.
const LONGEST_CALL: Duration = Duration::from_secs(30);

enum Job {
    Ask {
        ask: Ask,
        reply: oneshot::Sender<Reply>,
    },
    /// A broker says that the view of its cluster is out of date. Nobody waits.
    Stale(ClusterIndex),
}

/// The way for asks to the control side.
#[derive(Clone)]
pub(crate) struct Asks {
    queue: mpsc::Sender<Job>,
}

/// An ask that is under way.
#[derive(Debug)]
pub(crate) struct Asking {
    reply: oneshot::Receiver<Reply>,
    calls: Option<usize>,
}

impl Asks {
    /// Hands an ask over. Never waits.
    pub(crate) fn submit(&self, ask: Ask) -> Asking {
        let calls = match &ask {
            Ask::Calls(calls) => Some(calls.len()),
            Ask::Refresh => None,
        };
        let (reply, receiver) = oneshot::channel();
        // A full queue drops the sender with the job, which is a failure that the receiver sees.
        let _ = self.queue.try_send(Job::Ask { ask, reply });
        Asking { reply: receiver, calls }
    }

    /// A cluster's view is worth a look.
    pub(crate) fn stale(&self, cluster: ClusterIndex) {
        // When the queue is full the cluster is looked at within seconds anyway.
        let _ = self.queue.try_send(Job::Stale(cluster));
    }
}

impl Asking {
    /// The reply, or failures if none will come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reply> {
        std::pin::Pin::new(&mut self.reply).poll(cx).map(|reply| reply.unwrap_or_else(|_| self.failed()))
    }

    fn failed(&self) -> Reply {
        let failure = || Err(CallFailed("the proxy is asking too much at once".into()));
        match self.calls {
            Some(calls) => Reply::Calls((0..calls).map(|_| failure()).collect()),
            None => Reply::Refreshed,
        }
    }
}

/// Carries asks out until every [`Asks`] is gone.
pub(crate) struct Asker {
    queue: mpsc::Receiver<Job>,
    worker: Arc<Worker>,
}

struct Worker {
    worlds: Arc<Worlds>,
    clusters: Arc<Clusters>,
    metrics: Arc<Metrics>,
}

/// The two ends.
pub(crate) fn channel(worlds: Arc<Worlds>, clusters: Arc<Clusters>, metrics: Arc<Metrics>) -> (Asks, Asker) {
    let (sender, queue) = mpsc::channel(QUEUE);
    (Asks { queue: sender }, Asker { queue, worker: Arc::new(Worker { worlds, clusters, metrics }) })
}

impl Asker {
    pub(crate) async fn run(mut self) {
        let limit = Arc::new(Semaphore::new(CONCURRENT));
        while let Some(job) = self.queue.recv().await {
            let (ask, mut reply) = match job {
                Job::Ask { ask, reply } => (ask, reply),
                Job::Stale(cluster) => {
                    if let Some(name) = self.worker.name(cluster) {
                        self.worker.clusters.look_again(&name);
                    }
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return };
            let worker = Arc::clone(&self.worker);
            tokio::spawn(async move {
                let began = Instant::now();
                // A connection that closed meanwhile needs no answer.
                tokio::select! {
                    answer = worker.answer(ask) => {
                        worker.metrics.ask_seconds.observe(began.elapsed().as_secs_f64());
                        let _ = reply.send(answer);
                    }
                    () = reply.closed() => {}
                }
                drop(permit);
            });
        }
    }
}

impl Worker {
    async fn answer(&self, ask: Ask) -> Reply {
        match ask {
            Ask::Refresh => {
                self.metrics.asks.get_or_create(&[("kind", "refresh")]).inc();
                self.clusters.refresh_all().await;
                Reply::Refreshed
            }
            Ask::Calls(calls) => {
                for call in &calls {
                    self.metrics.asks.get_or_create(&[("kind", kind(&call.request))]).inc();
                }
                Reply::Calls(join_all(calls.into_iter().map(|call| self.call(call))).await)
            }
        }
    }

    fn name(&self, cluster: ClusterIndex) -> Option<ClusterName> {
        self.worlds.model()?.cluster(cluster).map(|cluster| cluster.name.clone())
    }

    async fn call(&self, call: Call) -> Result<Response, CallFailed> {
        let limit = Duration::from_millis(call.timeout_millis).min(LONGEST_CALL);
        let name = self.name(call.cluster).ok_or_else(|| CallFailed("the cluster has left the mesh".into()))?;
        let client =
            self.clusters.client(&name).ok_or_else(|| CallFailed(format!("cluster {name} has left the mesh")))?;
        let to = target(call.to);
        // The limit covers all: finding the broker, connecting, the answer.
        match tokio::time::timeout(limit, send(&client, &to, call.request, limit)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                client.forget(&to);
                Err(CallFailed(error.to_string()))
            }
            Err(_) => Err(CallFailed(format!("cluster {name} did not answer within {limit:?}"))),
        }
    }
}

fn target(target: Target) -> sluice_net::Target {
    match target {
        Target::Any => sluice_net::Target::Any,
        Target::Broker(id) => sluice_net::Target::Broker(id),
        Target::Leader { topic, partition } => sluice_net::Target::Leader { topic, partition },
        Target::Controller => sluice_net::Target::Controller,
    }
}

macro_rules! by_api {
    ($($api:ident),*) => {
        async fn send(
            client: &sluice_net::Client,
            to: &sluice_net::Target,
            request: Request,
            limit: Duration,
        ) -> Result<Response, sluice_net::CallError> {
            Ok(match request {
                $(Request::$api(request) => Response::$api(client.call_within(to, request, i16::MAX, limit).await?),)*
            })
        }

        fn kind(request: &Request) -> &'static str {
            match request {
                $(Request::$api(_) => stringify!($api),)*
            }
        }
    };
}

by_api!(
    CreateTopics,
    DeleteTopics,
    DescribeConfigs,
    DescribeProducers,
    FindCoordinator,
    ListOffsets,
    Metadata,
    OffsetForLeaderEpoch
);
