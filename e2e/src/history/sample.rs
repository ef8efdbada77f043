//! Good histories, made up: producers, moves, readers, a group with a rebalance, watermarks, the clusters' own logs.

use super::event::{Event, Mark, Outcome, What};

/// How a made-up history looks.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) partitions: i32,
    pub(super) producers: u32,
    pub(super) records: u32,
    pub(super) moves: u32,
    pub(super) seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { partitions: 3, producers: 3, records: 300, moves: 2, seed: 7 }
    }
}

pub(super) const TOPIC: &str = "orders";
pub(super) const GROUP: &str = "billing";
const CLUSTERS: [&str; 2] = ["east", "west"];

/// A small generator of numbers (Knuth's multiplier); good enough to vary a sample, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[derive(Debug, Clone)]
struct Row {
    value: String,
    epoch: i32,
}

struct World {
    events: Vec<Event>,
    now: u64,
}

impl World {
    fn push(&mut self, process: &str, what: What) {
        self.now += 10;
        self.events.push(Event { process: process.into(), t_invoke: Some(self.now), t_complete: self.now + 5, what });
    }
}

/// Makes a history in which nothing is wrong.
pub(super) fn good(plan: &Plan) -> Vec<Event> {
    let mut dice = Dice(plan.seed);
    let mut world = World { events: Vec::new(), now: 0 };
    let count = usize::try_from(plan.partitions).unwrap();
    let mut logs: Vec<Vec<Row>> = vec![Vec::new(); count];
    let mut physical = vec![[0_i64; 2]; count];
    let mut cuts: Vec<Vec<(usize, i64, i64)>> = (0..count).map(|_| vec![(0, 0, 0)]).collect();
    let mut sequences = vec![0_u64; usize::try_from(plan.producers).unwrap()];
    let per_run = (plan.records / (plan.moves + 1)).max(1);
    for record in 0..plan.records {
        if record > 0 && record % per_run == 0 && record / per_run <= plan.moves {
            let to = usize::try_from(record / per_run).unwrap() % 2;
            for (partition, log) in logs.iter().enumerate() {
                cuts[partition].push((to, i64::try_from(log.len()).unwrap(), physical[partition][to]));
            }
        }
        let producer = usize::try_from(dice.roll(u64::from(plan.producers))).unwrap();
        let partition = usize::try_from(dice.roll(u64::try_from(plan.partitions).unwrap())).unwrap();
        let (cluster, _, _) = *cuts[partition].last().unwrap();
        let value = format!("p{producer}:{}", sequences[producer]);
        sequences[producer] += 1;
        let offset = i64::try_from(logs[partition].len()).unwrap();
        let runs = i32::try_from(cuts[partition].len()).unwrap();
        world.now += 10;
        let outcome = if dice.roll(50) == 0 { Outcome::Info } else { Outcome::Ok };
        world.events.push(Event {
            process: format!("p{producer}").into(),
            t_invoke: Some(world.now),
            t_complete: world.now + 5 + dice.roll(40),
            what: What::Send {
                topic: TOPIC.into(),
                partition: i32::try_from(partition).unwrap(),
                value: value.clone(),
                offset: (outcome == Outcome::Ok).then_some(offset),
                outcome,
                error: (outcome == Outcome::Info).then(|| "MessageTimedOut".to_owned()),
            },
        });
        world.events.push(Event {
            process: "storage".into(),
            t_invoke: None,
            t_complete: world.now + 60,
            what: What::Stored {
                cluster: CLUSTERS[cluster].into(),
                topic: TOPIC.into(),
                partition: i32::try_from(partition).unwrap(),
                offset: physical[partition][cluster],
                value: value.clone(),
            },
        });
        physical[partition][cluster] += 1;
        logs[partition].push(Row { value, epoch: (runs - 1) * 1024 });
    }
    world.now += 100;
    for partition in 0..count {
        tell_chain(&mut world, partition, &cuts[partition], physical[partition], logs[partition].len());
        tell_readers(&mut world, partition, &logs[partition]);
        tell_group(&mut world, partition, &logs[partition], &mut dice);
    }
    world.events
}

fn tell_chain(world: &mut World, partition: usize, cuts: &[(usize, i64, i64)], physical: [i64; 2], length: usize) {
    let partition = i32::try_from(partition).unwrap();
    for (place, (cluster, start, physical_start)) in cuts.iter().enumerate() {
        let end = cuts.get(place + 1).map(|(_, next, _)| physical_start + next - start);
        world.push(
            "chain",
            What::Segment {
                topic: TOPIC.into(),
                partition,
                index: u32::try_from(place).unwrap(),
                cluster: CLUSTERS[*cluster].into(),
                start: *start,
                physical_start: *physical_start,
                physical_end: end,
            },
        );
    }
    for (cluster, end) in physical.into_iter().enumerate() {
        let what = What::StoredEnd { cluster: CLUSTERS[cluster].into(), topic: TOPIC.into(), partition, start: 0, end };
        world.push("storage", what);
    }
    let end = i64::try_from(length).unwrap();
    for (mark, values) in [
        (Mark::LogStart, vec![0, 0, 0]),
        (Mark::High, vec![0, end / 2, end]),
        (Mark::Stable, vec![0, end / 2, end]),
        (Mark::Earliest, vec![0, 0]),
        (Mark::Latest, vec![end, end]),
        (Mark::ByTime, vec![-1, end / 3, end / 3]),
        (Mark::MaxTimestamp, vec![0, end / 2, end - 1]),
        (Mark::Epoch, vec![0, 1024 * (i64::try_from(cuts.len()).unwrap() - 1)]),
        (Mark::LatestEpoch, vec![0, 1024 * (i64::try_from(cuts.len()).unwrap() - 1)]),
    ] {
        for value in values {
            world.push("watcher", What::Observe { topic: TOPIC.into(), partition, mark, value });
        }
    }
}

fn read(partition: i32, session: u32, offset: usize, row: &Row, group: Option<&str>) -> What {
    What::Read {
        topic: TOPIC.into(),
        partition,
        session,
        offset: i64::try_from(offset).unwrap(),
        epoch: group.is_none().then_some(row.epoch),
        value: row.value.clone(),
        group: group.map(Into::into),
    }
}

fn assign(partition: i32, session: u32, group: Option<&str>) -> What {
    What::Assign { topic: TOPIC.into(), partition, session, group: group.map(Into::into), offset: None }
}

fn tell_readers(world: &mut World, partition: usize, log: &[Row]) {
    let number = i32::try_from(partition).unwrap();
    for (reader, from) in [("fresh", 0), ("middle", log.len() / 2)] {
        world.push(reader, assign(number, 1, None));
        for (offset, row) in log.iter().enumerate().skip(from) {
            world.push(reader, read(number, 1, offset, row, None));
        }
    }
    let end = i64::try_from(log.len()).unwrap();
    world.push("fresh", What::CaughtUp { topic: TOPIC.into(), partition: number, end });
    if let Some(first) = log.first() {
        let of_epoch = i64::try_from(log.iter().filter(|row| row.epoch == first.epoch).count()).unwrap();
        let what = What::EpochEnd { topic: TOPIC.into(), partition: number, epoch: first.epoch, end: of_epoch };
        world.push("fresh", what);
    }
}

/// One member reads, commits now and then, and dies; the other goes on from the committed position.
fn tell_group(world: &mut World, partition: usize, log: &[Row], dice: &mut Dice) {
    let number = i32::try_from(partition).unwrap();
    let mut committed = 0;
    let handover = log.len() / 2 + usize::try_from(dice.roll(3)).unwrap();
    for (member, session, end) in [("m0", 1, handover.min(log.len())), ("m1", 2, log.len())] {
        world.push(member, assign(number, session, Some(GROUP)));
        for (offset, row) in log.iter().enumerate().take(end).skip(committed) {
            world.push(member, read(number, session, offset, row, Some(GROUP)));
            if dice.roll(5) == 0 || offset + 1 == log.len() {
                committed = offset + 1;
                let offset = i64::try_from(committed).unwrap();
                let (group, topic) = (GROUP.into(), TOPIC.into());
                let outcome = Outcome::Ok;
                world.push(member, What::Commit { group, topic, partition: number, offset, outcome });
                if dice.roll(4) == 0 {
                    let (group, topic, offset) = (GROUP.into(), TOPIC.into(), Some(offset));
                    world.push("asker", What::Committed { group, topic, partition: number, offset });
                }
            }
        }
    }
}
