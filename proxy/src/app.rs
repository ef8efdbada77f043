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
use crate::args::{Place, Settings};
use crate::asker;
use crate::cluster_view::Clusters;
use crate::data_thread::DataThread;
use crate::document::Applier;
use crate::document::directory::Directory;
use crate::document::kube::ConfigMaps;
use crate::document::mounted::Mounted;
use crate::kubernetes::{self, ClientError};
use crate::listener::Ports;
use crate::metrics::Metrics;
use crate::report::directory::ReportFile;
use crate::report::lease::ReportLease;
use crate::report::{Ender, Reporter};
use crate::world::{Worlds, expiry};

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
    /// The API server can't be asked.
    #[error(transparent)]
    Kubernetes(#[from] ClientError),
    /// A thread.
    #[error("a thread cannot be started: {0}; check the limit on processes")]
    Thread(#[from] std::io::Error),
}

/// Where documents come from and reports go to.
enum Outside {
    Directory { source: Directory, sink: ReportFile },
    Kubernetes { client: kube::Client, namespace: String, mounted: Option<Mounted> },
}

impl Outside {
    fn new(settings: &Settings, control: &Runtime) -> Result<Self, StartError> {
        match &settings.place {
            Place::Directory(directory) => {
                let refused = |source| StartError::Reports { directory: directory.display().to_string(), source };
                let sink = ReportFile::new(directory, &settings.name).map_err(refused)?;
                Ok(Self::Directory { source: Directory::new(directory), sink })
            }
            Place::Kubernetes { namespace, kubeconfig, mounted } => {
                let (sender, made) = std::sync::mpsc::sync_channel(1);
                let wanted = (namespace.clone(), kubeconfig.clone());
                control.spawn(async move {
                    let _ = sender.send(kubernetes::client(&wanted.0, wanted.1.as_deref()).await);
                });
                let client = made.recv().map_err(|_| std::io::Error::other("the control thread is gone"))??;
                let mounted = mounted.clone().map(Mounted::new);
                Ok(Self::Kubernetes { client, namespace: namespace.clone(), mounted })
            }
        }
    }

    /// Begins to read documents and to write reports.
    fn start(self, settings: &Settings, control: &Runtime, applier: &Arc<Applier>) -> Ender {
        match self {
            Self::Directory { source, sink } => {
                let (reporter, ender) = Reporter::new(settings, Arc::clone(applier), sink);
                control.spawn(reporter.run());
                control.spawn(Arc::clone(applier).run(source));
                ender
            }
            Self::Kubernetes { client, namespace, mounted } => {
                let _entered = control.enter();
                let sink = ReportLease::new(client.clone(), &namespace, &settings.name);
                let (reporter, ender) = Reporter::new(settings, Arc::clone(applier), sink);
                control.spawn(reporter.run());
                control.spawn(Arc::clone(applier).run(ConfigMaps::new(client, &namespace, mounted)));
                ender
            }
        }
    }
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
    reports: Option<Ender>,
}

/// How long the end may take to take the report back.
const TAKE_BACK: Duration = Duration::from_secs(5);

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
            copy: AtomicBool::new(false),
            news: Notify::new(),
        });
        let outside = Outside::new(settings, &control)?;
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
        control.spawn(expiry::end_fences(Arc::clone(&worlds), Arc::clone(&metrics)));
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
        let reports = outside.start(settings, &control, &applier);
        tracing::info!(
            name = %settings.name,
            host = %settings.host,
            bootstrap_port = settings.bootstrap_port,
            port_base = settings.port_base,
            %admin,
            threads = settings.threads,
            place = ?settings.place,
            "started"
        );
        Ok(Self {
            control: Some(control),
            threads,
            stop,
            stopping,
            admin,
            drain: settings.drain,
            reports: Some(reports),
        })
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

    /// Waits for the data threads to end. False if one of them panicked. If all went well, nobody has to wait for this
    /// proxy any more: its report is taken back.
    pub fn join(mut self) -> bool {
        let ends: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        let well = ends.iter().all(Result::is_ok);
        if well && let Some(reports) = self.reports.take() {
            reports.end(TAKE_BACK);
        }
        well
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
