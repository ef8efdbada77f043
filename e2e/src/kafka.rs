//! Real Kafka clusters on loopback, as plain `java` processes: jars from Maven Central, `KRaft`, one address per broker.
//!
//! It must never know Sluice: what stands in front of the clusters is `mesh`'s business.

mod admin;
mod jars;
mod properties;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::process::{Lifetime, Process};
pub use admin::Admin;
pub use jars::{Jars, java};

/// The newest Kafka that the tests run.
pub const KAFKA_4: &str = "4.3.1";
/// The oldest Kafka that the tests run.
pub const KAFKA_3: &str = "3.9.2";

const READY_WITHIN: Duration = Duration::from_mins(2);

/// What a cluster is to be.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Name of the cluster, and of its folder.
    pub name: String,
    /// Kafka version, [`KAFKA_4`] say.
    pub version: String,
    /// One loopback address per broker; broker ids count from 1.
    pub hosts: Vec<String>,
    /// The port of every broker's listener; its controller listens on the next one.
    pub port: u16,
    /// Broker properties that replace or join the test bed's own.
    pub properties: BTreeMap<String, String>,
    /// Everything that the cluster writes; wiped at the start.
    pub folder: PathBuf,
    /// How long the brokers may live.
    pub lifetime: Lifetime,
}

impl ClusterSpec {
    /// A cluster of `hosts.len()` brokers in `folder/name`.
    pub fn new(name: &str, version: &str, hosts: &[String], port: u16, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            hosts: hosts.to_vec(),
            port,
            properties: BTreeMap::new(),
            folder: folder.join(name),
            lifetime: Lifetime::WithUs,
        }
    }

    /// Sets a broker property.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Bootstrap addresses.
    pub fn bootstrap(&self) -> String {
        self.hosts.iter().map(|host| format!("{host}:{}", self.port)).collect::<Vec<_>>().join(",")
    }

    /// Formats the storage and starts the brokers; returns before they are ready.
    pub fn start(self) -> Result<Cluster> {
        ensure!((1..=9).contains(&self.hosts.len()), "a cluster has 1 to 9 brokers, not {}", self.hosts.len());
        for host in &self.hosts {
            ensure!(host.starts_with("127."), "{host}: the test bed stays on loopback (127.0.0.0/8)");
            for port in [self.port, self.port.saturating_add(1)] {
                let address: SocketAddr = format!("{host}:{port}").parse().context("a broker's address")?;
                TcpListener::bind(address)
                    .with_context(|| format!("{address} is needed by {}: end what listens there", self.name))?;
            }
        }
        let jars = Jars::of(&self.version)?;
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder).with_context(|| format!("wipe {}", self.folder.display()))?;
        }
        std::fs::create_dir_all(&self.folder)?;
        let id = cluster_id();
        let formats: Vec<Process> = (1..=self.hosts.len())
            .map(|broker| {
                let file = properties::write(&self, broker)?;
                jars.java(&format!("{}-format-{broker}", self.name), self.folder.join("format.log"))
                    .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
                    .args(jars.logging("ERROR")?)
                    .arg("kafka.tools.StorageTool")
                    .args(["format", "-t", &id, "-c"])
                    .arg(file)
                    .start()
            })
            .collect::<Result<_>>()?;
        for mut format in formats {
            let end = Instant::now() + READY_WITHIN;
            while format.alive() {
                ensure!(Instant::now() < end, "{} does not end:\n{}", format.name(), format.log_tail(15));
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let mut cluster = Cluster { brokers: Vec::new(), jars, id, spec: self };
        for broker in 1..=cluster.spec.hosts.len() {
            let process = cluster.launch(broker).inspect_err(|_| cluster.end())?;
            cluster.brokers.push(Some(process));
        }
        Ok(cluster)
    }
}

/// A cluster id as Kafka makes them: 16 random bytes in URL-safe base 64 without padding, not starting with a dash
/// (the format tool would take it for an option).
fn cluster_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = uuid::Uuid::new_v4().as_u128();
    let mut id = String::with_capacity(22);
    for place in 0..22 {
        // 128 bits are 21 digits of 6 bits and one of 2, which stands in the upper bits of the last one.
        let digit = if place == 0 { (bits & 3) << 4 } else { bits & 63 };
        bits >>= if place == 0 { 2 } else { 6 };
        id.insert(0, char::from(ALPHABET[usize::try_from(digit).unwrap_or(0)]));
    }
    if id.starts_with('-') {
        id.replace_range(0..1, "A");
    }
    id
}

/// A running cluster. Brokers are counted from 1, as their ids are.
#[derive(Debug)]
pub struct Cluster {
    spec: ClusterSpec,
    id: String,
    jars: Jars,
    brokers: Vec<Option<Process>>,
}

impl Cluster {
    /// What it was made from.
    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Kafka's own cluster id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Bootstrap addresses.
    pub fn bootstrap(&self) -> String {
        self.spec.bootstrap()
    }

    /// The jars that it runs from.
    pub fn jars(&self) -> &Jars {
        &self.jars
    }

    /// The brokers that run, with their processes.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.brokers.iter().flatten()
    }

    /// Waits until every broker answers `ApiVersions` and Metadata, and each of them knows all brokers.
    pub fn wait_ready(&mut self) -> Result<()> {
        let all: Vec<usize> = (1..=self.spec.hosts.len()).filter(|b| self.brokers[b - 1].is_some()).collect();
        for broker in all {
            self.wait_broker(broker)?;
        }
        Ok(())
    }

    fn wait_broker(&mut self, broker: usize) -> Result<()> {
        let running = self.brokers.iter().flatten().count();
        let address = format!("{}:{}", self.spec.hosts[broker - 1], self.spec.port);
        let end = Instant::now() + READY_WITHIN;
        // librdkafka's own complaints about refused connections are of no use while a broker starts.
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &address)
            .set("log_level", "0")
            .set("reconnect.backoff.max.ms", "200")
            .create()?;
        loop {
            let seen = client.fetch_metadata(None, Duration::from_millis(1500));
            if let Ok(metadata) = &seen
                && metadata.brokers().len() >= running
                && TcpListener::bind(&address).is_err()
            {
                return Ok(());
            }
            let process = self.brokers[broker - 1].as_mut().context("the broker was stopped")?;
            ensure!(
                process.alive() && Instant::now() < end,
                "{} is not ready after {READY_WITHIN:?}; {} ends with\n{}",
                process.name(),
                process.log().display(),
                process.log_tail(20)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn launch(&self, broker: usize) -> Result<Process> {
        let file = properties::path(&self.spec, broker);
        self.jars
            .java(&format!("{}-{broker}", self.spec.name), self.spec.folder.join(format!("broker-{broker}.log")))
            .args(["-Xmx384m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"])
            .args(["-XX:MaxDirectMemorySize=256m", "-Djava.awt.headless=true", "-XX:+ExitOnOutOfMemoryError"])
            .args(self.jars.logging("INFO")?)
            .arg("kafka.Kafka")
            .arg(file)
            .folder(&self.spec.folder)
            .lifetime(self.spec.lifetime)
            .start()
    }

    fn broker(&mut self, broker: usize) -> Result<&mut Process> {
        let name = self.spec.name.clone();
        self.brokers
            .get_mut(broker.wrapping_sub(1))
            .and_then(Option::as_mut)
            .with_context(|| format!("{name} has no running broker {broker}"))
    }

    /// SIGTERM: a controlled shutdown.
    pub fn stop_broker(&mut self, broker: usize) -> Result<()> {
        let process = self.broker(broker)?;
        process.stop(Duration::from_secs(30));
        self.brokers[broker - 1] = None;
        Ok(())
    }

    /// SIGKILL.
    pub fn kill_broker(&mut self, broker: usize) -> Result<()> {
        self.broker(broker)?.kill();
        self.brokers[broker - 1] = None;
        Ok(())
    }

    /// SIGSTOP: sockets stay open, nothing answers.
    pub fn pause_broker(&mut self, broker: usize) -> Result<()> {
        self.broker(broker)?.pause();
        Ok(())
    }

    /// SIGCONT.
    pub fn resume_broker(&mut self, broker: usize) -> Result<()> {
        self.broker(broker)?.resume();
        Ok(())
    }

    /// Starts a stopped or killed broker again, on its old data, and waits for it.
    pub fn start_broker(&mut self, broker: usize) -> Result<()> {
        ensure!(
            self.brokers.get(broker.wrapping_sub(1)).is_some_and(Option::is_none),
            "{} has no stopped broker {broker}",
            self.spec.name
        );
        self.brokers[broker - 1] = Some(self.launch(broker)?);
        self.wait_broker(broker)
    }

    /// Ends all brokers at once and removes their data; the logs stay.
    pub fn end(&mut self) {
        for process in self.brokers.iter_mut().flatten() {
            process.kill();
        }
        self.brokers.clear();
        for broker in 1..=self.spec.hosts.len() {
            // What is left is wiped at the next start.
            let _ = std::fs::remove_dir_all(properties::data(&self.spec, broker));
        }
    }

    /// An admin client that talks to this cluster itself.
    pub fn admin(&self) -> Result<Admin> {
        Admin::new(&self.bootstrap())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.spec.lifetime == Lifetime::WithUs {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_what_kafka_accepts() {
        for _ in 0..200 {
            let id = cluster_id();
            assert_eq!(id.len(), 22);
            assert!(!id.starts_with('-'));
            // The last digit carries two bits only; Kafka's own decoder refuses stray ones in strict mode.
            assert!("AQgw".contains(id.chars().last().unwrap()), "{id}");
        }
    }

    #[test]
    fn the_test_bed_stays_on_loopback() {
        let folder = tempfile::tempdir().unwrap();
        let spec = ClusterSpec::new("far", KAFKA_4, &["10.0.0.1".to_owned()], 25_190, folder.path());
        assert!(spec.start().unwrap_err().to_string().contains("loopback"));
    }
}
