//! What the checks of a fuse play on: clients of the topic that is to stop, clients of topics that are not, and stop watches.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use sluice_e2e::history::{Event, Outcome, What};
use sluice_e2e::kafka::Admin;
use sluice_e2e::load::{GROUP, JAVA_GROUP, Load, LoadSpec};
use sluice_e2e::mesh::{DirectorySight, HotLoad, Mesh, hot_load};
use sluice_e2e::stage::{Stage, logs_with};
use sluice_e2e::workload::Worker;
use sluice_e2e::workload::group::MemberSpec;
use sluice_e2e::workload::producer::ProducerSpec;
use sluice_mesh::document::{Document, Fuse};
use sluice_net::admin::log_ends::{self, LATEST};
use sluice_net::{Client, ClientOptions};

use super::{NEIGHBOURS, PARTITIONS, TOPIC, WITHIN};

/// Producers of the topic alone: two that can be held for longer than any check lasts, one of Java, and one that cannot.
pub(super) const PRODUCERS: [&str; 4] = ["rd-0", "rd-1", "java-7", "quick"];
/// The producer of the topic and of a neighbour, over the same connections.
pub(super) const SHARED: &str = "shared";
/// The member of a group that reads the topic and its neighbours.
pub(super) const MIXED: &str = "mixed";
/// All who read the topic.
pub(super) const READERS: [&str; 4] = ["member-0", "member-1", "java-member", MIXED];

/// Everybody at work.
pub(super) struct Scene {
    pub(super) stage: Stage,
    load: Load,
    producers: Vec<Worker>,
    mixed: Worker,
}

/// Makes the topics, all at once: proxies look for what was made behind their backs every 5 s.
pub(super) fn create_topics(stage: &Stage, topics: &[(&str, i32)]) -> Result<()> {
    let east = stage.cluster("east")?.admin()?;
    for (topic, partitions) in topics {
        east.create_topic(topic, usize::try_from(*partitions)?, stage.spec().brokers, &[])?;
    }
    for bootstrap in stage.bootstrap().split(',') {
        let admin = Admin::new(bootstrap)?;
        for (topic, partitions) in topics {
            admin.wait_topic(topic, usize::try_from(*partitions)?).with_context(|| format!("at {bootstrap}"))?;
        }
    }
    Ok(())
}

impl Scene {
    pub(super) fn start(stage: Stage) -> Result<Self> {
        let mut spec = LoadSpec::new(TOPIC, PARTITIONS, 450);
        spec.java_group = true;
        spec.history = Some(stage.spec().folder.join("history.jsonl"));
        // Nobody gets on while the fuse has tripped.
        spec.stuck_after = Duration::from_secs(30);
        let mut load = Load::start(spec, &stage)?;
        let (bootstrap, recorder) = (stage.bootstrap(), load.recorder());
        let mut producers = vec![
            // A third of its time-out is the longest hold: it is refused, and tries again, all the time.
            ProducerSpec::new("quick", &bootstrap, TOPIC, 50).set("request.timeout.ms", "3000").start(recorder),
            ProducerSpec::new(SHARED, &bootstrap, TOPIC, 50).and_topic(NEIGHBOURS[0]).start(recorder),
        ];
        for topic in NEIGHBOURS {
            producers.push(ProducerSpec::new(&format!("of-{topic}"), &bootstrap, topic, 50).start(recorder));
        }
        let mixed = MemberSpec::new(MIXED, &bootstrap, TOPIC, "mixed")
            .and_topics(&NEIGHBOURS)
            // Were the neighbours' records to wait for the end of a long poll, it would show.
            .set("fetch.wait.max.ms", "1000")
            .start(recorder);
        load.wait_flowing(Duration::from_mins(1))?;
        let mut scene = Self { stage, load, producers, mixed };
        scene.wait_acknowledged(0)?;
        scene.wait_read(0)?;
        Ok(scene)
    }

    pub(super) fn mesh(&self) -> Result<&Mesh> {
        self.stage.mesh.as_ref().context("a mesh")
    }

    /// Partitions of requests that fuses have stopped, by the proxies' own count.
    pub(super) fn stopped(&self, direction: &str) -> Result<u64> {
        let (mesh, mut sum) = (self.mesh()?, 0);
        let name = format!("sluice_proxy_fused_partitions_total{{direction=\"{direction}\"}} ");
        for node in &mesh.spec().nodes {
            let metrics = mesh.get_from_proxy(&node.name, "/metrics")?;
            let figure = metrics.lines().find_map(|line| line.strip_prefix(&name)).context("no such metric")?;
            sum += figure.parse::<u64>().with_context(|| format!("{name}{figure}"))?;
        }
        Ok(sum)
    }

    /// Microseconds of the history.
    pub(super) fn now(&self) -> u64 {
        self.load.recorder().clock().now()
    }

    /// Changes something, and waits until the last proxy serves by it. Returns the moment just before the change, too.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&Mesh) -> Result<()>,
        is_in: impl Fn(&Document) -> bool,
    ) -> Result<(u64, HotLoad)> {
        let mesh = self.mesh()?;
        let proxies = mesh.spec().nodes.iter().map(|node| node.name.as_str());
        let mut sight = DirectorySight::new(&mesh.spec().directory, proxies);
        let mut moment = 0;
        let loaded = hot_load(
            &mut sight,
            || {
                moment = self.now();
                let begin = Instant::now();
                change(mesh)?;
                Ok(begin)
            },
            is_in,
            WITHIN,
        )?;
        Ok((moment, loaded))
    }

    /// Applies the topic's fuse and waits until every proxy serves by what the document says of it then.
    pub(super) fn set(&self, rules: &[&str], expected: impl Fn(Option<&Fuse>) -> bool) -> Result<(u64, HotLoad)> {
        let of_topic = |document: &Document| expected(document.fuses.iter().find(|fuse| fuse.topic.as_str() == TOPIC));
        self.change(|mesh| mesh.apply_fuse(TOPIC, rules), of_topic)
    }

    /// Events of these clients since a moment.
    fn count(&self, from: u64, is_one: impl Fn(&Event) -> bool) -> usize {
        let since = |event: &&Event| event.t_complete > from && is_one(event);
        self.load.recorder().with_events(|events| events.iter().filter(since).count())
    }

    /// When acknowledgements came after a moment, rising.
    fn acknowledged(&self, process: Option<&str>, topic: &str, from: u64) -> Vec<u64> {
        let is_one = |event: &&Event| {
            process.is_none_or(|name| event.process.as_str() == name)
                && matches!(&event.what, What::Send { topic: of, outcome: Outcome::Ok, .. } if of.as_str() == topic)
        };
        self.moments(from, is_one)
    }

    /// When a reader got records after a moment, rising.
    pub(super) fn read(&self, process: &str, topic: &str, from: u64) -> Vec<u64> {
        let is_one = |event: &&Event| {
            event.process.as_str() == process
                && matches!(&event.what, What::Read { topic: of, .. } if of.as_str() == topic)
        };
        self.moments(from, is_one)
    }

    fn moments(&self, from: u64, is_one: impl Fn(&&Event) -> bool) -> Vec<u64> {
        let mut moments: Vec<u64> = self.load.recorder().with_events(|events| {
            let since = events.iter().filter(|event| event.t_complete > from).filter(is_one);
            since.map(|event| event.t_complete).collect()
        });
        moments.sort_unstable();
        moments
    }

    /// How long after a moment the last record of the topic was acknowledged to anybody.
    pub(super) fn last_acknowledged(&self, from: u64) -> Duration {
        let last = self.acknowledged(None, TOPIC, from).last().copied().unwrap_or(from);
        Duration::from_micros(last - from)
    }

    /// Longest time without an acknowledgement to this producer for this topic, from a moment until now.
    pub(super) fn longest_gap(&self, process: &str, topic: &str, from: u64) -> Duration {
        longest_gap(self.acknowledged(Some(process), topic, from), from, self.now())
    }

    /// Waits until every producer of the topic has got acknowledgements after a moment; how long after it the first came.
    pub(super) fn wait_acknowledged(&mut self, from: u64) -> Result<Vec<(&'static str, Duration)>> {
        let producers = PRODUCERS.into_iter().chain([SHARED]).collect::<Vec<_>>();
        self.wait_each(producers, from, |scene, name| scene.acknowledged(Some(name), TOPIC, from))
    }

    /// The same for every reader of the topic.
    pub(super) fn wait_read(&mut self, from: u64) -> Result<Vec<(&'static str, Duration)>> {
        self.wait_each(READERS.to_vec(), from, |scene, name| scene.read(name, TOPIC, from))
    }

    fn wait_each(
        &mut self,
        mut left: Vec<&'static str>,
        from: u64,
        look: impl Fn(&Self, &str) -> Vec<u64>,
    ) -> Result<Vec<(&'static str, Duration)>> {
        let end = Instant::now() + WITHIN;
        let mut found = Vec::new();
        loop {
            left.retain(|name| {
                let first = look(self, name).first().copied();
                found.extend(first.map(|first| (*name, Duration::from_micros(first - from))));
                first.is_none()
            });
            if left.is_empty() {
                return Ok(found);
            }
            self.check_alive()?;
            ensure!(Instant::now() < end, "{left:?} did not get on within {WITHIN:?}; the others: {found:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many records at or above these offsets a reader of the topic has got.
    pub(super) fn read_beyond(&self, process: &str, ends: &[i64]) -> usize {
        self.count(0, |event| {
            let What::Read { topic, partition, offset, .. } = &event.what else { return false };
            let end = usize::try_from(*partition).ok().and_then(|place| ends.get(place));
            event.process.as_str() == process && topic.as_str() == TOPIC && end.is_some_and(|end| offset >= end)
        })
    }

    /// Waits until the mixed reader has read the topic up to these ends.
    pub(super) fn wait_read_up_to(&mut self, ends: &[i64]) -> Result<()> {
        let end = Instant::now() + WITHIN;
        loop {
            let mut read = vec![0; ends.len()];
            self.load.recorder().with_events(|events| {
                for event in events.iter().filter(|event| event.process.as_str() == MIXED) {
                    if let What::Read { topic, partition, offset, .. } = &event.what
                        && topic.as_str() == TOPIC
                        && let Some(read) = usize::try_from(*partition).ok().and_then(|place| read.get_mut(place))
                    {
                        *read = offset + 1;
                    }
                }
            });
            if read.iter().zip(ends).all(|(read, end)| read >= end) {
                return Ok(());
            }
            self.check_alive()?;
            ensure!(Instant::now() < end, "the mixed reader is at {read:?} of {ends:?} after {WITHIN:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How long the records of a topic took from their acknowledgement to the mixed reader: the median of those that were
    /// acknowledged after a moment.
    pub(super) fn median_delay(&self, topic: &str, from: u64) -> Result<Duration> {
        let mut delays = self.load.recorder().with_events(|events| {
            let mut sent: HashMap<&str, u64> = HashMap::new();
            let mut delays = Vec::new();
            for event in events.iter().filter(|event| event.t_complete > from) {
                match &event.what {
                    What::Send { value, outcome: Outcome::Ok, .. } => {
                        sent.insert(value, event.t_complete);
                    }
                    What::Read { topic: of, value, .. } if of.as_str() == topic && event.process.as_str() == MIXED => {
                        // A record may be read before its producer has been told.
                        delays.extend(sent.get(value.as_str()).map(|sent| event.t_complete.saturating_sub(*sent)));
                    }
                    _ => {}
                }
            }
            delays
        });
        delays.sort_unstable();
        delays
            .get(delays.len() / 2)
            .copied()
            .map(Duration::from_micros)
            .with_context(|| format!("{topic} was not read"))
    }

    /// Fails if a reader of the topic was assigned anything, or met an error, after a moment.
    pub(super) fn readers_noticed_nothing(&self, from: u64) -> Result<()> {
        let by_reader = |event: &Event| READERS.contains(&event.process.as_str());
        let rebalances = self.count(from, |event| by_reader(event) && matches!(event.what, What::Assign { .. }));
        let errors = self.count(from, |event| by_reader(event) && matches!(event.what, What::Error { .. }));
        ensure!((rebalances, errors) == (0, 0), "readers saw {rebalances} assignments and {errors} errors");
        Ok(())
    }

    /// Waits until each of these producers has been refused by a policy after a moment. Returns the words that each was
    /// told first.
    pub(super) fn wait_refused(&mut self, producers: &[&'static str], from: u64) -> Result<Vec<String>> {
        let end = Instant::now() + WITHIN;
        loop {
            let words: Vec<Option<String>> = self.load.recorder().with_events(|events| {
                let refused = |name: &&str| {
                    let mut own =
                        events.iter().filter(|event| event.t_complete > from && event.process.as_str() == *name);
                    own.find_map(policy).map(str::to_owned)
                };
                producers.iter().map(refused).collect()
            });
            if let Some(words) = words.iter().cloned().collect::<Option<Vec<String>>>() {
                return Ok(words);
            }
            self.check_alive()?;
            ensure!(Instant::now() < end, "{producers:?} were refused within {WITHIN:?} with {words:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a few records to a topic; all of them must be refused by a policy.
    pub(super) fn write_refused(&self, topic: &str) -> Result<()> {
        let mut producer = ProducerSpec::new("late", &self.stage.bootstrap(), topic, 100);
        producer.limit = 5;
        producer.start(self.load.recorder()).join()?;
        let refused = self.count(0, |event| event.process.as_str() == "late" && policy(event).is_some());
        ensure!(refused == 5, "{refused} of 5 records of {topic} were refused");
        Ok(())
    }

    fn check_alive(&mut self) -> Result<()> {
        self.stage.mesh()?.check_alive()?;
        self.load.check_alive()?;
        if let Some(ended) = self.producers.iter().chain([&self.mixed]).find(|worker| worker.has_ended()) {
            bail!("client {} ended by itself", ended.name());
        }
        Ok(())
    }

    /// Everything is read to its end and judged.
    pub(super) fn judge(mut self) -> Result<()> {
        self.check_alive()?;
        let now = self.now();
        self.wait_read(now)?;
        for producer in &self.producers {
            producer.ask_to_stop();
        }
        for producer in self.producers {
            producer.join()?;
        }
        self.mixed.stop()?;
        let finished = self.load.finish(&self.stage, &mut [], |line| eprintln!("{line}"))?;
        let verdict = &finished.verdict;
        eprintln!("{verdict}");
        ensure!(verdict.is_good() && finished.errors.is_empty(), "{verdict}\n{:?}", finished.errors);
        ensure!(verdict.acknowledged > 5_000 && verdict.unknown == 0, "{verdict}");
        let refused = u64::try_from(finished.events.iter().filter_map(policy).count())?;
        ensure!(refused > 0 && verdict.failed == refused, "of {} failures {refused} are the fuse's", verdict.failed);
        for group in [GROUP, JAVA_GROUP, "mixed"] {
            let committed = |event: &Event| {
                let What::Commit { group: of, outcome, .. } = &event.what else { return false };
                of.as_str() == group && *outcome == Outcome::Ok
            };
            ensure!(finished.events.iter().any(committed), "the group {group} committed nothing");
        }
        let panics = logs_with(&self.stage.spec().folder.join("logs"), &["panicked at"]);
        ensure!(panics.is_empty(), "{panics:?}");
        Ok(())
    }
}

/// What a refusal by a policy said.
fn policy(event: &Event) -> Option<&str> {
    let What::Send { outcome: Outcome::Fail, error: Some(error), .. } = &event.what else { return None };
    error.starts_with("PolicyViolation").then_some(error)
}

/// Longest time between two of these moments, or to the ends of the time that is looked at.
pub(super) fn longest_gap(mut moments: Vec<u64>, from: u64, to: u64) -> Duration {
    moments.retain(|moment| (from..=to).contains(moment));
    moments.insert(0, from);
    moments.push(to);
    Duration::from_micros(moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
}

/// The ends of a topic's partitions, as a cluster itself tells them.
pub(super) struct Logs {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Logs {
    pub(super) fn of(scene: &Scene, cluster: &str) -> Result<Self> {
        let bootstrap = scene.stage.cluster(cluster)?.bootstrap().split(',').map(str::to_owned).collect();
        let options = ClientOptions { client_id: "ends".to_owned(), ..ClientOptions::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, client: Client::new(bootstrap, options) })
    }

    pub(super) fn ends(&self) -> Result<Vec<i64>> {
        let partitions: Vec<i32> = (0..PARTITIONS).collect();
        let found = self.runtime.block_on(log_ends::list_offsets(&self.client, TOPIC, &partitions, LATEST));
        let ends = found.into_iter().map(|(partition, found)| match found {
            Ok(found) => Ok(found.offset),
            Err(code) => bail!("the end of {TOPIC}-{partition}: {code}"),
        });
        ends.collect()
    }

    /// Watches the ends until so long after `begin`; how long after it some end grew last.
    pub(super) fn last_growth(&self, begin: Instant, watch: Duration) -> Result<Duration> {
        let mut last = self.ends()?;
        // Whatever came before the first look may have come just before it.
        let mut grown = begin.elapsed();
        while begin.elapsed() < watch {
            std::thread::sleep(Duration::from_millis(10));
            let ends = self.ends()?;
            if ends != last {
                (grown, last) = (begin.elapsed(), ends);
            }
        }
        Ok(grown)
    }
}
