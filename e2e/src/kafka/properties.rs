//! The properties file of one broker.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use super::ClusterSpec;

/// Where a broker's properties are.
pub(super) fn path(spec: &ClusterSpec, broker: usize) -> PathBuf {
    spec.folder.join(format!("broker-{broker}.properties"))
}

/// Where a broker's data are.
pub(super) fn data(spec: &ClusterSpec, broker: usize) -> PathBuf {
    spec.folder.join(format!("data-{broker}"))
}

/// Writes the properties of a broker and returns the file.
pub(super) fn write(spec: &ClusterSpec, broker: usize) -> Result<PathBuf> {
    let file = path(spec, broker);
    let mut text = String::new();
    for (key, value) in properties(spec, broker) {
        writeln!(text, "{key}={value}")?;
    }
    std::fs::write(&file, text)?;
    Ok(file)
}

fn properties(spec: &ClusterSpec, broker: usize) -> BTreeMap<String, String> {
    let brokers = spec.hosts.len();
    // Two voters are no better than one: either's loss stops the quorum. Below three brokers only the first votes.
    let voters = if brokers >= 3 { 3 } else { 1 };
    let host = &spec.hosts[broker - 1];
    let (port, controller) = (spec.port, spec.port + 1);
    let replicas = brokers.min(3).to_string();
    let in_sync = brokers.min(3).saturating_sub(1).max(1).to_string();
    let quorum: Vec<String> = (1..=voters).map(|id| format!("{id}@{}:{controller}", spec.hosts[id - 1])).collect();
    let is_controller = broker <= voters;
    let mut listeners = format!("PLAINTEXT://{host}:{port}");
    if is_controller {
        let _ = write!(listeners, ",CONTROLLER://{host}:{controller}");
    }
    let mut all = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        all.insert(key.to_owned(), value.to_owned());
    };
    set("process.roles", if is_controller { "broker,controller" } else { "broker" });
    set("node.id", &broker.to_string());
    set("controller.quorum.voters", &quorum.join(","));
    set("controller.listener.names", "CONTROLLER");
    set("inter.broker.listener.name", "PLAINTEXT");
    set("listeners", &listeners);
    set("advertised.listeners", &format!("PLAINTEXT://{host}:{port}"));
    set("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT");
    set("log.dirs", &data(spec, broker).display().to_string());
    set("num.partitions", "6");
    set("default.replication.factor", &replicas);
    set("min.insync.replicas", "1");
    set("auto.create.topics.enable", "false");
    set("unclean.leader.election.enable", "false");
    set("offsets.topic.replication.factor", &replicas);
    set("offsets.topic.num.partitions", "4");
    set("transaction.state.log.replication.factor", &replicas);
    set("transaction.state.log.min.isr", &in_sync);
    set("transaction.state.log.num.partitions", "4");
    // Small and quick; nothing below changes what clients may rely on.
    set("group.initial.rebalance.delay.ms", "0");
    set("num.network.threads", "2");
    set("num.io.threads", "4");
    set("background.threads", "2");
    set("num.recovery.threads.per.data.dir", "1");
    set("log.cleaner.dedupe.buffer.size", "4194304");
    set("log.index.size.max.bytes", "2097152");
    set("log.retention.check.interval.ms", "300000");
    if !spec.version.starts_with("3.") {
        set("share.coordinator.state.topic.replication.factor", &replicas);
        set("share.coordinator.state.topic.min.isr", "1");
        set("share.coordinator.state.topic.num.partitions", "4");
    }
    all.extend(spec.properties.clone());
    all
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn spec(brokers: u8) -> ClusterSpec {
        let hosts: Vec<String> = (1..=brokers).map(|node| format!("127.0.9.{node}")).collect();
        ClusterSpec::new("east", "4.3.1", &hosts, 25_000, Path::new("/nowhere"))
    }

    #[test]
    fn two_brokers_have_one_voter() {
        let second = properties(&spec(2), 2);
        assert_eq!(second["controller.quorum.voters"], "1@127.0.9.1:25001");
        assert_eq!(second["process.roles"], "broker");
        assert_eq!(second["listeners"], "PLAINTEXT://127.0.9.2:25000");
        assert_eq!(second["offsets.topic.replication.factor"], "2");
    }

    #[test]
    fn three_brokers_have_three_voters() {
        let third = properties(&spec(3), 3);
        assert_eq!(third["process.roles"], "broker,controller");
        assert_eq!(third["transaction.state.log.min.isr"], "2");
        assert!(third["controller.quorum.voters"].contains("3@127.0.9.3:25001"));
    }

    #[test]
    fn any_property_can_be_replaced() {
        let with = spec(1).property("auto.create.topics.enable", "true").property("log.segment.bytes", "1048576");
        let first = properties(&with, 1);
        assert_eq!(first["auto.create.topics.enable"], "true");
        assert_eq!(first["log.segment.bytes"], "1048576");
    }

    #[test]
    fn the_old_kafka_gets_no_property_of_the_new_one() {
        let mut old = spec(1);
        old.version = "3.9.2".to_owned();
        assert!(!properties(&old, 1).contains_key("share.coordinator.state.topic.min.isr"));
    }
}
