//! The programs of the control plane and what each is started with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{ControlPlaneSpec, certificates, kubeconfig};
use crate::process::{Process, Spawn};

/// Controllers that a cluster without nodes can use: namespaces that end, dependents that go with their owners, the
/// `default` service accounts, the authority's certificate in every namespace, roles that are put together by label.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller,serviceaccount-controller,\
                           root-ca-certificate-publisher-controller,clusterrole-aggregation-controller";

/// Where the programs lie.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
    kubectl: PathBuf,
}

impl Programs {
    /// Those that `make kubernetes` built.
    pub fn built() -> Result<Self> {
        let folder = folder()?;
        let kubectl = folder.join("kubectl");
        ensure!(kubectl.is_file(), "{} is not there: make kubernetes", kubectl.display());
        Ok(Self { folder, kubectl })
    }

    /// `kubectl`.
    pub fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    fn spawn(&self, spec: &ControlPlaneSpec, program: &str) -> Spawn {
        Spawn::new(program, self.folder.join(program), spec.folder.join(format!("{program}.log")))
            .folder(&spec.folder)
            .lifetime(spec.lifetime)
    }

    pub(super) fn etcd(&self, spec: &ControlPlaneSpec) -> Result<Process> {
        let client = format!("http://{}:{}", spec.host, spec.etcd_port);
        let peer = format!("http://{}:{}", spec.host, spec.etcd_port.saturating_add(1));
        self.spawn(spec, "etcd")
            .args(["--data-dir".into(), spec.data()])
            // The data outlives a SIGKILL as it is; it need not outlive the machine.
            .args(["--unsafe-no-fsync", "--log-level=warn"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .start()
    }

    pub(super) fn api_server(&self, spec: &ControlPlaneSpec) -> Result<Process> {
        let folder = &spec.folder;
        let files = [
            ("client-ca-file", certificates::authority(folder)),
            ("tls-cert-file", certificates::certificate(folder, "apiserver")),
            ("tls-private-key-file", certificates::key(folder, "apiserver")),
            ("service-account-key-file", certificates::token_public_key(folder)),
            ("service-account-signing-key-file", certificates::token_key(folder)),
        ];
        self.spawn(spec, "kube-apiserver")
            .arg(format!("--etcd-servers=http://{}:{}", spec.host, spec.etcd_port))
            .args([format!("--bind-address={}", spec.host), format!("--secure-port={}", spec.port)])
            // Nobody reaches the API server through the `kubernetes` Service: no node, no kube-proxy.
            .args([format!("--advertise-address={}", spec.host), "--endpoint-reconciler-type=none".to_owned()])
            .args(["--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16"])
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .args(files.map(|(flag, file)| format!("--{flag}={}", file.display())))
            .args(&spec.api_server_flags)
            .start()
    }

    pub(super) fn controller_manager(&self, spec: &ControlPlaneSpec) -> Result<Process> {
        let folder = &spec.folder;
        let own = kubeconfig::path(folder, certificates::CONTROLLER_MANAGER);
        self.spawn(spec, "kube-controller-manager")
            .arg(format!("--kubeconfig={}", own.display()))
            .arg(format!("--root-ca-file={}", certificates::authority(folder).display()))
            .args(["--use-service-account-credentials=true", "--leader-elect=false", "--secure-port=0"])
            .arg(format!("--controllers={CONTROLLERS}"))
            .start()
    }
}

/// The folder of the programs that `make kubernetes` built.
fn folder() -> Result<PathBuf> {
    Ok(crate::target_folder()?.join("kubernetes/bin"))
}

/// The user's own `kubectl`, else ours.
pub(super) fn any_kubectl() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([folder()?])
        .map(|folder| folder.join("kubectl"))
        .find(|file| file.is_file())
        .context("KUBECONFIG is set, but there is no kubectl on PATH: install it, or build ours (make kubernetes)")
}
