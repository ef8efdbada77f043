//! Sluice as it runs: an operator or two, one proxy per broker node, and the [`Outside`] where they and their users meet: a
//! directory, or a namespace of a Kubernetes cluster. Applying, deleting and reading are the same for both; what only one
//! of them has is behind [`Mesh::kubernetes`] and [`Mesh::resources`].

mod directory;
mod hot_load;
mod kubernetes;
mod outside;
mod resource;
mod wait;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Lifetime, Process, Spawn};
pub use directory::Directory;
pub use hot_load::{DirectorySight, HotLoad, Sight, hot_load};
pub use kubernetes::{Event, Kubernetes, KubernetesSpec, NamespaceSight, remove_namespaces};
pub use outside::Outside;
pub use resource::{Kind, cluster_yaml, fuse_yaml, route_yaml};
pub use wait::{fuse_summary, summary};

/// The name of the first operator, as a process and in the operators' Lease.
pub const OPERATOR: &str = "operator";
/// The name of the second one.
pub const SECOND_OPERATOR: &str = "operator-2";

/// A node: a loopback address with a broker and a proxy on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name of the node and of its proxy.
    pub name: String,
    /// Its address.
    pub host: String,
}

/// What the mesh is to be.
#[derive(Debug, Clone)]
pub struct MeshSpec {
    /// The directory that operator and proxies share. On Kubernetes, where they share none, the copy of the mesh document
    /// that nodes mount lies in it (see [`Kubernetes::mount`]). Wiped at the start.
    pub directory: PathBuf,
    /// Where logs go.
    pub logs: PathBuf,
    /// One proxy on each.
    pub nodes: Vec<Node>,
    /// The bootstrap port of every proxy.
    pub port: u16,
    /// Port of virtual broker 0.
    pub port_base: u16,
    /// Port of every proxy's admin endpoint, on its node's address.
    pub proxy_admin: u16,
    /// Port of the operators' admin endpoint, on the address of the first node; of the second one, for the second.
    pub operator_admin: u16,
    /// How long operator and proxies may live.
    pub lifetime: Lifetime,
    /// Environment of operator and proxies.
    pub env: Vec<(String, String)>,
}

/// A running mesh.
#[derive(Debug)]
pub struct Mesh {
    spec: MeshSpec,
    operators: BTreeMap<String, Process>,
    proxies: BTreeMap<String, Process>,
    /// Dropped after those who use it.
    outside: Outside,
    /// Starts of operators up to now: each has an identity of its own.
    starts: u32,
}

impl Mesh {
    /// Starts an operator and all proxies: in an empty directory, or in the namespace that is given.
    pub fn start(spec: MeshSpec, kubernetes: Option<Kubernetes>) -> Result<Self> {
        if spec.directory.exists() {
            std::fs::remove_dir_all(&spec.directory).with_context(|| format!("wipe {}", spec.directory.display()))?;
        }
        let outside = if let Some(kubernetes) = kubernetes {
            std::fs::create_dir_all(&spec.directory)?;
            Outside::Kubernetes(Box::new(kubernetes))
        } else {
            std::fs::create_dir_all(spec.directory.join("resources"))?;
            Outside::Directory(Directory::new(&spec.directory))
        };
        let mut mesh = Self::not_started(spec, outside);
        mesh.launch().inspect_err(|_| mesh.end())?;
        Ok(mesh)
    }

    fn not_started(spec: MeshSpec, outside: Outside) -> Self {
        Self { spec, outside, operators: BTreeMap::new(), proxies: BTreeMap::new(), starts: 0 }
    }

    fn launch(&mut self) -> Result<()> {
        self.start_operator()?;
        for node in self.spec.nodes.clone() {
            self.start_proxy(&node.name)?;
        }
        Ok(())
    }

    /// What it was made from.
    pub fn spec(&self) -> &MeshSpec {
        &self.spec
    }

    /// Where operator, proxies and users meet.
    pub fn outside(&self) -> &Outside {
        &self.outside
    }

    /// The namespace, its control plane and `kubectl`; an error in directory mode.
    pub fn kubernetes(&self) -> Result<&Kubernetes> {
        self.outside.kubernetes()
    }

    /// The same, to kill the API server or to wipe etcd.
    pub fn kubernetes_mut(&mut self) -> Result<&mut Kubernetes> {
        self.outside.kubernetes_mut()
    }

    /// Bootstrap addresses of all proxies.
    pub fn bootstrap(&self) -> String {
        self.spec.nodes.iter().map(|node| format!("{}:{}", node.host, self.spec.port)).collect::<Vec<_>>().join(",")
    }

    /// The bootstrap address of one proxy.
    pub fn bootstrap_of(&self, node: &str) -> Result<String> {
        Ok(format!("{}:{}", self.node(node)?.host, self.spec.port))
    }

    fn node(&self, name: &str) -> Result<&Node> {
        self.spec.nodes.iter().find(|node| node.name == name).with_context(|| format!("there is no node {name}"))
    }

    /// All processes that run: ours, and those of a control plane that was started for them.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let plane = self.outside.kubernetes().ok().into_iter().flat_map(|kubernetes| kubernetes.plane().processes());
        self.operators.values().chain(self.proxies.values()).chain(plane)
    }

    fn spawn(&self, name: &str, program: &str) -> Result<Spawn> {
        let log = self.spec.logs.join(format!("{name}.log"));
        let spawn = Spawn::new(name, binary(program)?, log).lifetime(self.spec.lifetime);
        Ok(self.spec.env.iter().fold(spawn, |spawn, (key, value)| spawn.env(key, value)))
    }

    /// Starts the first operator (again).
    pub fn start_operator(&mut self) -> Result<()> {
        self.start_operator_named(OPERATOR)
    }

    /// Starts a second operator beside the first (again): it stands by until the first one does not lead any more.
    pub fn start_second_operator(&mut self) -> Result<()> {
        self.start_operator_named(SECOND_OPERATOR)
    }

    /// Starts [`OPERATOR`] or [`SECOND_OPERATOR`] (again). Which one leads on Kubernetes says [`Kubernetes::leader`].
    pub fn start_operator_named(&mut self, name: &str) -> Result<()> {
        let admin = self.operator_admin(name)?;
        self.starts += 1;
        let identity = format!("{name}.{}", self.starts);
        let process = self
            .spawn(name, "sluice-operator")?
            .args(["--mesh", "default", "--admin", &admin])
            .args(self.outside.operator_args(&identity))
            .start()?;
        self.operators.insert(name.to_owned(), process);
        Ok(())
    }

    fn operator_admin(&self, name: &str) -> Result<String> {
        let place = usize::from(name == SECOND_OPERATOR);
        let node = self.spec.nodes.get(place).with_context(|| format!("there is no node for {name}"))?;
        Ok(format!("{}:{}", node.host, self.spec.operator_admin))
    }

    /// SIGKILL to the first operator.
    pub fn kill_operator(&mut self) {
        self.kill_operator_named(OPERATOR);
    }

    /// SIGKILL to an operator, if it runs.
    pub fn kill_operator_named(&mut self, name: &str) {
        if let Some(mut operator) = self.operators.remove(name) {
            operator.kill();
        }
    }

    /// The first operator, to stop it for a while.
    pub fn operator(&mut self) -> Result<&mut Process> {
        self.operator_named(OPERATOR)
    }

    /// An operator, to stop it for a while.
    pub fn operator_named(&mut self, name: &str) -> Result<&mut Process> {
        self.operators.get_mut(name).with_context(|| format!("the operator {name} does not run"))
    }

    /// Starts a node's proxy (again).
    pub fn start_proxy(&mut self, name: &str) -> Result<()> {
        let node = self.node(name)?.clone();
        let process = self
            .spawn(name, "sluice-proxy")?
            .args(["--name", name, "--host", &node.host, "--broker-host", &node.host])
            .args(["--bootstrap-port", &self.spec.port.to_string()])
            .args(["--port-base", &self.spec.port_base.to_string()])
            .args(self.outside.proxy_args(&self.spec.directory))
            .args(["--admin", &format!("{}:{}", node.host, self.spec.proxy_admin)])
            .start()?;
        self.proxies.insert(name.to_owned(), process);
        Ok(())
    }

    /// SIGKILL to a node's proxy.
    pub fn kill_proxy(&mut self, name: &str) -> Result<()> {
        self.proxies.remove(name).with_context(|| format!("the proxy {name} does not run"))?.kill();
        Ok(())
    }

    /// A node's proxy, to stop it for a while.
    pub fn proxy(&mut self, name: &str) -> Result<&mut Process> {
        self.proxies.get_mut(name).with_context(|| format!("the proxy {name} does not run"))
    }

    /// The answer, headers and all, of a proxy's admin endpoint.
    pub fn get_from_proxy(&self, name: &str, path: &str) -> Result<String> {
        get(&format!("{}:{}", self.node(name)?.host, self.spec.proxy_admin), path)
    }

    /// The answer, headers and all, of the first operator's admin endpoint.
    pub fn get_from_operator(&self, path: &str) -> Result<String> {
        get(&self.operator_admin(OPERATOR)?, path)
    }

    /// The answer, headers and all, of an operator's admin endpoint.
    pub fn get_from_operator_named(&self, name: &str, path: &str) -> Result<String> {
        get(&self.operator_admin(name)?, path)
    }

    /// Fails if one of our processes has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        for process in self.operators.values_mut().chain(self.proxies.values_mut()) {
            if !process.alive() {
                bail!("{} has ended; {} ends with\n{}", process.name(), process.log().display(), process.log_tail(20));
            }
        }
        Ok(())
    }

    /// Ends everything: operators and proxies, then the control plane if it was started for them, or the namespace in the
    /// user's cluster.
    pub fn end(&mut self) {
        for process in self.operators.values_mut().chain(self.proxies.values_mut()) {
            process.kill();
        }
        self.operators.clear();
        self.proxies.clear();
        if let Outside::Kubernetes(kubernetes) = &mut self.outside {
            kubernetes.end();
        }
    }
}

fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("GET {path} from {address}"))?;
    Ok(answer)
}

/// One of our binaries: in `SLUICE_BIN`, else beside the running program (or above it, for tests).
pub fn binary(name: &str) -> Result<PathBuf> {
    let mut folders = Vec::new();
    if let Some(folder) = std::env::var_os("SLUICE_BIN") {
        folders.push(PathBuf::from(folder));
    } else {
        let exe = std::env::current_exe()?;
        folders.extend(exe.ancestors().skip(1).take(2).map(Path::to_path_buf));
    }
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()).with_context(|| {
        format!("{name} is not in {folders:?}: build it (cargo build -p {name}), or name its folder in SLUICE_BIN")
    })
}

#[cfg(test)]
mod tests {
    use sluice_crds::topic_fuse::{FuseAction, Position};
    use sluice_crds::topic_route::Phase;

    use super::*;

    fn mesh(directory: &Path) -> Mesh {
        let spec = MeshSpec {
            directory: directory.to_path_buf(),
            logs: directory.join("logs"),
            nodes: vec![Node { name: "node-1".to_owned(), host: "127.0.9.1".to_owned() }],
            port: 25_000,
            port_base: 25_008,
            proxy_admin: 25_098,
            operator_admin: 25_099,
            lifetime: Lifetime::WithUs,
            env: Vec::new(),
        };
        Mesh::not_started(spec, Outside::Directory(Directory::new(directory)))
    }

    #[test]
    fn resources_are_what_the_kinds_accept() {
        let folder = tempfile::tempdir().unwrap();
        let mesh = mesh(folder.path());
        mesh.apply_cluster("east", "127.0.9.1:9192,127.0.9.2:9192", true).unwrap();
        mesh.apply_route("orders", "west").unwrap();
        let read = |file: &str| std::fs::read_to_string(mesh.resources().join(file)).unwrap();
        let cluster: sluice_crds::KafkaCluster = serde_yaml::from_str(&read("kafkacluster-east.yaml")).unwrap();
        assert_eq!(cluster.spec.bootstrap_servers.len(), 2);
        assert_eq!(cluster.spec.home, Some(true));
        let route: sluice_crds::TopicRoute = serde_yaml::from_str(&read("topicroute-orders.yaml")).unwrap();
        assert_eq!((route.spec.topic.as_str(), route.spec.cluster_ref.name.as_str()), ("orders", "west"));
        mesh.delete_route("orders").unwrap();
        assert!(mesh.delete_route("orders").is_err());
        mesh.apply_fuse("orders", &["produce: {state: Blocked, action: Reject}", "consume: {state: Blocked}"]).unwrap();
        let fuse: sluice_crds::TopicFuse = serde_yaml::from_str(&read("topicfuse-orders.yaml")).unwrap();
        assert_eq!(fuse.spec.topic, "orders");
        assert_eq!((fuse.spec.blocks_produce(), fuse.spec.blocks_consume()), (Some(FuseAction::Reject), true));
        mesh.delete_fuse("orders").unwrap();
        assert!(mesh.delete_fuse("orders").is_err());
    }

    #[test]
    fn a_status_is_read_with_and_without_its_object() {
        let folder = tempfile::tempdir().unwrap();
        let mesh = mesh(folder.path());
        assert_eq!(mesh.route_status("orders").unwrap(), None);
        let file = folder.path().join("status/topicroute/orders.yaml");
        crate::write_by_rename(&file, "phase: Sealing\nfrom: east\n").unwrap();
        assert_eq!(mesh.route_status("orders").unwrap().unwrap().phase, Some(Phase::Sealing));
        crate::write_by_rename(&file, "metadata: {name: orders}\nstatus:\n  phase: Completed\n  to: west\n").unwrap();
        assert_eq!(mesh.route_status("orders").unwrap().unwrap().to.as_deref(), Some("west"));
        let file = folder.path().join("status/topicfuse/orders.yaml");
        crate::write_by_rename(&file, "metadata: {name: orders}\nstatus:\n  produce: {state: Tripped}\n").unwrap();
        let produce = mesh.fuse_status("orders").unwrap().unwrap().produce.unwrap();
        assert_eq!(produce.state, Position::Tripped);
    }
}
