//! What users, administrators and a stopped leader do to a mesh on Kubernetes at bad moments.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

#[path = "kubernetes_faults/crowd.rs"]
mod crowd;
#[path = "kubernetes_faults/deleted.rs"]
mod deleted;
#[path = "kubernetes_faults/edited.rs"]
mod edited;
#[path = "kubernetes_faults/operators.rs"]
mod operators;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::Api;
use kube::api::DeleteParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use sluice_crds::topic_route::Phase;
use sluice_crds::{TopicRoute, TopicRouteStatus};
use sluice_e2e::load::{Load, LoadSpec};
use sluice_e2e::mesh::{Kubernetes, KubernetesSpec};
use sluice_e2e::stage::{CLUSTERS, Stage, StageSpec, logs_with};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 6;
const MOVED_WITHIN: Duration = Duration::from_mins(2);

fn stage(name: &str, subnet: &str, host: &str, brokers: usize) -> Result<Stage> {
    let mut spec = StageSpec::new(&format!("e2e/{name}"), subnet, 21_000)?;
    spec.brokers = brokers;
    spec.kubernetes = Some(KubernetesSpec::new(host));
    spec.start(|line| eprintln!("{line}"))
}

/// Clients of a topic that exists, 1,000 records a second.
fn load(stage: &Stage, topic: &str, partitions: i32, stuck_after: Duration) -> Result<Load> {
    let mut spec = LoadSpec::new(topic, partitions, 1_000);
    spec.history = Some(stage.spec().folder.join("history.jsonl"));
    spec.stuck_after = stuck_after;
    let mut load = Load::start(spec, stage)?;
    load.wait_flowing(Duration::from_mins(1))?;
    Ok(load)
}

fn judge(stage: &Stage, load: Load) -> Result<()> {
    let finished = load.finish(stage, &mut [], |line| eprintln!("{line}"))?;
    ensure!(finished.is_good(), "{}\n{:?}", finished.verdict, finished.errors);
    eprintln!("{}", finished.verdict);
    logs_are_clean(stage)
}

/// Nothing panicked, and no right is missing from a Role.
fn logs_are_clean(stage: &Stage) -> Result<()> {
    let found = logs_with(&stage.spec().folder.join("logs"), &["panicked at", "forbidden"]);
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

fn other(cluster: &str) -> &'static str {
    if cluster == CLUSTERS[0] { CLUSTERS[1] } else { CLUSTERS[0] }
}

/// Waits for what `look` says to be true; what it says last is told if it never is.
fn until(what: &str, within: Duration, mut look: impl FnMut() -> Result<Result<(), String>>) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        let Err(missing) = look()? else { return Ok(begin.elapsed()) };
        ensure!(begin.elapsed() < within, "not within {within:?}: {what}; {missing}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a status of a route that was just given another cluster shows this phase, or a later one.
fn has_reached(status: &TopicRouteStatus, phase: Phase, to: &str) -> bool {
    match status.phase {
        // The end of this move, or still that of the one before.
        Some(Phase::Completed) => status.to.as_deref() == Some(to),
        Some(now) => now >= phase,
        None => false,
    }
}

/// Requests without the time that a `kubectl` takes to start: phases are over before.
struct Routes {
    runtime: tokio::runtime::Runtime,
    api: Api<TopicRoute>,
}

impl Routes {
    fn new(kubernetes: &Kubernetes) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(kubernetes.kubectl().kubeconfig())?;
            let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
            anyhow::Ok(kube::Client::try_from(config)?)
        })?;
        Ok(Self { runtime, api: Api::namespaced(client, kubernetes.namespace()) })
    }

    /// The phase as the API server has it this moment.
    fn phase(&self, name: &str) -> Result<Option<Phase>> {
        let found = self.runtime.block_on(self.api.get_opt(name))?;
        Ok(found.and_then(|route| route.status?.phase))
    }

    fn delete(&self, name: &str) -> Result<()> {
        let deleted = self.runtime.block_on(self.api.delete(name, &DeleteParams::default()));
        deleted.map(drop).with_context(|| format!("delete TopicRoute {name}"))
    }
}
