//! The checks before a move, over facts that were read: each a reason and a sentence that says what to do. Pure.

use sluice_mesh::chain::Chain;
use sluice_mesh::name::ClusterName;
use sluice_net::admin::configs::{ConfigValue, MAX_MESSAGE_BYTES};
use sluice_net::admin::topics::TopicView;
use sluice_net::admin::transactions::OpenTransaction;
use sluice_net::log;
use uuid::Uuid;

use super::cut;
use super::problem::{Problem, Reason};
use super::situation::Checked;

/// The largest seal: a batch header alone has 61 bytes.
pub const MAX_SEAL: u64 = 60;

/// A segment as JSON, with every field as long as it can get.
const SEGMENT_BYTES: usize = 400;
/// Segments that a record of the ledger holds, beside 64 KiB for all else.
const MOST_SEGMENTS: usize = (log::MAX_MESSAGE_BYTES - (64 << 10)) / SEGMENT_BYTES;

/// Rights as bits of an `authorized operations` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights(pub i32);

/// One right: Kafka's operation code and name.
type Right = (u8, &'static str);

const READ: Right = (3, "Read");
const WRITE: Right = (4, "Write");
const CREATE: Right = (5, "Create");
const ALTER: Right = (7, "Alter");
const DESCRIBE: Right = (8, "Describe");
const DESCRIBE_CONFIGS: Right = (10, "DescribeConfigs");
const ALTER_CONFIGS: Right = (11, "AlterConfigs");

impl Rights {
    /// The broker did not say.
    pub const UNKNOWN: Self = Self(i32::MIN);

    fn missing(self, needed: &[Right]) -> Vec<&'static str> {
        if self == Self::UNKNOWN {
            return Vec::new();
        }
        needed.iter().filter(|(code, _)| self.0 & (1 << code) == 0).map(|(_, name)| *name).collect()
    }
}

/// One side of a move.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// The cluster.
    pub cluster: ClusterName,
    /// It runs in `KRaft` mode.
    pub kraft: bool,
    /// Live brokers.
    pub brokers: usize,
    /// The topic there.
    pub topic: Option<TopicView>,
    /// The topic's effective configs; empty without a topic.
    pub configs: Vec<ConfigValue>,
    /// Offsets that the topic's partitions have reached; empty without a topic.
    pub ends: Vec<i64>,
    /// What we may do to the topic.
    pub topic_rights: Rights,
    /// What we may do to the cluster.
    pub cluster_rights: Rights,
    /// The cluster's own message.max.bytes, which its topics inherit; `None` if it does not tell.
    pub default_limit: Option<String>,
}

/// All that the checks look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The topic.
    pub topic: String,
    /// Its present home.
    pub from: Side,
    /// Its new home.
    pub to: Side,
    /// Transactions under way that name the topic.
    pub transactions: Vec<OpenTransaction>,
    /// The chains that serve; empty if it never moved.
    pub chains: Vec<Chain>,
    /// Other meshes whose ledger entries name the topic.
    pub strangers: Vec<String>,
    /// What the new home said to a dry run of the creation, if the topic is not there yet: a problem.
    pub creation: Option<Problem>,
}

/// The value of a config, and whether it is set on the topic itself.
pub fn config<'a>(configs: &'a [ConfigValue], name: &str) -> Option<(&'a str, bool)> {
    let config = configs.iter().find(|config| config.name == name)?;
    Some((config.value.as_deref()?, config.overridden))
}

/// The topic-level override of max.message.bytes.
pub fn override_of_seal(configs: &[ConfigValue]) -> Option<String> {
    config(configs, MAX_MESSAGE_BYTES).filter(|(_, overridden)| *overridden).map(|(value, _)| value.to_owned())
}

/// The topic refuses all writes by its max.message.bytes.
pub fn is_sealed(configs: &[ConfigValue]) -> bool {
    config(configs, MAX_MESSAGE_BYTES).and_then(|(value, _)| value.parse::<u64>().ok()).is_some_and(|v| v <= MAX_SEAL)
}

/// The topic's copy on the new home is one of its own former segments.
pub fn is_former(chains: &[Chain], cluster: &ClusterName, id: Uuid) -> bool {
    chains.iter().any(|chain| chain.segments().iter().any(|s| s.cluster == *cluster && s.topic_id == id))
}

/// All checks, the first that fails.
pub fn check(facts: &Facts) -> Result<Checked, Problem> {
    let problem = |reason, message: String| Err(Problem::new(reason, message));
    let (topic, from, to) = (&facts.topic, &facts.from, &facts.to);
    for side in [from, to] {
        if !side.kraft {
            let message = format!("cluster {} is not in KRaft mode: migrate it from ZooKeeper first", side.cluster);
            return problem(Reason::NotKRaft, message);
        }
    }
    let Some(source) = &from.topic else {
        let message =
            format!("topic {topic} is not on {}, where it should be; create it, or delete the route", from.cluster);
        return problem(Reason::TopicNotFound, message);
    };
    same_log(facts, source)?;
    if let Some(mesh) = facts.strangers.first() {
        let message = format!("the ledger says that mesh {mesh:?} moves topic {topic}; delete its route there first");
        return problem(Reason::OtherMeshLedger, message);
    }
    if cut::generation(&facts.chains) == u8::MAX {
        return Err(cut::generations_used_up());
    }
    fits_the_ledger(facts, source)?;
    if config(&from.configs, "cleanup.policy").is_some_and(|(policy, _)| policy.contains("compact")) {
        let message = format!(
            "topic {topic} is compacted: a tombstone that the new cluster has cleaned away would bring an old key back; \
             set cleanup.policy=delete if that is acceptable"
        );
        return problem(Reason::CompactedTopic, message);
    }
    if is_sealed(&from.configs) {
        let message = format!(
            "topic {topic} on {} refuses all writes (max.message.bytes of {MAX_SEAL} or less) and no move of this mesh \
             did that; remove that setting",
            from.cluster
        );
        return problem(Reason::SealedByOthers, message);
    }
    rights(facts)?;
    health(facts, source)?;
    target(facts, source)?;
    if let Some(open) = facts.transactions.first() {
        return Err(open_transaction(topic, open, facts.transactions.len()));
    }
    Ok(passed(facts, source))
}

fn passed(facts: &Facts, source: &TopicView) -> Checked {
    let (from, to) = (&facts.from, &facts.to);
    let replicas = source.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(1);
    let kept = replicas.min(to.brokers).max(1);
    let mut warnings = Vec::new();
    if kept < replicas {
        warnings.push(format!(
            "{} has {} brokers: the topic gets {kept} replicas there instead of {replicas}",
            to.cluster, to.brokers
        ));
    }
    let no_barrier = from.cluster_rights.missing(&[DESCRIBE, ALTER]);
    if !no_barrier.is_empty() {
        warnings.push(format!(
            "without {} on cluster {} appends under way can't be waited out: writers are held a second longer",
            no_barrier.join(" and "),
            from.cluster
        ));
    }
    let pinned = |config: &ConfigValue| {
        let value = config.value.clone().filter(|_| config.name != MAX_MESSAGE_BYTES)?;
        Some((config.name.clone(), value))
    };
    Checked {
        source_id: source.topic_id,
        partitions: source.partitions.len(),
        replication_factor: i16::try_from(kept).unwrap_or(1),
        configs: from.configs.iter().filter_map(pinned).collect(),
        original_max_message_bytes: override_of_seal(&from.configs),
        open_max_message_bytes: config(&from.configs, MAX_MESSAGE_BYTES)
            .filter(|(value, overridden)| *overridden || to.default_limit.as_deref() != Some(*value))
            .map(|(value, _)| value.to_owned()),
        warnings,
    }
}

/// The problem of a transaction that is under way.
pub fn open_transaction(topic: &str, open: &OpenTransaction, count: usize) -> Problem {
    let message = format!(
        "{count} transaction(s) under way name topic {topic}, the first is of transactional id {:?} ({}); wait for the \
         end, or abort it with kafka-transactions.sh",
        open.transactional_id, open.state
    );
    Problem::new(Reason::OpenTransaction, message)
}

fn same_log(facts: &Facts, source: &TopicView) -> Result<(), Problem> {
    let (topic, cluster) = (&facts.topic, &facts.from.cluster);
    if facts.chains.is_empty() {
        return Ok(());
    }
    if facts.chains.iter().any(|chain| chain.last().is_none_or(|last| last.topic_id != source.topic_id)) {
        let message =
            format!("topic {topic} on {cluster} was deleted and created again since it moved there; delete the route");
        return Err(Problem::new(Reason::TopicChanged, message));
    }
    if facts.chains.len() != source.partitions.len() {
        let message = format!(
            "topic {topic} on {cluster} has {} partitions and had {} when it moved there; a topic to which partitions were \
             added after a move can't move again yet",
            source.partitions.len(),
            facts.chains.len()
        );
        return Err(Problem::new(Reason::TopicChanged, message));
    }
    Ok(())
}

/// The cut is one record, so that it is there whole or not at all; its size shows before anything is held for it.
fn fits_the_ledger(facts: &Facts, source: &TopicView) -> Result<(), Problem> {
    let kept: usize = facts.chains.iter().flat_map(Chain::segments).count();
    let partitions = source.partitions.len();
    // A partition that never moved gets its first segment and its second.
    let added = if facts.chains.is_empty() { partitions.saturating_mul(2) } else { partitions };
    let segments = kept.saturating_add(added);
    if segments > MOST_SEGMENTS {
        let message = format!(
            "topic {} would have {segments} segments in {partitions} partitions after this move, and a ledger record holds              {MOST_SEGMENTS}; leave it where it is, or move it before it gets so many partitions",
            facts.topic
        );
        return Err(Problem::new(Reason::TooManyPartitions, message));
    }
    Ok(())
}

fn rights(facts: &Facts) -> Result<(), Problem> {
    let needed = [DESCRIBE, READ, WRITE, DESCRIBE_CONFIGS, ALTER_CONFIGS];
    for side in [&facts.from, &facts.to].into_iter().filter(|side| side.topic.is_some()) {
        let missing = side.topic_rights.missing(&needed);
        if !missing.is_empty() {
            let message = format!(
                "the operator lacks {} on topic {} of cluster {}; grant it by an ACL",
                missing.join(", "),
                facts.topic,
                side.cluster
            );
            return Err(Problem::new(Reason::MissingRights, message));
        }
    }
    if facts.to.topic.is_none() && !facts.to.cluster_rights.missing(&[CREATE]).is_empty() && facts.creation.is_some() {
        let message = format!("the operator lacks Create on cluster {}; grant it by an ACL", facts.to.cluster);
        return Err(Problem::new(Reason::MissingRights, message));
    }
    facts.creation.clone().map_or(Ok(()), Err)
}

fn health(facts: &Facts, source: &TopicView) -> Result<(), Problem> {
    let cluster = &facts.from.cluster;
    let minimum =
        config(&facts.from.configs, "min.insync.replicas").and_then(|(value, _)| value.parse().ok()).unwrap_or(1);
    for p in &source.partitions {
        let name = format!("partition {} of {} on {cluster}", p.partition, facts.topic);
        if p.leader < 0 {
            let message = format!("{name} has no leader; bring its brokers {:?} back first", p.replicas);
            return Err(Problem::new(Reason::NoLeader, message));
        }
        let needed = p.replicas.len().min(minimum);
        if p.isr.len() < needed {
            let message = format!(
                "{name} has {} replicas in sync and needs {needed}; bring its brokers {:?} back first",
                p.isr.len(),
                p.replicas
            );
            return Err(Problem::new(Reason::UnderMinIsr, message));
        }
    }
    Ok(())
}

fn target(facts: &Facts, source: &TopicView) -> Result<(), Problem> {
    let (topic, to) = (&facts.topic, &facts.to);
    let Some(target) = &to.topic else { return Ok(()) };
    if target.partitions.len() != source.partitions.len() {
        let message = format!(
            "topic {topic} has {} partitions on {} and {} on {}; make them equal, or delete the one on {}",
            source.partitions.len(),
            facts.from.cluster,
            target.partitions.len(),
            to.cluster,
            to.cluster
        );
        return Err(Problem::new(Reason::PartitionCountMismatch, message));
    }
    if is_former(&facts.chains, &to.cluster, target.topic_id) {
        return Ok(());
    }
    let held: i64 = to.ends.iter().map(|end| (*end).max(0)).fold(0, i64::saturating_add);
    if held > 0 {
        let message = format!(
            "topic {topic} exists on {} and has held {held} records that are not part of this topic; delete it there, or \
             route another topic",
            to.cluster
        );
        return Err(Problem::new(Reason::TargetNotEmpty, message));
    }
    if !is_sealed(&to.configs) {
        let message = format!(
            "topic {topic} exists on {}, empty but open for writes, and was not made by this mesh; delete it there: the \
             move creates it with the right settings",
            to.cluster
        );
        return Err(Problem::new(Reason::TargetNotEmpty, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
