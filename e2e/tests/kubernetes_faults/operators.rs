//! Two operators, of which the leader is stopped and woken.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sluice_crds::topic_route::Phase;
use sluice_e2e::mesh::{Mesh, OPERATOR, SECOND_OPERATOR};
use sluice_e2e::stage::CLUSTERS;

use super::{MOVED_WITHIN, PARTITIONS, Routes, TOPIC, has_reached, judge, load, other, stage, until};

/// A Lease runs out after 5 s; a candidate looks twice a second.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(15);
const ROUNDS: u64 = 12;

#[test]
#[ignore = "needs Kafka and Kubernetes: run by make e2e-kubernetes"]
fn a_leader_that_was_stopped_in_sealing_does_no_harm_when_it_wakes() -> Result<()> {
    let mut stage = stage("kubernetes-two-operators", "127.0.35", "127.0.30.21", 2)?;
    stage.create_topic(TOPIC, PARTITIONS)?;
    let mesh = stage.mesh()?;
    mesh.start_second_operator()?;
    until("the second operator stands by", Duration::from_secs(20), || {
        let log = std::fs::read_to_string(mesh.spec().logs.join(format!("{SECOND_OPERATOR}.log")))?;
        Ok(if log.contains("standing by") { Ok(()) } else { Err(log) })
    })?;
    // What was held while the leader was stopped is late: somebody has to notice and to take over.
    let load = load(&stage, TOPIC, PARTITIONS, Duration::from_mins(1))?;

    let (stopped, mut at) = stop_the_leader_in_sealing(stage.mesh()?)?;
    let mesh = stage.mesh()?;
    let successor = if stopped == OPERATOR { SECOND_OPERATOR } else { OPERATOR };
    let took = until("the other operator leads", TAKEN_OVER_WITHIN, || {
        let leader = mesh.kubernetes()?.leader()?;
        Ok(if leader.as_deref() == Some(successor) { Ok(()) } else { Err(format!("the leader is {leader:?}")) })
    })?;
    eprintln!("{successor} leads {took:?} after {stopped} was stopped; {stopped} wakes");
    // At once: the successor is busy with the very move that the woken one believes to be its own.
    mesh.operator_named(stopped)?.resume();
    at = other(at);
    mesh.wait_moved(TOPIC, at, MOVED_WITHIN, |_| {}).context("after another operator took over")?;
    until("the woken operator stands by", Duration::from_secs(20), || one_leads(mesh, successor))?;

    at = other(at);
    mesh.apply_route(TOPIC, at)?;
    mesh.wait_moved(TOPIC, at, MOVED_WITHIN, |_| {}).context("the move after")?;
    // The Lease never goes back and forth.
    for _ in 0..10 {
        let leader = mesh.kubernetes()?.leader()?;
        ensure!(leader.as_deref() == Some(successor), "{leader:?} leads instead of {successor}");
        std::thread::sleep(Duration::from_millis(300));
    }
    one_leads(mesh, successor)?.map_err(anyhow::Error::msg)?;
    mesh.check_alive()?;

    // It is as good as new: it leads when its turn comes.
    mesh.kill_operator_named(successor);
    until("the woken operator leads again", TAKEN_OVER_WITHIN, || {
        let leader = mesh.kubernetes()?.leader()?;
        Ok(if leader.as_deref() == Some(stopped) { Ok(()) } else { Err(format!("the leader is {leader:?}")) })
    })?;
    at = other(at);
    mesh.apply_route(TOPIC, at)?;
    mesh.wait_moved(TOPIC, at, MOVED_WITHIN, |_| {}).context("the move by the woken operator")?;
    judge(&stage, load)
}

/// Begins moves until the leader could be stopped while one was in Sealing. Returns its name, and where the topic is at
/// home.
fn stop_the_leader_in_sealing(mesh: &mut Mesh) -> Result<(&'static str, &'static str)> {
    let routes = Routes::new(mesh.kubernetes()?)?;
    let (mut at, mut met) = (CLUSTERS[0], Vec::new());
    for round in 0..ROUNDS {
        let leader = mesh.kubernetes()?.leader()?.context("nobody leads")?;
        let leader = if leader == OPERATOR { OPERATOR } else { SECOND_OPERATOR };
        let to = other(at);
        // The status is written beside the work and may be late: aim at the phase itself first, then at moments after
        // the fence.
        let (aim, delay) = if round < 6 { (Phase::Sealing, 0) } else { (Phase::Fencing, 10 * (round - 5)) };
        mesh.apply_route(TOPIC, to)?;
        mesh.follow_route(TOPIC, Duration::from_mins(1), |_| {}, |status| has_reached(status, aim, to))?;
        std::thread::sleep(Duration::from_millis(delay));
        mesh.operator_named(leader)?.pause();
        let seen = routes.phase(TOPIC)?;
        eprintln!("aimed at Sealing on the way to {to}, {leader} stopped in {seen:?}");
        if seen == Some(Phase::Sealing) {
            return Ok((leader, at));
        }
        met.push(seen);
        mesh.operator_named(leader)?.resume();
        mesh.wait_moved(TOPIC, to, MOVED_WITHIN, |_| {})
            .with_context(|| format!("stopped for a moment in {seen:?}"))?;
        at = to;
    }
    anyhow::bail!("the leader was never stopped in Sealing, only in {met:?}")
}

/// Whether this operator alone says that it leads.
fn one_leads(mesh: &Mesh, leader: &str) -> Result<Result<(), String>> {
    for name in [OPERATOR, SECOND_OPERATOR] {
        let answer = mesh.get_from_operator_named(name, "/metrics")?;
        let line = answer.lines().find(|line| line.starts_with("sluice_operator_leader "));
        let line = line.with_context(|| format!("{name} does not say whether it leads: {answer}"))?;
        let wanted = if name == leader { "sluice_operator_leader 1" } else { "sluice_operator_leader 0" };
        if line != wanted {
            return Ok(Err(format!("{name} says {line}")));
        }
    }
    Ok(Ok(()))
}
