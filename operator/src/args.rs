//! What the operator is told on the command line or by the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// The Sluice operator: turns KafkaCluster and TopicRoute resources into the mesh document that proxies load, and moves topics.
#[derive(Debug, Clone, Parser)]
#[command(name = "sluice-operator", version, about, long_about = None)]
pub struct Args {
    /// Directory with `resources/**/*.yaml`; status, document and events are written there, reports are read there.
    #[arg(long, env = "SLUICE_DIRECTORY", value_name = "DIR")]
    pub directory: PathBuf,

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

impl Args {
    /// Longest wait for one answer of a broker.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.broker_request_timeout))
    }
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
        assert_eq!(args.request_timeout(), Duration::from_secs(5));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            vec!["--mesh", "Prod"],
            vec!["--mesh", ""],
            vec!["--mesh", "a-"],
            vec!["--admin", "9191"],
            vec!["--broker-request-timeout", "5"],
        ] {
            let all = ["sluice-operator", "--directory", "/tmp"].into_iter().chain(arguments.clone());
            assert!(Args::try_parse_from(all).is_err(), "{arguments:?}");
        }
        assert!(Args::try_parse_from(["sluice-operator"]).is_err() || std::env::var_os("SLUICE_DIRECTORY").is_some());
    }
}
