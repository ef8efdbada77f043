//! The process: starts what there is to start, leads, works until it is told to stop or another operator takes over.
//!
//! One task per term (a term lasts as long as the home cluster stays the same) keeps everything that is not a move; each
//! topic with a route or a history has a task of its own, so that one slow move never delays another.

mod concern;
mod term;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use sluice_mesh::ledger::Merged;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Role, Shown};
use crate::args::{Args, Place};
use crate::clock;
use crate::kafka_cluster::{status, validate};
use crate::ledger::LedgerError;
use crate::metrics::Metrics;
use crate::observe::Observations;
use crate::store::directory::Directory;
use crate::store::kube::Kubernetes;
use crate::store::{Resources, Store, StoreError};
use crate::{topic_fuse, topic_route};

/// How long an operator whose ledgers are another one's waits before it stands by again: were both of the opinion that
/// they lead, moves should not be disturbed all the time.
const AFTER_FENCE: Duration = Duration::from_secs(10);

/// Why the operator ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The admin endpoint cannot be served.
    #[error("cannot listen on {address} for the admin endpoint: {source}; choose another --admin")]
    Admin {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory or the API server cannot be used, or another operator leads now.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another operator writes the ledgers now.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Runs until `stop`.
pub async fn run(args: Args, stop: CancellationToken) -> Result<(), AppError> {
    let metrics = Arc::new(Metrics::new());
    let shown = watch::Sender::new(Role::StandingBy);
    if let Some(address) = args.admin {
        let listener = TcpListener::bind(address).await.map_err(|source| AppError::Admin { address, source })?;
        tracing::info!(%address, "admin endpoint");
        let shown = Shown { metrics: Arc::clone(&metrics), role: shown.subscribe() };
        tokio::spawn(admin::serve(listener, shown, stop.clone()));
    }
    let Some(place) = args.place() else { return Ok(()) };
    loop {
        let led = lead(&args, &place, &metrics, &shown, &stop).await;
        let Err(error @ (AppError::Store(StoreError::NotLeader) | AppError::Ledger(LedgerError::Fenced { .. }))) = led
        else {
            return led;
        };
        // In a directory there is nobody to take over while this process lives: something is wrong.
        if stop.is_cancelled() || matches!(place, Place::Directory(_)) {
            return Err(error);
        }
        tracing::warn!(%error, "this operator stands by now");
        if matches!(error, AppError::Ledger(_)) {
            let _ = stop.run_until_cancelled(tokio::time::sleep(AFTER_FENCE)).await;
        }
    }
}

/// Leads once: waits for its turn, works until the end of it.
async fn lead(
    args: &Args,
    place: &Place,
    metrics: &Arc<Metrics>,
    shown: &watch::Sender<Role>,
    stop: &CancellationToken,
) -> Result<(), AppError> {
    let opened = stop.run_until_cancelled(open(place)).await;
    let Some(store) = opened.transpose()? else { return Ok(()) };
    metrics.set_leader(true);
    shown.send_replace(Role::Leading(None));
    tracing::info!(?place, mesh = args.mesh, "leading");
    let worked = work(args, &store, metrics, shown, stop).await;
    shown.send_replace(Role::StandingBy);
    metrics.set_leader(false);
    store.close().await;
    worked
}

async fn open(place: &Place) -> Result<Arc<dyn Store>, StoreError> {
    let standby = || tracing::info!("another operator leads; standing by");
    Ok(match place {
        Place::Directory(path) => Arc::new(Directory::open(path, standby).await?),
        Place::Kubernetes(options) => Arc::new(Kubernetes::open(options, standby).await?),
    })
}

/// One term after the other.
async fn work(
    args: &Args,
    store: &Arc<dyn Store>,
    metrics: &Arc<Metrics>,
    shown: &watch::Sender<Role>,
    stop: &CancellationToken,
) -> Result<(), AppError> {
    let (mut resources, lost) = (store.resources(), store.lost());
    while !stop.is_cancelled() {
        let now = Arc::clone(&resources.borrow_and_update());
        let membership = validate::membership(&now, &Observations::new(), &Merged::default());
        if let Some(home) = membership.home.clone() {
            let mut term = term::Term::new(args, home, Arc::clone(store), Arc::clone(metrics));
            shown.send_replace(Role::Leading(Some(term.context())));
            let ended = term.run(stop).await;
            shown.send_replace(Role::Leading(None));
            ended?;
            continue;
        }
        tell_without_home(store, &now, &membership);
        tell_unread(store, &now, "no KafkaCluster of the mesh says home: true, or the one that does is refused");
        if !now.clusters.is_empty() {
            tracing::warn!("no KafkaCluster says home: true; nothing can be done before one does");
        }
        tokio::select! {
            _ = resources.changed() => {}
            () = lost.cancelled() => return Err(StoreError::NotLeader.into()),
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

/// Routes and fuses of which nothing is known yet say so.
fn tell_unread(store: &Arc<dyn Store>, resources: &Resources, message: &str) {
    for (name, fuse) in &resources.fuses {
        if let Some(status) = topic_fuse::status::unread(&fuse.object, message, clock::now()) {
            store.put_fuse_status(name, status);
        }
    }
    for (name, route) in &resources.routes {
        if let Some(status) = topic_route::status::unread(&route.object, message, clock::now()) {
            store.put_route_status(name, status);
        }
    }
}

/// Without a home there is no term to write statuses.
fn tell_without_home(store: &Arc<dyn Store>, resources: &Resources, membership: &validate::Membership) {
    let ledger = Merged::default();
    for (name, resource) in &resources.clusters {
        let Ok(cluster) = sluice_mesh::name::ClusterName::new(name) else { continue };
        if resource.object.metadata.deletion_timestamp.is_some() {
            // Nothing is known to need it: without a home there is no mesh.
            store.release_cluster(name);
            continue;
        }
        let facts = status::Facts {
            resource,
            name: &cluster,
            refused: membership.refused.get(name),
            observation: None,
            ledger_open: false,
            ledger_trouble: None,
            ledger: &ledger,
            document: None,
            compiled: None,
            publish_trouble: None,
            now: clock::now(),
        };
        store.put_cluster_status(name, status::status(&facts));
    }
}
