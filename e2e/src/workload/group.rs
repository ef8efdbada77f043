//! A member of a consumer group over librdkafka: it processes in order and commits what it has processed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::Worker;
use super::producer::name_of;
use crate::history::{Name, Outcome, Recorder, What};

/// What to read.
#[derive(Debug, Clone)]
pub struct MemberSpec {
    /// Name of the member.
    pub name: String,
    /// Bootstrap addresses.
    pub bootstrap: String,
    /// Topics.
    pub topics: Vec<String>,
    /// Group.
    pub group: String,
    /// Time between commits.
    pub commit_every: Duration,
    /// Client settings that replace the ones below.
    pub settings: Vec<(String, String)>,
}

impl MemberSpec {
    /// A member that begins at the earliest record and commits five times a second.
    pub fn new(name: &str, bootstrap: &str, topic: &str, group: &str) -> Self {
        Self {
            name: name.to_owned(),
            bootstrap: bootstrap.to_owned(),
            topics: vec![topic.to_owned()],
            group: group.to_owned(),
            commit_every: Duration::from_millis(200),
            settings: Vec::new(),
        }
    }

    /// Reads these topics too.
    #[must_use]
    pub fn and_topics(mut self, topics: &[&str]) -> Self {
        self.topics.extend(topics.iter().map(|topic| (*topic).to_owned()));
        self
    }

    /// Sets a client setting.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it. When stopped it commits once more and leaves the group.
    pub fn start(self, recorder: &Arc<Recorder>) -> Worker {
        let recorder = Arc::clone(recorder);
        let name = self.name.clone();
        Worker::start(&name, move |stop| {
            let member = Member {
                process: self.name.as_str().into(),
                group: self.group.as_str().into(),
                topics: self.topics.iter().map(|topic| topic.as_str().into()).collect(),
                recorder,
                state: Mutex::default(),
            };
            let consumer = self.create(member)?;
            consumer.subscribe(&self.topics.iter().map(String::as_str).collect::<Vec<_>>())?;
            let mut committed = Instant::now();
            while !stop.is_set() {
                read_one(&consumer);
                if committed.elapsed() >= self.commit_every {
                    commit(&consumer);
                    committed = Instant::now();
                }
            }
            commit(&consumer);
            consumer.unsubscribe();
            Ok(())
        })
    }

    fn create(&self, member: Member) -> Result<BaseConsumer<Member>> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", &self.name)
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "1000")
            .set("fetch.wait.max.ms", "100")
            .set_log_level(RDKafkaLogLevel::Error);
        for (key, value) in &self.settings {
            config.set(key, value);
        }
        config.create_with_context(member).context("create the consumer")
    }
}

fn read_one(consumer: &BaseConsumer<Member>) {
    let member = consumer.context();
    match consumer.poll(Duration::from_millis(100)) {
        None => {}
        Some(Err(error)) => member.complain(&error, "poll"),
        Some(Ok(message)) => {
            let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
            let (topic, partition, offset) = (member.topic(message.topic()), message.partition(), message.offset());
            let session = member.state().session;
            member.recorder.now(
                &member.process,
                What::Read {
                    topic: topic.clone(),
                    partition,
                    session,
                    offset,
                    epoch: None,
                    value,
                    group: Some(member.group.clone()),
                },
            );
            member.state().processed.insert((topic, partition), offset + 1);
        }
    }
}

/// Commits what was processed since the last time, and waits for the answer: rdkafka 0.39 never calls back after an
/// asynchronous commit.
fn commit(consumer: &BaseConsumer<Member>) {
    let member = consumer.context();
    let processed = std::mem::take(&mut member.state().processed);
    if processed.is_empty() {
        return;
    }
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in &processed {
        if let Err(error) = list.add_partition_offset(topic.as_str(), *partition, Offset::Offset(*offset)) {
            member.complain(&error, "commit");
        }
    }
    let invoke = member.recorder.clock().now();
    let result = consumer.commit(&list, CommitMode::Sync);
    let outcome = match result.as_ref().err().map(KafkaError::rdkafka_error_code) {
        None => Outcome::Ok,
        // The coordinator refused: nothing was stored.
        Some(Some(
            RDKafkaErrorCode::RebalanceInProgress
            | RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId,
        )) => Outcome::Fail,
        Some(_) => Outcome::Info,
    };
    if let (Err(error), Outcome::Info) = (&result, outcome) {
        member.complain(error, "commit");
    }
    for ((topic, partition), offset) in processed {
        let group = member.group.clone();
        member.recorder.since(&member.process, invoke, What::Commit { group, topic, partition, offset, outcome });
    }
}

/// Callbacks and the state that they share with the loop. All run on the thread that polls.
struct Member {
    process: Name,
    group: Name,
    topics: Vec<Name>,
    recorder: Arc<Recorder>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: u32,
    /// Next offset by topic and partition, not committed yet.
    processed: BTreeMap<(Name, i32), i64>,
}

impl Member {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name that is stored already.
    fn topic(&self, name: &str) -> Name {
        self.topics.iter().find(|topic| topic.as_str() == name).cloned().unwrap_or_else(|| name.into())
    }

    fn complain(&self, error: &KafkaError, doing: &str) {
        let fatal = error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal);
        let text = format!("{doing}: {error}");
        self.recorder.now(&self.process, What::Error { code: name_of(error), fatal, text });
    }
}

impl ClientContext for Member {
    fn error(&self, error: KafkaError, reason: &str) {
        self.complain(&error, reason);
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut state = self.state();
        // What was processed under the old assignment is another member's to commit now: it will read it again.
        state.processed.clear();
        if let Rebalance::Assign(list) = rebalance {
            state.session += 1;
            for element in list.elements() {
                self.recorder.now(
                    &self.process,
                    What::Assign {
                        topic: self.topic(element.topic()),
                        partition: element.partition(),
                        session: state.session,
                        group: Some(self.group.clone()),
                        offset: None,
                    },
                );
            }
        }
    }
}
