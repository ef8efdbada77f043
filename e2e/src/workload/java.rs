//! Kafka's own clients: `VerifiableProducer` and `VerifiableConsumer` print one line of JSON per event, which become
//! events of the history. A second family of clients, so that a fault of one is not taken for ours.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Worker;
use crate::history::{Event, Name, Outcome, Recorder, What};
use crate::kafka::Jars;
use crate::process::Spawn;

const JVM: [&str; 4] = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];
const LEAVE_WITHIN: Duration = Duration::from_secs(90);

/// A `VerifiableProducer`.
#[derive(Debug, Clone)]
pub struct JavaProducerSpec {
    /// Number of the producer, and first half of every value (the tool takes a whole number only).
    pub number: u32,
    /// Bootstrap addresses.
    pub bootstrap: String,
    /// Topic.
    pub topic: String,
    /// Records per second.
    pub rate: u32,
    /// Client settings that replace the ones below.
    pub settings: Vec<(String, String)>,
    /// Where its settings and log go.
    pub folder: PathBuf,
}

impl JavaProducerSpec {
    /// An idempotent producer with acks=all.
    pub fn new(number: u32, bootstrap: &str, topic: &str, rate: u32, folder: &Path) -> Self {
        Self {
            number,
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            rate,
            settings: Vec::new(),
            folder: folder.to_path_buf(),
        }
    }

    /// Sets a client setting.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it; when stopped it waits until every record is acknowledged or has failed.
    pub fn start(self, jars: &Jars, recorder: &Arc<Recorder>) -> Result<Worker> {
        let name = format!("java-{}", self.number);
        let mut settings = vec![
            // The tool switches retries off; without them an idempotent producer isn't one.
            ("retries".to_owned(), "2147483647".to_owned()),
            ("enable.idempotence".to_owned(), "true".to_owned()),
            ("delivery.timeout.ms".to_owned(), "80000".to_owned()),
            ("request.timeout.ms".to_owned(), "20000".to_owned()),
            ("linger.ms".to_owned(), "5".to_owned()),
            ("client.id".to_owned(), name.clone()),
        ];
        settings.extend(self.settings.clone());
        let file = write_settings(&self.folder, &name, &settings)?;
        let number = self.number.to_string();
        let rate = self.rate.to_string();
        let spawn = tool(jars, &name, &self.folder, "org.apache.kafka.tools.VerifiableProducer")?
            .args(["--bootstrap-server", &self.bootstrap, "--topic", &self.topic, "--acks", "-1"])
            .args(["--throughput", &rate, "--value-prefix", &number, "--repeating-keys", "997"])
            .arg(if jars.version().starts_with("3.") { "--producer.config" } else { "--command-config" })
            .arg(file);
        let process = Name::from(name.as_str());
        follow(spawn, recorder, move |line, recorder| producer_line(line, &process, recorder))
    }
}

/// A `VerifiableConsumer`: a member of a group that commits after each poll.
#[derive(Debug, Clone)]
pub struct JavaMemberSpec {
    /// Name of the member.
    pub name: String,
    /// Bootstrap addresses.
    pub bootstrap: String,
    /// Topic.
    pub topic: String,
    /// Group.
    pub group: String,
    /// Client settings.
    pub settings: Vec<(String, String)>,
    /// Where its settings and log go.
    pub folder: PathBuf,
}

impl JavaMemberSpec {
    /// Starts it; when stopped it leaves the group.
    pub fn start(self, jars: &Jars, recorder: &Arc<Recorder>) -> Result<Worker> {
        let file = write_settings(&self.folder, &self.name, &self.settings)?;
        let spawn = tool(jars, &self.name, &self.folder, "org.apache.kafka.tools.VerifiableConsumer")?
            .args(["--bootstrap-server", &self.bootstrap, "--topic", &self.topic, "--group-id", &self.group])
            .args(["--verbose", "--reset-policy", "earliest", "--session-timeout", "10000"])
            .arg(if jars.version().starts_with("3.") { "--consumer.config" } else { "--command-config" })
            .arg(file);
        let process = Name::from(self.name.as_str());
        let group = Name::from(self.group.as_str());
        let mut session = 0;
        follow(spawn, recorder, move |line, recorder| member_line(line, &process, &group, &mut session, recorder))
    }
}

fn tool(jars: &Jars, name: &str, folder: &Path, class: &str) -> Result<Spawn> {
    Ok(jars.java(name, folder.join(format!("{name}.log"))).args(JVM).args(jars.logging("WARN")?).arg(class))
}

fn write_settings(folder: &Path, name: &str, settings: &[(String, String)]) -> Result<PathBuf> {
    let file = folder.join(format!("{name}.properties"));
    let mut text = String::new();
    for (key, value) in settings {
        writeln!(text, "{key}={value}")?;
    }
    crate::write_by_rename(&file, &text)?;
    Ok(file)
}

/// Runs the tool, and hands each line of its output to `each` until it ends. SIGTERM when the worker is to stop.
fn follow(
    spawn: Spawn,
    recorder: &Arc<Recorder>,
    mut each: impl FnMut(&str, &Recorder) + Send + 'static,
) -> Result<Worker> {
    let mut process = spawn.piped().start()?;
    let output = process.take_output().context("the tool's output")?;
    let name = process.name().to_owned();
    let recorder = Arc::clone(recorder);
    let lines = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            each(&line, &recorder);
        }
    });
    Ok(Worker::start(&name, move |stop| {
        while !stop.is_set() && process.alive() {
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::ensure!(
            stop.is_set(),
            "{} ended by itself; {} ends with\n{}",
            process.name(),
            process.log().display(),
            process.log_tail(10)
        );
        let in_time = process.stop(LEAVE_WITHIN);
        lines.join().map_err(|_| anyhow::anyhow!("the reader of {}'s output panicked", process.name()))?;
        anyhow::ensure!(in_time, "{} did not end within {LEAVE_WITHIN:?} of SIGTERM", process.name());
        Ok(())
    }))
}

/// The lines of both tools; which fields are there depends on `name`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Line {
    name: String,
    topic: String,
    partition: Option<i32>,
    offset: Option<i64>,
    value: Option<String>,
    exception: Option<String>,
    message: Option<String>,
    partitions: Vec<Place>,
    offsets: Vec<Place>,
    success: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Place {
    topic: String,
    partition: i32,
    offset: i64,
}

fn producer_line(line: &str, process: &Name, recorder: &Recorder) {
    let Ok(line) = serde_json::from_str::<Line>(line) else { return };
    let (outcome, error) = match line.name.as_str() {
        "producer_send_success" => (Outcome::Ok, None),
        // "class org.apache.kafka.common.errors.TimeoutException"
        "producer_send_error" => {
            let class = line.exception.unwrap_or_default();
            let short = class.rsplit('.').next().unwrap_or_default();
            // As for librdkafka: a policy is looked at before anything is written.
            let outcome = if short == "PolicyViolationException" { Outcome::Fail } else { Outcome::Info };
            (outcome, Some(format!("{short}: {}", line.message.unwrap_or_default())))
        }
        _ => return,
    };
    recorder.record(Event {
        process: process.clone(),
        // When the tool began to send is not printed.
        t_invoke: None,
        t_complete: recorder.clock().now(),
        what: What::Send {
            topic: line.topic.into(),
            partition: line.partition.unwrap_or(-1),
            value: line.value.unwrap_or_default(),
            offset: line.offset.filter(|offset| *offset >= 0),
            outcome,
            error,
        },
    });
}

fn member_line(line: &str, process: &Name, group: &Name, session: &mut u32, recorder: &Recorder) {
    let Ok(line) = serde_json::from_str::<Line>(line) else { return };
    match line.name.as_str() {
        "partitions_assigned" => {
            *session += 1;
            for place in line.partitions {
                let (topic, group) = (place.topic.into(), Some(group.clone()));
                let what = What::Assign { topic, partition: place.partition, session: *session, group, offset: None };
                recorder.now(process, what);
            }
        }
        "record_data" => recorder.now(
            process,
            What::Read {
                topic: line.topic.into(),
                partition: line.partition.unwrap_or(-1),
                session: *session,
                offset: line.offset.unwrap_or(-1),
                epoch: None,
                value: line.value.unwrap_or_default(),
                group: Some(group.clone()),
            },
        ),
        "offsets_committed" => {
            for place in line.offsets {
                let outcome = if line.success { Outcome::Ok } else { Outcome::Info };
                let (topic, group) = (place.topic.into(), group.clone());
                let what = What::Commit { group, topic, partition: place.partition, offset: place.offset, outcome };
                recorder.now(process, what);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_producers_lines_become_events() {
        let recorder = Recorder::new(None).unwrap();
        let process = Name::from("java-7");
        for line in [
            r#"{"timestamp":1,"name":"startup_complete"}"#,
            r#"{"timestamp":2,"name":"producer_send_success","key":"3","value":"7.12","topic":"orders","partition":2,"offset":40}"#,
            r#"{"timestamp":3,"name":"producer_send_error","key":null,"value":"7.13","topic":"orders","exception":"class org.apache.kafka.common.errors.OutOfOrderSequenceException","message":"x"}"#,
            r#"{"timestamp":3,"name":"producer_send_error","key":null,"value":"7.14","topic":"orders","exception":"class org.apache.kafka.common.errors.PolicyViolationException","message":"y"}"#,
            "not json",
            r#"{"timestamp":4,"name":"tool_data","sent":2,"acked":1,"target_throughput":100,"avg_throughput":9.5}"#,
        ] {
            producer_line(line, &process, &recorder);
        }
        let events = recorder.events();
        assert_eq!(events.len(), 3);
        assert!(
            matches!(&events[0].what, What::Send { value, partition: 2, offset: Some(40), outcome: Outcome::Ok, .. } if value == "7.12")
        );
        assert!(
            matches!(&events[1].what, What::Send { error: Some(error), outcome: Outcome::Info, .. } if error.starts_with("OutOfOrderSequenceException"))
        );
        assert!(
            matches!(&events[2].what, What::Send { error: Some(error), outcome: Outcome::Fail, .. } if error.ends_with(": y"))
        );
    }

    #[test]
    fn the_consumers_lines_become_events() {
        let recorder = Recorder::new(None).unwrap();
        let (process, group) = (Name::from("java-c"), Name::from("billing"));
        let mut session = 0;
        for line in [
            r#"{"timestamp":1,"name":"partitions_assigned","partitions":[{"topic":"orders","partition":0}]}"#,
            r#"{"timestamp":2,"name":"record_data","key":null,"value":"7.1","topic":"orders","partition":0,"offset":5}"#,
            r#"{"timestamp":3,"name":"records_consumed","count":1,"partitions":[{"topic":"orders","partition":0,"count":1,"minOffset":5,"maxOffset":5}]}"#,
            r#"{"timestamp":4,"name":"offsets_committed","offsets":[{"topic":"orders","partition":0,"offset":6}],"success":true}"#,
        ] {
            member_line(line, &process, &group, &mut session, &recorder);
        }
        let events = recorder.events();
        assert_eq!(events.len(), 3);
        assert!(matches!(events[0].what, What::Assign { session: 1, .. }));
        assert!(matches!(events[1].what, What::Read { session: 1, offset: 5, .. }));
        assert!(matches!(events[2].what, What::Commit { offset: 6, outcome: Outcome::Ok, .. }));
    }
}
