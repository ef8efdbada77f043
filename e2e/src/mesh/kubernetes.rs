//! A namespace of a Kubernetes cluster, in which a mesh meets its users: Sluice's kinds installed, service accounts with
//! exactly the Roles that are shipped, and `kubectl`.
//!
//! Statuses, document and reports are *as last seen* by watches of the administrator's, which look again by themselves when
//! the API server was away. Who must know what the API server has this very moment asks [`Kubernetes::kubectl`].

mod sight;
mod view;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use sluice_mesh::document::Document;
use sluice_mesh::document::shards::{INDEX_KEY, INDEX_NAME, SHARD_KEY};
use sluice_mesh::report::Report;

use super::resource::Kind;
use crate::kubernetes::{ControlPlane, ControlPlaneSpec, Kubectl, Watch};
use crate::process::Lifetime;
pub use sight::NamespaceSight;
use view::View;

/// The namespace in which the shipped manifests put everything.
const SHIPPED_NAMESPACE: &str = "kafka";
/// Service accounts, Roles and bindings, as users get them.
const MANIFESTS: [&str; 2] = ["deploy/operator-role.yaml", "deploy/proxy-role.yaml"];
const CRDS: &str = "crds/generated";
/// No answer of the API server is waited for longer.
const CALL: Duration = Duration::from_secs(10);
const CRD_NAMES: [&str; 3] = ["kafkaclusters.sluice.dev", "topicroutes.sluice.dev", "topicfuses.sluice.dev"];

/// Which cluster, and which namespace of it.
#[derive(Debug, Clone)]
pub struct KubernetesSpec {
    /// Loopback address of the control plane, if it is ours.
    pub host: String,
    /// The namespace of the run; removed at the end.
    pub namespace: String,
    /// Whether the cluster of `$KUBECONFIG`, if that is set, is used instead of a control plane of our own. Tests don't:
    /// they kill API servers.
    pub environment: bool,
    /// Flags for kube-apiserver besides our own.
    pub api_server_flags: Vec<String>,
}

impl KubernetesSpec {
    /// A control plane of our own on this loopback address, and the namespace that the shipped manifests name.
    pub fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            namespace: SHIPPED_NAMESPACE.to_owned(),
            environment: false,
            api_server_flags: Vec::new(),
        }
    }

    /// A namespace of this run alone: on the cluster of `$KUBECONFIG` if that is set, else on a control plane of our own.
    pub fn of_environment_or(host: &str) -> Self {
        let random = uuid::Uuid::new_v4().simple().to_string();
        Self { namespace: format!("sluice-demo-{}", &random[..8]), environment: true, ..Self::new(host) }
    }
}

/// An event as Kubernetes keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `Normal` or `Warning`.
    pub kind: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub note: String,
    /// When it happened, as the API server writes times.
    pub time: String,
}

/// A namespace with Sluice's kinds, Roles and service accounts in it.
#[derive(Debug)]
pub struct Kubernetes {
    plane: ControlPlane,
    namespace: String,
    folder: PathBuf,
    kubectl: Kubectl,
    operator: PathBuf,
    proxy: PathBuf,
    view: View,
    ended: bool,
}

impl Kubernetes {
    /// Starts a control plane (or uses the environment's cluster) and makes the namespace. Everything is written below
    /// `folder`; `say` gets lines for people.
    pub fn start(spec: &KubernetesSpec, folder: &Path, lifetime: Lifetime, mut say: impl FnMut(&str)) -> Result<Self> {
        let plane_spec = ControlPlaneSpec {
            api_server_flags: spec.api_server_flags.clone(),
            lifetime,
            ..ControlPlaneSpec::new(&folder.join("control-plane"), &spec.host)
        };
        let plane =
            if spec.environment { ControlPlane::start_or_use(plane_spec)? } else { ControlPlane::start(plane_spec)? };
        let folder = std::path::absolute(folder)?;
        let kubectl = in_namespace(&plane, &folder, &spec.namespace)?;
        let view = View::new(kubectl.kubeconfig(), &spec.namespace)?;
        let mut kubernetes = Self {
            plane,
            namespace: spec.namespace.clone(),
            folder,
            kubectl,
            operator: PathBuf::new(),
            proxy: PathBuf::new(),
            view,
            ended: false,
        };
        if !kubernetes.plane.is_ours() {
            let taken = kubernetes.kubectl.run(&["get", "namespace", &spec.namespace]).is_ok();
            ensure!(!taken, "the namespace {} exists already: remove it", spec.namespace);
            left().push((kubernetes.kubectl.clone(), spec.namespace.clone()));
        }
        kubernetes.install(&mut say)?;
        Ok(kubernetes)
    }

    /// Makes everything that Sluice needs: kinds, namespace, service accounts with their Roles, and tokens for them. May be
    /// called again at any time, and must be after [`ControlPlane::wipe_etcd`]; operator and proxies that run find their
    /// new tokens in the old place.
    pub fn install(&mut self, mut say: impl FnMut(&str)) -> Result<()> {
        let there = |name: &&str| self.kubectl.run(&["get", "customresourcedefinition", name, "--output=name"]).is_ok();
        let found = CRD_NAMES.iter().filter(|name| there(name)).count();
        if self.plane.is_ours() || found < CRD_NAMES.len() {
            self.kubectl.install_crds(&in_repository(CRDS))?;
            say(&format!("kubectl apply --server-side -f {CRDS}/"));
            if !self.plane.is_ours() {
                say("  these definitions were not in your cluster; they stay there afterwards");
            }
        } else {
            say("Sluice's definitions are in your cluster already; they are used as they are");
        }
        let namespace = &self.namespace;
        self.kubectl.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n"))?;
        say(&format!("kubectl create namespace {namespace}"));
        for manifest in MANIFESTS {
            let file = in_repository(manifest);
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            self.kubectl.apply(&for_namespace(&text, namespace)).with_context(|| format!("apply {manifest}"))?;
            say(&format!("kubectl apply --server-side -f {manifest}"));
        }
        self.operator = self.plane.service_account(namespace, "sluice-operator")?;
        self.proxy = self.plane.service_account(namespace, "sluice-proxy")?;
        self.view.restart();
        Ok(())
    }

    /// The control plane.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The control plane, to kill its API server or to wipe its data.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `kubectl` as the administrator, in this namespace.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// `kubectl` as the operator.
    pub fn kubectl_as_operator(&self) -> Kubectl {
        self.plane.kubectl_as(&self.operator)
    }

    /// `kubectl` as a proxy.
    pub fn kubectl_as_proxy(&self) -> Kubectl {
        self.plane.kubectl_as(&self.proxy)
    }

    /// Starts a `kubectl` whose lines are collected: `["get", "troute", "--watch"]` say.
    pub fn watch(&self, args: &[&str]) -> Result<Watch> {
        self.kubectl.watch(args, &self.folder.join("logs/kubectl-watch.log"))
    }

    /// The operator that leads by the Lease ([`super::OPERATOR`] or [`super::SECOND_OPERATOR`]), if one does.
    pub fn leader(&self) -> Result<Option<String>> {
        let path = "--output=jsonpath={.spec.holderIdentity}";
        let identity = self.kubectl.run(&["get", "lease", "sluice-operator", "--ignore-not-found", path])?;
        // An identity is the name and a number.
        Ok(identity.trim().rsplit_once('.').map(|(name, _)| name.to_owned()))
    }

    /// The events about an object, oldest first.
    pub fn events_of(&self, kind: Kind, name: &str) -> Result<Vec<Event>> {
        let found = self.kubectl.get_json(&["events.events.k8s.io"])?;
        let mut events = Vec::new();
        for item in found["items"].as_array().into_iter().flatten() {
            let text = |pointer: &str| item.pointer(pointer).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
            if text("/regarding/kind").eq_ignore_ascii_case(kind.as_str()) && text("/regarding/name") == name {
                let (kind, reason, note, time) = (text("/type"), text("/reason"), text("/note"), text("/eventTime"));
                events.push(Event { kind, reason, note, time });
            }
        }
        events.sort_by(|a, b| a.time.cmp(&b.time));
        Ok(events)
    }

    /// Brings the copy of the mesh document that a node mounts up to date, as the kubelet does: proxies of this mesh read it
    /// at their start if the API server is away. Without this call there is none.
    pub fn mount(&self, folder: &Path) -> Result<()> {
        let maps = self.kubectl.get_json(&["configmaps"])?;
        for map in maps["items"].as_array().into_iter().flatten() {
            let Some(name) = map.pointer("/metadata/name").and_then(|name| name.as_str()) else { continue };
            let text = |key: &str| map.pointer(&format!("/data/{key}")).and_then(|text| text.as_str());
            if name == INDEX_NAME {
                crate::write_by_rename(&folder.join(INDEX_KEY), text(INDEX_KEY).unwrap_or_default())?;
            } else if name.starts_with(INDEX_NAME) {
                crate::write_by_rename(&folder.join(format!("{name}.json")), text(SHARD_KEY).unwrap_or_default())?;
            }
        }
        Ok(())
    }

    pub(super) fn status<T: DeserializeOwned>(&self, kind: Kind, name: &str) -> Result<Option<T>> {
        self.view.status(kind, name)
    }

    pub(super) fn document(&self) -> Result<Option<Document>> {
        self.view.document()
    }

    pub(super) fn report(&self, proxy: &str) -> Option<Report> {
        self.view.report(proxy)
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    pub(super) fn operator_args(&self, identity: &str) -> Vec<OsString> {
        let mut args = self.args(&self.operator);
        args.extend(["--identity".into(), identity.into()]);
        args
    }

    pub(super) fn proxy_args(&self, mounted: &Path) -> Vec<OsString> {
        let mut args = self.args(&self.proxy);
        args.extend(["--mounted".into(), mounted.into()]);
        args
    }

    fn args(&self, kubeconfig: &Path) -> Vec<OsString> {
        vec!["--namespace".into(), self.namespace.clone().into(), "--kubeconfig".into(), kubeconfig.into()]
    }

    /// Ends the control plane if it is ours; in a user's cluster, removes the namespace. Operator and proxies have ended.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.view.stop();
        if self.plane.is_ours() {
            self.plane.end();
        } else {
            remove_namespaces();
        }
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        // A control plane of ours knows itself whether it stays.
        if !self.plane.is_ours() {
            self.end();
        }
    }
}

/// Namespaces that we made in clusters that are not ours.
static LEFT: Mutex<Vec<(Kubectl, String)>> = Mutex::new(Vec::new());

fn left() -> std::sync::MutexGuard<'static, Vec<(Kubectl, String)>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the namespaces that this process made in users' clusters and has not removed yet: what is left to do when it
/// must end at once.
pub fn remove_namespaces() {
    // Held until all is done: whoever else would remove them waits, and does not end the process meanwhile.
    let mut left = left();
    for (kubectl, namespace) in left.drain(..) {
        if let Err(error) = remove_namespace(&kubectl, &namespace) {
            tracing::warn!("the namespace {namespace} is still there, remove it by hand: {error:#}");
        }
    }
}

fn remove_namespace(kubectl: &Kubectl, namespace: &str) -> Result<()> {
    // No operator runs that would let KafkaClusters go.
    let found = kubectl.run(&["get", "kafkaclusters", "--output=name"]).unwrap_or_default();
    for cluster in found.lines() {
        kubectl.run(&["patch", cluster, "--type=merge", "--patch", r#"{"metadata":{"finalizers":null}}"#])?;
    }
    kubectl.run(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=90s"]).map(drop)
}

/// `kubectl` as the administrator with the namespace as its default, so that commands are what users type.
fn in_namespace(plane: &ControlPlane, folder: &Path, namespace: &str) -> Result<Kubectl> {
    let file = folder.join("kubeconfig");
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    // It may hold credentials: as a copy it keeps its permissions.
    std::fs::copy(plane.kubeconfig(), &file).with_context(|| format!("write {}", file.display()))?;
    let kubectl = plane.kubectl_as(&file);
    kubectl.run(&["config", "set-context", "--current", "--namespace", namespace])?;
    Ok(kubectl)
}

/// A shipped manifest for another namespace, as its own comment says.
fn for_namespace(manifest: &str, namespace: &str) -> String {
    manifest.replace(&format!("namespace: {SHIPPED_NAMESPACE}"), &format!("namespace: {namespace}"))
}

/// Something of the repository that this program was built from.
fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;

    use super::*;

    #[test]
    fn a_manifest_names_no_other_namespace() {
        for manifest in MANIFESTS {
            let text = std::fs::read_to_string(in_repository(manifest)).unwrap();
            let mut objects = 0;
            for object in serde_yaml::Deserializer::from_str(&for_namespace(&text, "team")) {
                let object = serde_yaml::Value::deserialize(object).unwrap();
                assert_eq!(object["metadata"]["namespace"], "team", "{manifest}");
                for subject in object["subjects"].as_sequence().into_iter().flatten() {
                    assert_eq!(subject["namespace"], "team", "{manifest}");
                }
                objects += 1;
            }
            assert_eq!(objects, 3, "{manifest}: a service account, a Role, a binding");
        }
    }

    #[test]
    fn each_demo_has_a_namespace_of_its_own() {
        let [one, two] = [(); 2].map(|()| KubernetesSpec::of_environment_or("127.0.30.1").namespace);
        assert!(one.starts_with("sluice-demo-") && one != two, "{one} {two}");
        assert!(!KubernetesSpec::new("127.0.30.1").environment, "a test must not touch a user's cluster");
    }
}
