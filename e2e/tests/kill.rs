//! `kill -9` at the worst moments, writers that know nothing of Sluice, and the loss of everything but Kafka.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sluice_crds::topic_route::Phase;
use sluice_e2e::history::{Outcome, What};
use sluice_e2e::load::{Load, LoadSpec};
use sluice_e2e::stage::{CLUSTERS, Stage, StageSpec, logs_with};
use sluice_e2e::workload::producer::ProducerSpec;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 6;
const MOVED_WITHIN: Duration = Duration::from_mins(2);

fn start(name: &str, subnet: &str) -> Result<(Stage, Load)> {
    let stage = StageSpec::new(&format!("e2e/{name}"), subnet, 21_000)?.start(|line| eprintln!("{line}"))?;
    stage.create_topic(TOPIC, PARTITIONS)?;
    let mut spec = LoadSpec::new(TOPIC, PARTITIONS, 1_000);
    spec.history = Some(stage.spec().folder.join("history.jsonl"));
    // Somebody has to be told, and to start what was killed.
    spec.stuck_after = Duration::from_mins(1);
    spec.not_idempotent = vec!["bypass".to_owned()];
    let mut load = Load::start(spec, &stage)?;
    load.wait_flowing(Duration::from_mins(1))?;
    Ok((stage, load))
}

/// All is right, but for what `excused` says of the records that were not acknowledged.
fn judge(stage: &Stage, load: Load, excused: bool) -> Result<Vec<sluice_e2e::history::Event>> {
    let finished = load.finish(stage, &mut [], |line| eprintln!("{line}"))?;
    let all_right = if excused { finished.verdict.is_good() && finished.errors.is_empty() } else { finished.is_good() };
    ensure!(all_right, "{}\n{:?}", finished.verdict, finished.errors);
    let panics = logs_with(&stage.spec().folder.join("logs"), &["panicked at"]);
    ensure!(panics.is_empty(), "{panics:?}");
    Ok(finished.events)
}

/// Where the topic is to go next.
fn other(stage: &mut Stage) -> Result<&'static str> {
    let now = stage.mesh()?.route_status(TOPIC)?.and_then(|status| status.to);
    Ok(if now.as_deref() == Some(CLUSTERS[1]) { CLUSTERS[0] } else { CLUSTERS[1] })
}

/// Begins a move, and kills the operator as soon as its status shows `phase`, or `delay` after it shows Fencing.
/// Returns the phase that the status shows afterwards.
fn kill_operator_in(stage: &mut Stage, phase: Phase, delay: Duration) -> Result<Option<Phase>> {
    let to = other(stage)?;
    let mesh = stage.mesh()?;
    mesh.apply_route(TOPIC, to)?;
    let reached = |status: &sluice_crds::TopicRouteStatus| {
        status.to.as_deref() == Some(to) && status.phase.is_some_and(|now| now >= phase)
    };
    mesh.follow_route(TOPIC, Duration::from_mins(1), |_| {}, reached)?;
    std::thread::sleep(delay);
    mesh.kill_operator();
    let seen = mesh.route_status(TOPIC)?.and_then(|status| status.phase);
    // Long enough for held writes to have been given up once, short enough for clients.
    std::thread::sleep(Duration::from_secs(1));
    mesh.start_operator()?;
    mesh.wait_moved(TOPIC, to, MOVED_WITHIN, |_| {})
        .with_context(|| format!("after the operator was killed in {seen:?}"))?;
    Ok(seen)
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn the_operator_is_killed_in_every_phase() -> Result<()> {
    let (mut stage, load) = start("kill-operator", "127.0.19")?;
    for phase in [Phase::Sealing, Phase::Recording, Phase::Switching] {
        // The status is written beside the work and may be late: go on until the phase was met.
        let mut met = Vec::new();
        for round in 0..8 {
            // Aim at the phase itself first, then at moments after the fence.
            let (aim, delay) = if round < 4 { (phase, 0) } else { (Phase::Fencing, 15 * (round - 3)) };
            let seen = kill_operator_in(&mut stage, aim, Duration::from_millis(delay))?;
            eprintln!("aimed at {phase:?}, killed in {seen:?}");
            met.push(seen);
            if seen == Some(phase) {
                break;
            }
        }
        ensure!(met.contains(&Some(phase)), "the operator was never killed in {phase:?}, only in {met:?}");
    }
    judge(&stage, load, false)?;
    Ok(())
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn a_proxy_is_killed_before_and_after_the_switch() -> Result<()> {
    let (mut stage, load) = start("kill-proxy", "127.0.20")?;
    let moments = [Phase::Fencing, Phase::Sealing, Phase::Switching, Phase::Completed];
    for (node, phase) in ["node-1", "node-3", "node-2", "node-4"].into_iter().zip(moments) {
        let to = other(&mut stage)?;
        let mesh = stage.mesh()?;
        mesh.apply_route(TOPIC, to)?;
        let reached = |status: &sluice_crds::TopicRouteStatus| {
            status.to.as_deref() == Some(to) && status.phase.is_some_and(|now| now >= phase)
        };
        mesh.follow_route(TOPIC, Duration::from_mins(1), |_| {}, reached)?;
        mesh.kill_proxy(node)?;
        eprintln!("{node} was killed in {phase:?}");
        std::thread::sleep(Duration::from_secs(2));
        mesh.start_proxy(node)?;
        mesh.wait_moved(TOPIC, to, MOVED_WITHIN, |_| {})
            .with_context(|| format!("after {node} was killed in {phase:?}"))?;
        std::thread::sleep(Duration::from_secs(2));
    }
    judge(&stage, load, false)?;
    Ok(())
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn a_producer_that_bypasses_sluice_is_stopped_by_the_seal() -> Result<()> {
    let (mut stage, mut load) = start("bypass", "127.0.21")?;
    let own = stage.cluster("east")?.bootstrap();
    let bypass = ProducerSpec::new("bypass", &own, TOPIC, 200).set("enable.idempotence", "false").set("acks", "-1");
    let bypass = bypass.start(load.recorder());
    std::thread::sleep(Duration::from_secs(3));
    load.move_to(&mut stage, "west", MOVED_WITHIN, |_| {})?;
    std::thread::sleep(Duration::from_secs(3));
    bypass.stop()?;
    let events = judge(&stage, load, true)?;
    let of_bypass = |wanted: Outcome| {
        events
            .iter()
            .filter(|event| event.process.as_str() == "bypass")
            .filter(|event| matches!(&event.what, What::Send { outcome, .. } if *outcome == wanted))
            .count()
    };
    ensure!(of_bypass(Outcome::Ok) > 100, "it wrote nothing before the move");
    ensure!(of_bypass(Outcome::Fail) > 100, "it was not stopped by the move");
    let others_failed = events.iter().any(|event| {
        event.process.as_str() != "bypass"
            && matches!(&event.what, What::Send { outcome, .. } if *outcome != Outcome::Ok)
    });
    ensure!(!others_failed, "a producer that went through Sluice was refused");
    Ok(())
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn routing_is_restored_from_the_ledger_alone() -> Result<()> {
    let (mut stage, mut load) = start("restore", "127.0.22")?;
    load.move_to(&mut stage, "west", MOVED_WITHIN, |_| {})?;
    load.move_to(&mut stage, "east", MOVED_WITHIN, |_| {})?;
    load.move_to(&mut stage, "west", MOVED_WITHIN, |_| {})?;
    std::thread::sleep(Duration::from_secs(2));
    let mesh = stage.mesh()?;
    let before = mesh.document()?.context("no document")?;
    mesh.kill_operator();
    let directory = mesh.spec().directory.clone();
    for entry in std::fs::read_dir(&directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "resources") {
            continue;
        }
        if path.is_dir() { std::fs::remove_dir_all(&path)? } else { std::fs::remove_file(&path)? }
    }
    // One proxy has lost its memory too.
    mesh.kill_proxy("node-2")?;
    mesh.start_operator()?;
    mesh.start_proxy("node-2")?;
    mesh.wait_ready(&["east", "west"], Duration::from_mins(1))?;
    mesh.wait_moved(TOPIC, "west", MOVED_WITHIN, |_| {})?;
    let after = mesh.document()?.context("no document")?;
    ensure!(after.revision > before.revision, "revision {} after {}", after.revision, before.revision);
    let chains = |document: &sluice_mesh::document::Document| {
        document.topics.iter().find(|topic| topic.name.as_str() == TOPIC).map(|topic| topic.chains.clone())
    };
    ensure!(chains(&before) == chains(&after), "the chains differ: {:?} and {:?}", chains(&before), chains(&after));
    ensure!(chains(&after).is_some_and(|chains| chains.iter().all(|chain| chain.0.len() == 4)), "4 runs each");
    load.move_to(&mut stage, "east", MOVED_WITHIN, |_| {})?;
    std::thread::sleep(Duration::from_secs(2));
    judge(&stage, load, false)?;
    Ok(())
}
