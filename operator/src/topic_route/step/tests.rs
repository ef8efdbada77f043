//! A model of two or three clusters, their ledgers and the document, driven by the real `step` and `absorb` through
//! failures and crashes at every action.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use sluice_crds::topic_route::Phase;

use sluice_mesh::ledger::{Fact as LedgerFact, Key, LedgerState, Record, Subject, merge};
use sluice_mesh::name::TopicName;

use super::*;
use crate::topic_route::absorb::{absorb, given_up};
use crate::topic_route::action::Fact;
use crate::topic_route::phase::phase;
use crate::topic_route::situation::{CutTable, Memory, PartitionCut};

fn topic() -> TopicName {
    TopicName::new("orders").unwrap()
}

fn name(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

/// One cluster's copy of the topic (one partition).
#[derive(Debug, Clone, PartialEq)]
struct Copy {
    id: Uuid,
    max_message_bytes: Option<String>,
    records: Vec<u64>,
}

impl Copy {
    fn open(&self) -> bool {
        self.max_message_bytes.as_deref().is_none_or(|bytes| bytes.parse::<u64>().unwrap() > 60)
    }
}

/// What survives a crash of the operator.
#[derive(Debug, Clone)]
struct World {
    copies: BTreeMap<ClusterName, Copy>,
    ledgers: BTreeMap<ClusterName, LedgerState>,
    counter: u64,
    catalogued: bool,
    revision: u64,
    fenced: bool,
    shown: ClusterName,
    entry_published: bool,
    acknowledged: Vec<u64>,
    next_value: u64,
    next_id: u128,
    wanted: Option<Wanted>,
    now: i64,
}

/// What goes wrong with one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    FailsBefore,
    FailsAfter,
    CrashBefore,
    CrashAfter,
    Slow,
    Reroute(u8),
}

fn problem() -> Problem {
    Problem::new(Reason::ClusterUnreachable, "planted")
}

impl World {
    fn new(original: Option<&str>) -> Self {
        let copy = Copy { id: Uuid::from_u128(1), max_message_bytes: original.map(str::to_owned), records: Vec::new() };
        Self {
            copies: BTreeMap::from([(name("a"), copy)]),
            ledgers: ["a", "b", "c"].map(|ledger| (name(ledger), LedgerState::new("m"))).into(),
            counter: 0,
            catalogued: false,
            revision: 1,
            fenced: false,
            shown: name("a"),
            entry_published: false,
            acknowledged: Vec::new(),
            next_value: 0,
            next_id: 2,
            wanted: Some(Wanted { to: name("b"), pause_budget: Duration::from_secs(1) }),
            now: 1_000,
        }
    }

    fn standing(&self) -> Standing {
        let merged = merge(&self.ledgers);
        Standing::read(merged.topics.get(&topic()).map(AsRef::as_ref)).expect("every ledger is read")
    }

    fn on(&self, ledger: &ClusterName) -> Option<&TopicState> {
        self.ledgers[ledger].topic(&topic())
    }

    /// What a new process knows.
    fn start(&mut self) -> Situation {
        let standing = self.standing();
        let serving = standing.serving().cloned().unwrap_or_else(|| name("a"));
        // The document is built anew from the ledgers: no fences.
        self.fenced = false;
        self.shown = serving.clone();
        self.revision += 1;
        Situation {
            now: self.now,
            wanted: self.wanted.clone(),
            serving,
            home: name("a"),
            standing,
            turn: true,
            memory: Memory::default(),
        }
    }

    /// A writer that knows no fence tries every cluster.
    fn write(&mut self) {
        for copy in self.copies.values_mut().filter(|copy| copy.open()) {
            copy.records.push(self.next_value);
            self.acknowledged.push(self.next_value);
            self.next_value += 1;
        }
    }

    fn append(&mut self, ledger: &ClusterName, state: &TopicState) {
        let last = self.on(ledger).map_or(0, |state| state.attempt);
        assert!(state.attempt >= last, "attempts only grow");
        self.counter += 1;
        let key = Key { mesh: "m".to_owned(), subject: Subject::Topic(topic()) };
        let record = Record { counter: self.counter, fact: LedgerFact::Topic(Box::new(state.clone())) };
        let ledger = self.ledgers.get_mut(ledger).unwrap();
        ledger.apply_bytes(Some(&key.to_bytes()), Some(&record.to_bytes())).unwrap();
    }

    fn copy(&mut self, cluster: &ClusterName) -> &mut Copy {
        self.copies.get_mut(cluster).unwrap()
    }

    fn stage_at_home(&self, state: &TopicState) -> Option<Stage> {
        self.on(&state.from).filter(|held| held.attempt == state.attempt).map(|held| held.stage)
    }

    /// Does the action, with the rules that brokers and ledgers enforce or that must hold by design.
    #[allow(clippy::too_many_lines, reason = "one arm per action")]
    fn apply(&mut self, s: &Situation, action: &Action) -> Result<Fact, Problem> {
        let fact = match action {
            Action::ReadLedgers => Fact::Ledger(self.standing()),
            Action::Check { to } => {
                let source = self.copies[&s.serving].clone();
                assert!(*to != s.serving);
                if !source.open() {
                    return Err(Problem::new(Reason::SealedByOthers, "the old topic is sealed"));
                }
                Fact::Checked(Box::new(Checked {
                    source_id: source.id,
                    partitions: 1,
                    replication_factor: 1,
                    configs: Vec::new(),
                    original_max_message_bytes: source.max_message_bytes.clone(),
                    open_max_message_bytes: source.max_message_bytes,
                    warnings: Vec::new(),
                }))
            }
            Action::Catalogue => {
                self.catalogued = true;
                Fact::Done
            }
            Action::PublishEntry => {
                assert!(self.catalogued, "the catalogue comes first");
                self.entry_published = true;
                self.publish(&s.serving.clone(), false)
            }
            Action::AwaitEntry { .. } | Action::AwaitSwitched { .. } | Action::AwaitDrained { .. } => {
                Fact::Late(Vec::new())
            }
            Action::PrepareTarget { to } => {
                assert!(self.entry_published, "a late proxy must know the topic's home before a second copy exists");
                let id = Uuid::from_u128(self.next_id);
                let created = !self.copies.contains_key(to);
                if created {
                    self.next_id += 1;
                    let sealed = Copy { id, max_message_bytes: Some("0".to_owned()), records: Vec::new() };
                    self.copies.insert(to.clone(), sealed);
                }
                let copy = self.copy(to);
                assert!(!copy.open(), "the target has to be sealed");
                Fact::Target(Target { cluster: to.clone(), id: copy.id, created })
            }
            Action::TrySeal | Action::CheckTransactions => Fact::Done,
            Action::RecordIntent(state) => {
                assert_eq!(state.stage, Stage::Intent);
                let (from, to) = (state.from.clone(), state.to.clone());
                self.append(&from, state);
                self.append(&to, state);
                Fact::Ledger(self.standing())
            }
            Action::Fence { attempt, .. } => {
                assert_eq!(self.standing().attempt(), *attempt);
                self.publish(&s.serving.clone(), true);
                Fact::Fenced { revision: self.revision, since: self.now }
            }
            Action::Seal(state) => {
                assert_eq!(self.stage_at_home(state), Some(Stage::Intent), "the intent comes before the first change");
                let original = self.copies[&state.from].max_message_bytes.clone();
                assert_eq!(state.original_max_message_bytes, original, "the intent knows the original override");
                self.copy(&state.from).max_message_bytes = Some(state.seal_value.to_string());
                Fact::Done
            }
            Action::ProveSeal(state) => {
                assert!(!self.copy(&state.from).open());
                Fact::Done
            }
            Action::ReadCut(state) => {
                assert!(!self.copy(&state.from).open(), "a log end is final only behind the seal");
                let end = i64::try_from(self.copy(&state.from).records.len()).unwrap();
                let target_end = i64::try_from(self.copy(&state.to).records.len()).unwrap();
                Fact::Cut(CutTable {
                    partitions: vec![PartitionCut { end, epoch: 0, target_end, producers: Vec::new() }],
                })
            }
            Action::RecordCutThere(state) => {
                self.append(&state.to.clone(), state);
                Fact::Ledger(self.standing())
            }
            Action::RecordCut(state) => {
                assert_eq!(self.on(&state.to).unwrap().stage, Stage::Cut, "the new home's ledger comes first");
                assert!(!self.copy(&state.from).open());
                self.append(&state.from.clone(), state);
                Fact::Ledger(self.standing())
            }
            Action::OpenTarget(state) => {
                let recorded = self.stage_at_home(state);
                assert!(
                    matches!(recorded, Some(Stage::Cut | Stage::Switched)),
                    "opened before the commit: {recorded:?}"
                );
                self.copy(&state.to).max_message_bytes.clone_from(&state.original_max_message_bytes);
                Fact::Done
            }
            Action::PublishChain(state) => {
                assert_eq!(self.stage_at_home(state), Some(Stage::Cut), "shown before the commit");
                self.publish(&state.to.clone(), false)
            }
            Action::RecordSwitched(state) => {
                assert!(state.switched_at > 0);
                self.append(&state.from.clone(), state);
                self.append(&state.to.clone(), state);
                Fact::Ledger(self.standing())
            }
            Action::RecordAbort(state) => {
                assert_ne!(self.stage_at_home(state), Some(Stage::Cut), "a committed move is never given up");
                self.append(&state.from.clone(), state);
                Fact::Ledger(self.standing())
            }
            Action::Unseal(state) => {
                assert_eq!(self.stage_at_home(state), Some(Stage::Abort), "unsealed without an acknowledged abort");
                let copy = self.copy(&state.from);
                if copy.max_message_bytes == Some(state.seal_value.to_string()) {
                    copy.max_message_bytes.clone_from(&state.original_max_message_bytes);
                }
                Fact::Done
            }
            Action::Unfence => self.publish(&s.serving.clone(), false),
            Action::DropTarget { cluster, id } => {
                assert_ne!(*cluster, s.serving);
                if self.copies.get(cluster).is_some_and(|copy| copy.id == *id && copy.records.is_empty()) {
                    self.copies.remove(cluster);
                }
                Fact::Done
            }
        };
        Ok(fact)
    }

    fn publish(&mut self, cluster: &ClusterName, fenced: bool) -> Fact {
        self.revision += 1;
        self.shown = cluster.clone();
        self.fenced = fenced;
        Fact::Revision(self.revision)
    }

    /// At most one copy takes writes, at any instant.
    fn check(&self) {
        let open: Vec<_> = self.copies.iter().filter(|(_, copy)| copy.open()).map(|(name, _)| name).collect();
        assert!(open.len() <= 1, "two copies are open: {open:?}");
    }

    /// Every acknowledged value lies at exactly one offset of the chain, in order.
    fn check_history(&self) {
        let standing = self.standing();
        let mut read = Vec::new();
        match standing.state().map(|state| (state, state.chains_before())) {
            Some((state, _)) if matches!(standing, Standing::Switched(_) | Standing::Committed(_)) => {
                self.read_chain(&state.chains[0], &mut read);
            }
            Some((_, chains)) if !chains.is_empty() => self.read_chain(&chains[0], &mut read),
            _ => read.extend(&self.copies[&name("a")].records),
        }
        assert_eq!(read, self.acknowledged);
    }

    fn read_chain(&self, chain: &sluice_mesh::chain::Chain, read: &mut Vec<u64>) {
        for segment in &chain.0 {
            assert_eq!(i64::try_from(read.len()).unwrap(), segment.start);
            let copy = &self.copies[&segment.cluster];
            assert_eq!(copy.id, segment.topic_id);
            let start = usize::try_from(segment.physical_start).unwrap();
            let end = segment.physical_end.map_or(copy.records.len(), |end| usize::try_from(end).unwrap());
            read.extend(&copy.records[start..end]);
        }
    }
}

fn reroute(world: &mut World, to: u8) {
    world.wanted =
        ["a", "b", "c"].get(usize::from(to)).map(|to| Wanted { to: name(to), pause_budget: Duration::from_secs(1) });
}

/// One turn of the loop, with one fault. Returns the situation and whether there was anything to do.
fn turn(world: &mut World, mut s: Situation, fault: Fault) -> (Situation, bool) {
    world.now += 3;
    s.now = world.now;
    if let Fault::Reroute(to) = fault {
        reroute(world, to);
    }
    s.wanted.clone_from(&world.wanted);
    let action = match step(&s) {
        Next::Do(action) => action,
        Next::Wait { until, .. } => {
            assert!(until > s.now, "a wait has to end later");
            world.now = until;
            return (s, true);
        }
        Next::Rest => return (s, false),
    };
    match fault {
        Fault::CrashBefore => return (world.start(), true),
        Fault::FailsBefore => {
            absorb(&mut s, &action, Err(problem()));
            return (s, true);
        }
        Fault::Slow => {
            world.now += 1_500;
            s.now = world.now;
        }
        Fault::None | Fault::FailsAfter | Fault::CrashAfter | Fault::Reroute(_) => {}
    }
    let given_up_for = s.abort_reason();
    let result = world.apply(&s, &action);
    world.check();
    match fault {
        Fault::CrashAfter => return (world.start(), true),
        Fault::FailsAfter => absorb(&mut s, &action, Err(problem())),
        _ => {
            let aborted = matches!(action, Action::RecordAbort(_)) && result.is_ok();
            absorb(&mut s, &action, result);
            if let (true, Some(problem)) = (aborted, given_up_for) {
                given_up(&mut s, problem);
            }
        }
    }
    (s, true)
}

/// Goes on without faults until there is nothing more to do.
fn settle(world: &mut World, mut s: Situation) -> Situation {
    for _ in 0..500 {
        let busy;
        (s, busy) = turn(world, s, Fault::None);
        world.check();
        if !busy {
            return s;
        }
    }
    panic!("does not come to rest: {:?} {s:?}", step(&s));
}

fn check_at_rest(world: &World, s: &Situation) {
    let open: Vec<_> = world.copies.iter().filter(|(_, copy)| copy.open()).map(|(name, _)| name.clone()).collect();
    assert_eq!(open, vec![s.serving.clone()], "exactly the serving copy is open");
    assert!(!world.fenced, "no fence is left behind");
    assert_eq!(world.shown, s.serving);
    if let Some(wanted) = &world.wanted {
        assert_eq!(s.serving, wanted.to);
        assert_eq!(phase(s), Phase::Completed);
    }
    world.check_history();
}

#[test]
fn a_move_there_and_back_goes_through_every_phase() {
    let mut world = World::new(Some("2000000"));
    let mut s = world.start();
    for (to, there) in [(1, "b"), (0, "a"), (2, "c"), (1, "b"), (0, "a")] {
        reroute(&mut world, to);
        let mut phases = Vec::new();
        for _ in 0..100 {
            world.write();
            s.wanted.clone_from(&world.wanted);
            if phases.last() != Some(&phase(&s)) {
                phases.push(phase(&s));
            }
            let busy;
            (s, busy) = turn(&mut world, s, Fault::None);
            if !busy {
                break;
            }
        }
        assert_eq!(
            phases,
            [Phase::Preparing, Phase::Fencing, Phase::Sealing, Phase::Recording, Phase::Switching, Phase::Completed]
        );
        assert_eq!(s.serving, name(there));
        check_at_rest(&world, &s);
        assert_eq!(world.copies[&s.serving].max_message_bytes.as_deref(), Some("2000000"));
    }
    assert_eq!(world.standing().attempt(), 5);
}

#[test]
fn a_crash_at_any_single_action_ends_well() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::FailsBefore, Fault::FailsAfter, Fault::Slow] {
        for at in 0..40 {
            let mut world = World::new(None);
            let mut s = world.start();
            for index in 0..=at {
                world.write();
                (s, _) = turn(&mut world, s, if index == at { fault } else { Fault::None });
                world.write();
            }
            let s = settle(&mut world, s);
            check_at_rest(&world, &s);
        }
    }
}

#[test]
fn a_route_deleted_or_turned_round_at_any_action_ends_well() {
    for to in [0, 2, 9] {
        for at in 0..40 {
            let mut world = World::new(None);
            let mut s = world.start();
            for index in 0..=at {
                world.write();
                (s, _) = turn(&mut world, s, if index == at { Fault::Reroute(to) } else { Fault::None });
            }
            let s = settle(&mut world, s);
            check_at_rest(&world, &s);
        }
    }
}

#[test]
fn the_pause_budget_ends_an_attempt() {
    let mut world = World::new(None);
    let mut s = world.start();
    while !s.memory.attempt.sealed {
        (s, _) = turn(&mut world, s, Fault::None);
    }
    world.now += 2_000;
    let mut given_up = false;
    for _ in 0..10 {
        (s, _) = turn(&mut world, s, Fault::None);
        given_up |= s.memory.problem.as_ref().is_some_and(|p| p.reason == Reason::PauseBudgetExceeded);
    }
    assert!(given_up);
    assert_eq!(s.memory.failures, 1);
    let s = settle(&mut world, s);
    assert_eq!(s.standing.attempt(), 2);
    check_at_rest(&world, &s);
}

#[test]
fn a_stuck_proxy_does_not_use_up_a_small_pause_budget() {
    for (budget, expected) in [(100, 25), (400, 100), (5_000, DRAIN_MILLIS)] {
        let mut world = World::new(None);
        world.wanted = Some(Wanted { to: name("b"), pause_budget: Duration::from_millis(budget) });
        let mut s = world.start();
        while s.memory.attempt.fenced.is_none() {
            (s, _) = turn(&mut world, s, Fault::None);
        }
        let Next::Do(Action::AwaitDrained { millis, .. }) = step(&s) else { panic!("it waits for the proxies") };
        assert_eq!(millis, expected);
    }
}

#[test]
fn the_old_homes_ledger_decides() {
    let mut world = World::new(None);
    let mut s = world.start();
    while !s.memory.attempt.recorded_there {
        (s, _) = turn(&mut world, s, Fault::None);
    }
    // The new home's ledger holds the cut, the old home's only the intent: not committed.
    assert_eq!(world.on(&name("b")).unwrap().stage, Stage::Cut);
    let mut again = world.start();
    assert!(matches!(again.standing, Standing::Uncommitted(_)));
    assert!(matches!(step(&again), Next::Do(Action::RecordAbort(_))));
    (s, _) = turn(&mut world, s, Fault::None);
    assert!(matches!(s.standing, Standing::Committed(_)));
    again = world.start();
    assert!(matches!(step(&again), Next::Do(Action::OpenTarget(_))));
    // Nothing turns a committed move back.
    again.wanted = None;
    assert!(matches!(step(&again), Next::Do(Action::OpenTarget(_))));
}

#[test]
fn a_proxy_that_is_waited_for_is_named() {
    let mut world = World::new(None);
    let mut s = world.start();
    let revision = loop {
        if let Next::Do(Action::AwaitEntry { revision }) = step(&s) {
            break revision;
        }
        (s, _) = turn(&mut world, s, Fault::None);
    };
    let late = |names: &[&str]| Fact::Late(names.iter().map(|name| (*name).to_owned()).collect());
    absorb(&mut s, &Action::AwaitEntry { revision }, Ok(late(&["node-3", "node-4 (no report any more)"])));
    let Next::Wait { problem, .. } = step(&s) else { panic!("it waits") };
    assert_eq!(problem.reason, Reason::WaitingForProxies);
    assert!(problem.message.contains("node-3, node-4 (no report any more);"), "{problem}");
    s.now += RETRY_MILLIS;
    assert_eq!(step(&s), Next::Do(Action::AwaitEntry { revision }));
    absorb(&mut s, &Action::AwaitEntry { revision }, Ok(late(&[])));
    assert_eq!((s.memory.problem.as_ref(), s.memory.entry_applied), (None, true));
    let many: Vec<String> = (0..20).map(|number| format!("node-{number}")).collect();
    absorb(&mut s, &Action::AwaitSwitched { revision }, Ok(Fact::Late(many)));
    assert!(s.memory.problem.as_ref().is_some_and(|problem| problem.message.contains("node-7 and 12 more")));
}

#[test]
fn the_next_attempt_waits_for_proxies_that_have_not_followed_the_last_one() {
    let mut world = World::new(None);
    let mut s = world.start();
    while !matches!(step(&s), Next::Do(Action::ReadCut(_))) {
        (s, _) = turn(&mut world, s, Fault::None);
    }
    (s, _) = turn(&mut world, s, Fault::FailsBefore);
    while !s.memory.unfenced || !matches!(step(&s), Next::Do(Action::AwaitEntry { .. })) {
        assert!(!matches!(step(&s), Next::Do(Action::RecordIntent(_))), "nobody asked the proxies");
        (s, _) = turn(&mut world, s, Fault::None);
    }
    let Next::Do(Action::AwaitEntry { revision }) = step(&s) else { panic!("proxies are asked") };
    assert_eq!(Some(revision), s.memory.entry);
    assert!(s.memory.attempt.fenced.is_none_or(|fenced| fenced < revision), "a document after the fence");
    assert_eq!(settle(&mut world, s).standing.attempt(), 2);
}

#[test]
fn a_ledger_that_refuses_every_write_is_not_asked_without_a_pause() {
    let mut world = World::new(None);
    let mut s = world.start();
    while !matches!(step(&s), Next::Do(Action::RecordIntent(_))) {
        (s, _) = turn(&mut world, s, Fault::None);
    }
    assert!(s.memory.rechecked);
    let mut tries = 0;
    let until = world.now + 2_000;
    while world.now < until {
        let fault = match step(&s) {
            Next::Do(Action::RecordIntent(_)) => Fault::FailsBefore,
            _ => Fault::None,
        };
        tries += u32::from(fault == Fault::FailsBefore);
        (s, _) = turn(&mut world, s, fault);
        if fault == Fault::FailsBefore {
            assert!(!s.memory.rechecked, "what was checked is old by the next try");
        }
    }
    assert!((2..=11).contains(&tries), "{tries} tries in 2 s");
    let s = settle(&mut world, s);
    check_at_rest(&world, &s);
}

/// A standing that was reached unseen (another topic's write settled this one's) must not be taken for done.
#[test]
fn what_an_attempt_before_has_reached_says_nothing_of_this_one() {
    let mut world = World::new(None);
    let mut s = world.start();
    s = settle(&mut world, s);
    assert!(s.memory.published.is_some());
    reroute(&mut world, 2);
    s.wanted.clone_from(&world.wanted);
    while !matches!(s.standing, Standing::Uncommitted(_)) {
        s = turn(&mut world, s, Fault::None).0;
    }
    let m = &s.memory;
    assert_eq!((m.published, m.opened, m.switched, m.unsealed, m.unfenced), (None, false, false, false, false));
}

#[test]
fn seal_values_stay_in_range_and_differ_from_the_last() {
    for attempt in 0..200 {
        assert!(seal_value(attempt) <= 60);
        assert_ne!(seal_value(attempt), seal_value(attempt + 1));
    }
}

#[test]
fn back_off_grows_and_is_bounded() {
    let mut s = World::new(None).start();
    let mut last = 0;
    for failures in 1..100 {
        s.memory.failures = failures;
        assert!(s.back_off() >= last && s.back_off() <= crate::topic_route::situation::BACK_OFF_MAX_MILLIS);
        last = s.back_off();
    }
    assert_eq!(last, crate::topic_route::situation::BACK_OFF_MAX_MILLIS);
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        1 => Just(Fault::FailsBefore),
        1 => Just(Fault::FailsAfter),
        1 => Just(Fault::CrashBefore),
        1 => Just(Fault::CrashAfter),
        1 => Just(Fault::Slow),
        1 => (0_u8..5).prop_map(Fault::Reroute),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_of_faults_loses_nothing(
        faults in proptest::collection::vec(fault(), 0..150),
        writes in proptest::collection::vec(any::<bool>(), 150),
        original in prop_oneof![Just(None), Just(Some("1048588"))],
    ) {
        let mut world = World::new(original);
        let mut s = world.start();
        for (fault, write) in faults.into_iter().zip(writes) {
            if write {
                world.write();
            }
            (s, _) = turn(&mut world, s, fault);
            world.check();
        }
        let s = settle(&mut world, s);
        world.write();
        check_at_rest(&world, &s);
    }
}
