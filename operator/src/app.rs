//! The process: starts what there is to start, leads, works until it is told to stop or another operator takes over.
//!
//! One task per term (a term lasts as long as the home cluster stays the same) keeps everything that is not a move; each
//! topic with a route or a history has a task of its own, so that one slow move never delays another.

mod term;
mod topics;

use std::sync::Arc;

use sluice_mesh::ledger::Merged;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Shown};
use crate::args::Args;
use crate::clock;
use crate::context::Context;
use crate::kafka_cluster::{status, validate};
use crate::ledger::LedgerError;
use crate::metrics::Metrics;
use crate::observe::Observations;
use crate::store::directory::Directory;
use crate::store::{Store, StoreError};

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
    /// The directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another operator writes the ledgers now.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Runs until `stop`.
pub async fn run(args: Args, stop: CancellationToken) -> Result<(), AppError> {
    let metrics = Arc::new(Metrics::new());
    let shown = watch::Sender::new(None);
    if let Some(address) = args.admin {
        let listener = TcpListener::bind(address).await.map_err(|source| AppError::Admin { address, source })?;
        tracing::info!(%address, "admin endpoint");
        let shown = Shown { metrics: Arc::clone(&metrics), context: shown.subscribe() };
        tokio::spawn(admin::serve(listener, shown, stop.clone()));
    }
    let standby = || tracing::info!("another operator leads; standing by");
    let opened = stop.run_until_cancelled(Directory::open(&args.directory, standby)).await;
    let Some(directory) = opened.transpose()? else { return Ok(()) };
    let directory = Arc::new(directory);
    let store: Arc<dyn Store> = Arc::<Directory>::clone(&directory);
    metrics.set_leader(true);
    tracing::info!(directory = %args.directory.display(), mesh = args.mesh, "leading");
    let worked = work(&args, &store, &metrics, &shown, &stop).await;
    shown.send_replace(None);
    metrics.set_leader(false);
    directory.close();
    worked
}

/// One term after the other.
async fn work(
    args: &Args,
    store: &Arc<dyn Store>,
    metrics: &Arc<Metrics>,
    shown: &watch::Sender<Option<Arc<Context>>>,
    stop: &CancellationToken,
) -> Result<(), AppError> {
    let mut resources = store.resources();
    while !stop.is_cancelled() {
        let now = Arc::clone(&resources.borrow_and_update());
        let membership = validate::membership(&now, &Observations::new(), &Merged::default());
        if let Some(home) = membership.home.clone() {
            let mut term = term::Term::new(args, home, Arc::clone(store), Arc::clone(metrics));
            shown.send_replace(Some(term.context()));
            let ended = term.run(stop).await;
            shown.send_replace(None);
            ended?;
            continue;
        }
        tell_without_home(store, &now, &membership);
        if !now.clusters.is_empty() {
            tracing::warn!("no KafkaCluster says home: true; nothing can be done before one does");
        }
        let _ = stop.run_until_cancelled(resources.changed()).await;
    }
    Ok(())
}

/// Without a home there is no term to write statuses.
fn tell_without_home(store: &Arc<dyn Store>, resources: &crate::store::Resources, membership: &validate::Membership) {
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
