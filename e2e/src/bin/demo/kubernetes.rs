//! What is different when resources are applied with `kubectl`: it is shown as a user types it, and as `kubectl` answers.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sluice_e2e::kubernetes::Watch;
use sluice_e2e::measure::{HotLoads, Spread};
use sluice_e2e::mesh::{Kubernetes, route_yaml};
use sluice_e2e::stage::{CLUSTERS, Stage};

fn show(command: &[&str], kubernetes: &Kubernetes) -> Result<()> {
    println!("\n  $ kubectl {}", command.join(" "));
    for line in kubernetes.kubectl().run(command)?.lines() {
        println!("  {line}");
    }
    Ok(())
}

/// Says what is there, and begins to watch routes.
pub(crate) fn introduce(kubernetes: &Kubernetes) -> Result<RouteWatch> {
    println!("\n  To look around meanwhile, in another terminal:");
    println!("  $ export KUBECONFIG={}", kubernetes.kubectl().kubeconfig().display());
    println!("  $ alias kubectl={}", kubernetes.kubectl().program().display());
    show(&["get", "kafkaclusters"], kubernetes)?;
    RouteWatch::start(kubernetes)
}

/// What is left when all moves are done.
pub(crate) fn show_end(kubernetes: &Kubernetes) -> Result<()> {
    show(&["get", "topicroutes"], kubernetes)?;
    show(&["events", "--for", "topicroute/orders"], kubernetes)
}

/// Changes a KafkaCluster with `kubectl apply` itself.
pub(crate) fn time_hot_loads_by_kubectl(stage: &mut Stage, samples: u32) -> Result<Option<HotLoads>> {
    let (name, bootstrap) = (stage.clusters[0].name().to_owned(), stage.clusters[0].bootstrap());
    let mesh = stage.mesh()?;
    let found = HotLoads::of(&mesh.time_hot_loads_by_kubectl(&name, &bootstrap, true, samples)?);
    if let Some(found) = &found {
        let Spread { median, worst, .. } = found.total;
        println!("  the same from the start of kubectl apply: {median:.1} ms (median of {samples}, worst {worst:.1})");
    }
    mesh.wait_ready(&CLUSTERS, Duration::from_secs(30))?;
    Ok(found)
}

#[derive(Debug)]
struct Shared {
    watch: Watch,
    /// The moment just before the latest apply.
    begin: Mutex<Instant>,
    stop: AtomicBool,
}

/// `kubectl get topicroutes --watch`, printed as it comes.
pub(crate) struct RouteWatch {
    shared: Arc<Shared>,
    printer: std::thread::JoinHandle<()>,
    applied: AtomicU32,
}

impl RouteWatch {
    fn start(kubernetes: &Kubernetes) -> Result<Self> {
        let watch = kubernetes.watch(&["get", "topicroutes", "--watch"]).context("watch TopicRoutes")?;
        let shared = Arc::new(Shared { watch, begin: Mutex::new(Instant::now()), stop: AtomicBool::new(false) });
        let theirs = Arc::clone(&shared);
        let printer = std::thread::spawn(move || theirs.print());
        Ok(Self { shared, printer, applied: AtomicU32::new(0) })
    }

    /// Shows the command of a move; the whole of it the first time.
    pub(crate) fn show_apply(&self, topic: &str, to: &str) {
        let yaml = route_yaml(topic, topic, to);
        println!("\n  $ kubectl apply --server-side -f - <<'EOF'");
        if self.applied.fetch_add(1, Ordering::Relaxed) == 0 {
            yaml.lines().for_each(|line| println!("  {line}"));
        } else {
            println!("  ... (spec.clusterRef.name: {to})");
        }
        println!("  EOF\n  $ kubectl get topicroutes --watch");
        *self.shared.begin.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until nothing more comes.
    pub(crate) fn settle(&self) {
        let mut before = 0;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.shared.watch.lines().len();
            if now == before {
                return;
            }
            before = now;
        }
    }

    pub(crate) fn end(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Nothing to lose but a line of output.
        let _ = self.printer.join();
    }
}

impl Shared {
    fn print(&self) {
        let mut printed = 0;
        let mut last = String::new();
        while !self.stop.load(Ordering::Relaxed) {
            let lines = self.watch.lines();
            for (at, line) in &lines[printed..] {
                // The object changes also in what the table does not show.
                if *line != last {
                    let begin = *self.begin.lock().unwrap_or_else(PoisonError::into_inner);
                    let since = at.saturating_duration_since(begin).as_secs_f64();
                    println!("  {since:>7.3} s  {line}");
                }
                last.clone_from(line);
            }
            printed = lines.len();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
