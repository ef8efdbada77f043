//! The main promise: a live topic moves there and back, again and again, and no client can tell.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_e2e::kafka::{KAFKA_3, KAFKA_4};
use sluice_e2e::load::{Finished, Load, LoadSpec, MoveReport};
use sluice_e2e::stage::{CLUSTERS, StageSpec, logs_with};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 12;
const ROUND_TRIPS: usize = 5;

/// Moves the topic there and back under 2,000 records a second and more, and judges what the clients saw.
fn there_and_back(name: &str, subnet: &str, versions: [&str; 2]) -> Result<()> {
    let mut spec = StageSpec::new(&format!("e2e/{name}"), subnet, 21_000)?;
    spec.versions = versions.map(str::to_owned);
    let logs = spec.folder.join("logs");
    let mut stage = spec.start(|line| eprintln!("{line}"))?;
    stage.create_topic(TOPIC, PARTITIONS)?;
    let mut spec = LoadSpec::new(TOPIC, PARTITIONS, 2_400);
    spec.java_producers = 2;
    spec.java_group = true;
    spec.history = Some(stage.spec().folder.join("history.jsonl"));
    let mut load = Load::start(spec, &stage)?;
    load.wait_flowing(Duration::from_mins(1))?;
    let mut moves = Vec::new();
    for trip in 0..2 * ROUND_TRIPS {
        std::thread::sleep(Duration::from_secs(2));
        let to = CLUSTERS[(trip + 1) % 2];
        let report = load.move_to(&mut stage, to, Duration::from_mins(1), |_| {})?;
        eprintln!("move {}: {report:?}", trip + 1);
        moves.push(report);
        // Readers of the whole log while moves go on: every chain length is read under load.
        if trip % 3 == 0 {
            load.start_fresh_reader();
        }
    }
    std::thread::sleep(Duration::from_secs(2));
    let finished = load.finish(&stage, &mut moves, |line| eprintln!("{line}"))?;
    judge(&finished, &moves)?;
    let panics = logs_with(&logs, &["panicked at"]);
    ensure!(panics.is_empty(), "{panics:?}");
    Ok(())
}

fn judge(finished: &Finished, moves: &[MoveReport]) -> Result<()> {
    let verdict = &finished.verdict;
    ensure!(finished.is_good(), "{verdict}\n{:?}", finished.errors);
    ensure!(verdict.acknowledged > 20_000, "too little load to mean anything: {verdict}");
    // Both families of producers took part.
    for producer in ["rd-0", "rd-1", "java-7", "java-8"] {
        ensure!(finished.events.iter().any(|event| event.process.as_str() == producer), "{producer} sent nothing");
    }
    for report in moves {
        ensure!(report.pause_millis.is_some(), "a move without a pause: {report:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn five_round_trips_between_two_newest_kafkas() -> Result<()> {
    there_and_back("move-4-4", "127.0.13", [KAFKA_4, KAFKA_4])
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn five_round_trips_between_an_old_and_a_new_kafka() -> Result<()> {
    there_and_back("move-3-4", "127.0.14", [KAFKA_3, KAFKA_4])
}
