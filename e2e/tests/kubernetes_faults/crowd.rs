//! Two hundred routes at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use sluice_crds::condition::{ConditionType, is_true};
use sluice_crds::topic_route::Phase;
use sluice_e2e::mesh::{Kubernetes, Mesh, route_yaml, summary};
use sluice_e2e::stage::{CLUSTERS, Stage};

use super::{judge, load, stage, until};

const ROUTES: usize = 200;
/// Four moves at a time. With unoptimised binaries and everything on two cores, some 0.8 of them end in a second: this is for
/// a route that would never get there.
const MOVED_WITHIN: Duration = Duration::from_mins(4);
/// Status patches of one route: each phase, and what was waited for before.
const PATCHES: f64 = 15.0;

#[test]
#[ignore = "needs Kafka and Kubernetes: run by make e2e-kubernetes"]
fn two_hundred_routes_at_once() -> Result<()> {
    let mut stage = stage("kubernetes-crowd", "127.0.35", "127.0.30.25", 1)?;
    let names: Vec<String> = (0..ROUTES).map(|number| format!("crowd-{number:03}")).collect();
    create_topics(&stage, &names)?;
    let load = load(&stage, &names[ROUTES / 2], 1, Duration::from_secs(15))?;
    let mesh = stage.mesh()?;

    let documents: Vec<String> = names.iter().map(|name| route_yaml(name, name, CLUSTERS[1])).collect();
    let before = Requests::now(mesh.kubernetes()?)?;
    let begin = Instant::now();
    mesh.kubernetes()?.kubectl().run_with_input(&["apply", "-f", "-"], &documents.join("---\n"))?;
    let applied = begin.elapsed();
    let full = format!("{0}/{0}", mesh.spec().nodes.len());
    let mut left: Vec<&String> = names.iter().collect();
    until("all routes are Completed", MOVED_WITHIN, || {
        let before = left.len();
        let mut waiting = Vec::new();
        let mut still = Vec::new();
        for name in &left {
            if let Err(missing) = has_moved(mesh, name, &full)? {
                still.push(*name);
                waiting.push(format!("{name}: {missing}"));
            }
        }
        left = still;
        if before / 50 != left.len() / 50 {
            eprintln!("{} of {ROUTES} after {:?}", ROUTES - left.len(), begin.elapsed());
        }
        // Looking is work, on a machine that has enough of it.
        std::thread::sleep(Duration::from_secs(1));
        let some = &waiting[..waiting.len().min(5)];
        Ok(if waiting.is_empty() { Ok(()) } else { Err(format!("{} wait, among them {some:#?}", waiting.len())) })
    })?;
    let took = begin.elapsed();
    mesh.check_alive()?;
    for name in &names {
        has_moved(mesh, name, &full)?.map_err(|error| anyhow::anyhow!("{name}, once Completed: {error}"))?;
    }
    let document = mesh.document()?.context("no document")?;
    until("all proxies serve the last revision", Duration::from_secs(10), || {
        let reports = mesh.reports()?;
        let all = reports.iter().all(|report| report.revision >= document.revision && report.rejected.is_none());
        Ok(if all { Ok(()) } else { Err(format!("revision {}: {reports:?}", document.revision)) })
    })?;
    let on_west = document.topics.iter().filter(|topic| topic.cluster.as_str() == CLUSTERS[1]).count();
    ensure!(on_west == ROUTES, "the document has {on_west} topics on {}", CLUSTERS[1]);

    let spent = Requests::now(mesh.kubernetes()?)?.since(&before);
    eprintln!("{ROUTES} routes: kubectl apply took {applied:?}, all were Completed after {took:?}; requests:\n{spent}");
    #[allow(clippy::cast_precision_loss, reason = "a mean, for people")]
    let patches = spent.writes("topicroutes", "status") as f64 / ROUTES as f64;
    ensure!(patches <= PATCHES, "{patches} status patches per route");
    // The watch brings everything: nothing is listed again and again.
    ensure!(spent.of("LIST") <= 60, "{} lists", spent.of("LIST"));

    // At rest, nothing is written but Leases.
    let before = Requests::now(mesh.kubernetes()?)?;
    std::thread::sleep(Duration::from_secs(5));
    let idle = Requests::now(mesh.kubernetes()?)?.since(&before);
    let (statuses, maps) = (idle.writes("topicroutes", "status"), idle.writes("configmaps", ""));
    ensure!(statuses == 0 && maps == 0, "at rest, in five seconds:\n{idle}");

    every_topic_takes_a_write(&stage, &names)?;
    judge(&stage, load)
}

fn create_topics(stage: &Stage, names: &[String]) -> Result<()> {
    let home = stage.cluster(CLUSTERS[0])?.bootstrap();
    let client: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", home).create()?;
    let topics: Vec<NewTopic<'_>> =
        names.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(50)));
    for result in runtime.block_on(client.create_topics(&topics, &options))? {
        result.map_err(|(topic, code)| anyhow::anyhow!("create topic {topic}: {code}"))?;
    }
    until("clients see all topics", Duration::from_secs(30), || {
        let seen = stage.admin()?.topics()?.len();
        Ok(if seen >= names.len() { Ok(()) } else { Err(format!("{seen} topics")) })
    })?;
    Ok(())
}

fn has_moved(mesh: &Mesh, name: &str, full: &str) -> Result<Result<(), String>> {
    let Some(status) = mesh.route_status(name)? else { return Ok(Err("no status".to_owned())) };
    let proxies = status.proxies.as_ref().map(|proxies| proxies.summary.as_str());
    let ready = is_true(&status.conditions, ConditionType::Ready);
    let there = status.phase == Some(Phase::Completed) && status.to.as_deref() == Some(CLUSTERS[1]) && ready;
    let whole = status.observed_generation == Some(1) && proxies == Some(full) && status.pause.is_some();
    Ok(if there && whole { Ok(()) } else { Err(format!("{} ({proxies:?})", summary(&status))) })
}

/// Through the proxies, at their new home.
fn every_topic_takes_a_write(stage: &Stage, names: &[String]) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", stage.bootstrap())
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "30000")
        .create()?;
    // The topic under load is judged by its own clients, who know every record in it.
    let others: Vec<&String> = names.iter().filter(|name| **name != names[ROUTES / 2]).collect();
    for name in &others {
        let record = BaseRecord::<(), str>::to(name).payload("after the move");
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(30)).context("writing to every topic")?;
    let west = stage.cluster(CLUSTERS[1])?.bootstrap();
    let asker: rdkafka::consumer::BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", west).set("group.id", "asker").create()?;
    for name in others {
        use rdkafka::consumer::Consumer as _;
        let (_, high) = asker.fetch_watermarks(name, 0, Duration::from_secs(10))?;
        ensure!(high == 1, "{} has {high} records of {name}", CLUSTERS[1]);
    }
    Ok(())
}

/// What the API server has answered, by verb, resource and subresource.
struct Requests(BTreeMap<(String, String, String), u64>);

impl Requests {
    fn now(kubernetes: &Kubernetes) -> Result<Self> {
        let text = kubernetes.kubectl().run(&["get", "--raw", "/metrics"])?;
        let mut found = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
            let (labels, count) = line.rsplit_once("} ").context("a sample without a value")?;
            let label = |name: &str| {
                let rest = labels.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
                rest.and_then(|rest| rest.split_once('"')).map_or_else(String::new, |(value, _)| value.to_owned())
            };
            let key = (label("verb"), label(",resource"), label("subresource"));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "Prometheus writes floats")]
            let count = count.trim().parse::<f64>()? as u64;
            *found.entry(key).or_insert(0) += count;
        }
        ensure!(!found.is_empty(), "the API server does not count its requests");
        Ok(Self(found))
    }

    fn since(&self, before: &Self) -> Self {
        let fewer = |(key, count): (&(String, String, String), &u64)| {
            (key.clone(), count.saturating_sub(before.0.get(key).copied().unwrap_or(0)))
        };
        Self(self.0.iter().map(fewer).filter(|(_, count)| *count > 0).collect())
    }

    /// Changes of one resource.
    fn writes(&self, resource: &str, subresource: &str) -> u64 {
        let matches = |(verb, found, sub): &(String, String, String)| {
            ["APPLY", "PATCH", "PUT", "POST", "DELETE"].contains(&verb.as_str())
                && found == resource
                && sub == subresource
        };
        self.0.iter().filter(|(key, _)| matches(key)).map(|(_, count)| count).sum()
    }

    /// Of one verb, for what Sluice uses.
    fn of(&self, wanted: &str) -> u64 {
        let ours = ["kafkaclusters", "topicroutes", "configmaps", "leases"];
        let matches = |(verb, found, _): &(String, String, String)| verb == wanted && ours.contains(&found.as_str());
        self.0.iter().filter(|(key, _)| matches(key)).map(|(_, count)| count).sum()
    }
}

impl std::fmt::Display for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_by(|a, b| b.1.cmp(a.1));
        let mut text = String::new();
        for ((verb, resource, subresource), count) in rows.into_iter().take(16) {
            writeln!(text, "  {count:6} {verb} {resource} {subresource}")?;
        }
        f.write_str(&text)
    }
}
