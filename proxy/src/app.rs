//! The whole proxy as a value: started, drained, ended. Two kinds of threads, and nothing shared between them but the
//! world (downwards), asks (upwards, bounded) and counters:
//!
//! | threads | runtime | what |
//! |---|---|---|
//! | `data-N`, one per core | current-thread, one each | listeners, connections |
//! | `control`, two | multi-thread | document, views, asks, reports, admin |

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{Notify, Semaphore, watch};

use crate::admin::Admin;
use crate::args::Settings;
use crate::asker;
use crate::cluster_view::Clusters;
use crate::data_thread::DataThread;
use crate::document::Applier;
use crate::document::directory::Directory;
use crate::listener::Ports;
use crate::metrics::Metrics;
use crate::report::Reporter;
use crate::world::Worlds;

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin port.
    #[error("--admin {address} cannot be bound: {source}; is another process on it?")]
    Admin {
        /// As given.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The reports' directory.
    #[error("no directory for reports can be made in {directory}: {source}; check its owner and mode")]
    Reports {
        /// The shared directory.
        directory: String,
        /// Why.
        source: std::io::Error,
    },
    /// A thread.
    #[error("a thread cannot be started: {0}; check the limit on processes")]
    Thread(#[from] std::io::Error),
}

/// A running proxy. Dropped: it ends at once.
#[derive(Debug)]
pub struct App {
    control: Option<Runtime>,
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<Option<Duration>>,
    stopping: Arc<AtomicBool>,
    admin: SocketAddr,
    drain: Duration,
}

impl App {
    /// Starts everything. Ports are bound when the first document has been read.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("control")
            .enable_all()
            .build()?;
        let metrics = Arc::new(Metrics::default());
        let worlds = Arc::new(Worlds::default());
        let clusters = Arc::new(Clusters::new(Arc::clone(&worlds), Arc::clone(&metrics)));
        let (asks, asker) = asker::channel(Arc::clone(&worlds), Arc::clone(&clusters), Arc::clone(&metrics));
        let applier = Arc::new(Applier {
            worlds: Arc::clone(&worlds),
            clusters: Arc::clone(&clusters),
            metrics: Arc::clone(&metrics),
            mesh: settings.mesh.clone(),
            rejected: std::sync::Mutex::default(),
            news: Notify::new(),
        });
        let reporter = Reporter::new(settings, Arc::clone(&applier))
            .map_err(|source| StartError::Reports { directory: settings.directory.display().to_string(), source })?;
        let refused = |source| StartError::Admin { address: settings.admin, source };
        let listener = std::net::TcpListener::bind(settings.admin).map_err(refused)?;
        listener.set_nonblocking(true)?;
        let admin = listener.local_addr()?;

        let (stop, stopped) = watch::channel(None);
        let stopping = Arc::new(AtomicBool::new(false));
        let slots = Arc::new(Semaphore::new(settings.max_connections));
        let mut bound = Vec::new();
        let mut threads = Vec::new();
        for number in 0..settings.threads {
            let flag = Arc::new(AtomicBool::new(false));
            bound.push(Arc::clone(&flag));
            let thread = DataThread {
                number,
                worlds: worlds.subscribe(),
                in_use: worlds.thread(),
                asks: asks.clone(),
                metrics: Arc::clone(&metrics),
                limits: settings.limits,
                ports: Ports {
                    name: settings.name.clone(),
                    listen: settings.listen,
                    bootstrap: settings.bootstrap_port,
                    base: settings.port_base,
                },
                slots: Arc::clone(&slots),
                stop: stopped.clone(),
                bound: flag,
            };
            threads.push(thread.start()?);
        }
        let endpoints = Admin {
            registry: metrics.registry(),
            worlds,
            clusters,
            bound,
            stopping: Arc::clone(&stopping),
            waited: AtomicBool::new(false),
        };
        control
            .spawn(async move { axum::serve(tokio::net::TcpListener::from_std(listener)?, endpoints.router()).await });
        control.spawn(asker.run());
        control.spawn(reporter.run());
        control.spawn(applier.run(Directory::new(&settings.directory)));
        tracing::info!(
            name = %settings.name,
            host = %settings.host,
            bootstrap_port = settings.bootstrap_port,
            port_base = settings.port_base,
            %admin,
            threads = settings.threads,
            directory = %settings.directory.display(),
            "started"
        );
        Ok(Self { control: Some(control), threads, stop, stopping, admin, drain: settings.drain })
    }

    /// Where the admin endpoints listen.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Not ready any more, no new clients; connections are closed one after the other, then [`App::join`] returns.
    pub fn drain(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.send_replace(Some(self.drain));
    }

    /// Waits for the data threads to end. False if one of them panicked.
    pub fn join(mut self) -> bool {
        let ends: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        ends.iter().all(Result::is_ok)
    }

    /// All data threads have ended.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if self.stop.borrow().is_none() {
            self.stop.send_replace(Some(Duration::ZERO));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(control) = self.control.take() {
            control.shutdown_background();
        }
    }
}
