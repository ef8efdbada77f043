//! A day in the life of a topic: producers and consumers of both families at work, moves under them, and at the end the
//! judgement of everything that they saw.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;
use sluice_crds::TopicRouteStatus;
use sluice_mesh::document::Document;

use crate::history::{Event, Recorder, Settings, Verdict, What, check, gaps};
use crate::stage::Stage;
use crate::workload::Worker;
use crate::workload::asker::AskerSpec;
use crate::workload::group::MemberSpec;
use crate::workload::java::{JavaMemberSpec, JavaProducerSpec};
use crate::workload::producer::ProducerSpec;
use crate::workload::raw::RawSpec;
use crate::workload::reader::ReaderSpec;

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

/// A move as its clients and its operator saw it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveReport {
    /// Where from.
    pub from: String,
    /// Where to.
    pub to: String,
    /// From the change of the file to Completed, milliseconds.
    pub total_millis: u64,
    /// What the operator says of the pause, milliseconds.
    pub pause_millis: Option<i64>,
    /// Its parts: fence, seal, record, switch.
    pub parts_millis: Option<[i64; 4]>,
    /// Attempts that it took.
    pub attempts: Option<i64>,
    /// Longest time between two acknowledgements on a partition around the move, milliseconds: the median partition.
    pub client_gap_median_millis: f64,
    /// The same, the worst partition.
    pub client_gap_worst_millis: f64,
    /// When it began and ended, microseconds of the history.
    #[serde(skip)]
    pub span: (u64, u64),
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

    /// Moves the topic and waits until it is there. `seen` gets every change of the route's status.
    pub fn move_to(
        &mut self,
        stage: &mut Stage,
        to: &str,
        within: Duration,
        seen: impl FnMut(&TopicRouteStatus),
    ) -> Result<MoveReport> {
        let topic = self.spec.topic.clone();
        let begin = self.recorder.clock().now();
        self.recorder.note(&format!("move {topic} to {to}"));
        let mesh = stage.mesh()?;
        mesh.apply_route(&topic, to)?;
        let status = mesh.wait_moved(&topic, to, within, seen)?;
        let end = self.recorder.clock().now();
        self.recorder.note(&format!("{topic} is on {to}"));
        self.check_alive()?;
        let pause = status.pause.unwrap_or_default();
        Ok(MoveReport {
            from: status.from.unwrap_or_default(),
            to: to.to_owned(),
            total_millis: (end - begin) / 1000,
            pause_millis: pause.last_millis,
            parts_millis: pause
                .parts
                .map(|parts| [parts.fence_millis, parts.seal_millis, parts.record_millis, parts.switch_millis]),
            attempts: pause.attempts,
            client_gap_median_millis: 0.0,
            client_gap_worst_millis: 0.0,
            span: (begin, end),
        })
    }

    /// Ends the load, reads everything once more in every way, and judges. Fills in what clients saw of the moves.
    pub fn finish(mut self, stage: &Stage, moves: &mut [MoveReport], mut say: impl FnMut(&str)) -> Result<Finished> {
        say("producers end; every record is waited for");
        let errors: Vec<anyhow::Error> = join_all(std::mem::take(&mut self.producers));
        say("the groups catch up");
        self.wait_group(GROUP, Duration::from_secs(40))?;
        if self.spec.java_group {
            self.wait_group(JAVA_GROUP, Duration::from_secs(40))?;
        }
        let mut errors = errors;
        errors.extend(join_all(std::mem::take(&mut self.members)));
        errors.extend(join_all(std::mem::take(&mut self.watchers)));
        say("fresh readers read from the beginning, through librdkafka and raw");
        self.start_fresh_reader();
        for reader in std::mem::take(&mut self.readers) {
            errors.extend(reader.join().err());
        }
        let raw = RawSpec::new("raw", &self.bootstrap, &self.spec.topic, self.spec.partitions);
        errors.extend(raw.catch_up(&self.recorder).err());
        if let Some(mesh) = &stage.mesh {
            let document = mesh.document()?.context("there is no mesh document")?;
            errors.extend(self.around_cuts(&document).err());
            self.chains(&document);
            say("each cluster's own copy is read");
            for cluster in &stage.clusters {
                if self.has_copy(&document, cluster.name(), cluster)? {
                    let name = format!("stored-{}", cluster.name());
                    let reader = RawSpec::new(&name, &cluster.bootstrap(), &self.spec.topic, self.spec.partitions);
                    reader.stored(cluster.name(), &self.recorder)?;
                }
            }
        }
        say("the history is judged");
        let events = self.recorder.events();
        let stuck_after = u64::try_from(self.spec.stuck_after.as_micros()).ok();
        let not_idempotent = self.spec.not_idempotent.iter().cloned().collect();
        let verdict = check(&events, &Settings { not_idempotent, stuck_after, ..Settings::default() });
        for report in moves.iter_mut() {
            fill_in(report, &events);
        }
        Ok(Finished { verdict, events, errors: errors.iter().map(|error| format!("{error:#}")).collect() })
    }

    /// Whether a cluster holds the topic as more than a placeholder.
    fn has_copy(&self, document: &Document, name: &str, cluster: &crate::kafka::Cluster) -> Result<bool> {
        let chains = document.topics.iter().find(|topic| topic.name.as_str() == self.spec.topic).map(|t| &t.chains);
        if chains.is_some_and(|chains| chains.iter().flat_map(|c| &c.0).any(|segment| segment.cluster.as_str() == name))
        {
            return Ok(true);
        }
        // Never moved, or a placeholder: whatever is in it counts as stray.
        Ok(cluster.admin()?.topics()?.contains(&self.spec.topic))
    }

    /// The chains as the document declares them; a topic that never moved has one run on the home cluster.
    fn chains(&self, document: &Document) {
        let topic = document.topics.iter().find(|topic| topic.name.as_str() == self.spec.topic);
        let home = topic.map_or(document.home.as_str(), |topic| topic.cluster.as_str());
        for partition in 0..self.spec.partitions {
            let chain = topic.and_then(|topic| topic.chains.get(usize::try_from(partition).ok()?));
            let run = |index: usize, cluster: &str, start, physical_start, physical_end| {
                self.recorder.now(
                    &"document".into(),
                    What::Segment {
                        topic: self.spec.topic.as_str().into(),
                        partition,
                        index: u32::try_from(index).unwrap_or(u32::MAX),
                        cluster: cluster.into(),
                        start,
                        physical_start,
                        physical_end,
                    },
                );
            };
            match chain {
                None => run(0, home, 0, 0, None),
                Some(chain) => {
                    for (index, segment) in chain.0.iter().enumerate() {
                        run(
                            index,
                            segment.cluster.as_str(),
                            segment.start,
                            segment.physical_start,
                            segment.physical_end,
                        );
                    }
                }
            }
        }
    }

    /// Readers that begin just below, at and just above every cut.
    fn around_cuts(&self, document: &Document) -> Result<()> {
        let Some(topic) = document.topics.iter().find(|topic| topic.name.as_str() == self.spec.topic) else {
            return Ok(());
        };
        let cuts = topic.chains.iter().map(|chain| chain.0.len()).max().unwrap_or(0);
        for cut in 1..cuts {
            for around in [-1_i64, 0, 1] {
                let mut from = BTreeMap::new();
                for (partition, chain) in (0_i32..).zip(&topic.chains) {
                    if let Some(segment) = chain.0.get(cut) {
                        from.insert(partition, (segment.start + around).max(chain.0[0].start));
                    }
                }
                let name = format!("cut-{cut}{around:+}");
                let raw = RawSpec::new(&name, &self.bootstrap, &self.spec.topic, self.spec.partitions);
                raw.catch_up_from(&from, &self.recorder)?;
                if cut + 1 == cuts {
                    let mut reader =
                        ReaderSpec::new(&format!("{name}-rd"), &self.bootstrap, &self.spec.topic, self.spec.partitions);
                    reader.from = from;
                    reader.catch_up(&self.recorder)?;
                }
            }
        }
        Ok(())
    }

    /// Waits until a group's committed positions are the partitions' ends.
    fn wait_group(&mut self, group: &str, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        let asker: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).set("group.id", group).create()?;
        loop {
            let lag = self.lag(&asker)?;
            if lag == 0 {
                break;
            }
            if Instant::now() > end {
                // The history says what is missing.
                self.recorder.note(&format!("the group {group} is still {lag} records behind after {within:?}"));
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let asker = AskerSpec {
            bootstrap: self.bootstrap.clone(),
            group: group.to_owned(),
            topic: self.spec.topic.clone(),
            partitions: self.spec.partitions,
        };
        asker.ask(&self.recorder)
    }

    fn lag(&self, asker: &BaseConsumer) -> Result<i64> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.spec.partitions {
            list.add_partition(&self.spec.topic, partition);
        }
        let committed = asker.committed_offsets(list, Duration::from_secs(20)).context("OffsetFetch")?;
        let mut lag = 0;
        for element in committed.elements() {
            let (low, high) = asker.fetch_watermarks(&self.spec.topic, element.partition(), Duration::from_secs(20))?;
            let position = if let Offset::Offset(offset) = element.offset() { offset } else { low };
            lag += (high - position).max(0);
        }
        Ok(lag)
    }
}

fn join_all(workers: Vec<Worker>) -> Vec<anyhow::Error> {
    for worker in &workers {
        worker.ask_to_stop();
    }
    workers.into_iter().filter_map(|worker| worker.join().err()).collect()
}

/// Clients take a moment to notice: acknowledgements up to this long after a move count to it.
const AFTERMATH: u64 = 1_500_000;

#[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
fn fill_in(report: &mut MoveReport, events: &[Event]) {
    let mut lengths: Vec<u64> =
        gaps(events, report.span.0, report.span.1 + AFTERMATH).into_iter().map(|gap| gap.length).collect();
    lengths.sort_unstable();
    report.client_gap_median_millis = lengths.get(lengths.len() / 2).map_or(0.0, |gap| *gap as f64 / 1000.0);
    report.client_gap_worst_millis = lengths.last().map_or(0.0, |gap| *gap as f64 / 1000.0);
}

/// How it ended.
#[derive(Debug)]
pub struct Finished {
    /// The judgement.
    pub verdict: Verdict,
    /// What it was made from.
    pub events: Vec<Event>,
    /// Clients that could not do their work.
    pub errors: Vec<String>,
}

impl Finished {
    /// Whether all is right: no anomaly, every record acknowledged, every client content.
    pub fn is_good(&self) -> bool {
        self.verdict.is_good()
            && self.errors.is_empty()
            && self.verdict.sent > 0
            && self.verdict.acknowledged == self.verdict.sent
    }
}
