//! Sluice in directory mode: one operator, one proxy per broker node, resources by rename, status and reports by reading.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use sluice_crds::topic_route::Phase;
use sluice_crds::{KafkaClusterStatus, TopicRouteStatus, condition};
use sluice_mesh::document::Document;
use sluice_mesh::report::Report;

use crate::process::{Lifetime, Process, Spawn};

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
    /// The directory that operator and proxies share; wiped at the start.
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
    /// Port of the operator's admin endpoint, on the first node's address.
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
    operator: Option<Process>,
    proxies: BTreeMap<String, Process>,
}

impl Mesh {
    /// Starts the operator and all proxies on an empty directory.
    pub fn start(spec: MeshSpec) -> Result<Self> {
        if spec.directory.exists() {
            std::fs::remove_dir_all(&spec.directory).with_context(|| format!("wipe {}", spec.directory.display()))?;
        }
        std::fs::create_dir_all(spec.directory.join("resources"))?;
        let mut mesh = Self { spec, operator: None, proxies: BTreeMap::new() };
        mesh.launch().inspect_err(|_| mesh.end())?;
        Ok(mesh)
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

    /// All processes of ours that run.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.operator.iter().chain(self.proxies.values())
    }

    fn spawn(&self, name: &str, program: &str) -> Result<Spawn> {
        let log = self.spec.logs.join(format!("{name}.log"));
        let spawn = Spawn::new(name, binary(program)?, log).lifetime(self.spec.lifetime);
        Ok(self.spec.env.iter().fold(spawn, |spawn, (key, value)| spawn.env(key, value)))
    }

    /// Starts the operator (again).
    pub fn start_operator(&mut self) -> Result<()> {
        let admin = format!("{}:{}", self.spec.nodes[0].host, self.spec.operator_admin);
        let process = self
            .spawn("operator", "sluice-operator")?
            .arg("--directory")
            .arg(&self.spec.directory)
            .args(["--mesh", "default", "--admin", &admin])
            .start()?;
        self.operator = Some(process);
        Ok(())
    }

    /// SIGKILL to the operator.
    pub fn kill_operator(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            operator.kill();
        }
    }

    /// The operator, to stop it for a while.
    pub fn operator(&mut self) -> Result<&mut Process> {
        self.operator.as_mut().context("the operator does not run")
    }

    /// Starts a node's proxy (again).
    pub fn start_proxy(&mut self, name: &str) -> Result<()> {
        let node = self.node(name)?.clone();
        let process = self
            .spawn(name, "sluice-proxy")?
            .args(["--name", name, "--host", &node.host, "--broker-host", &node.host])
            .args(["--bootstrap-port", &self.spec.port.to_string()])
            .args(["--port-base", &self.spec.port_base.to_string()])
            .arg("--directory")
            .arg(&self.spec.directory)
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

    /// The folder for resources.
    pub fn resources(&self) -> PathBuf {
        self.spec.directory.join("resources")
    }

    /// Writes a file of resources.
    pub fn apply(&self, file: &str, yaml: &str) -> Result<()> {
        crate::write_by_rename(&self.resources().join(file), yaml)
    }

    /// Removes a file of resources: deletes what is in it.
    pub fn delete(&self, file: &str) -> Result<()> {
        let path = self.resources().join(file);
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }

    /// Applies a KafkaCluster.
    pub fn apply_cluster(&self, name: &str, bootstrap: &str, home: bool) -> Result<()> {
        let servers = bootstrap.split(',').map(|server| format!("{server:?}")).collect::<Vec<_>>().join(", ");
        let home = if home { "  home: true\n" } else { "" };
        self.apply(
            &format!("kafkacluster-{name}.yaml"),
            &format!(
                "apiVersion: sluice.dev/v1alpha1\nkind: KafkaCluster\nmetadata:\n  name: {name}\nspec:\n  \
                 bootstrapServers: [{servers}]\n{home}"
            ),
        )
    }

    /// Applies a TopicRoute with the topic's name.
    pub fn apply_route(&self, topic: &str, cluster: &str) -> Result<()> {
        self.apply(&format!("topicroute-{topic}.yaml"), &route_yaml(topic, topic, cluster))
    }

    /// The status of a KafkaCluster, once there is one.
    pub fn cluster_status(&self, name: &str) -> Result<Option<KafkaClusterStatus>> {
        self.status("kafkacluster", name)
    }

    /// The status of a TopicRoute, once there is one.
    pub fn route_status(&self, name: &str) -> Result<Option<TopicRouteStatus>> {
        self.status("topicroute", name)
    }

    fn status<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Option<T>> {
        let file = self.spec.directory.join("status").join(kind).join(format!("{name}.yaml"));
        let Some(text) = read_if_there(&file)? else { return Ok(None) };
        let mut value: serde_yaml::Value =
            serde_yaml::from_str(&text).with_context(|| format!("read {}", file.display()))?;
        if let Some(status) = value.get_mut("status") {
            value = std::mem::take(status);
        }
        if value.is_null() {
            return Ok(None);
        }
        Ok(Some(serde_yaml::from_value(value).with_context(|| format!("read the status in {}", file.display()))?))
    }

    /// The mesh document, once there is one.
    pub fn document(&self) -> Result<Option<Document>> {
        let file = self.spec.directory.join("document.json");
        let Some(text) = read_if_there(&file)? else { return Ok(None) };
        Ok(Some(serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?))
    }

    /// The reports of all proxies that have written one.
    pub fn reports(&self) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        for node in &self.spec.nodes {
            let file = self.spec.directory.join("reports").join(format!("{}.json", node.name));
            if let Some(text) = read_if_there(&file)? {
                reports.push(serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?);
            }
        }
        Ok(reports)
    }

    /// The answer, headers and all, of a proxy's admin endpoint.
    pub fn get_from_proxy(&self, name: &str, path: &str) -> Result<String> {
        get(&format!("{}:{}", self.node(name)?.host, self.spec.proxy_admin), path)
    }

    /// The answer, headers and all, of the operator's admin endpoint.
    pub fn get_from_operator(&self, path: &str) -> Result<String> {
        get(&format!("{}:{}", self.spec.nodes[0].host, self.spec.operator_admin), path)
    }

    /// Fails if one of our processes has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        for process in self.operator.iter_mut().chain(self.proxies.values_mut()) {
            if !process.alive() {
                bail!("{} has ended; {} ends with\n{}", process.name(), process.log().display(), process.log_tail(20));
            }
        }
        Ok(())
    }

    /// Waits until these clusters are Ready and every running proxy has applied the document.
    pub fn wait_ready(&mut self, clusters: &[&str], within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        loop {
            self.check_alive()?;
            let mut waiting = Vec::new();
            for name in clusters {
                let conditions = self.cluster_status(name)?.map(|status| status.conditions).unwrap_or_default();
                if !condition::is_true(&conditions, condition::ConditionType::Ready) {
                    let message = condition::find(&conditions, condition::ConditionType::Ready)
                        .map_or_else(|| "no Ready condition yet".to_owned(), |ready| ready.message.clone());
                    waiting.push(format!("KafkaCluster {name}: {message}"));
                }
            }
            let revision = self.document()?.map_or(0, |document| document.revision);
            for node in self.proxies.keys() {
                let applied = self.reports()?.iter().find(|r| r.proxy.as_str() == node).map_or(0, |r| r.revision);
                if revision == 0 || applied < revision {
                    waiting.push(format!("proxy {node}: has applied revision {applied} of {revision}"));
                } else if self.get_from_proxy(node, "/ready").is_ok_and(|answer| !answer.starts_with("HTTP/1.1 200")) {
                    waiting.push(format!("proxy {node}: is not ready"));
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the mesh is not ready after {within:?}: {}", waiting.join("; "));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Follows a route until `done`; `seen` gets each status that differs from the last.
    pub fn follow_route(
        &mut self,
        name: &str,
        within: Duration,
        mut seen: impl FnMut(&TopicRouteStatus),
        done: impl Fn(&TopicRouteStatus) -> bool,
    ) -> Result<TopicRouteStatus> {
        let end = Instant::now() + within;
        let mut last: Option<TopicRouteStatus> = None;
        loop {
            let status = self.route_status(name)?;
            if let Some(status) = status
                && last.as_ref() != Some(&status)
            {
                seen(&status);
                if done(&status) {
                    return Ok(status);
                }
                last = Some(status);
            }
            if Instant::now() > end {
                let last = last.map_or_else(|| "none was written".to_owned(), |status| summary(&status));
                bail!("TopicRoute {name} is not there after {within:?}; its status: {last}");
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Waits until a route's move to `cluster` is Completed.
    pub fn wait_moved(
        &mut self,
        name: &str,
        cluster: &str,
        within: Duration,
        seen: impl FnMut(&TopicRouteStatus),
    ) -> Result<TopicRouteStatus> {
        self.follow_route(name, within, seen, |status| {
            status.phase == Some(Phase::Completed)
                && status.to.as_deref() == Some(cluster)
                && condition::is_true(&status.conditions, condition::ConditionType::Ready)
        })
    }

    /// Ends everything.
    pub fn end(&mut self) {
        self.kill_operator();
        for process in self.proxies.values_mut() {
            process.kill();
        }
        self.proxies.clear();
    }
}

/// The text of a TopicRoute.
pub fn route_yaml(name: &str, topic: &str, cluster: &str) -> String {
    format!(
        "apiVersion: sluice.dev/v1alpha1\nkind: TopicRoute\nmetadata:\n  name: {name}\nspec:\n  topic: {topic}\n  \
         clusterRef:\n    name: {cluster}\n"
    )
}

/// A status in one line.
pub fn summary(status: &TopicRouteStatus) -> String {
    let phase = status.phase.map_or("no phase", Phase::as_str);
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .map(|condition| {
            format!("{}={} ({}: {})", condition.type_, condition.status, condition.reason, condition.message)
        })
        .collect();
    format!("{phase}; {}", conditions.join("; "))
}

fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("GET {path} from {address}"))?;
    Ok(answer)
}

fn read_if_there(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
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
        Mesh { spec, operator: None, proxies: BTreeMap::new() }
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
        mesh.delete("topicroute-orders.yaml").unwrap();
        assert!(mesh.delete("topicroute-orders.yaml").is_err());
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
    }
}
