//! `make playground`: two real Kafka clusters with Sluice in front of them, left running in the background.
//! `make playground-down`: ends exactly those processes.

#![allow(clippy::print_stdout, reason = "a program for people: its output is its purpose")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use sluice_e2e::kafka::KAFKA_4;
use sluice_e2e::noted;
use sluice_e2e::process::Lifetime;
use sluice_e2e::stage::{CLUSTERS, Stage, StageSpec};

/// Processes have this long to end by themselves.
const END_WITHIN: Duration = Duration::from_secs(8);

/// Two real Kafka clusters with Sluice in front of them, left running.
#[derive(Debug, Parser)]
#[command(name = "playground", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts it
    Up(Up),
    /// Ends it
    Down {
        /// Also removes its folder
        #[arg(long)]
        wipe: bool,
    },
}

#[derive(Debug, Parser)]
struct Up {
    /// Brokers per cluster
    #[arg(long, env = "BROKERS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    brokers: u8,
    /// Kafka of the home cluster, east
    #[arg(long, env = "KAFKA_A", default_value = KAFKA_4)]
    kafka_a: String,
    /// Kafka of the other cluster, west
    #[arg(long, env = "KAFKA_B", default_value = KAFKA_4)]
    kafka_b: String,
    /// Bootstrap port through Sluice; it and the next 110 are used on every node's address
    #[arg(long, env = "PORT", default_value_t = 9092)]
    port: u16,
    /// First three numbers of the loopback addresses to use
    #[arg(long, env = "SUBNET", default_value = "127.0.2")]
    subnet: String,
    /// Whether the brokers create topics on first use
    #[arg(long, env = "AUTO_CREATE", default_value_t = false, action = clap::ArgAction::Set)]
    auto_create: bool,
    /// Partitions of topics that are created without a number
    #[arg(long, env = "PARTITIONS", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    partitions: u16,
    /// Any broker properties: "key=value key=value"
    #[arg(long, env = "KAFKA_SET", default_value = "")]
    kafka_set: String,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "warn,sluice_e2e=info,librdkafka=off".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let result = match Args::parse().command {
        Command::Up(up) => start(&up),
        Command::Down { wipe } => end(wipe),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("playground: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn folder() -> Result<PathBuf> {
    Ok(sluice_e2e::target_folder()?.join("playground"))
}

/// Where the pids and start times are: one process a line, `pid start name`.
fn pid_file(folder: &Path) -> PathBuf {
    folder.join("processes")
}

fn start(up: &Up) -> Result<()> {
    let folder = folder()?;
    if let Some(noted::Noted { pid, .. }) = noted::running(&pid_file(&folder))?.first() {
        bail!("a playground is running already (pid {pid}); end it first: make playground-down");
    }
    let mut spec = StageSpec::new("playground", &up.subnet, up.port)?
        .property("auto.create.topics.enable", &up.auto_create.to_string())
        .property("num.partitions", &up.partitions.to_string());
    for (key, value) in settings(&up.kafka_set)? {
        spec = spec.property(key, value);
    }
    spec.brokers = usize::from(up.brokers);
    spec.versions = [up.kafka_a.clone(), up.kafka_b.clone()];
    spec.lifetime = Lifetime::Detached;
    let guard = Guard(folder.clone());
    let stage =
        spec.start_recording(|line| println!("{line}"), |stage| noted::write(&pid_file(&folder), stage.processes()))?;
    let env = env(&stage, &folder);
    let text: String = env.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key}={value}");
        text
    });
    sluice_e2e::write_by_rename(&folder.join("env"), &text)?;
    tell(&stage, &folder, up);
    std::mem::drop(guard.keep());
    Ok(())
}

/// Ends what was started if the start does not come to its end.
struct Guard(PathBuf);

impl Guard {
    /// All is well: keep everything.
    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // The error that brought us here is the one to tell.
            let _ = end_all(&self.0);
        }
    }
}

/// "k=v k=v" as pairs.
fn settings(text: &str) -> Result<Vec<(&str, &str)>> {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').with_context(|| format!("KAFKA_SET: {pair:?} is not key=value")))
        .collect()
}

fn env(stage: &Stage, folder: &Path) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: String| env.push((key.to_owned(), value));
    set("BOOTSTRAP", stage.bootstrap());
    for (letter, cluster) in ["A", "B"].into_iter().zip(&stage.clusters) {
        set(&format!("BOOTSTRAP_{letter}"), cluster.bootstrap());
        set(&format!("CLUSTER_{letter}"), cluster.name().to_owned());
        set(&format!("KAFKA_{letter}"), cluster.spec().version.clone());
    }
    if let Some(mesh) = &stage.mesh {
        let spec = mesh.spec();
        set("RESOURCES", mesh.resources().display().to_string());
        set("STATUS", spec.directory.join("status").display().to_string());
        set("DIRECTORY", spec.directory.display().to_string());
        set("OPERATOR_ADMIN", format!("{}:{}", spec.nodes[0].host, spec.operator_admin));
        let proxies: Vec<String> =
            spec.nodes.iter().map(|node| format!("{}:{}", node.host, spec.proxy_admin)).collect();
        set("PROXY_ADMIN", proxies.join(","));
        set("LOGS", spec.logs.display().to_string());
    }
    set("KAFKA_LOGS", folder.join("kafka").display().to_string());
    set(
        "JARS",
        sluice_e2e::target_folder().map(|target| target.join("kafka")).unwrap_or_default().display().to_string(),
    );
    for process in stage.processes() {
        let name = process.name().to_ascii_uppercase().replace('-', "_");
        set(&format!("PID_{name}"), process.pid().to_string());
    }
    env
}

fn tell(stage: &Stage, folder: &Path, up: &Up) {
    let Some(mesh) = &stage.mesh else { return };
    let resources = mesh.resources();
    let status = mesh.spec().directory.join("status");
    let tools = format!("java -cp 'target/kafka/{}/*' org.apache.kafka.tools", up.kafka_a);
    let first = mesh.bootstrap().split(',').next().unwrap_or_default().to_owned();
    println!("\nThrough Sluice   {}", mesh.bootstrap());
    for cluster in &stage.clusters {
        println!("{:<6} itself    {}", cluster.name(), cluster.bootstrap());
    }
    println!("YAML goes to     {}", resources.display());
    println!("status is in     {}", status.display());
    println!("the same as KEY=VALUE lines in {}", folder.join("env").display());
    println!("\nTry:");
    println!("  1. {tools}.TopicCommand --bootstrap-server {first} --create --topic orders --partitions 6");
    println!("  2. {tools}.VerifiableProducer --bootstrap-server {first} --topic orders --throughput 100");
    println!("  3. in another terminal, move the topic while the producer runs, and read how it went:");
    println!("     cat > {}/orders.yaml <<'END'", resources.display());
    for line in sluice_e2e::mesh::route_yaml("orders", "orders", CLUSTERS[1]).lines() {
        println!("     {line}");
    }
    println!("     END");
    println!("     sleep 2; cat {}/topicroute/orders.yaml", status.display());
    println!("\nEnd it: make playground-down");
}

fn end(wipe: bool) -> Result<()> {
    let folder = folder()?;
    let ended = end_all(&folder)?;
    let left = noted::running(&pid_file(&folder))?;
    ensure!(left.is_empty(), "still running: {left:?}");
    println!("playground: {ended} processes ended");
    for file in [pid_file(&folder), folder.join("env")] {
        if file.exists() {
            std::fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        }
    }
    if wipe && folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

/// Sluice first, so that it does not complain of brokers that go away; then all brokers at once.
fn end_all(folder: &Path) -> Result<usize> {
    let is_broker = |process: &noted::Noted| CLUSTERS.iter().any(|cluster| process.name.starts_with(cluster));
    let (brokers, sluice) = noted::running(&pid_file(folder))?.into_iter().partition(is_broker);
    Ok(noted::end(sluice, END_WITHIN) + noted::end(brokers, END_WITHIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_properties_are_pairs() {
        assert_eq!(settings("a=1  b.c=x=y ").unwrap(), [("a", "1"), ("b.c", "x=y")]);
        assert!(settings("a").unwrap_err().to_string().contains("KAFKA_SET"));
        assert_eq!(settings("").unwrap(), []);
    }
}
