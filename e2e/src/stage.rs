//! Two Kafka clusters and, in front of them, the mesh: what the demo, the playground and the tests play on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::kafka::{Admin, Cluster, ClusterSpec, KAFKA_4};
use crate::mesh::{Kubernetes, KubernetesSpec, Mesh, MeshSpec, Node};
use crate::process::{Lifetime, Process};

/// The names of the clusters; the first is the home.
pub const CLUSTERS: [&str; 2] = ["east", "west"];

/// What to set up.
#[derive(Debug, Clone)]
pub struct StageSpec {
    /// Everything goes below this folder.
    pub folder: PathBuf,
    /// First three numbers of the nodes' addresses; node n has `subnet.n`.
    pub subnet: String,
    /// The bootstrap port through Sluice; the next 110 ports belong to the stage too.
    pub port: u16,
    /// Brokers per cluster.
    pub brokers: usize,
    /// Kafka versions, in the order of [`CLUSTERS`].
    pub versions: [String; 2],
    /// Broker properties for both clusters.
    pub properties: Vec<(String, String)>,
    /// How many of the clusters there are (1 or 2).
    pub clusters: usize,
    /// Whether Sluice stands in front.
    pub mesh: bool,
    /// Where resources are applied: in a namespace of a Kubernetes cluster, or by default in a directory.
    pub kubernetes: Option<KubernetesSpec>,
    /// How long everything may live.
    pub lifetime: Lifetime,
    /// Environment of operator and proxies.
    pub env: Vec<(String, String)>,
}

impl StageSpec {
    /// Two brokers per cluster, the newest Kafka, in `target/<name>`.
    pub fn new(name: &str, subnet: &str, port: u16) -> Result<Self> {
        Ok(Self {
            folder: crate::target_folder()?.join(name),
            subnet: subnet.to_owned(),
            port,
            brokers: 2,
            versions: [KAFKA_4.to_owned(), KAFKA_4.to_owned()],
            properties: Vec::new(),
            clusters: 2,
            mesh: true,
            kubernetes: None,
            lifetime: Lifetime::WithUs,
            env: Vec::new(),
        })
    }

    /// Sets a broker property of both clusters.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The address of node `n`, counted from 1 over both clusters.
    pub fn host(&self, node: usize) -> String {
        format!("{}.{node}", self.subnet)
    }

    fn cluster(&self, which: usize) -> ClusterSpec {
        let hosts: Vec<String> = (1..=self.brokers).map(|broker| self.host(which * self.brokers + broker)).collect();
        let folder = self.folder.join("kafka");
        let mut spec = ClusterSpec::new(CLUSTERS[which], &self.versions[which], &hosts, self.port + 100, &folder);
        spec.properties.extend(self.properties.iter().cloned());
        spec.lifetime = self.lifetime;
        spec
    }

    fn mesh(&self) -> MeshSpec {
        let nodes = self.clusters * self.brokers;
        MeshSpec {
            directory: self.folder.join("mesh"),
            logs: self.folder.join("logs"),
            nodes: (1..=nodes).map(|n| Node { name: format!("node-{n}"), host: self.host(n) }).collect(),
            port: self.port,
            port_base: self.port + 8,
            proxy_admin: self.port + 98,
            operator_admin: self.port + 99,
            lifetime: self.lifetime,
            env: self.env.clone(),
        }
    }

    /// Starts everything and waits until it is ready; `say` gets a line for people after each step.
    pub fn start(self, say: impl FnMut(&str)) -> Result<Stage> {
        self.start_recording(say, |_| Ok(()))
    }

    /// The same; `started` gets the stage as soon as new processes are there, before they are waited for.
    pub fn start_recording(
        self,
        mut say: impl FnMut(&str),
        mut started: impl FnMut(&Stage) -> Result<()>,
    ) -> Result<Stage> {
        ensure!((1..=3).contains(&self.brokers), "1 to 3 brokers per cluster, not {}", self.brokers);
        ensure!(self.port >= 1024 && self.port < 65_000, "the port base is 1024 to 65000, not {}", self.port);
        if self.mesh {
            // Missing binaries are better known before Kafka has been started.
            crate::mesh::binary("sluice-operator")?;
            crate::mesh::binary("sluice-proxy")?;
        }
        std::fs::create_dir_all(&self.folder).with_context(|| format!("create {}", self.folder.display()))?;
        let begin = Instant::now();
        let mut stage = Stage { clusters: Vec::new(), mesh: None, spec: self };
        for which in 0..stage.spec.clusters {
            stage.clusters.push(stage.spec.cluster(which).start()?);
            started(&stage)?;
        }
        // While Kafka starts: both take their time.
        let kubernetes = stage.start_kubernetes(&mut say)?;
        for cluster in &mut stage.clusters {
            cluster.wait_ready()?;
            let spec = cluster.spec();
            say(&format!(
                "{}: Kafka {}, {} broker(s) at {}, ready after {:.1} s",
                spec.name,
                spec.version,
                spec.hosts.len(),
                spec.bootstrap(),
                begin.elapsed().as_secs_f32()
            ));
        }
        if stage.spec.mesh {
            let begin = Instant::now();
            stage.mesh = Some(Mesh::start(stage.spec.mesh(), kubernetes)?);
            started(&stage)?;
            stage.ready_mesh()?;
            say(&format!(
                "mesh: operator and {} proxies ready after {:.1} s, bootstrap {}",
                stage.clusters.len() * stage.spec.brokers,
                begin.elapsed().as_secs_f32(),
                stage.bootstrap()
            ));
        }
        Ok(stage)
    }
}

/// Everything that runs.
#[derive(Debug)]
pub struct Stage {
    /// Sluice, unless clients talk to the clusters themselves. Ended before the clusters.
    pub mesh: Option<Mesh>,
    /// In the order of [`CLUSTERS`].
    pub clusters: Vec<Cluster>,
    spec: StageSpec,
}

impl Stage {
    fn start_kubernetes(&self, mut say: impl FnMut(&str)) -> Result<Option<Kubernetes>> {
        let Some(spec) = self.spec.kubernetes.as_ref().filter(|_| self.spec.mesh) else { return Ok(None) };
        let begin = Instant::now();
        let mut steps = Vec::new();
        let kubernetes =
            Kubernetes::start(spec, &self.spec.folder, self.spec.lifetime, |step| steps.push(step.to_owned()))?;
        let whose = if kubernetes.plane().is_ours() { "a control plane of our own" } else { "your cluster" };
        let (kubeconfig, took) = (kubernetes.kubectl().kubeconfig().display(), begin.elapsed().as_secs_f32());
        say(&format!("Kubernetes: {whose}, ready after {took:.1} s, KUBECONFIG={kubeconfig}"));
        for step in steps {
            say(&format!("  {step}"));
        }
        Ok(Some(kubernetes))
    }

    fn ready_mesh(&mut self) -> Result<()> {
        let clusters: Vec<(String, String)> =
            self.clusters.iter().map(|cluster| (cluster.name().to_owned(), cluster.bootstrap())).collect();
        let mesh = self.mesh()?;
        for (which, (name, bootstrap)) in clusters.iter().enumerate() {
            mesh.apply_cluster(name, bootstrap, which == 0)?;
        }
        let names: Vec<&str> = clusters.iter().map(|(name, _)| name.as_str()).collect();
        mesh.wait_ready(&names, Duration::from_mins(1))
    }

    /// What it was made from.
    pub fn spec(&self) -> &StageSpec {
        &self.spec
    }

    /// Where clients begin: Sluice, or the home cluster itself if there is no mesh.
    pub fn bootstrap(&self) -> String {
        self.mesh.as_ref().map_or_else(|| self.clusters[0].bootstrap(), Mesh::bootstrap)
    }

    /// The mesh.
    pub fn mesh(&mut self) -> Result<&mut Mesh> {
        self.mesh.as_mut().context("this stage has no mesh")
    }

    /// A cluster by name.
    pub fn cluster(&self, name: &str) -> Result<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name() == name).with_context(|| format!("no cluster {name}"))
    }

    /// An admin client where clients begin.
    pub fn admin(&self) -> Result<Admin> {
        Admin::new(&self.bootstrap())
    }

    /// Creates a topic on the home cluster, with a replica on every broker, and waits until clients see it.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        self.create_topic_on(CLUSTERS[0], topic, partitions, &[])
    }

    /// Creates a topic on a cluster itself, with a replica on every broker, and waits until clients see it.
    pub fn create_topic_on(&self, cluster: &str, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        let partitions = usize::try_from(partitions).context("a partition count")?;
        self.cluster(cluster)?.admin()?.create_topic(topic, partitions, self.spec.brokers, configs)?;
        // Proxies learn of it one after the other.
        for bootstrap in self.bootstrap().split(',') {
            Admin::new(bootstrap)?.wait_topic(topic, partitions).with_context(|| format!("as {bootstrap} shows it"))?;
        }
        Ok(())
    }

    /// Everything that runs.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.clusters.iter().flat_map(Cluster::processes).chain(self.mesh.iter().flat_map(Mesh::processes))
    }

    /// A folder for what clients write.
    pub fn client_folder(&self) -> PathBuf {
        self.spec.folder.join("clients")
    }

    /// Ends everything; logs stay.
    pub fn end(&mut self) {
        if let Some(mesh) = &mut self.mesh {
            mesh.end();
        }
        for cluster in &mut self.clusters {
            cluster.end();
        }
    }
}

/// The names of log files that hold a line with one of these words: panics of ours, above all.
pub fn logs_with(folder: &Path, words: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| words.iter().any(|word| line.contains(word))) {
            found.push((entry.path(), line.to_owned()));
        }
    }
    found
}
