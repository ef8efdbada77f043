use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::chain::{CutPoint, NewHome};
use crate::fixture::{cluster, id, moved, topic};

const MESH: &str = "default";

fn key(subject: Subject) -> Key {
    Key { mesh: MESH.to_owned(), subject }
}

fn state(stage: Stage) -> TopicState {
    TopicState {
        attempt: 1,
        from: cluster("east"),
        to: cluster("west"),
        topic_id: id("east"),
        from_id: id("east"),
        to_id: id("west"),
        original_max_message_bytes: Some("1000".to_owned()),
        seal_value: 1,
        fenced_at: 5,
        chains: if matches!(stage, Stage::Cut | Stage::Switched) { vec![moved(900)] } else { Vec::new() },
        producer_chunks: 0,
        switched_at: 0,
        stage,
    }
}

fn ledger(records: &[(Subject, u64, Fact)]) -> LedgerState {
    let mut ledger = LedgerState::new(MESH);
    for (subject, counter, fact) in records {
        ledger.apply(key(subject.clone()), Some(Record { counter: *counter, fact: fact.clone() }));
    }
    ledger
}

fn with_topic(stage: Option<Stage>) -> LedgerState {
    let record = |stage| (Subject::Topic(topic("t")), 1, Fact::Topic(Box::new(state(stage))));
    ledger(&stage.map(record).into_iter().collect::<Vec<_>>())
}

/// What the two ledgers say together: (old home's last stage, new home's) to standing.
fn standing(old: Option<Stage>, new: Option<Stage>) -> TopicLedger {
    let ledgers = BTreeMap::from([(cluster("east"), with_topic(old)), (cluster("west"), with_topic(new))]);
    merge(&ledgers).topics[&topic("t")].as_ref().clone()
}

#[test]
fn the_old_homes_ledger_decides() {
    use Stage::{Abort, Cut, Intent, Switched};
    let cases = [
        (None, Some(Intent), Standing::Uncommitted),
        (Some(Intent), Some(Intent), Standing::Uncommitted),
        (Some(Intent), Some(Cut), Standing::Uncommitted),
        (None, Some(Cut), Standing::Uncommitted),
        (Some(Intent), Some(Abort), Standing::Uncommitted),
        (Some(Abort), Some(Cut), Standing::Aborted),
        (Some(Abort), Some(Abort), Standing::Aborted),
        (Some(Cut), Some(Cut), Standing::Committed),
        (Some(Cut), None, Standing::Committed),
        (Some(Cut), Some(Switched), Standing::Switched),
        (Some(Switched), Some(Switched), Standing::Switched),
        (None, Some(Switched), Standing::Switched),
    ];
    for (old, new, expected) in cases {
        let found = standing(old, new);
        assert_eq!(found.standing, expected, "{old:?} on the old home, {new:?} on the new");
        let serving = found.serving.unwrap();
        let home = if expected.is_committed() { "west" } else { "east" };
        assert_eq!(serving.cluster, cluster(home), "{old:?}, {new:?}");
        assert_eq!(serving.chains.is_empty(), !expected.is_committed());
        // Whatever the record says, giving it up brings back what served before.
        assert!(found.record.to_abort().chains.is_empty(), "{old:?}, {new:?}");
        assert_eq!(found.behind.is_empty(), old == new, "{old:?}, {new:?}: {:?}", found.behind);
    }
}

#[test]
fn without_the_old_homes_ledger_only_the_switch_is_known() {
    for (stage, expected) in [
        (Stage::Intent, Standing::Unknown),
        (Stage::Cut, Standing::Unknown),
        (Stage::Abort, Standing::Unknown),
        (Stage::Switched, Standing::Switched),
    ] {
        let found = &merge([(&cluster("west"), &with_topic(Some(stage)))]).topics["t"];
        assert_eq!(found.standing, expected, "{stage:?}");
        assert_eq!(found.serving.is_some(), expected == Standing::Switched);
    }
}

#[test]
fn a_record_is_read_back_equal() {
    let producer = CutProducer { id: 1 << 56, epoch: 3, last_sequence: -1 };
    let facts = [
        (Subject::Leader, Fact::Leader { holder: "host/1".to_owned(), at: 5 }),
        (Subject::Revision, Fact::Revision { revision: u64::MAX }),
        (
            Subject::Cluster("id".to_owned()),
            Fact::Cluster { name: cluster("east"), tag: 127, node_id_base: 10_000, indexes: vec![(1, 0), (2, 1)] },
        ),
        (
            Subject::Catalogue(topic("t")),
            Fact::Catalogue { cluster: cluster("west"), topic_id: id("west"), placeholder: None },
        ),
        (Subject::Topic(topic("t")), Fact::Topic(Box::new(state(Stage::Cut)))),
        (
            Subject::Producers { topic: topic("t"), chunk: 4 },
            Fact::Producers { attempt: 9, producers: vec![(0, producer)] },
        ),
    ];
    for (subject, fact) in facts {
        let (key, record) = (key(subject), Record { counter: 3, fact });
        let (key_bytes, value_bytes) = (key.to_bytes(), record.to_bytes());
        let read = Entry::decode(Some(&key_bytes), Some(&value_bytes)).unwrap();
        assert_eq!(read, Entry::Record(key.clone(), record), "{}", String::from_utf8_lossy(&value_bytes));
        assert_eq!(Entry::decode(Some(&key_bytes), None).unwrap(), Entry::Tombstone(key));
    }
}

#[test]
fn what_a_newer_version_wrote_is_told_apart_from_what_is_broken() {
    let decode = |key: &str, value: &str| Entry::decode(Some(key.as_bytes()), Some(value.as_bytes()));
    let revision = r#"{"counter":1,"fact":{"kind":"revision","revision":4}}"#;
    let unknown = [
        (r#"{"mesh":"m","subject":{"fuse":"t"}}"#, revision),
        (r#"{"mesh":"m","subject":"census"}"#, revision),
        (r#"{"mesh":"m","subject":"revision"}"#, r#"{"counter":1,"fact":{"kind":"census","people":3}}"#),
    ];
    for (key, value) in unknown {
        assert_eq!(decode(key, value).unwrap(), Entry::Unknown, "{key} {value}");
    }
    let broken = [
        ("nonsense", revision),
        (r#"{"mesh":"m"}"#, revision),
        (r#"{"mesh":"m","subject":7}"#, revision),
        (r#"{"mesh":"m","subject":{"topic":"../etc"}}"#, revision),
        (r#"{"mesh":"m","subject":"revision"}"#, "nonsense"),
        (r#"{"mesh":"m","subject":"revision"}"#, r#"{"counter":1,"fact":{"kind":"revision"}}"#),
        // A fact of another kind than its subject.
        (r#"{"mesh":"m","subject":"leader"}"#, revision),
        (
            r#"{"mesh":"m","subject":{"cluster":"id"}}"#,
            r#"{"counter":1,"fact":{"kind":"cluster","name":"east","tag":0,"nodeIdBase":0,"indexes":[]}}"#,
        ),
    ];
    for (key, value) in broken {
        assert!(decode(key, value).is_err(), "{key} {value}");
    }
    assert!(matches!(Entry::decode(None, Some(b"{}")), Err(LedgerError::NoKey)));
    let mut bad = state(Stage::Cut);
    bad.chains[0].0[1].start = 1;
    let record = Record { counter: 1, fact: Fact::Topic(Box::new(bad)) };
    let refused = Entry::decode(Some(&key(Subject::Topic(topic("t"))).to_bytes()), Some(&record.to_bytes()));
    assert!(matches!(refused, Err(LedgerError::Chain { partition: 0, .. })), "{refused:?}");
}

#[test]
fn the_highest_counter_wins() {
    let home = |at: &str| Fact::Catalogue { cluster: cluster(at), topic_id: id(at), placeholder: None };
    let entry = || Subject::Catalogue(topic("t"));
    let revision = |revision| Fact::Revision { revision };
    let east = ledger(&[(entry(), 5, home("east")), (Subject::Revision, 9, revision(40))]);
    let west = ledger(&[(entry(), 6, home("west")), (Subject::Revision, 8, revision(41))]);
    let merged = merge(&BTreeMap::from([(cluster("east"), east), (cluster("west"), west)]));
    assert_eq!((merged.counter, merged.revision), (9, 41));
    assert_eq!(merged.catalogue[&topic("t")].cluster, cluster("west"));
}

#[test]
fn tombstones_and_other_meshes() {
    let mut ledger = with_topic(Some(Stage::Intent));
    let other = Key { mesh: "other".to_owned(), subject: Subject::Topic(topic("t")) };
    let fact = || Record { counter: 99, fact: Fact::Topic(Box::new(state(Stage::Switched))) };
    ledger.apply(other.clone(), Some(fact()));
    assert_eq!(ledger.topic(&topic("t")).unwrap().stage, Stage::Intent);
    assert_eq!(ledger.counter(), 1);
    assert!(ledger.strangers()["t"].contains("other"));
    ledger.apply(other, None);
    assert!(ledger.strangers().is_empty());
    ledger.apply(key(Subject::Topic(topic("t"))), None);
    assert_eq!(ledger.topic(&topic("t")), None);
    assert!(merge([(&cluster("east"), &ledger)]).topics.is_empty());
}

/// A move, as a test draws it.
#[derive(Debug, Clone)]
struct Planned {
    to: u8,
    /// The operator gives it up itself, after the intent.
    gives_up: bool,
    /// The order of an abort's two appends.
    old_first: bool,
    written: i64,
}

#[derive(Debug)]
struct Killed;

/// Three ledgers and an operator that is killed whenever its fuel (appends to go) runs out.
#[derive(Debug)]
struct Sim {
    ledgers: BTreeMap<ClusterName, LedgerState>,
    /// What they add up to, kept up to date with each append.
    sum: Merged,
    counter: u64,
    fuel: Vec<u32>,
    /// The truth: what serves.
    home: ClusterName,
    chains: Vec<Chain>,
    table: BTreeMap<i64, CutProducer>,
    /// The truth by attempt: committed?
    decided: BTreeMap<u64, bool>,
}

const CLUSTERS: [&str; 3] = ["a", "b", "c"];

impl Sim {
    fn new(fuel: Vec<u32>) -> Self {
        Self {
            ledgers: CLUSTERS.iter().map(|name| (cluster(name), LedgerState::new(MESH))).collect(),
            sum: Merged::default(),
            counter: 0,
            fuel,
            home: cluster("a"),
            chains: Vec::new(),
            table: BTreeMap::new(),
            decided: BTreeMap::new(),
        }
    }

    fn append(&mut self, to: &ClusterName, subject: Subject, fact: Fact) -> Result<(), Killed> {
        match self.fuel.last_mut() {
            Some(0) => {
                self.fuel.pop();
                return Err(Killed);
            }
            Some(fuel) => *fuel -= 1,
            None => {}
        }
        if let Fact::Topic(state) = &fact
            && state.stage == Stage::Cut
            && state.from == *to
        {
            // The commit point.
            assert_ne!(self.decided.insert(state.attempt, true), Some(false), "committed after an abort");
            (self.home, self.chains) = (state.to.clone(), state.chains.clone());
            self.table = (0..=state.attempt.cast_signed() * 2).map(|id| (id, producer(id, state.attempt))).collect();
        }
        if let Fact::Topic(state) = &fact
            && state.stage == Stage::Abort
            && state.from == *to
        {
            assert_ne!(self.decided.insert(state.attempt, false), Some(true), "aborted after the commit");
        }
        self.counter += 1;
        let (key, record) = (key(subject), Record { counter: self.counter, fact });
        let bytes = (key.to_bytes(), record.to_bytes());
        self.ledgers.get_mut(to).unwrap().apply_bytes(Some(&bytes.0), Some(&bytes.1)).unwrap();
        let before = self.sum.clone();
        self.sum.update(&self.ledgers.iter().collect(), [&key.subject]);
        let news = self.sum.differing(&before);
        assert!(news.iter().eq([&topic("t")]) || news.is_empty() && self.sum.topics == before.topics, "{news:?}");
        Ok(())
    }

    fn record(&mut self, to: &ClusterName, state: &TopicState) -> Result<(), Killed> {
        self.append(to, Subject::Topic(topic("t")), Fact::Topic(Box::new(state.clone())))
    }

    fn merged(&self) -> Option<TopicLedger> {
        let merged = merge(&self.ledgers);
        assert_eq!(merged, self.sum, "added up one by one");
        merged.topics.get("t").map(|found| found.as_ref().clone())
    }

    /// What a new operator reads must be the truth.
    fn check(&self) {
        let Some(found) = self.merged() else {
            assert_eq!((&self.home, &self.chains), (&cluster("a"), &Vec::new()));
            return;
        };
        let serving = found.serving.clone().unwrap();
        assert_eq!((&serving.cluster, &serving.chains), (&self.home, &self.chains), "{found:?}");
        let committed = self.decided.get(&found.record.attempt).copied();
        assert_eq!(found.standing.is_committed(), committed == Some(true), "{found:?}");
        assert!(!found.standing.needs_abort() || committed.is_none(), "{found:?}");
        if found.standing.is_committed() {
            assert!(found.producers_complete, "{found:?}");
        }
        for (id, producer) in &self.table {
            let seen = found.producers.get(&(0, *id)).unwrap();
            assert!(seen.last_sequence >= producer.last_sequence);
        }
        // One ledger alone may not know, but what it says of this attempt is no different.
        for (name, ledger) in &self.ledgers {
            let alone = merge([(name, ledger)]);
            if let Some(alone) = alone.topics.get("t").filter(|alone| alone.record.attempt == found.record.attempt) {
                assert!(!alone.standing.is_committed() || committed == Some(true));
                let agrees = alone.serving.as_ref().is_none_or(|serving| Some(serving) == found.serving.as_ref());
                assert!(agrees, "{alone:?} against {found:?}");
            }
        }
    }

    /// What every operator does first.
    fn settle(&mut self, old_first: bool) -> Result<(), Killed> {
        let Some(found) = self.merged() else {
            return Ok(());
        };
        let record = match found.standing {
            Standing::Uncommitted | Standing::Aborted => found.record.to_abort(),
            Standing::Committed => found.record.to_switched(77),
            Standing::Switched => found.record.clone(),
            Standing::Unknown => panic!("all ledgers were read"),
        };
        let behind = if found.record.stage == record.stage {
            found.behind
        } else if old_first {
            vec![record.from.clone(), record.to.clone()]
        } else {
            vec![record.to.clone(), record.from.clone()]
        };
        for to in behind {
            self.record(&to, &record)?;
        }
        Ok(())
    }

    fn run(&mut self, planned: &Planned) -> Result<(), Killed> {
        self.settle(planned.old_first)?;
        let past = self.merged();
        let attempt = past.as_ref().map_or(1, TopicLedger::next_attempt);
        let to = cluster(CLUSTERS[usize::from(planned.to)]);
        if to == self.home {
            return Ok(());
        }
        let intent = TopicState {
            attempt,
            from: self.home.clone(),
            to: to.clone(),
            chains: self.chains.clone(),
            ..state(Stage::Intent)
        };
        self.record(&intent.to, &intent)?;
        self.record(&intent.from, &intent)?;
        if planned.gives_up {
            return self.settle(planned.old_first);
        }
        let table: Vec<_> = (0..=attempt.cast_signed() * 2).map(|id| (0, producer(id, attempt))).collect();
        let chunks: Vec<_> = table.chunks(2).map(<[_]>::to_vec).collect();
        let cut = intent.to_cut(vec![self.next_chain(&intent, planned.written)], u32::try_from(chunks.len()).unwrap());
        for ledger in [&intent.to, &intent.from] {
            for (chunk, producers) in (0..).zip(&chunks) {
                let fact = Fact::Producers { attempt, producers: producers.clone() };
                self.append(ledger, Subject::Producers { topic: topic("t"), chunk }, fact)?;
            }
            self.record(ledger, &cut)?;
        }
        self.settle(planned.old_first)
    }

    fn next_chain(&self, intent: &TopicState, written: i64) -> Chain {
        let first = || Chain::single(cluster("a"), id("a"));
        let chain = self.chains.first().cloned().unwrap_or_else(first);
        let last = chain.last().unwrap();
        let end = last.physical_start + written;
        let left = chain.segments().iter().filter(|s| s.cluster == intent.to).filter_map(|s| s.physical_end).max();
        let to = NewHome {
            cluster: intent.to.clone(),
            topic_id: id(intent.to.as_str()),
            physical_start: left.unwrap_or(0),
            generation: last.generation + 1,
        };
        chain.append(CutPoint { physical_end: end, last_epoch: last.epoch_to_virtual(3) }, to).unwrap()
    }
}

/// Producer `id` as the cut of `attempt` has it.
fn producer(id: i64, attempt: u64) -> CutProducer {
    CutProducer { id, epoch: 0, last_sequence: i32::try_from(attempt * 10).unwrap() }
}

fn planned() -> impl Strategy<Value = Planned> {
    (0..3_u8, prop::bool::weighted(0.2), any::<bool>(), 0..50_i64)
        .prop_map(|(to, gives_up, old_first, written)| Planned { to, gives_up, old_first, written })
}

proptest! {
    #[test]
    fn killed_anywhere_and_taken_over_there_is_one_truth(
        moves in prop::collection::vec(planned(), 1..6),
        fuel in prop::collection::vec(0..14_u32, 0..12),
    ) {
        let mut sim = Sim::new(fuel);
        for planned in &moves {
            // A killed operator's successor settles first and does not take up the move again.
            let mut outcome = sim.run(planned);
            sim.check();
            while outcome.is_err() {
                outcome = sim.settle(!planned.old_first);
                sim.check();
            }
            let Some(found) = sim.merged() else { continue };
            prop_assert!(matches!(found.standing, Standing::Aborted | Standing::Switched), "{:?}", found);
            prop_assert_eq!(found.behind, Vec::<ClusterName>::new());
        }
    }

    #[test]
    fn no_bytes_panic(key in prop::collection::vec(any::<u8>(), 0..80), value in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Entry::decode(Some(&key), Some(&value));
    }
}

/// Every single place to be killed at, in a move there, one given up, one back, and one on.
#[test]
fn killed_after_each_append_once() {
    let plan = |to, gives_up| Planned { to, gives_up, old_first: true, written: 10 };
    let moves = [plan(1, false), plan(0, true), plan(0, false), plan(2, false)];
    let run = |fuel: Vec<u32>| {
        let mut sim = Sim::new(fuel);
        for planned in &moves {
            let mut outcome = sim.run(planned);
            sim.check();
            while outcome.is_err() {
                outcome = sim.settle(true);
                sim.check();
            }
        }
        sim
    };
    let undisturbed = run(Vec::new());
    assert_eq!(undisturbed.home, cluster("c"));
    assert_eq!(undisturbed.decided, BTreeMap::from([(1, true), (2, false), (3, true), (4, true)]));
    for fuel in 0..u32::try_from(undisturbed.counter).unwrap() {
        let killed = run(vec![fuel]);
        assert!(killed.fuel.is_empty(), "never killed after {fuel}");
        let found = killed.merged().unwrap();
        assert!(matches!(found.standing, Standing::Switched | Standing::Aborted), "killed after {fuel}: {found:?}");
    }
}
