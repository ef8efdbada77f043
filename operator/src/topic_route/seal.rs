//! The seal of the old home and the proof of it, and the cut that is read behind it. Safety lies here and in the order of
//! the steps, never with the proxies: it does not depend on having counted all writers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::{join, join_all, join3};
use sluice_mesh::document::CutProducer;
use sluice_net::admin::log_ends::{self, LogEnd, PartitionEpoch, PartitionOffset};
use sluice_net::admin::seal::{self, Barrier, Probe};
use sluice_net::admin::topics::{self, TopicView};
use sluice_net::admin::{ByBroker, PerPartition, producers};
use sluice_net::{CallError, Client, ErrorCode};
use uuid::Uuid;

use super::cut::{self, Seen};
use super::nudge::Nudge;
use super::problem::{Problem, Reason};
use super::situation::{CutTable, PartitionCut};

/// Between two tries of a question that the brokers will answer rightly in a moment.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a log end has to rest where the barrier can't be used.
const REST: Duration = Duration::from_secs(1);

/// One cluster's copy of a topic.
#[derive(Clone)]
pub struct Copy {
    /// The cluster, for people.
    pub cluster: String,
    /// Its client.
    pub client: Client,
    /// The topic.
    pub topic: String,
    /// The topic id that it must have.
    pub id: Uuid,
    /// The number of partitions that it must have; `None` if not known yet.
    pub partitions: Option<usize>,
}

impl Copy {
    /// Turns an error of a call into a problem of this cluster.
    pub fn problem(&self, error: &CallError) -> Problem {
        call_problem(&self.cluster, error)
    }

    /// The topic as one broker shows it. `Ok(Err(_))`: it does not now, ask again.
    async fn shown(&self) -> Result<Result<TopicView, String>, Problem> {
        let view = match topics::describe_one(&self.client, &self.topic).await {
            Ok(Some(view)) => view,
            Ok(None) => return Ok(Err(format!("{} shows no topic {}", self.cluster, self.topic))),
            Err(error) if error.is_retriable() => return Ok(Err(error.to_string())),
            Err(error) => return Err(self.problem(&error)),
        };
        self.same_topic(&view)?;
        Ok(Ok(view))
    }

    /// The topic as all brokers that hold a replica show it. An old leader that sleeps or has just woken up would show an
    /// older epoch: nobody may lack. `Ok(Err(_))`: they don't agree now, ask again.
    async fn agreed(&self) -> Result<Result<TopicView, String>, Problem> {
        match self.shown().await? {
            Ok(view) => Ok(self.confirmed(&view).await?.map(|()| view)),
            Err(not_yet) => Ok(Err(not_yet)),
        }
    }

    /// Whether all brokers that hold a replica show this very view now.
    async fn confirmed(&self, view: &TopicView) -> Result<Result<(), String>, Problem> {
        let holders = view.by_replica();
        let views = holders
            .keys()
            .map(|&broker| async move { (broker, log_ends::epochs_at(&self.client, broker, &self.topic).await) });
        for (broker, seen) in join_all(views).await {
            let seen = match seen {
                Ok(seen) => seen,
                Err(error) => {
                    return Ok(Err(format!("broker {broker}, which holds a replica, does not answer: {error}")));
                }
            };
            self.same_topic(&seen)?;
            if leaders(&seen) != leaders(view) {
                return Ok(Err(format!("broker {broker} shows other leaders or epochs")));
            }
        }
        match view.partitions.iter().find(|partition| partition.leader < 0) {
            Some(partition) => Ok(Err(format!("partition {} has no leader", partition.partition))),
            None => Ok(Ok(())),
        }
    }

    fn same_topic(&self, view: &TopicView) -> Result<(), Problem> {
        let Self { cluster, topic, .. } = self;
        if view.topic_id != self.id {
            let message = format!("topic {topic} on {cluster} was deleted and created again during the move");
            return Err(Problem::new(Reason::TopicChanged, message));
        }
        match self.partitions {
            Some(expected) if expected != view.partitions.len() => {
                let found = view.partitions.len();
                let message = format!("topic {topic} on {cluster} has {found} partitions now instead of {expected}");
                Err(Problem::new(Reason::TopicChanged, message))
            }
            _ => Ok(()),
        }
    }
}

/// Turns an error of a call into a problem with a sentence that says what to do.
pub fn call_problem(cluster: &str, error: &CallError) -> Problem {
    match error.code() {
        ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => Problem::new(
            Reason::MissingRights,
            format!("{cluster} refused: {error}; grant the operator the rights that its documentation lists"),
        ),
        _ => Problem::new(Reason::ClusterUnreachable, format!("{cluster}: {error}")),
    }
}

/// Per partition: index, leader, epoch, replicas.
fn leaders(view: &TopicView) -> Vec<(i32, i32, i32, &[i32])> {
    view.partitions.iter().map(|p| (p.partition, p.leader, p.epoch, p.replicas.as_slice())).collect()
}

/// Waits until the topic's seal is in force everywhere: every broker that holds a replica shows this value (a follower
/// may be promoted), every leader refuses a probe, and no append that was checked before is still under way.
pub async fn prove(copy: &Copy, value: u8, deadline: Instant) -> Result<(), Problem> {
    let mut why;
    let mut nudge = Nudge::new(&copy.client);
    loop {
        match copy.shown().await? {
            Ok(view) => {
                let leaders = view.by_leader();
                let probed = seal::probe(&copy.client, &copy.topic, &leaders);
                let (confirmed, shown, probed) = join3(copy.confirmed(&view), shows(copy, &view, value), probed).await;
                match confirmed?.and(shown).and_then(|()| all_sealed(&probed, view.partitions.len())) {
                    Ok(()) => return barrier(copy, &view, deadline).await,
                    Err(not_yet) => why = not_yet,
                }
            }
            Err(not_yet) => why = not_yet,
        }
        if Instant::now() + PAUSE >= deadline {
            let message = format!("the seal on {} is not in force in time: {why}", copy.cluster);
            return Err(Problem::new(Reason::SealNotVisible, message));
        }
        nudge.maybe().await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn shows(copy: &Copy, view: &TopicView, value: u8) -> Result<(), String> {
    let brokers: Vec<i32> = view.by_replica().into_keys().collect();
    let expected = value.to_string();
    for (broker, shown) in seal::visible(&copy.client, &copy.topic, &brokers).await {
        match shown {
            Ok(Some(shown)) if shown == expected => {}
            Ok(shown) => {
                return Err(format!("broker {broker} shows max.message.bytes={}", shown.unwrap_or_default()));
            }
            Err(error) => return Err(format!("broker {broker} does not show its configs: {error}")),
        }
    }
    Ok(())
}

fn all_sealed(probed: &[(i32, Probe)], partitions: usize) -> Result<(), String> {
    if probed.len() != partitions {
        return Err("not every leader answered the probe".to_owned());
    }
    match probed.iter().find(|(_, probe)| *probe != Probe::Sealed) {
        Some((partition, probe)) => Err(format!("partition {partition} answers the probe with {probe:?}")),
        None => Ok(()),
    }
}

/// An append that was checked before the seal may still wait for the log's lock: wait it out on every replica. Where that
/// is not possible the log ends have to rest for a second.
async fn barrier(copy: &Copy, view: &TopicView, deadline: Instant) -> Result<(), Problem> {
    let passed = seal::barrier(&copy.client, &copy.topic, &view.by_replica()).await.into_iter().all(|(_, result)| {
        matches!(result, Ok(partitions) if partitions.iter().all(|(_, barrier)| *barrier == Barrier::Passed))
    });
    if passed {
        return Ok(());
    }
    let mut before = ends(copy, view).await;
    loop {
        if Instant::now() + REST >= deadline {
            let message = format!(
                "appends under way on {} can't be waited out in time; grant the operator Alter on the cluster, or raise \
                 spec.move.pauseBudget above 2s",
                copy.cluster
            );
            return Err(Problem::new(Reason::LogEndNotReached, message));
        }
        tokio::time::sleep(REST).await;
        let after = ends(copy, view).await;
        if after == before && after.iter().all(|(_, end)| end.is_ok()) {
            return Ok(());
        }
        before = after;
    }
}

async fn ends(copy: &Copy, view: &TopicView) -> PerPartition<LogEnd> {
    log_ends::log_ends(&copy.client, &copy.topic, &by_leader(view)).await
}

fn by_leader(view: &TopicView) -> ByBroker<PartitionEpoch> {
    let mut groups = ByBroker::new();
    for p in &view.partitions {
        let item = PartitionEpoch { partition: p.partition, epoch: p.epoch };
        groups.entry(p.leader).or_insert_with(Vec::new).push(item);
    }
    groups
}

/// Reads the cut behind a proven seal: log ends that every holder's metadata confirms before and after, with high
/// watermark and last stable offset at them, and the producers.
pub async fn read(
    from: &Copy,
    to: &Copy,
    value: u8,
    generation: u8,
    earlier: &[Vec<CutProducer>],
    deadline: Instant,
) -> Result<CutTable, Problem> {
    let mut why;
    loop {
        let (cut, target) = join(read_once(from, value), log_ends_now(to)).await;
        match (cut?, target?) {
            (Ok(partitions), Ok(targets)) => return Ok(table(&partitions, &targets, generation, earlier)),
            (Err(not_yet), _) | (_, Err(not_yet)) => why = not_yet,
        }
        if Instant::now() + PAUSE >= deadline {
            let message = format!("the log ends of {} did not come to rest in time: {why}", from.topic);
            return Err(Problem::new(Reason::LogEndNotReached, message));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A partition's end, epoch and producers, as one round of questions found them.
struct Found {
    end: i64,
    epoch: i32,
    producers: Vec<Seen>,
}

fn table(found: &[Found], targets: &[i64], generation: u8, earlier: &[Vec<CutProducer>]) -> CutTable {
    let partitions = found.iter().zip(targets).enumerate().map(|(index, (found, target))| {
        let earlier = earlier.get(index).map(Vec::as_slice).unwrap_or_default();
        PartitionCut {
            end: found.end,
            epoch: found.epoch,
            target_end: *target,
            producers: cut::producers(&found.producers, generation, earlier),
        }
    });
    CutTable { partitions: partitions.collect() }
}

async fn read_once(copy: &Copy, value: u8) -> Result<Result<Vec<Found>, String>, Problem> {
    let view = match copy.agreed().await? {
        Ok(view) => view,
        Err(not_yet) => return Ok(Err(not_yet)),
    };
    let first = match offsets(&view, ends(copy, &view).await) {
        Ok(first) => first,
        Err(not_yet) => return Ok(Err(not_yet)),
    };
    let mut at_end: ByBroker<PartitionOffset> = ByBroker::new();
    for p in &view.partitions {
        let Some(&offset) = first.get(&p.partition) else { continue };
        let item = PartitionOffset { partition: p.partition, offset };
        at_end.entry(p.leader).or_default().push(item);
    }
    let leaders = view.by_leader();
    let (marks, known) = join(
        log_ends::watermarks(&copy.client, &copy.topic, &at_end),
        producers::describe(&copy.client, &copy.topic, &leaders),
    )
    .await;
    for (partition, marks) in &marks {
        let end = first.get(partition).copied().unwrap_or(-1);
        match marks {
            Ok(marks) if marks.high_watermark == end && marks.last_stable_offset == end => {}
            Ok(marks) => {
                return Ok(Err(format!(
                    "partition {partition} ends at {end}, its high watermark is {}, its last stable offset {}",
                    marks.high_watermark, marks.last_stable_offset
                )));
            }
            Err(code) => return Ok(Err(format!("partition {partition} does not tell its watermarks: {code}"))),
        }
    }
    let second = match offsets(&view, ends(copy, &view).await) {
        Ok(second) => second,
        Err(not_yet) => return Ok(Err(not_yet)),
    };
    if first != second || marks.len() != view.partitions.len() {
        return Ok(Err("a log end moved while it was read".to_owned()));
    }
    let (confirmed, shown) = join(copy.confirmed(&view), shows(copy, &view, value)).await;
    if let Err(not_yet) = confirmed?.and(shown) {
        return Ok(Err(not_yet));
    }
    let mut seen: BTreeMap<i32, Vec<Seen>> = BTreeMap::new();
    for (partition, known) in known {
        match known {
            Ok(known) => drop(seen.insert(partition, known.iter().map(as_seen).collect())),
            Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED) => {
                let message = format!("{} refuses to tell the producers of {}: grant Read", copy.cluster, copy.topic);
                return Err(Problem::new(Reason::MissingRights, message));
            }
            Err(code) => return Ok(Err(format!("partition {partition} does not tell its producers: {code}"))),
        }
    }
    let found: Option<Vec<Found>> = view
        .partitions
        .iter()
        .map(|p| {
            let (end, producers) = (*first.get(&p.partition)?, seen.remove(&p.partition)?);
            Some(Found { end, epoch: p.epoch, producers })
        })
        .collect();
    Ok(found.ok_or_else(|| "not every partition answered".to_owned()))
}

fn as_seen(producer: &producers::Producer) -> Seen {
    Seen { id: producer.producer_id, epoch: producer.producer_epoch, last_sequence: producer.last_sequence }
}

/// The log ends, if every leader told one for the very epoch that it was asked for.
fn offsets(view: &TopicView, ends: PerPartition<LogEnd>) -> Result<BTreeMap<i32, i64>, String> {
    let mut offsets = BTreeMap::new();
    for (partition, end) in ends {
        match end {
            Ok(end) if end.offset >= 0 => drop(offsets.insert(partition, end.offset)),
            Ok(_) => return Err(format!("partition {partition} does not know its leader epoch yet")),
            Err(code) => return Err(format!("partition {partition} does not tell its log end: {code}")),
        }
    }
    if offsets.len() == view.partitions.len() {
        Ok(offsets)
    } else {
        Err("not every partition told its log end".to_owned())
    }
}

/// The log ends of a copy that nobody writes to, by partition.
pub async fn log_ends_now(copy: &Copy) -> Result<Result<Vec<i64>, String>, Problem> {
    let view = match copy.agreed().await? {
        Ok(view) => view,
        Err(not_yet) => return Ok(Err(not_yet)),
    };
    Ok(offsets(&view, ends(copy, &view).await).map(|offsets| offsets.into_values().collect()))
}

/// Waits until every leader takes writes.
pub async fn prove_open(copy: &Copy, deadline: Instant) -> Result<(), Problem> {
    let mut why;
    let mut nudge = Nudge::new(&copy.client);
    loop {
        match topics::describe_one(&copy.client, &copy.topic).await {
            Ok(Some(view)) => {
                copy.same_topic(&view)?;
                let probed = seal::probe(&copy.client, &copy.topic, &view.by_leader()).await;
                match probed.iter().find(|(_, probe)| *probe != Probe::Open) {
                    None if probed.len() == view.partitions.len() => return Ok(()),
                    None => why = "not every leader answered the probe".to_owned(),
                    Some((partition, probe)) => why = format!("partition {partition} answers with {probe:?}"),
                }
            }
            Ok(None) => why = "the topic is not shown".to_owned(),
            Err(error) => why = error.to_string(),
        }
        if Instant::now() + PAUSE >= deadline {
            let message = format!("{} on {} does not take writes yet: {why}", copy.topic, copy.cluster);
            return Err(Problem::new(Reason::ClusterUnreachable, message));
        }
        nudge.maybe().await;
        tokio::time::sleep(PAUSE).await;
    }
}
