//! The end of a load: everything is read once more in every way, and judged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use sluice_mesh::document::Document;

use super::moves::fill_in;
use super::{GROUP, JAVA_GROUP, Load, MoveReport};
use crate::history::{Event, Outcome, Settings, Verdict, What, check};
use crate::stage::Stage;
use crate::workload::Worker;
use crate::workload::asker::AskerSpec;
use crate::workload::raw::RawSpec;
use crate::workload::reader::ReaderSpec;

impl Load {
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
    /// Acknowledged records per second, from the first acknowledgement to the last.
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn records_per_second(&self) -> f64 {
        let done = |event: &Event| matches!(event.what, What::Send { outcome: Outcome::Ok, .. });
        let moments = || self.events.iter().filter(|event| done(event)).map(|event| event.t_complete);
        let (Some(first), Some(last)) = (moments().min(), moments().max()) else { return 0.0 };
        if last == first { 0.0 } else { self.verdict.acknowledged as f64 * 1_000_000.0 / (last - first) as f64 }
    }

    /// Whether all is right: no anomaly, every record acknowledged, every client content.
    pub fn is_good(&self) -> bool {
        self.verdict.is_good()
            && self.errors.is_empty()
            && self.verdict.sent > 0
            && self.verdict.acknowledged == self.verdict.sent
    }
}
