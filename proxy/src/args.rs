//! The command line. Every flag has an environment variable, so that one manifest can serve every node.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use sluice_mesh::name::ProxyName;

/// Serves the brokers of this node, and the whole mesh, to Kafka clients.
#[derive(Debug, Clone, Parser)]
#[command(name = "sluice-proxy", version, about, long_about = None)]
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
    pub directory: PathBuf,

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
    pub directory: PathBuf,
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

impl Args {
    /// Checks the flags and fills in what was left out.
    pub fn settings(self) -> Result<Settings, SettingsError> {
        let name = ProxyName::new(&self.name)?;
        if self.bootstrap_port >= self.port_base {
            return Err(SettingsError::Ports { bootstrap: self.bootstrap_port, base: self.port_base });
        }
        if !self.directory.is_dir() {
            return Err(SettingsError::Directory(self.directory));
        }
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
            directory: self.directory,
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

    #[test]
    fn the_definition_holds() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
