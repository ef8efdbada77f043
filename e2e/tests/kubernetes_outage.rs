//! Kubernetes goes away in mid-move, forgets everything, and forgets how it came about. Kafka and its clients don't.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sluice_crds::topic_route::Phase;
use sluice_e2e::history::{Event, Recorder, Settings, What, check, gaps};
use sluice_e2e::load::{Load, LoadSpec};
use sluice_e2e::mesh::{Kind, KubernetesSpec, Mesh, cluster_yaml, route_yaml};
use sluice_e2e::stage::{CLUSTERS, Stage, StageSpec, logs_with};
use sluice_e2e::workload::Worker;
use sluice_e2e::workload::producer::ProducerSpec;
use sluice_e2e::workload::reader::ReaderSpec;
use sluice_mesh::document::Document;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 6;
const NODES: [&str; 4] = ["node-1", "node-2", "node-3", "node-4"];
const MOVED_WITHIN: Duration = Duration::from_mins(2);
/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(30);
/// A fence whose end proxies cannot be told of expires after the pause budget of 5 s and 5 s more; clients come again within
/// a second or two. Counted from when the operator has given up the attempt.
const EXPIRED_WITHIN: Duration = Duration::from_secs(15);
/// After the API server answers again, everything is over within this.
const OVER_WITHIN: Duration = Duration::from_secs(30);
/// Who has nothing to do with a move, or with Kubernetes, never waits longer than this.
const UNNOTICED: Duration = Duration::from_secs(5);
/// A client of the API reads its token file again after 50 s at the latest: until then a wiped cluster refuses it.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// Clients of a topic that stays where it is.
struct Steady {
    recorder: Arc<Recorder>,
    producer: Worker,
    reader: Worker<u64>,
}

impl Steady {
    const TOPIC: &str = "steady";
    const PARTITIONS: i32 = 2;

    fn start(stage: &Stage) -> Result<Self> {
        stage.create_topic(Self::TOPIC, Self::PARTITIONS)?;
        let recorder = Recorder::new(Some(&stage.spec().folder.join("steady.jsonl")))?;
        let bootstrap = stage.bootstrap();
        let producer = ProducerSpec::new("steady", &bootstrap, Self::TOPIC, 50).start(&recorder);
        let reader = ReaderSpec::new("steady-reader", &bootstrap, Self::TOPIC, Self::PARTITIONS);
        Ok(Self { reader: reader.start_following(&recorder), producer, recorder })
    }

    /// They never noticed anything.
    fn judge(self, stage: &Stage) -> Result<()> {
        self.producer.stop()?;
        std::thread::sleep(Duration::from_millis(500));
        ensure!(self.reader.stop()? > 0, "the steady reader read nothing");
        ReaderSpec::new("steady-again", &stage.bootstrap(), Self::TOPIC, Self::PARTITIONS).catch_up(&self.recorder)?;
        let events = self.recorder.events();
        let verdict = check(&events, &Settings { stuck_after: micros(UNNOTICED), ..Settings::default() });
        ensure!(verdict.is_good() && verdict.acknowledged == verdict.sent && verdict.sent > 0, "{verdict}");
        let acknowledged = longest_gap(&events, 0, u64::MAX);
        let read = longest_silence(&events, "steady-reader");
        eprintln!("steady clients: at most {acknowledged:?} between acknowledgements, {read:?} between reads");
        ensure!(acknowledged < UNNOTICED && read < UNNOTICED, "the steady clients noticed something");
        Ok(())
    }
}

fn micros(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_micros()).ok()
}

/// The longest time between two acknowledgements on any partition, of those that touch the time from `from` to `to`.
fn longest_gap(events: &[Event], from: u64, to: u64) -> Duration {
    Duration::from_micros(gaps(events, from, to).into_iter().map(|gap| gap.length).max().unwrap_or(u64::MAX))
}

/// The longest time between two records that a reader got.
fn longest_silence(events: &[Event], reader: &str) -> Duration {
    let read = |event: &&Event| event.process.as_str() == reader && matches!(event.what, What::Read { .. });
    let mut times: Vec<u64> = events.iter().filter(read).map(|event| event.t_complete).collect();
    times.sort_unstable();
    Duration::from_micros(times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(u64::MAX))
}

fn start(name: &str, subnet: &str, kubernetes: KubernetesSpec) -> Result<(Stage, Load, Steady)> {
    let mut spec = StageSpec::new(&format!("e2e/{name}"), subnet, 21_000)?;
    spec.kubernetes = Some(kubernetes);
    let stage = spec.start(|line| eprintln!("{line}"))?;
    stage.create_topic(TOPIC, PARTITIONS)?;
    let mut spec = LoadSpec::new(TOPIC, PARTITIONS, 1_000);
    spec.history = Some(stage.spec().folder.join("history.jsonl"));
    // Writers may be stopped while the API server is away, the time that it takes to start, and until all is over.
    spec.stuck_after = AWAY + Duration::from_secs(15) + OVER_WITHIN;
    let mut load = Load::start(spec, &stage)?;
    load.wait_flowing(Duration::from_mins(1))?;
    let steady = Steady::start(&stage)?;
    Ok((stage, load, steady))
}

/// Nothing was lost, doubled or reordered, every record was acknowledged, and nobody panicked. Returns the history.
fn judge(stage: &Stage, load: Load, steady: Steady) -> Result<Vec<Event>> {
    steady.judge(stage)?;
    let finished = load.finish(stage, &mut [], |line| eprintln!("{line}"))?;
    ensure!(finished.is_good(), "{}\n{:?}", finished.verdict, finished.errors);
    let panics = logs_with(&stage.spec().folder.join("logs"), &["panicked at"]);
    ensure!(panics.is_empty(), "{panics:?}");
    Ok(finished.events)
}

/// The body of an answer, headers and all, that has to be a good one.
fn body(answer: &str) -> Result<String> {
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(body.to_owned())
}

/// What the operator says for itself, without Kubernetes.
fn asked_of_operator(mesh: &Mesh, path: &str) -> Result<String> {
    body(&mesh.get_from_operator(path)?).with_context(|| format!("GET {path} from the operator"))
}

/// The proxies whose document fences the topic.
fn fenced(mesh: &Mesh) -> Result<Vec<&'static str>> {
    let mut fenced = Vec::new();
    for node in NODES {
        let document: Document = serde_json::from_str(&body(&mesh.get_from_proxy(node, "/document")?)?)?;
        if document.topics.iter().any(|topic| topic.name.as_str() == TOPIC && topic.fence.is_some()) {
            fenced.push(node);
        }
    }
    Ok(fenced)
}

/// How many fences have expired in a proxy.
fn expired(mesh: &Mesh, node: &str) -> Result<u64> {
    let metrics = body(&mesh.get_from_proxy(node, "/metrics")?)?;
    let value = metrics.lines().find_map(|line| line.strip_prefix("sluice_proxy_fences_expired_total "));
    Ok(value.with_context(|| format!("{node} does not count fences that expire"))?.parse()?)
}

/// What the ledgers say of the topic.
fn standing(mesh: &Mesh) -> Result<String> {
    let ledger: serde_json::Value = serde_json::from_str(&asked_of_operator(mesh, "/ledger")?)?;
    let standing = ledger.pointer(&format!("/topics/{TOPIC}/standing")).and_then(|standing| standing.as_str());
    Ok(standing.unwrap_or("Fresh").to_owned())
}

/// Whether the operator's last document shows the topic on this cluster.
fn published_on(mesh: &Mesh, cluster: &str) -> Result<bool> {
    let document: Document = serde_json::from_str(&asked_of_operator(mesh, "/document")?)?;
    Ok(document.topics.iter().any(|topic| topic.name.as_str() == TOPIC && topic.cluster.as_str() == cluster))
}

/// Begins a move and kills the API server so long after the status has shown `aim`. Returns what the attempt then came to
/// without it, by the ledgers, and where the move goes.
fn kill_in(stage: &mut Stage, aim: Phase, delay: Duration) -> Result<(String, &'static str)> {
    let mesh = stage.mesh()?;
    let now = mesh.route_status(TOPIC)?.and_then(|status| status.to);
    let to = if now.as_deref() == Some(CLUSTERS[1]) { CLUSTERS[0] } else { CLUSTERS[1] };
    mesh.apply_route(TOPIC, to)?;
    let reached = |status: &sluice_crds::TopicRouteStatus| {
        status.to.as_deref() == Some(to) && status.phase.is_some_and(|now| now >= aim)
    };
    mesh.follow_route(TOPIC, MOVED_WITHIN, |_| {}, reached)?;
    std::thread::sleep(delay);
    mesh.kubernetes_mut()?.plane_mut().kill_api_server()?;
    let killed_in = standing(mesh)?;
    // An attempt ends within its pause budget of 5 s, also without the API server.
    let end = Instant::now() + Duration::from_secs(10);
    let mut settled = killed_in.clone();
    while settled == "Uncommitted" {
        ensure!(Instant::now() < end, "the attempt neither ended nor was given up");
        std::thread::sleep(Duration::from_millis(20));
        settled = standing(mesh)?;
    }
    eprintln!("aimed at {delay:?} after {aim:?}: killed in {killed_in}, then {settled}");
    Ok((settled, to))
}

/// Writers and move are at work again soon after the API server is.
fn over_soon(stage: &mut Stage, load: &mut Load, to: &str) -> Result<()> {
    stage.mesh()?.kubernetes_mut()?.plane_mut().start_api_server()?;
    let back = Instant::now();
    stage.mesh()?.wait_moved(TOPIC, to, OVER_WITHIN, |_| {}).context("after the API server was there again")?;
    let took = back.elapsed();
    let counts = load.recorder().counts();
    std::thread::sleep(Duration::from_secs(1));
    let written = load.recorder().counts().acknowledged - counts.acknowledged;
    eprintln!("the move was over {took:?} after the API server's return; {written} records in the second after it");
    ensure!(written > 0, "nobody writes after the move");
    load.check_alive()
}

/// The attempt was given up for the API server's absence, and these proxies cannot be told: their fence expires, and every
/// partition is written to again while the API server is still away.
fn writers_go_on(mesh: &Mesh, load: &Load, fenced_at: &[&str]) -> Result<()> {
    std::thread::sleep(EXPIRED_WITHIN);
    let from = load.recorder().clock().now();
    std::thread::sleep(AWAY.saturating_sub(EXPIRED_WITHIN));
    let to = load.recorder().clock().now();
    let events = load.recorder().events();
    let longest = longest_gap(&events, from, to);
    eprintln!("given up, fenced at {fenced_at:?}: then at most {longest:?} without an acknowledgement on a partition");
    ensure!(longest < UNNOTICED, "an expired fence still stops writers");
    let written = gaps(&events, to.saturating_sub(micros(UNNOTICED).unwrap_or(0)), to);
    ensure!(written.len() == usize::try_from(PARTITIONS)?, "an expired fence stops writers, but for {written:?}");
    ensure!(fenced(mesh)? == fenced_at, "somebody has told the proxies of the end of the fence");
    for node in fenced_at {
        ensure!(expired(mesh, node)? > 0, "{node} has not counted the fence that has expired");
    }
    Ok(())
}

/// The cut is recorded, and no proxy can be told of the new home: nobody writes to the topic.
fn writers_are_stopped(load: &Load) -> Result<()> {
    std::thread::sleep(AWAY.saturating_sub(Duration::from_secs(10)));
    let counts = load.recorder().counts();
    std::thread::sleep(Duration::from_secs(10));
    let written = load.recorder().counts().acknowledged - counts.acknowledged;
    ensure!(written == 0, "{written} records were written although no proxy knows where to");
    Ok(())
}

/// Before the cut: without the API server nobody could be told of a new home, so the attempt is given up, no cut is recorded,
/// and the old home takes writes again. After the cut there is only forward, and forward needs the API server.
///
/// Proxies that have the document with the fence, and can be told nothing newer, hold the topic's writers, then refuse them
/// (`NOT_LEADER_OR_FOLLOWER`, which clients try again), until the fence expires. From then on they pass writes to the old
/// home: it takes them if the attempt was given up, and refuses them, sealed, after the cut. Where the fence was never
/// published, writers go on at once. What was written can be read all the time, and whoever works with other topics notices
/// nothing.
#[test]
#[ignore = "needs Kafka and Kubernetes: run by make e2e-kubernetes"]
fn the_api_server_is_killed_before_and_after_the_cut() -> Result<()> {
    let (mut stage, mut load, steady) = start("kubernetes-killed", "127.0.33", KubernetesSpec::new("127.0.30.10"))?;
    let (mut before, mut after) = (false, false);
    let late = [Phase::Switching, Phase::Recording];
    // The status is written beside the work and may be late: go on until both sides of the cut were met.
    for round in 0..12 {
        let moment = u64::try_from(round % 4)?;
        let (aim, delay) = if before { (late[round % late.len()], 0) } else { (Phase::Fencing, 20 * moment) };
        let (came_to, to) = kill_in(&mut stage, aim, Duration::from_millis(delay))?;
        let mesh = stage.mesh()?;
        // An attempt may also be given up before its fence has reached any proxy: that round tells nothing.
        let fenced_at = if came_to == "Aborted" && !before { fenced(mesh)? } else { Vec::new() };
        let rolled_back = !fenced_at.is_empty();
        let stopped = came_to == "Committed" && !after && !published_on(mesh, to)?;
        if rolled_back {
            writers_go_on(mesh, &load, &fenced_at)?;
        } else if stopped {
            writers_are_stopped(&load)?;
        }
        if rolled_back || stopped {
            let still = standing(mesh)?;
            ensure!(still == came_to, "{came_to} became {still} while nobody could be told");
            (before, after) = (before || rolled_back, after || stopped);
        }
        over_soon(&mut stage, &mut load, to)?;
        if before && after {
            break;
        }
    }
    ensure!(before, "no attempt was given up for the API server's absence after proxies had its fence");
    ensure!(after, "the API server was never killed between cut and switch");
    judge(&stage, load, steady)?;
    Ok(())
}

#[test]
#[ignore = "needs Kafka and Kubernetes: run by make e2e-kubernetes"]
fn etcd_is_wiped_and_the_yaml_applied_again() -> Result<()> {
    let (mut stage, mut load, steady) = start("kubernetes-wiped", "127.0.34", KubernetesSpec::new("127.0.30.11"))?;
    load.move_to(&mut stage, "west", MOVED_WITHIN, |_| {})?;
    load.move_to(&mut stage, "east", MOVED_WITHIN, |_| {})?;
    std::thread::sleep(Duration::from_secs(2));
    let bootstraps: Vec<(String, String)> =
        stage.clusters.iter().map(|cluster| (cluster.name().to_owned(), cluster.bootstrap())).collect();
    let begin = load.recorder().clock().now();
    let mesh = stage.mesh()?;
    let before = mesh.document()?.context("no document")?;
    // A proxy of the cluster that nobody works with now: its clients would notice its end, whatever comes after.
    mesh.kill_proxy("node-3")?;
    // An operator that outlives the wipe could write the document again from memory.
    mesh.kill_operator();
    mesh.kubernetes_mut()?.plane_mut().wipe_etcd()?;
    mesh.start_proxy("node-3")?;
    std::thread::sleep(Duration::from_secs(2));
    for node in ["node-1", "node-2", "node-4"] {
        let ready = mesh.get_from_proxy(node, "/ready")?;
        ensure!(ready.starts_with("HTTP/1.1 200"), "{node} does not serve on by the document that it has: {ready}");
    }
    let ready = mesh.get_from_proxy("node-3", "/ready")?;
    ensure!(ready.starts_with("HTTP/1.1 503"), "node-3 cannot know any document: {ready}");
    mesh.kubernetes_mut()?.install(|line| eprintln!("{line}"))?;
    mesh.start_operator()?;
    // The other way round than the first time.
    mesh.apply_route(TOPIC, "east")?;
    for (name, bootstrap) in bootstraps.iter().rev() {
        mesh.apply_cluster(name, bootstrap, name == CLUSTERS[0])?;
    }
    let applied = Instant::now();
    mesh.wait_ready(&CLUSTERS, READY_WITHIN)?;
    mesh.wait_moved(TOPIC, "east", MOVED_WITHIN, |_| {})?;
    eprintln!("restored {:?} after the YAML was applied", applied.elapsed());
    let after = mesh.document()?.context("no document")?;
    ensure!(after.revision > before.revision, "revision {} after {}", after.revision, before.revision);
    let chains = |document: &Document| {
        document.topics.iter().find(|topic| topic.name.as_str() == TOPIC).map(|topic| topic.chains.clone())
    };
    ensure!(chains(&before) == chains(&after), "the chains differ: {:?} and {:?}", chains(&before), chains(&after));
    ensure!(chains(&after).is_some_and(|chains| chains.iter().all(|chain| chain.0.len() == 3)), "3 runs each");
    std::thread::sleep(Duration::from_secs(1));
    let end = load.recorder().clock().now();
    load.move_to(&mut stage, "west", MOVED_WITHIN, |_| {})?;
    std::thread::sleep(Duration::from_secs(2));
    let events = judge(&stage, load, steady)?;
    let gap = longest_gap(&events, begin, end);
    eprintln!("from the wipe to the restored mesh: at most {gap:?} without an acknowledgement on a partition");
    ensure!(gap < UNNOTICED, "writers noticed that Kubernetes lost its memory");
    Ok(())
}

/// A GET of the `TopicRoute`s, past all that `kubectl` does to make an answer look nice.
fn get_routes(mesh: &Mesh, query: &str) -> Result<String> {
    let kubernetes = mesh.kubernetes()?;
    let path = format!("/apis/sluice.dev/v1alpha1/namespaces/{}/topicroutes?{query}", kubernetes.namespace());
    kubernetes.kubectl().run(&["get", "--raw", &path])
}

#[test]
#[ignore = "needs Kafka and Kubernetes: run by make e2e-kubernetes"]
fn watches_are_closed_and_history_is_forgotten() -> Result<()> {
    let mut kubernetes = KubernetesSpec::new("127.0.30.12");
    // Watches last for one to two times this many seconds.
    kubernetes.api_server_flags = vec!["--min-request-timeout=3".to_owned()];
    let (mut stage, mut load, steady) = start("kubernetes-gone", "127.0.34", kubernetes)?;
    stage.create_topic("spare", 1)?;
    let west = stage.cluster("west")?.bootstrap();
    let mesh = stage.mesh()?;
    mesh.apply_route("spare", "west")?;
    mesh.wait_moved("spare", "west", MOVED_WITHIN, |_| {})?;
    // From here on one proxy, and then the operator, see nothing.
    mesh.proxy("node-3")?.pause();
    let seen = mesh.document()?.context("no document")?.revision;
    mesh.apply_one(Kind::KafkaCluster, "west", &cluster_yaml("west", &west, false, &["private-*"]))?;
    let end = Instant::now() + Duration::from_secs(20);
    while mesh.document()?.is_none_or(|document| document.revision == seen) {
        ensure!(Instant::now() < end, "a change of a KafkaCluster does not reach the document");
        std::thread::sleep(Duration::from_millis(20));
    }
    let list: serde_json::Value = serde_json::from_str(&get_routes(mesh, "")?)?;
    let version = list.pointer("/metadata/resourceVersion").and_then(|version| version.as_str());
    let version = version.context("a list without a version")?.to_owned();
    mesh.operator()?.pause();
    mesh.delete_route("spare")?;
    mesh.apply_one(Kind::TopicRoute, "back", &route_yaml("back", "spare", "east"))?;
    mesh.apply_cluster("west", &west, false)?;
    let kubernetes = mesh.kubernetes_mut()?;
    let forgotten = kubernetes.plane_mut().forget_history()?;
    let answer = get_routes(mesh, &format!("watch=1&timeoutSeconds=1&resourceVersion={version}"));
    let answer = answer.unwrap_or_else(|error| format!("{error:#}"));
    ensure!(
        answer.contains("\"code\":410") || answer.contains("too old resource version"),
        "version {version} is not forgotten although history begins at {forgotten}: {answer}"
    );
    mesh.operator()?.resume();
    mesh.proxy("node-3")?.resume();
    let woken = Instant::now();
    // Were the deletion not seen, the older route for the topic would still count, and this one be in conflict with it.
    mesh.wait_moved("back", "east", OVER_WITHIN, |_| {})?;
    mesh.wait_ready(&CLUSTERS, OVER_WITHIN)?;
    eprintln!("up to date {:?} after operator and proxy were woken", woken.elapsed());
    let excluded = mesh.document()?.context("no document")?.clusters.iter().any(|cluster| !cluster.exclude.is_empty());
    ensure!(!excluded, "the last change of the KafkaCluster was not seen");
    load.move_to(&mut stage, "west", MOVED_WITHIN, |_| {})?;
    load.move_to(&mut stage, "east", MOVED_WITHIN, |_| {})?;
    std::thread::sleep(Duration::from_secs(1));
    judge(&stage, load, steady)?;
    Ok(())
}
