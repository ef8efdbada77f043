//! A real Kubernetes control plane on loopback, as plain processes: etcd, kube-apiserver and kube-controller-manager
//! with RBAC, CRDs with CEL, and `kubectl`. No nodes: what would be pods runs as local processes. Or the cluster that
//! `$KUBECONFIG` names, of which nothing is started and nothing ended.
//!
//! It must never know Sluice: which objects are applied, and what watches them, is its users' business.

mod certificates;
mod etcd;
mod kubeconfig;
mod kubectl;
mod programs;
mod secret;
mod watch;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::noted;
use crate::process::{Lifetime, Process};
use etcd::Etcd;
pub use kubectl::Kubectl;
pub use programs::Programs;
pub use watch::{Line, Watch};

/// A control plane is there within seconds; this allows for a machine that does ten other things.
const READY_WITHIN: Duration = Duration::from_mins(3);
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What a control plane is to be.
#[derive(Debug, Clone)]
pub struct ControlPlaneSpec {
    /// Everything that it writes: certificates, kubeconfigs, data, logs. Wiped at the start.
    pub folder: PathBuf,
    /// Its loopback address; two control planes at a time need different ones.
    pub host: String,
    /// Port of the API server.
    pub port: u16,
    /// Port of etcd; its peer listener has the next one.
    pub etcd_port: u16,
    /// Flags for kube-apiserver besides our own, `--min-request-timeout=5` say, which makes it close watches early.
    pub api_server_flags: Vec<String>,
    /// How long the processes may live.
    pub lifetime: Lifetime,
}

impl ControlPlaneSpec {
    /// A control plane that writes into `folder` and listens on `host`, with the usual ports 6443 and 2379.
    pub fn new(folder: &Path, host: &str) -> Self {
        Self {
            folder: folder.to_path_buf(),
            host: host.to_owned(),
            port: 6443,
            etcd_port: 2379,
            api_server_flags: Vec::new(),
            lifetime: Lifetime::WithUs,
        }
    }

    fn addresses(&self) -> Result<[SocketAddr; 3]> {
        ensure!(self.host.starts_with("127."), "{}: the test bed stays on loopback (127.0.0.0/8)", self.host);
        let address = |port: u16| -> Result<SocketAddr> {
            format!("{}:{port}", self.host).parse().with_context(|| format!("{} is not an address", self.host))
        };
        Ok([address(self.port)?, address(self.etcd_port)?, address(self.etcd_port.saturating_add(1))?])
    }

    fn data(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    /// Where the processes are noted that stay when we end.
    pub fn processes(&self) -> PathBuf {
        self.folder.join("processes")
    }
}

/// The processes of a control plane that is ours.
#[derive(Debug)]
struct Own {
    spec: ControlPlaneSpec,
    programs: Programs,
    etcd: Option<Process>,
    api_server: Option<Process>,
    controllers: Option<Process>,
}

/// A running control plane, ours or a user's.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
    kubectl: Kubectl,
    own: Option<Own>,
}

impl ControlPlane {
    /// Starts a control plane of our own and waits until it is ready. The programs must be built: `make kubernetes`.
    pub fn start(spec: ControlPlaneSpec) -> Result<Self> {
        for address in spec.addresses()? {
            TcpListener::bind(address)
                .with_context(|| format!("{address} is needed by the control plane: end what listens there"))?;
        }
        let programs = Programs::built()?;
        if spec.folder.exists() {
            std::fs::remove_dir_all(&spec.folder).with_context(|| format!("wipe {}", spec.folder.display()))?;
        }
        std::fs::create_dir_all(&spec.folder).with_context(|| format!("create {}", spec.folder.display()))?;
        let folder = std::path::absolute(&spec.folder)?;
        let spec = ControlPlaneSpec { folder: folder.clone(), ..spec };
        certificates::write(&folder, &spec.host)?;
        let server = format!("https://{}:{}", spec.host, spec.port);
        for identity in certificates::IDENTITIES {
            kubeconfig::write_for_certificate(&folder, identity.name, &server)?;
        }
        let kubectl = Kubectl::new(programs.kubectl(), &kubeconfig::path(&folder, certificates::ADMIN), &folder);
        let own = Own { spec, programs, etcd: None, api_server: None, controllers: None };
        let mut plane = Self { folder, kubectl, own: Some(own) };
        plane.launch().inspect_err(|_| plane.end())?;
        Ok(plane)
    }

    /// The cluster of `$KUBECONFIG` if that is set, else a control plane of our own. What is written for a user's
    /// cluster (kubeconfigs of service accounts) goes into the spec's folder too.
    pub fn start_or_use(spec: ControlPlaneSpec) -> Result<Self> {
        if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
            return Self::of_environment(&spec.folder);
        }
        Self::start(spec)
    }

    /// The cluster that `kubectl` talks to as the environment stands.
    fn of_environment(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let folder = std::path::absolute(folder)?;
        let program = programs::any_kubectl()?;
        // $KUBECONFIG may name several files and folders relative to each; one complete file is easier to pass on.
        let one = kubeconfig::flattened(&program)?;
        let file = folder.join("user.kubeconfig");
        secret::write(&file, &one)?;
        let kubectl = Kubectl::new(&program, &file, &folder);
        kubectl.run(&["get", "--raw", "/readyz"]).context("the cluster of $KUBECONFIG does not answer")?;
        Ok(Self { folder, kubectl, own: None })
    }

    /// Whether we started it, and may therefore kill and wipe it.
    pub fn is_ours(&self) -> bool {
        self.own.is_some()
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        self.kubectl.kubeconfig()
    }

    /// Makes a kubeconfig for a `ServiceAccount` that exists, with a token as the kubelet would fetch one (`TokenRequest`),
    /// and returns its path; `namespace` is its default namespace. The token lies in a file beside it, which clients read
    /// again from time to time. A token is worth nothing once its `ServiceAccount` was deleted (or etcd wiped), even if
    /// there is a new one of that name: call this again then, and running clients find the new token in its old place.
    pub fn service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.kubectl.run(&["create", "token", name, "--namespace", namespace, "--duration=24h"])?;
        let file = self.folder.join(format!("{namespace}.{name}.token"));
        secret::write(&file, token.trim())?;
        kubeconfig::write_for_token(&self.kubectl, &self.folder, namespace, name, &file)
    }

    /// `kubectl` with another kubeconfig, one of [`Self::service_account`] say.
    pub fn kubectl_as(&self, kubeconfig: &Path) -> Kubectl {
        self.kubectl.with_kubeconfig(kubeconfig)
    }

    /// The processes that run.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.own.iter().flat_map(|own| [&own.etcd, &own.api_server, &own.controllers]).flatten()
    }

    /// SIGKILL to the API server: every watch breaks, and nothing answers until [`Self::start_api_server`].
    pub fn kill_api_server(&mut self) -> Result<()> {
        self.own()?.api_server.take().context("the API server does not run")?.kill();
        Ok(())
    }

    /// SIGSTOP to the API server: connections stay open, nothing answers.
    pub fn pause_api_server(&mut self) -> Result<()> {
        self.own()?.api_server.as_mut().context("the API server does not run")?.pause();
        Ok(())
    }

    /// SIGCONT.
    pub fn resume_api_server(&mut self) -> Result<()> {
        self.own()?.api_server.as_mut().context("the API server does not run")?.resume();
        Ok(())
    }

    /// Starts the API server again, on the data that etcd has, and waits until it is ready.
    pub fn start_api_server(&mut self) -> Result<()> {
        let own = self.own()?;
        ensure!(own.api_server.is_none(), "the API server runs already");
        own.api_server = Some(own.programs.api_server(&own.spec)?);
        self.note()?;
        self.wait_ready()
    }

    /// Ends all processes, removes etcd's data and starts everything again: a cluster without any object, with the same
    /// certificates. Tokens of service accounts are void (see [`Self::service_account`]).
    pub fn wipe_etcd(&mut self) -> Result<()> {
        let own = self.own()?;
        own.stop();
        let data = own.spec.data();
        std::fs::remove_dir_all(&data).with_context(|| format!("wipe {}", data.display()))?;
        self.kubectl.forget_discovery()?;
        self.launch()
    }

    /// Compacts etcd up to its newest revision, which is returned. The API server goes on to serve the last events from
    /// its watch cache: a watch from an old version gets 410 for sure only after [`Self::forget_history`].
    pub fn compact(&mut self) -> Result<i64> {
        let own = self.own()?;
        Etcd::at(&own.spec).compact()
    }

    /// Closes all watches and forgets what led to the present state: the API server is killed, etcd compacted, the API
    /// server started again with an empty watch cache. A watch from any version older than the returned revision of
    /// etcd then gets 410 Gone.
    pub fn forget_history(&mut self) -> Result<i64> {
        self.kill_api_server()?;
        let revision = self.compact()?;
        self.start_api_server()?;
        Ok(revision)
    }

    /// Ends all processes that are ours and removes etcd's data; logs and certificates stay.
    pub fn end(&mut self) {
        if let Some(own) = &mut self.own {
            // The data is thrown away: nothing is won by a slow end.
            for process in [&mut own.controllers, &mut own.api_server, &mut own.etcd] {
                if let Some(mut process) = process.take() {
                    process.kill();
                }
            }
            // What is left is wiped at the next start.
            let _ = std::fs::remove_dir_all(own.spec.data());
        }
    }

    fn own(&mut self) -> Result<&mut Own> {
        self.own.as_mut().context("this cluster is the one of $KUBECONFIG, which is not ours to stop: unset KUBECONFIG")
    }

    fn launch(&mut self) -> Result<()> {
        let own = self.own()?;
        own.etcd = Some(own.programs.etcd(&own.spec)?);
        own.api_server = Some(own.programs.api_server(&own.spec)?);
        self.note()?;
        self.wait_ready()?;
        // It would come to its end if it met no API server at all.
        let own = self.own()?;
        own.controllers = Some(own.programs.controller_manager(&own.spec)?);
        self.note()
    }

    /// Who stays is noted at once: whatever happens to us later, all of them can be found and ended.
    fn note(&self) -> Result<()> {
        match &self.own {
            Some(own) if own.spec.lifetime == Lifetime::Detached => {
                noted::write(&own.spec.processes(), self.processes())
            }
            _ => Ok(()),
        }
    }

    fn wait_ready(&mut self) -> Result<()> {
        let kubectl = self.kubectl.clone();
        let own = self.own()?;
        let [address, ..] = own.spec.addresses()?;
        let end = Instant::now() + READY_WITHIN;
        loop {
            // kubectl costs a good part of a second, so the port comes first.
            let answers = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
            if answers && ready(&kubectl) {
                return Ok(());
            }
            for process in [&mut own.etcd, &mut own.api_server].into_iter().flatten() {
                ensure!(
                    process.alive() && Instant::now() < end,
                    "the control plane is not ready; {} ends with\n{}",
                    process.log().display(),
                    process.log_tail(20)
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The API server says so itself, and the namespace that it makes last is there.
fn ready(kubectl: &Kubectl) -> bool {
    kubectl.run(&["get", "--raw", "/readyz"]).is_ok() && kubectl.run(&["get", "namespace", "default"]).is_ok()
}

impl Own {
    /// In the order in which each still has what it needs.
    fn stop(&mut self) {
        for process in [&mut self.controllers, &mut self.api_server, &mut self.etcd] {
            if let Some(mut process) = process.take() {
                process.stop(STOP_WITHIN);
            }
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.own.as_ref().is_some_and(|own| own.spec.lifetime == Lifetime::WithUs) {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_bed_stays_on_loopback() {
        let folder = tempfile::tempdir().unwrap();
        let error = ControlPlane::start(ControlPlaneSpec::new(folder.path(), "10.0.0.1")).unwrap_err();
        assert!(error.to_string().contains("loopback"), "{error}");
    }

    #[test]
    fn an_address_in_use_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.30.250:0").unwrap();
        let mut spec = ControlPlaneSpec::new(folder.path(), "127.0.30.250");
        spec.port = taken.local_addr().unwrap().port();
        let error = ControlPlane::start(spec).unwrap_err();
        assert!(error.to_string().contains(&taken.local_addr().unwrap().to_string()), "{error}");
    }
}
