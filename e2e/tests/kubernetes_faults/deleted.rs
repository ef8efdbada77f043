//! Objects are deleted: a route in each phase of its move, and a cluster that topics need.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sluice_crds::topic_route::Phase;
use sluice_e2e::kafka::Admin;
use sluice_e2e::load::Load;
use sluice_e2e::mesh::{Kind, Kubernetes, Mesh};
use sluice_e2e::stage::{CLUSTERS, Stage};

use super::{MOVED_WITHIN, PARTITIONS, Routes, TOPIC, has_reached, judge, load, logs_are_clean, other, stage, until};

const ROUNDS: u64 = 10;
/// A move that is rolled back or finished without its route is over by then.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// The value of max.message.bytes that lets the smallest batch in.
const SEALED_BELOW: i64 = 61;
const PLAIN: &str = "on-west";

#[test]
#[ignore = "needs Kafka and Kubernetes: run by make e2e-kubernetes"]
fn a_route_is_deleted_in_every_phase_of_its_move() -> Result<()> {
    let mut stage = stage("kubernetes-deleted", "127.0.36", "127.0.30.22", 2)?;
    stage.create_topic(TOPIC, PARTITIONS)?;
    // The usual bound: neither a move nor its end by a deletion is worth more than a moment to clients.
    let load = load(&stage, TOPIC, PARTITIONS, Duration::from_secs(15))?;
    let routes = Routes::new(stage.mesh()?.kubernetes()?)?;
    let mut at = CLUSTERS[0];
    for phase in [Phase::Preparing, Phase::Fencing, Phase::Sealing, Phase::Recording, Phase::Switching] {
        let mut met = Vec::new();
        for round in 0..ROUNDS {
            // The status is written beside the work and may be late: aim at the phase, then at moments before it.
            let (aim, delay) = match phase {
                Phase::Recording | Phase::Switching if round >= 4 => (Phase::Fencing, 15 * (round - 3)),
                _ => (phase, 0),
            };
            let seen = delete_in(&mut stage, &routes, at, aim, Duration::from_millis(delay))?;
            let now = settled(&stage, &load, at)?;
            eprintln!("aimed at {phase:?}, deleted in {seen:?}: the topic is on {now}");
            // The shown phase is never ahead of the real one.
            ensure!(
                !matches!(seen, Some(Phase::Switching | Phase::Completed)) || now != at,
                "the cut was made, but the topic is on {now} again"
            );
            met.push((seen, now == at));
            at = applied_again(stage.mesh()?, other(at))?;
            if hit(phase, &met) {
                break;
            }
        }
        ensure!(hit(phase, &met), "deleted in {phase:?} without the right end: phase and whether it stayed: {met:?}");
    }
    judge(&stage, load)
}

/// Whether the route was deleted in that phase, with what must come of it.
fn hit(phase: Phase, met: &[(Option<Phase>, bool)]) -> bool {
    met.iter().any(|(seen, stayed)| {
        *seen == Some(phase)
            && match phase {
                Phase::Preparing | Phase::Fencing | Phase::Sealing => *stayed,
                // The cut may be in the ledger or not.
                Phase::Recording => true,
                _ => !*stayed,
            }
    })
}

/// Begins a move away from `at` and deletes its route in a phase, with the operator standing still meanwhile. Returns the
/// phase that the object showed at its end.
fn delete_in(stage: &mut Stage, routes: &Routes, at: &str, aim: Phase, delay: Duration) -> Result<Option<Phase>> {
    let to = other(at);
    let mesh = stage.mesh()?;
    mesh.apply_route(TOPIC, to)?;
    mesh.follow_route(TOPIC, Duration::from_mins(1), |_| {}, |status| has_reached(status, aim, to))?;
    std::thread::sleep(delay);
    mesh.operator()?.pause();
    let seen = routes.phase(TOPIC)?;
    routes.delete(TOPIC)?;
    mesh.operator()?.resume();
    // It is gone at once: nothing holds it back, and `kubectl delete` returns.
    mesh.kubernetes()?.kubectl().run(&["wait", "--for=delete", "troute", TOPIC, "--timeout=10s"])?;
    Ok(seen)
}

/// Waits until the topic is where it is to stay, and takes writes there. Returns that cluster.
fn settled(stage: &Stage, load: &Load, before: &str) -> Result<&'static str> {
    let mesh = stage.mesh.as_ref().context("a mesh")?;
    let mut now = before;
    until("the topic is at rest after its route was deleted", SETTLED_WITHIN, || {
        let document = mesh.document()?.context("no document")?;
        let entry = document.topics.iter().find(|topic| topic.name.as_str() == TOPIC);
        now = CLUSTERS[usize::from(entry.is_some_and(|topic| topic.cluster.as_str() == CLUSTERS[1]))];
        if entry.is_some_and(|topic| topic.fence.is_some()) {
            return Ok(Err(format!("it is fenced on {now}")));
        }
        is_open(&stage.cluster(now)?.admin()?, now)
    })?;
    let begin = load.recorder().counts().acknowledged;
    until("writes go on after the route was deleted", Duration::from_secs(10), || {
        let done = load.recorder().counts().acknowledged - begin;
        Ok(if done >= 1_000 { Ok(()) } else { Err(format!("{done} records were acknowledged")) })
    })?;
    // It does not change its mind.
    let document = mesh.document()?.context("no document")?;
    let entry = document.topics.iter().find(|topic| topic.name.as_str() == TOPIC);
    let (cluster, fenced) = entry.map_or((CLUSTERS[0], false), |t| (t.cluster.as_str(), t.fence.is_some()));
    ensure!(cluster == now && !fenced, "the topic was at rest on {now}, and now it is on {cluster} (fenced: {fenced})");
    is_open(&stage.cluster(now)?.admin()?, now)?.map_err(anyhow::Error::msg)?;
    Ok(if now == CLUSTERS[0] { CLUSTERS[0] } else { CLUSTERS[1] })
}

/// Whether a cluster's copy lets writes in.
fn is_open(admin: &Admin, cluster: &str) -> Result<Result<(), String>> {
    let value = admin.topic_config(TOPIC, "max.message.bytes")?.unwrap_or_default();
    let bytes: i64 = value.parse().with_context(|| format!("max.message.bytes={value}"))?;
    Ok(if bytes >= SEALED_BELOW {
        Ok(())
    } else {
        Err(format!("it is sealed on {cluster}: max.message.bytes={bytes}"))
    })
}

/// The same route works as if nothing had been.
fn applied_again(mesh: &mut Mesh, to: &'static str) -> Result<&'static str> {
    mesh.apply_route(TOPIC, to)?;
    mesh.wait_moved(TOPIC, to, MOVED_WITHIN, |_| {}).context("the route was applied again")?;
    Ok(to)
}

#[test]
#[ignore = "needs Kafka and Kubernetes: run by make e2e-kubernetes"]
fn a_deleted_cluster_stays_until_no_topic_needs_it() -> Result<()> {
    let mut stage = stage("kubernetes-in-use", "127.0.37", "127.0.30.23", 1)?;
    stage.create_topic(TOPIC, 1)?;
    stage.create_topic_on(CLUSTERS[1], PLAIN, 1, &[])?;
    let kubernetes = stage.mesh()?.kubernetes()?;
    until("the cluster says who needs it", Duration::from_secs(20), || needed_by(kubernetes, PLAIN))?;

    stage.mesh()?.delete_cluster(CLUSTERS[1])?;
    let kubernetes = stage.mesh()?.kubernetes()?;
    until("the deleted cluster says why it stays", Duration::from_secs(10), || {
        let object = cluster(kubernetes)?.context("KafkaCluster west is gone, though a topic needs it")?;
        ensure!(object.pointer("/metadata/deletionTimestamp").is_some(), "it is not marked for deletion: {object:#}");
        let ready = condition(&object, "Ready").context("no Ready condition")?;
        let told = ready["status"] == "False" && ready["message"].as_str().is_some_and(|text| text.contains("inUse"));
        Ok(if told { Ok(()) } else { Err(format!("it says {ready}")) })
    })?;
    // For as long as it takes, and clients see what it has.
    std::thread::sleep(Duration::from_secs(3));
    needed_by(kubernetes, PLAIN)?.map_err(anyhow::Error::msg)?;
    ensure!(stage.admin()?.topics()?.contains(&PLAIN.to_owned()), "clients don't see topic {PLAIN} any more");

    stage.cluster(CLUSTERS[1])?.admin()?.delete_topic(PLAIN)?;
    let kubernetes = stage.mesh()?.kubernetes()?;
    let took = until("the cluster goes when nothing needs it", Duration::from_mins(1), || {
        Ok(match cluster(kubernetes)? {
            None => Ok(()),
            Some(object) => Err(format!("it is still there: {:#}", object["status"])),
        })
    })?;
    eprintln!("KafkaCluster west was gone {took:?} after the last topic that needed it");
    let kubectl = kubernetes.kubectl();
    kubectl.run(&["wait", "--for=delete", "kafkacluster", CLUSTERS[1], "--timeout=10s"])?;

    // It can come back.
    let bootstrap = stage.cluster(CLUSTERS[1])?.bootstrap();
    let mesh = stage.mesh()?;
    mesh.apply_cluster(CLUSTERS[1], &bootstrap, false)?;
    until("the new object is its own", Duration::from_secs(20), || {
        Ok(mesh.cluster_status(CLUSTERS[1])?.map(drop).ok_or_else(|| "no status yet".to_owned()))
    })?;
    mesh.wait_ready(&CLUSTERS, Duration::from_secs(30))?;
    applied_again(mesh, CLUSTERS[1])?;
    // And now it is needed by what was moved.
    mesh.delete(Kind::TopicRoute, TOPIC)?;
    until("the cluster says who needs it", Duration::from_secs(20), || needed_by(mesh.kubernetes()?, TOPIC))?;
    logs_are_clean(&stage)
}

fn cluster(kubernetes: &Kubernetes) -> Result<Option<Value>> {
    let text =
        kubernetes.kubectl().run(&["get", "kafkacluster", CLUSTERS[1], "--ignore-not-found", "--output=json"])?;
    if text.trim().is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(&text)?)) }
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Whether the cluster is held, and lists exactly this topic.
fn needed_by(kubernetes: &Kubernetes, topic: &str) -> Result<Result<(), String>> {
    let object = cluster(kubernetes)?.context("KafkaCluster west is not there")?;
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array).map_or(0, Vec::len);
    let rows = object.pointer("/status/inUse").and_then(Value::as_array).cloned().unwrap_or_default();
    let topics: BTreeSet<&str> = rows.iter().filter_map(|row| row["topic"].as_str()).collect();
    Ok(if finalizers == 1 && topics == BTreeSet::from([topic]) {
        Ok(())
    } else {
        Err(format!("{finalizers} finalizers, needed by {topics:?}"))
    })
}
