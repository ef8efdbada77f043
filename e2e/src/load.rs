//! A day in the life of a topic: producers and consumers of both families at work, moves under them, and at the end the
//! judgement of everything that they saw.

mod finish;
mod moves;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::history::{Recorder, What};
use crate::stage::Stage;
use crate::workload::Worker;
use crate::workload::asker::AskerSpec;
use crate::workload::group::MemberSpec;
use crate::workload::java::{JavaMemberSpec, JavaProducerSpec};
use crate::workload::producer::ProducerSpec;
use crate::workload::raw::RawSpec;
use crate::workload::reader::ReaderSpec;
pub use finish::Finished;
pub use moves::MoveReport;

/// What is to go on.
#[derive(Debug, Clone)]
pub struct LoadSpec {
    /// Topic; it exists already.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// Records per second over all producers.
    pub rate: u32,
    /// librdkafka producers.
    pub producers: u32,
    /// Java producers.
    pub java_producers: u32,
    /// Also a group of one Java member.
    pub java_group: bool,
    /// Where the history goes as JSON lines.
    pub history: Option<PathBuf>,
    /// Longest time without progress.
    pub stuck_after: Duration,
    /// Other producers of the topic that promise neither order nor uniqueness.
    pub not_idempotent: Vec<String>,
}

impl LoadSpec {
    /// Two librdkafka producers, one Java producer, a group of two.
    pub fn new(topic: &str, partitions: i32, rate: u32) -> Self {
        Self {
            topic: topic.to_owned(),
            partitions,
            rate,
            producers: 2,
            java_producers: 1,
            java_group: false,
            history: None,
            stuck_after: Duration::from_secs(15),
            not_idempotent: Vec::new(),
        }
    }
}

/// The group of two that commits.
pub const GROUP: &str = "billing";
/// The group of one Java member.
pub const JAVA_GROUP: &str = "audit";

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    spec: LoadSpec,
    bootstrap: String,
    recorder: Arc<Recorder>,
    producers: Vec<Worker>,
    members: Vec<Worker>,
    watchers: Vec<Worker>,
    readers: Vec<Worker<u64>>,
    fresh: u32,
}

impl Load {
    /// Starts all clients.
    pub fn start(spec: LoadSpec, stage: &Stage) -> Result<Self> {
        let recorder = Recorder::new(spec.history.as_deref())?;
        let bootstrap = stage.bootstrap();
        let folder = stage.client_folder();
        let jars = stage.clusters[0].jars();
        let share = (spec.rate / (spec.producers + spec.java_producers).max(1)).max(1);
        let mut members = Vec::new();
        for number in 0..2 {
            let member = MemberSpec::new(&format!("member-{number}"), &bootstrap, &spec.topic, GROUP);
            members.push(member.start(&recorder));
        }
        if spec.java_group {
            let (topic, bootstrap, folder) = (spec.topic.clone(), bootstrap.clone(), folder.clone());
            let member = JavaMemberSpec {
                name: "java-member".to_owned(),
                bootstrap,
                topic,
                group: JAVA_GROUP.to_owned(),
                settings: Vec::new(),
                folder,
            };
            members.push(member.start(jars, &recorder)?);
        }
        let mut producers = Vec::new();
        for number in 0..spec.producers {
            let producer = ProducerSpec::new(&format!("rd-{number}"), &bootstrap, &spec.topic, share);
            producers.push(producer.start(&recorder));
        }
        for number in 0..spec.java_producers {
            let producer = JavaProducerSpec::new(number + 7, &bootstrap, &spec.topic, share, &folder);
            producers.push(producer.start(jars, &recorder)?);
        }
        let watch = RawSpec::new("watcher", &bootstrap, &spec.topic, spec.partitions);
        let asker = AskerSpec {
            bootstrap: bootstrap.clone(),
            group: GROUP.to_owned(),
            topic: spec.topic.clone(),
            partitions: spec.partitions,
        };
        let watchers =
            vec![watch.watch(Duration::from_millis(200), &recorder), asker.start(Duration::from_secs(1), &recorder)];
        Ok(Self { spec, bootstrap, recorder, producers, members, watchers, readers: Vec::new(), fresh: 0 })
    }

    /// The history in the making.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Waits until every producer's records are acknowledged and the group reads.
    pub fn wait_flowing(&mut self, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        let wanted = u64::from(self.spec.rate) / 2;
        loop {
            let counts = self.recorder.counts();
            if counts.acknowledged >= wanted && counts.group_read > 0 && self.java_flows() {
                return Ok(());
            }
            self.check_alive()?;
            ensure!(Instant::now() < end, "clients are not at work after {within:?}: {counts:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn java_flows(&self) -> bool {
        let wanted: Vec<String> = (0..self.spec.java_producers).map(|number| format!("java-{}", number + 7)).collect();
        let mut left = wanted;
        self.recorder.with_events(|events| {
            for event in events {
                if matches!(event.what, What::Send { .. }) {
                    left.retain(|name| name != event.process.as_str());
                }
            }
        });
        left.is_empty()
    }

    /// Fails if a client has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        for list in [&mut self.producers, &mut self.members, &mut self.watchers] {
            if let Some(place) = list.iter().position(Worker::has_ended) {
                let worker = list.remove(place);
                let name = worker.name().to_owned();
                worker.join()?;
                bail!("client {name} ended by itself");
            }
        }
        Ok(())
    }

    /// Starts one more reader from the beginning; it is waited for at the end.
    pub fn start_fresh_reader(&mut self) {
        self.fresh += 1;
        let name = format!("fresh-{}", self.fresh);
        let reader = ReaderSpec::new(&name, &self.bootstrap, &self.spec.topic, self.spec.partitions);
        self.readers.push(reader.start(&self.recorder));
    }
}
