//! The main promise: a live topic moves there and back, again and again, and no client can tell.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sluice_e2e::history::{Recorder, What};
use sluice_e2e::kafka::{KAFKA_3, KAFKA_4};
use sluice_e2e::load::{Finished, Load, LoadSpec, MoveReport};
use sluice_e2e::stage::{CLUSTERS, Stage, StageSpec, logs_with};
use sluice_e2e::workload::java::JavaMemberSpec;
use sluice_e2e::workload::reader::ReaderSpec;

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

/// Longer than any other wait in the test, shorter than a session or a request of either client may take.
const LONG_POLL: Duration = Duration::from_secs(25);

/// Writes `count` records to the topic, and waits until both readers have read `total`.
fn write_and_read(stage: &Stage, recorder: &Recorder, count: usize, total: usize) -> Result<Duration> {
    use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", stage.bootstrap()).create()?;
    for number in 0..count {
        let partition = i32::try_from(number)? % PARTITIONS;
        let record = BaseRecord::<(), str>::to(TOPIC).payload("tick").partition(partition);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(20))?;
    let begin = Instant::now();
    loop {
        let read = |name: &str| {
            recorder.with_events(|events| {
                let of = |what: &What| matches!(what, What::Read { .. });
                events.iter().filter(|event| event.process.as_str() == name && of(&event.what)).count()
            })
        };
        let (java, librdkafka) = (read("patient-java"), read("patient-rd"));
        if java >= total && librdkafka >= total {
            ensure!(
                (java, librdkafka) == (total, total),
                "records were read twice: {java} and {librdkafka} of {total}"
            );
            return Ok(begin.elapsed());
        }
        ensure!(begin.elapsed() < 2 * LONG_POLL, "after {:?}: {java} and {librdkafka} of {total}", begin.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn a_long_poll_does_not_outlast_the_switch() -> Result<()> {
    let spec = StageSpec::new("e2e/move-long-poll", "127.0.28", 21_000)?;
    let logs = spec.folder.join("logs");
    let mut stage = spec.start(|line| eprintln!("{line}"))?;
    stage.create_topic(TOPIC, PARTITIONS)?;
    let recorder = Recorder::new(Some(&stage.spec().folder.join("history.jsonl")))?;
    let mut reader = ReaderSpec::new("patient-rd", &stage.bootstrap(), TOPIC, PARTITIONS);
    reader.wait = LONG_POLL;
    let reader = reader.start_following(&recorder);
    let member = JavaMemberSpec {
        name: "patient-java".to_owned(),
        bootstrap: stage.bootstrap(),
        topic: TOPIC.to_owned(),
        group: "patient".to_owned(),
        settings: vec![("fetch.max.wait.ms".to_owned(), LONG_POLL.as_millis().to_string())],
        folder: stage.client_folder(),
    };
    let member = member.start(stage.clusters[0].jars(), &recorder)?;
    let each = usize::try_from(PARTITIONS)?;
    write_and_read(&stage, &recorder, each, each)?;
    for (number, to) in [(2, CLUSTERS[1]), (3, CLUSTERS[0])] {
        // Both clients ask again, for what will come after the cut, and wait at the old home.
        std::thread::sleep(Duration::from_secs(3));
        let mesh = stage.mesh()?;
        mesh.apply_route(TOPIC, to)?;
        mesh.wait_moved(TOPIC, to, Duration::from_mins(1), |_| {})?;
        let took = write_and_read(&stage, &recorder, each, number * each)?;
        eprintln!("on {to}: the first records of the new home were read after {took:?}");
        ensure!(took < LONG_POLL / 3, "readers waited {took:?} at the old home after the switch to {to}");
    }
    member.stop()?;
    reader.stop()?;
    let panics = logs_with(&logs, &["panicked at"]);
    ensure!(panics.is_empty(), "{panics:?}");
    Ok(())
}
