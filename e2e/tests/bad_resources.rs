//! Resources that cannot work: each gets a condition with a sentence that says what to do, and clients notice nothing.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use sluice_crds::TopicRouteStatus;
use sluice_crds::topic_route::Phase;
use sluice_e2e::mesh::{route_yaml, summary};
use sluice_e2e::process::Spawn;
use sluice_e2e::stage::{Stage, StageSpec};

const WITHIN: Duration = Duration::from_secs(40);

fn stage(name: &str, subnet: &str) -> Result<Stage> {
    StageSpec::new(&format!("e2e/{name}"), subnet, 21_000)?.start(|line| eprintln!("{line}"))
}

/// Waits until some condition of the route has this reason, and checks its words.
fn refused(stage: &mut Stage, route: &str, reason: &str) -> Result<()> {
    let has = |status: &TopicRouteStatus| status.conditions.iter().any(|condition| condition.reason == reason);
    let status = stage
        .mesh()?
        .follow_route(route, WITHIN, |_| {}, has)
        .with_context(|| format!("waiting for the reason {reason}"))?;
    let condition = status.conditions.iter().find(|condition| condition.reason == reason).context("a condition")?;
    eprintln!("{route}: {} = {} ({reason}): {}", condition.type_, condition.status, condition.message);
    ensure!(
        condition.message.split_whitespace().count() >= 6,
        "{reason}: {:?} is no sentence that says what to do",
        condition.message
    );
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").context("no Ready condition")?;
    ensure!(ready.status == "False", "the route is Ready all the same: {}", summary(&status));
    ensure!(
        status.phase.is_none_or(|phase| matches!(phase, Phase::Pending | Phase::Preparing)),
        "it went as far as {:?}",
        status.phase
    );
    Ok(())
}

/// Clients still write to the topic, on the cluster where it was.
fn unchanged(stage: &Stage, topic: &str, cluster: &str) -> Result<()> {
    let document = stage.mesh.as_ref().context("a mesh")?.document()?.context("no document")?;
    if let Some(entry) = document.topics.iter().find(|entry| entry.name.as_str() == topic) {
        ensure!(entry.cluster.as_str() == cluster, "{topic} is on {}", entry.cluster);
        ensure!(entry.fence.is_none(), "{topic} is fenced");
        ensure!(entry.chains.iter().all(|chain| chain.0.len() <= 1), "{topic} has moved");
    }
    write(&stage.bootstrap(), topic, 3).with_context(|| format!("writing to {topic}"))
}

fn write(bootstrap: &str, topic: &str, count: u32) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("message.timeout.ms", "15000")
        .set("enable.idempotence", "true")
        .create()?;
    for number in 0..count {
        let text = number.to_string();
        producer.send(BaseRecord::to(topic).key(&text).payload(&text)).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(20))?;
    ensure!(producer.in_flight_count() == 0, "records are left over");
    Ok(())
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn each_gets_a_reason_and_nothing_changes() -> Result<()> {
    let mut stage = stage("bad-resources", "127.0.23")?;
    for topic in ["plain", "full", "uneven", "claimed"] {
        stage.create_topic(topic, 2)?;
    }
    stage.create_topic_on("east", "compacted", 2, &[("cleanup.policy", "compact")])?;
    let west = stage.cluster("west")?.admin()?;
    west.create_topic("full", 2, 2, &[])?;
    west.create_topic("uneven", 3, 2, &[])?;
    write(&stage.cluster("west")?.bootstrap(), "full", 10)?;

    unknown_things(&mut stage)?;
    topics_that_cannot_move(&mut stage)?;
    two_routes(&mut stage)?;
    specs_that_break_a_rule(&mut stage)?;

    // A cause that is removed lets the move go on by itself.
    stage.cluster("west")?.admin()?.delete_topic("uneven")?;
    stage.mesh()?.wait_moved("uneven", "west", Duration::from_mins(2), |_| {})?;
    Ok(())
}

fn unknown_things(stage: &mut Stage) -> Result<()> {
    stage.mesh()?.apply_route("plain", "north")?;
    refused(stage, "plain", "ClusterNotFound")?;
    unchanged(stage, "plain", "east")?;
    stage.mesh()?.apply_route("plain", "west")?;
    stage.mesh()?.wait_moved("plain", "west", WITHIN, |_| {})?;
    stage.mesh()?.apply_route("no-such-topic", "west")?;
    refused(stage, "no-such-topic", "TopicNotFound")
}

fn topics_that_cannot_move(stage: &mut Stage) -> Result<()> {
    for (topic, reason) in
        [("full", "TargetNotEmpty"), ("uneven", "PartitionCountMismatch"), ("compacted", "CompactedTopic")]
    {
        stage.mesh()?.apply_route(topic, "west")?;
        refused(stage, topic, reason)?;
        unchanged(stage, topic, "east")?;
    }
    Ok(())
}

fn two_routes(stage: &mut Stage) -> Result<()> {
    let mesh = stage.mesh()?;
    mesh.apply("first.yaml", &route_yaml("first", "claimed", "east"))?;
    mesh.follow_route("first", WITHIN, |_| {}, |status| status.phase == Some(Phase::Completed))?;
    // The order of creation is told in seconds.
    std::thread::sleep(Duration::from_millis(1_500));
    mesh.apply("second.yaml", &route_yaml("second", "claimed", "west"))?;
    refused(stage, "second", "Conflicted")?;
    unchanged(stage, "claimed", "east")
}

fn specs_that_break_a_rule(stage: &mut Stage) -> Result<()> {
    let text = route_yaml("long", "claimed", "west") + "  move:\n    pauseBudget: 9h\n";
    stage.mesh()?.apply("long.yaml", &text)?;
    refused(stage, "long", "Invalid")?;
    // Nonsense in one file stalls no other.
    stage.mesh()?.apply("nonsense.yaml", "kind: [TopicRoute\n")?;
    stage.mesh()?.apply("unknown.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n")?;
    stage.mesh()?.apply_route("after-nonsense", "north")?;
    refused(stage, "after-nonsense", "ClusterNotFound")?;
    stage.mesh()?.check_alive()
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn an_open_transaction_is_waited_for() -> Result<()> {
    let mut stage = stage("open-transaction", "127.0.24")?;
    stage.create_topic("orders", 2)?;
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", stage.bootstrap())
        .set("transactional.id", "slow")
        .set("transaction.timeout.ms", "120000")
        .create()?;
    let limit = Duration::from_secs(30);
    producer.init_transactions(limit)?;
    producer.begin_transaction()?;
    for number in 0..10 {
        let text = number.to_string();
        producer.send(BaseRecord::to("orders").key(&text).payload(&text)).map_err(|(error, _)| error)?;
    }
    producer.flush(limit)?;
    stage.mesh()?.apply_route("orders", "west")?;
    refused(&mut stage, "orders", "OpenTransaction")?;
    producer.commit_transaction(limit).context("the transaction was harmed")?;
    stage.mesh()?.wait_moved("orders", "west", Duration::from_mins(2), |_| {})?;
    unchanged(&stage, "orders", "west").or_else(|_| write(&stage.bootstrap(), "orders", 3))
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn a_missing_right_is_named() -> Result<()> {
    let mut stage = StageSpec::new("e2e/missing-right", "127.0.25", 21_000)?
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("allow.everyone.if.no.acl.found", "true")
        .start(|line| eprintln!("{line}"))?;
    stage.create_topic("orders", 2)?;
    acl(&stage, &["--allow-principal", "User:*", "--operation", "All"])?;
    acl(&stage, &["--deny-principal", "User:*", "--operation", "AlterConfigs"])?;
    stage.mesh()?.apply_route("orders", "west")?;
    refused(&mut stage, "orders", "MissingRights")?;
    unchanged(&stage, "orders", "east")
}

fn acl(stage: &Stage, what: &[&str]) -> Result<()> {
    let east = stage.cluster("east")?;
    let log = stage.client_folder().join("acl.log");
    let spawn: Spawn = east.jars().java("acl", &log);
    let mut tool = spawn
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "org.apache.kafka.tools.AclCommand"])
        .args(["--bootstrap-server", &east.bootstrap(), "--add", "--force", "--topic", "orders"])
        .args(what.iter().copied())
        .start()?;
    while tool.alive() {
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(tool.log_tail(200).contains("Adding ACLs"), "AclCommand: {}", tool.log_tail(20));
    Ok(())
}
