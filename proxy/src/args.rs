//! The command line. Every flag has an environment variable, so that one manifest can serve every node.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use sluice_mesh::name::ProxyName;
use sluice_mesh::report::OBJECT_PREFIX;

/// Serves the brokers of this node, and the whole mesh, to Kafka clients.
#[derive(Debug, Clone, Parser)]
#[command(name = "sluice-proxy", version, about, long_about = None)]
#[command(group = ArgGroup::new("place").required(true).args(["directory", "namespace"]))]
pub struct Args {
    /// Name of this proxy: its node's name
    #[arg(long, env = "SLUICE_NAME")]
    pub name: String,

    /// Address that clients are told to find this proxy at
    #[arg(long, env = "SLUICE_HOST")]
    pub host: String,

    /// Address to listen on [default: that of --host]
    #[arg(long, env = "SLUICE_LISTEN")]
    pub listen: Option<IpAddr>,

    /// Port for the clients' first contact, the same on every node
    #[arg(long, env = "SLUICE_BOOTSTRAP_PORT", default_value_t = 9092)]
    pub bootstrap_port: u16,

    /// Virtual broker number `i` of the mesh has port `port-base + i`
    #[arg(long, env = "SLUICE_PORT_BASE", default_value_t = 9100)]
    pub port_base: u16,

    /// Address of a Kafka broker on this node, as Kafka advertises it; repeatable [default: --host]
    #[arg(long = "broker-host", env = "SLUICE_BROKER_HOSTS", value_delimiter = ',')]
    pub broker_hosts: Vec<String>,

    /// Directory shared with the operator: the mesh document is read from it, reports are written to it
    #[arg(long, env = "SLUICE_DIRECTORY")]
    pub directory: Option<PathBuf>,

    /// Kubernetes namespace of the mesh, instead of --directory: the mesh document is watched there, the report is a Lease
    #[arg(long, env = "SLUICE_NAMESPACE")]
    pub namespace: Option<String>,

    /// How to reach the API server [default: KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, env = "SLUICE_KUBECONFIG", conflicts_with = "directory")]
    pub kubeconfig: Option<PathBuf>,

    /// Directory where the document's ConfigMaps are mounted: read at start while the API server is away
    #[arg(long, env = "SLUICE_MOUNTED", conflicts_with = "directory")]
    pub mounted: Option<PathBuf>,

    /// Serve this mesh only; a document of another one is refused
    #[arg(long, env = "SLUICE_MESH")]
    pub mesh: Option<String>,

    /// Address of the admin endpoints /metrics, /live, /ready, /document and /views
    #[arg(long, env = "SLUICE_ADMIN", default_value = "127.0.0.1:9190")]
    pub admin: SocketAddr,

    /// Data threads [default: one per core]
    #[arg(long, env = "SLUICE_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// On SIGTERM, connections are closed one after the other over this time
    #[arg(long, env = "SLUICE_DRAIN_SECONDS", default_value_t = 10)]
    pub drain_seconds: u64,

    /// Client connections at a time; more have to wait to be accepted
    #[arg(long, env = "SLUICE_MAX_CONNECTIONS", default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Connections on which nothing passes are closed after this time; clients' own default is 9 minutes
    #[arg(long, env = "SLUICE_IDLE_SECONDS", default_value_t = 600)]
    pub idle_seconds: u64,

    /// A request of which little more arrives for this time closes its connection
    #[arg(long, env = "SLUICE_REQUEST_PROGRESS_SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub request_progress_seconds: u64,
}

/// What one connection may cost, in time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Nothing passes for this long: closed.
    pub idle_millis: u64,
    /// A request under way has to bring `progress_bytes` in this time.
    pub progress_millis: u64,
    /// See `progress_millis`.
    pub progress_bytes: u64,
    /// Time limit for connecting to a broker.
    pub connect_millis: u64,
    /// An old segment's broker has to begin its answer within this time.
    pub relay_millis: u64,
    /// A connection for old segments that was not used for this long is closed.
    pub relay_idle_millis: u64,
    /// Answers that are due when a connection is to be closed have this long.
    pub close_millis: u64,
    /// How long a client that was told of the end may take to read its last answers and to close.
    pub linger_millis: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_millis: 600_000,
            progress_millis: 30_000,
            progress_bytes: 30 * 1024,
            connect_millis: 3_000,
            relay_millis: 3_000,
            relay_idle_millis: 60_000,
            close_millis: 10_000,
            linger_millis: 1_000,
        }
    }
}

/// Where the operator and this proxy meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A shared directory.
    Directory(PathBuf),
    /// A Kubernetes API server.
    Kubernetes {
        /// The namespace of the mesh.
        namespace: String,
        /// How to reach it; inferred if not given.
        kubeconfig: Option<PathBuf>,
        /// Where the document's ConfigMaps are mounted.
        mounted: Option<PathBuf>,
    },
}

/// What the command line comes to: checked, and with all defaults filled in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This proxy's name.
    pub name: ProxyName,
    /// The address that clients are told.
    pub host: String,
    /// The address to bind.
    pub listen: IpAddr,
    /// The bootstrap port.
    pub bootstrap_port: u16,
    /// Port of virtual broker 0.
    pub port_base: u16,
    /// Addresses of brokers on this node.
    pub broker_hosts: Vec<String>,
    /// Where the document and the reports are.
    pub place: Place,
    /// The mesh to serve, if given.
    pub mesh: Option<String>,
    /// Where the admin endpoints listen.
    pub admin: SocketAddr,
    /// Data threads.
    pub threads: usize,
    /// How long draining may take.
    pub drain: Duration,
    /// Client connections at a time.
    pub max_connections: usize,
    /// Bounds of a connection.
    pub limits: Limits,
}

/// A flag that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `--name`.
    #[error("--name: {0}")]
    Name(#[from] sluice_mesh::name::NameError),
    /// `--host` can't be listened on.
    #[error("--host {host}: {source}; give the address to bind with --listen")]
    Host {
        /// As given.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// `--directory` isn't one.
    #[error("--directory {0} is not a directory; create it, or start the operator first")]
    Directory(PathBuf),
    /// `--namespace` isn't one.
    #[error("--namespace {0:?} is no namespace: lower-case letters, digits and '-', at most 63")]
    Namespace(String),
    /// The proxy's Lease could not be named.
    #[error(
        "--name {0} is too long: a proxy that reports as a Lease has at most {MAX_LEASE_NAME} characters in its name"
    )]
    LongName(ProxyName),
    /// Two ports are one.
    #[error(
        "--bootstrap-port {bootstrap} is at or above --port-base {base}, where the virtual brokers' ports are: choose it below"
    )]
    Ports {
        /// Bootstrap port.
        bootstrap: u16,
        /// Port base.
        base: u16,
    },
}

/// 253 characters less those before a proxy's name in that of its Lease.
const MAX_LEASE_NAME: usize = 253 - OBJECT_PREFIX.len();

impl Args {
    /// Checks the flags and fills in what was left out.
    pub fn settings(self) -> Result<Settings, SettingsError> {
        let name = ProxyName::new(&self.name)?;
        if self.bootstrap_port >= self.port_base {
            return Err(SettingsError::Ports { bootstrap: self.bootstrap_port, base: self.port_base });
        }
        let place = match (self.directory, self.namespace) {
            (Some(directory), _) if directory.is_dir() => Place::Directory(directory),
            (Some(directory), _) => return Err(SettingsError::Directory(directory)),
            (None, namespace) => {
                let namespace = namespace.unwrap_or_default();
                if !is_namespace(&namespace) {
                    return Err(SettingsError::Namespace(namespace));
                }
                if name.as_str().len() > MAX_LEASE_NAME {
                    return Err(SettingsError::LongName(name));
                }
                Place::Kubernetes { namespace, kubeconfig: self.kubeconfig, mounted: self.mounted }
            }
        };
        let listen = match self.listen {
            Some(listen) => listen,
            None => resolve(&self.host).map_err(|source| SettingsError::Host { host: self.host.clone(), source })?,
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let limits = Limits::default();
        // The rate that a request must keep stays the same, whatever the window.
        let progress_millis = self.request_progress_seconds.saturating_mul(1000);
        Ok(Settings {
            name,
            broker_hosts: if self.broker_hosts.is_empty() { vec![self.host.clone()] } else { self.broker_hosts },
            host: self.host,
            listen,
            bootstrap_port: self.bootstrap_port,
            port_base: self.port_base,
            place,
            mesh: self.mesh,
            admin: self.admin,
            threads: self.threads.map_or(cores, usize::from),
            drain: Duration::from_secs(self.drain_seconds),
            max_connections: usize::try_from(self.max_connections).unwrap_or(usize::MAX),
            limits: Limits {
                idle_millis: self.idle_seconds.max(1).saturating_mul(1000),
                progress_millis,
                progress_bytes: progress_millis,
                ..limits
            },
        })
    }
}

/// An RFC 1123 label.
fn is_namespace(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn resolve(host: &str) -> std::io::Result<IpAddr> {
    (host, 0)
        .to_socket_addrs()?
        .next()
        .map(|address| address.ip())
        .ok_or_else(|| std::io::Error::other("the name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &[&str]) -> Result<Settings, SettingsError> {
        let base = ["sluice-proxy", "--name", "node-1", "--host", "127.0.1.1", "--directory", "/tmp"];
        Args::try_parse_from(base.iter().chain(more)).unwrap().settings()
    }

    #[test]
    fn defaults_are_filled_in() {
        let settings = parse(&[]).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.1.1");
        assert_eq!(settings.broker_hosts, ["127.0.1.1"]);
        assert_eq!((settings.bootstrap_port, settings.port_base), (9092, 9100));
        assert!(settings.threads >= 1);
        assert_eq!(settings.limits.idle_millis, 600_000);
    }

    #[test]
    fn nonsense_is_named() {
        for (flags, word) in [
            (&["--name", "Node_1"][..], "--name"),
            (&["--bootstrap-port", "9100"], "--port-base"),
            (&["--directory", "/nowhere/at/all"], "--directory"),
        ] {
            let base = ["sluice-proxy", "--host", "127.0.1.1"];
            let rest: &[&str] = &["--name", "node-1", "--directory", "/tmp"];
            let kept = rest.chunks(2).filter(|pair| !flags.contains(&pair[0])).flatten();
            let args = Args::try_parse_from(base.iter().chain(flags).chain(kept)).unwrap();
            let error = args.settings().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    fn place(flags: &[&str]) -> Result<Place, String> {
        let base = ["sluice-proxy", "--name", "node-1", "--host", "127.0.1.1"];
        let args = Args::try_parse_from(base.iter().chain(flags)).map_err(|error| error.to_string())?;
        args.settings().map(|settings| settings.place).map_err(|error| error.to_string())
    }

    #[test]
    fn the_mesh_is_in_one_place() {
        assert_eq!(place(&["--directory", "/tmp"]), Ok(Place::Directory("/tmp".into())));
        let kubernetes = Place::Kubernetes {
            namespace: "kafka".into(),
            kubeconfig: Some("/a".into()),
            mounted: Some("/etc/sluice".into()),
        };
        let flags = ["--namespace", "kafka", "--kubeconfig", "/a", "--mounted", "/etc/sluice"];
        assert_eq!(place(&flags), Ok(kubernetes));
        for (flags, word) in [
            (&[][..], "--namespace"),
            (&["--directory", "/tmp", "--namespace", "kafka"], "cannot be used with"),
            (&["--directory", "/tmp", "--kubeconfig", "/a"], "cannot be used with"),
            (&["--directory", "/tmp", "--mounted", "/a"], "cannot be used with"),
            (&["--namespace", "Kafka"], "is no namespace"),
            (&["--namespace", "kafka-"], "is no namespace"),
        ] {
            let error = place(flags).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        let base = ["sluice-proxy", "--host", "127.0.1.1", "--namespace", "kafka", "--name"];
        let name = ["a"; 127].join(".");
        let args = Args::try_parse_from(base.iter().copied().chain([name.as_str()])).unwrap();
        assert!(args.settings().unwrap_err().to_string().contains("at most 240"));
    }

    #[test]
    fn the_definition_holds() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
