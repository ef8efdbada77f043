//! What the operator is told on the command line or by the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser};

use crate::store::kube;

/// The Sluice operator: turns KafkaCluster, TopicRoute and TopicFuse resources into the mesh document that proxies load, and
/// moves topics.
#[derive(Debug, Clone, Parser)]
#[command(name = "sluice-operator", version, about, long_about = None)]
#[command(group(ArgGroup::new("place").required(true).args(["directory", "namespace"])))]
pub struct Args {
    /// Directory with `resources/**/*.yaml`; status, document and events are written there, reports are read there.
    #[arg(long, env = "SLUICE_DIRECTORY", value_name = "DIR")]
    pub directory: Option<PathBuf>,

    /// Kubernetes namespace with the resources; one namespace is one mesh. The API server is that of `$KUBECONFIG`, or
    /// that of the pod.
    #[arg(long, env = "SLUICE_NAMESPACE", value_name = "NAMESPACE", value_parser = mesh)]
    pub namespace: Option<String>,

    /// Another file than `$KUBECONFIG` to find the API server by.
    #[arg(long, env = "SLUICE_KUBECONFIG", value_name = "FILE", conflicts_with = "directory")]
    pub kubeconfig: Option<PathBuf>,

    /// This process among the operators of the namespace, as the Lease shows it; no other one may have the same.
    /// Default: host name and a random number.
    #[arg(long, env = "SLUICE_IDENTITY", value_name = "NAME", conflicts_with = "directory", value_parser = identity)]
    pub identity: Option<String>,

    /// Name of the mesh: keys the ledger in Kafka, so it must never change for the same clusters.
    #[arg(long, env = "SLUICE_MESH", default_value = "default", value_name = "NAME", value_parser = mesh)]
    pub mesh: String,

    /// Address of the admin endpoint: /metrics, /live, /ready, /document, /ledger.
    #[arg(long, env = "SLUICE_ADMIN", value_name = "HOST:PORT")]
    pub admin: Option<SocketAddr>,

    /// Longest wait for one answer of a broker, milliseconds.
    #[arg(
        long,
        env = "SLUICE_BROKER_REQUEST_TIMEOUT",
        default_value = "5000",
        value_name = "MILLIS",
        value_parser = clap::value_parser!(u32).range(100..=60_000)
    )]
    pub broker_request_timeout: u32,
}

/// Where resources come from and the document goes to.
#[derive(Debug, Clone)]
pub enum Place {
    /// A directory.
    Directory(PathBuf),
    /// A namespace of a Kubernetes cluster.
    Kubernetes(kube::Options),
}

impl Args {
    /// Where resources come from and the document goes to; the command line has exactly one.
    pub fn place(&self) -> Option<Place> {
        let kubernetes = |namespace: &String| {
            Place::Kubernetes(kube::Options {
                namespace: namespace.clone(),
                kubeconfig: self.kubeconfig.clone(),
                identity: self.identity.clone().unwrap_or_else(any_identity),
            })
        };
        let directory = self.directory.clone().map(Place::Directory);
        directory.or_else(|| self.namespace.as_ref().map(kubernetes))
    }

    /// Longest wait for one answer of a broker.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.broker_request_timeout))
    }
}

/// Host names are pods' names, and a restarted container keeps its.
fn any_identity() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{host}_{}", random.get(..8).unwrap_or(&random))
}

/// It stands in a Lease and in Events.
fn identity(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err("use 1 to 128 visible ASCII characters".to_owned()) }
}

/// The name becomes part of transactional ids and keys: the grammar of a namespace's name.
fn mesh(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits { Ok(text.to_owned()) } else { Err("use 1 to 63 lower-case letters, digits and '-'".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_all_that_is_needed() {
        let args = Args::parse_from(["sluice-operator", "--directory", "/tmp/mesh"]);
        assert_eq!((args.mesh.as_str(), args.admin), ("default", None));
        assert!(matches!(args.place(), Some(Place::Directory(path)) if path == std::path::Path::new("/tmp/mesh")));
        assert_eq!(args.request_timeout(), Duration::from_secs(5));
    }

    #[test]
    fn a_namespace_does_as_well_and_each_process_has_a_name_of_its_own() {
        let place = |arguments: &[&str]| {
            let all = ["sluice-operator", "--namespace", "kafka"].iter().chain(arguments);
            match Args::parse_from(all).place() {
                Some(Place::Kubernetes(options)) => options,
                other => panic!("{other:?}"),
            }
        };
        let (first, second) = (place(&[]), place(&[]));
        assert_eq!((first.namespace.as_str(), &first.kubeconfig), ("kafka", &None));
        assert_ne!(first.identity, second.identity);
        let named = place(&["--identity", "a", "--kubeconfig", "/k"]);
        assert_eq!((named.identity.as_str(), named.kubeconfig), ("a", Some("/k".into())));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            vec!["--mesh", "Prod"],
            vec!["--mesh", ""],
            vec!["--mesh", "a-"],
            vec!["--admin", "9191"],
            vec!["--broker-request-timeout", "5"],
            vec!["--namespace", "kafka"],
            vec!["--kubeconfig", "/k"],
            vec!["--identity", "a"],
        ] {
            let all = ["sluice-operator", "--directory", "/tmp"].into_iter().chain(arguments.clone());
            assert!(Args::try_parse_from(all).is_err(), "{arguments:?}");
        }
        let namespace = ["sluice-operator", "--namespace"];
        assert!(Args::try_parse_from(namespace.into_iter().chain(["Kafka"])).is_err());
        assert!(Args::try_parse_from(namespace.into_iter().chain(["kafka", "--identity", ""])).is_err());
        assert!(Args::try_parse_from(["sluice-operator"]).is_err() || std::env::var_os("SLUICE_DIRECTORY").is_some());
    }
}
