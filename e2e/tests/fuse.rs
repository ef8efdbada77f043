//! A fuse stops the writes or the reads of one topic by a file, all proxies at once; everything else runs on, and nothing is
//! lost when it closes.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

#[path = "fuse/scene.rs"]
mod scene;
#[path = "fuse/specs.rs"]
mod specs;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sluice_crds::topic_fuse::Position;
use sluice_crds::topic_route::Phase;
use sluice_e2e::mesh::{Kind, fuse_summary, fuse_yaml};
use sluice_e2e::stage::StageSpec;
use sluice_mesh::chain::Chain;
use sluice_mesh::document::{Document, Fuse, FuseAction};

use scene::{Logs, MIXED, PRODUCERS, READERS, SHARED, Scene, longest_gap};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 6;
/// Topics that no fuse is meant for.
const NEIGHBOURS: [&str; 3] = ["payments", "invoices", "refunds"];
const WITHIN: Duration = Duration::from_secs(20);
/// From the change of the file to the last record.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);
/// Longest time for which anybody else may notice anything.
const UNDISTURBED: Duration = Duration::from_secs(2);

const HOLD: &str = "produce: {state: Blocked}";
const REJECT: &str = "produce: {state: Blocked, action: Reject}";
const READS: &str = "consume: {state: Blocked}";
const PASSES: &str = "produce: {state: Disabled}";

type Check = fn(&mut Scene) -> Result<()>;

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn a_fuse_stops_one_topic_and_nothing_else() -> Result<()> {
    // One broker each: what shares a connection shares it here.
    let mut spec = StageSpec::new("e2e/fuse", "127.0.41", 21_000)?;
    spec.brokers = 1;
    let stage = spec.start(|line| eprintln!("{line}"))?;
    let mesh = stage.mesh.as_ref().context("a mesh")?;
    let made = specs::before_the_topics(mesh)?;
    let neighbours = NEIGHBOURS.map(|topic| (topic, 2));
    scene::create_topics(&stage, &[&[(TOPIC, PARTITIONS), (specs::LATER, 1)][..], &neighbours[..]].concat())?;
    specs::bad_ones_get_a_sentence(mesh, made)?;

    let mut scene = Scene::start(stage)?;
    let checks: [(&str, Check); 4] = [
        ("reads", reads_stop_and_go_on),
        // Timed: everybody has warmed up by now.
        ("held writes", held_writes_go_on),
        ("a move", a_move_goes_on_behind_it),
        ("refused writes", writes_are_refused),
    ];
    let mut begin = Instant::now();
    for (name, check) in checks {
        check(&mut scene).context(name)?;
        eprintln!("{name}: checked in {:.1} s", begin.elapsed().as_secs_f32());
        begin = Instant::now();
    }
    events_tell_of_it(&scene)?;
    scene.judge()
}

/// Applies the topic's fuse so that it holds writes. Returns the moment just before.
fn trip(scene: &Scene) -> Result<u64> {
    let held = |fuse: Option<&Fuse>| fuse.is_some_and(|fuse| fuse.produce == Some(FuseAction::Hold) && !fuse.consume);
    let (moment, loaded) = scene.set(&[HOLD], held)?;
    eprintln!("tripped: all proxies serve by it after {:?}", loaded.total());
    Ok(moment)
}

/// Applies it so that everything passes, and waits until every producer has gone on.
fn close(scene: &mut Scene) -> Result<()> {
    let (moment, loaded) = scene.set(&[PASSES], |fuse| fuse.is_none())?;
    scene.mesh()?.wait_fuse(TOPIC, Position::Closed, Position::Closed, WITHIN)?;
    let first = scene.wait_acknowledged(moment)?;
    eprintln!("closed: all proxies serve by it after {:?}; first acknowledgements after {first:?}", loaded.total());
    Ok(())
}

fn held_writes_go_on(scene: &mut Scene) -> Result<()> {
    let (east, refused) = (Logs::of(scene, "east")?, scene.stopped("produce")?);
    let begin = Instant::now();
    let moment = trip(scene)?;
    // Long enough for the quick producer to be told of it again and again.
    let grown = east.last_growth(begin, Duration::from_millis(3_500))?;
    let acknowledged = scene.last_acknowledged(moment);
    eprintln!("held: the logs grew for {grown:?}, the last acknowledgement came after {acknowledged:?}");
    ensure!(grown < STOPPED_WITHIN, "the logs grew for {grown:?}");
    ensure!(scene.stopped("produce")? > refused, "nobody was refused at the end of a hold");

    let status = scene.mesh()?.wait_fuse(TOPIC, Position::Tripped, Position::Closed, WITHIN)?;
    eprintln!("{}", fuse_summary(&status));
    ensure!(status.since.is_some() && status.revision.is_some(), "{status:?}");
    for topic in NEIGHBOURS {
        let gap = scene.longest_gap(&format!("of-{topic}"), topic, moment);
        eprintln!("held: longest time without an acknowledgement for {topic}: {gap:?}");
        ensure!(gap < UNDISTURBED, "{topic} was held too: {gap:?}");
    }
    let gap = scene.longest_gap(SHARED, NEIGHBOURS[0], moment);
    eprintln!("held: the same for {}, of the producer that has both on one connection: {gap:?}", NEIGHBOURS[0]);
    ensure!(gap < UNDISTURBED, "a neighbour on the same connection was held: {gap:?}");
    close(scene)
}

fn reads_stop_and_go_on(scene: &mut Scene) -> Result<()> {
    let before = scene.now();
    std::thread::sleep(Duration::from_secs(1));
    let usual = scene.median_delay(NEIGHBOURS[0], before)?;
    let (moment, loaded) =
        scene.set(&[READS], |fuse| fuse.is_some_and(|fuse| fuse.produce.is_none() && fuse.consume))?;
    let status = scene.mesh()?.wait_fuse(TOPIC, Position::Closed, Position::Tripped, WITHIN)?;
    eprintln!("reads: all proxies serve by it after {:?}; {}", loaded.total(), fuse_summary(&status));
    // Requests that were on their way may bring something once more.
    std::thread::sleep(STOPPED_WITHIN.saturating_sub(Duration::from_micros(scene.now() - moment)));
    let (settled, east, stopped) = (scene.now(), Logs::of(scene, "east")?, scene.stopped("consume")?);
    let from = east.ends()?;
    std::thread::sleep(Duration::from_secs(3));
    let (until, ends) = (scene.now(), east.ends()?);

    ensure!(scene.stopped("consume")? > stopped, "nobody asked for what was stopped");
    ensure!(from.iter().zip(&ends).all(|(from, end)| from < end), "there was nothing to read: {from:?}, {ends:?}");
    for reader in READERS {
        let read = scene.read(reader, TOPIC, moment);
        let last = read.last().map(|last| Duration::from_micros(last - moment));
        eprintln!("reads: {} records for {reader} after the change, the last one after {last:?}", read.len());
        // What a client had in hand already, it may process at its leisure.
        let beyond = scene.read_beyond(reader, &from);
        ensure!(beyond == 0, "{reader} got {beyond} records that were written behind the fuse");
    }
    scene.readers_noticed_nothing(moment)?;
    for topic in NEIGHBOURS {
        let gap = longest_gap(scene.read(MIXED, topic, moment), moment, until);
        let delay = scene.median_delay(topic, settled)?;
        eprintln!(
            "reads: {topic} by the same member: longest gap {gap:?}, half of it within {delay:?}, usually {usual:?}"
        );
        ensure!(gap < UNDISTURBED, "{topic} was not read for {gap:?}");
        ensure!(delay < Duration::from_millis(500), "{topic} waits for the end of long polls: {delay:?}");
    }

    let (moment, _) = scene.set(&[PASSES], |fuse| fuse.is_none())?;
    let first = scene.wait_read(moment)?;
    eprintln!("reads: the first records after it was closed came after {first:?}");
    scene.wait_read_up_to(&ends)?;
    scene.readers_noticed_nothing(moment)
}

fn a_move_goes_on_behind_it(scene: &mut Scene) -> Result<()> {
    // It trips in the middle of a move.
    let mesh = scene.stage.mesh()?;
    mesh.apply_route(TOPIC, "west")?;
    let begun = mesh.follow_route(TOPIC, WITHIN, |_| {}, |status| status.phase >= Some(Phase::Preparing))?;
    trip(scene)?;
    let then = scene.mesh()?.route_status(TOPIC)?.and_then(|status| status.phase);
    eprintln!("a move: the route was {:?} when the fuse was applied, {then:?} when proxies had it", begun.phase);
    let mesh = scene.stage.mesh()?;
    mesh.wait_moved(TOPIC, "west", WITHIN, |_| {})?;
    mesh.wait_fuse(TOPIC, Position::Tripped, Position::Closed, WITHIN)?;
    nothing_is_written(scene, "west")?;
    close(scene)?;
    written(scene, "west")?;

    // It had tripped before the move, and outlasts it.
    trip(scene)?;
    std::thread::sleep(STOPPED_WITHIN);
    let ends = Logs::of(scene, "west")?.ends()?;
    let mesh = scene.stage.mesh()?;
    mesh.apply_route(TOPIC, "east")?;
    mesh.wait_moved(TOPIC, "east", WITHIN, |_| {})?;
    nothing_is_written(scene, "east")?;
    let cuts = cuts(scene)?;
    ensure!(
        cuts == ends,
        "the move let writes through: the logs ended at {ends:?} behind the fuse, and were cut at {cuts:?}"
    );
    close(scene)?;
    written(scene, "east")
}

/// The topic is there, and takes no writes.
fn nothing_is_written(scene: &Scene, home: &str) -> Result<()> {
    // Whatever was on its way when the proxies took up the fuse has arrived.
    std::thread::sleep(STOPPED_WITHIN);
    let logs = Logs::of(scene, home)?;
    let (begin, before) = (Instant::now(), logs.ends()?);
    logs.last_growth(begin, Duration::from_secs(1))?;
    let after = logs.ends()?;
    ensure!(before == after, "the log on {home} grew behind the fuse: {before:?}, then {after:?}");
    Ok(())
}

/// Where the logs of the home before this one end, as that cluster counts.
fn cuts(scene: &Scene) -> Result<Vec<i64>> {
    let document = scene.mesh()?.document()?.context("no document")?;
    let entry = document.topics.iter().find(|entry| entry.name.as_str() == TOPIC).context("no entry")?;
    let cut = |chain: &Chain| chain.0.iter().rev().nth(1).and_then(|segment| segment.physical_end);
    entry.chains.iter().map(|chain| cut(chain).context("no cut")).collect()
}

/// The topic takes writes there.
fn written(scene: &Scene, home: &str) -> Result<()> {
    let document = scene.mesh()?.document()?.context("no document")?;
    let entry = document.topics.iter().find(|entry| entry.name.as_str() == TOPIC).context("no entry")?;
    ensure!(entry.cluster.as_str() == home && entry.fence.is_none(), "{TOPIC} is on {}", entry.cluster);
    let logs = Logs::of(scene, home)?;
    let before = logs.ends()?;
    let grown = logs.last_growth(Instant::now(), Duration::from_millis(500))?;
    let after = logs.ends()?;
    let all = before.iter().zip(&after).all(|(before, after)| before < after);
    ensure!(all, "not all logs grow on {home} after {grown:?}: {before:?}, then {after:?}");
    Ok(())
}

fn writes_are_refused(scene: &mut Scene) -> Result<()> {
    scene.write_refused(specs::LATER)?;
    // A name that is not the topic's, to find it in what producers are told.
    let name = "stop-orders";
    let mesh = scene.mesh()?;
    mesh.delete_fuse(TOPIC)?;
    let end = Instant::now() + WITHIN;
    while mesh.fuse_status(TOPIC)?.is_some() {
        ensure!(Instant::now() < end, "a deleted fuse is still there after {WITHIN:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let begin = Instant::now();
    let (moment, _) = scene.change(
        |mesh| mesh.apply_one(Kind::TopicFuse, name, &fuse_yaml(name, TOPIC, &[REJECT])),
        |document| document.fuses.iter().any(|fuse| fuse.name == name && fuse.produce == Some(FuseAction::Reject)),
    )?;
    let words = scene.wait_refused(&PRODUCERS, moment)?;
    eprintln!("refused: producers are told {words:?}");
    // librdkafka does not hand on what the answer says besides its code.
    ensure!(
        words.iter().any(|words| words.starts_with("PolicyViolationException") && words.contains(name)),
        "{words:?}"
    );
    let grown = Logs::of(scene, "east")?.last_growth(begin, Duration::from_millis(1_500))?;
    eprintln!("refused: the logs grew for {grown:?}");
    ensure!(grown < STOPPED_WITHIN, "the logs grew for {grown:?}");
    let gap = scene.longest_gap(SHARED, NEIGHBOURS[0], moment);
    ensure!(gap < UNDISTURBED, "a neighbour on the same connection was held: {gap:?}");
    // Deleting a fuse closes it.
    let none = |document: &Document| document.fuses.iter().all(|fuse| fuse.name != name);
    let (moment, _) = scene.change(|mesh| mesh.delete_fuse(name), none)?;
    let first = scene.wait_acknowledged(moment)?;
    eprintln!("refused: first acknowledgements {first:?} after its file was removed");
    Ok(())
}

/// One event for each time that it tripped, and one for each that it closed.
fn events_tell_of_it(scene: &Scene) -> Result<()> {
    let file = scene.mesh()?.spec().directory.join("events.jsonl");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let mut reasons = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line)?;
        if event["object"]["kind"] == "TopicFuse" && event["object"]["name"] == TOPIC {
            reasons.push(event["reason"].as_str().unwrap_or_default().to_owned());
        }
    }
    for reason in ["Tripped", "Closed"] {
        let times = reasons.iter().filter(|told| *told == reason).count();
        ensure!(times == 4, "{reason} is told {times} times, not 4: {reasons:?}");
    }
    Ok(())
}
