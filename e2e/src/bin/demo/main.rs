//! `make demo`: two real Kafka clusters, Sluice in front of them, stock clients at work, and a live topic that moves to
//! the other cluster and back. Ends with a verdict over everything that the clients saw.
//!
//! `make demo-kubernetes`: the same by `kubectl apply`.

#![allow(clippy::print_stdout, reason = "a program for people: its output is its purpose")]

mod kubernetes;
mod report;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use sluice_crds::TopicRouteStatus;
use sluice_crds::topic_route::Phase;
use sluice_e2e::history::Recorder;
use sluice_e2e::kafka::KAFKA_4;
use sluice_e2e::load::{Load, LoadSpec, MoveReport};
use sluice_e2e::measure::{HotLoads, Machine, Pauses, Spread};
use sluice_e2e::mesh::KubernetesSpec;
use sluice_e2e::stage::{CLUSTERS, Stage, StageSpec, logs_with};

use crate::report::{Clients, HotLoadReport, Rate, ReportFile, write_report};
use crate::verdict::{print_hot_loads, print_verdict};

/// Moves a live topic between two real Kafka clusters under load, and back, and checks what every client saw.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Args {
    /// Records per second, over all producers
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..=50_000))]
    rate: u32,
    /// Partitions of the topic
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=64))]
    partitions: i32,
    /// How often the topic moves: to the other cluster and back by turns
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=100))]
    moves: u32,
    /// Seconds of load before, between and after the moves
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Kafka of the home cluster, east
    #[arg(long, env = "KAFKA_A", default_value = KAFKA_4)]
    kafka_a: String,
    /// Kafka of the other cluster, west
    #[arg(long, env = "KAFKA_B", default_value = KAFKA_4)]
    kafka_b: String,
    /// Brokers per cluster
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    brokers: u8,
    /// First three numbers of the loopback addresses to use
    #[arg(long, default_value = "127.0.1")]
    subnet: String,
    /// Bootstrap port through Sluice; it and the next 110 are used on every node's address
    #[arg(long, env = "PORT", default_value_t = 9092)]
    port: u16,
    /// By `kubectl apply`: on a Kubernetes control plane of its own (make kubernetes), or on the cluster of $KUBECONFIG, in a
    /// namespace that is removed in the end
    #[arg(long, conflicts_with = "direct")]
    kubernetes: bool,
    /// Write the result as JSON to this file
    #[arg(long)]
    report: Option<PathBuf>,
    /// Without Sluice and without moves: how the same clients fare on the home cluster itself
    #[arg(long, hide = true)]
    direct: bool,
}

const TOPIC: &str = "orders";

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "warn,sluice_e2e=info,librdkafka=off".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    stop_on_interrupt();
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            println!("\nThe demo could not be finished: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Ctrl-C ends what we started, then us.
fn stop_on_interrupt() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            sluice_e2e::process::stop_all();
            sluice_e2e::mesh::remove_namespaces();
            std::process::exit(130);
        }
    });
}

fn run(args: &Args) -> Result<bool> {
    let begin = Instant::now();
    let mut machine = Machine::at_begin();
    let moves = if args.direct { 0 } else { args.moves };
    let name = if args.kubernetes { "demo-kubernetes" } else { "demo" };
    let mut spec = StageSpec::new(name, &args.subnet, args.port)?;
    spec.kubernetes = args.kubernetes.then(|| KubernetesSpec::of_environment_or(&spec.host(100)));
    spec.brokers = usize::from(args.brokers);
    spec.versions = [args.kafka_a.clone(), args.kafka_b.clone()];
    if args.direct {
        spec.mesh = false;
        spec.clusters = 1;
    }
    let folder = spec.folder.clone();
    println!("Sluice demo: the topic `{TOPIC}` moves between two Kafka clusters while clients write and read it.\n");
    println!("Setting the stage (logs in {})", folder.display());
    let mut stage = spec.start(|line| println!("  {line}"))?;
    stage.create_topic(TOPIC, args.partitions)?;
    println!("  topic {TOPIC}: {} partitions on east, seen through {}", args.partitions, stage.bootstrap());
    let kubernetes = stage.mesh.as_ref().and_then(|mesh| mesh.kubernetes().ok());
    let routes = kubernetes.map(kubernetes::introduce).transpose()?;

    let clients = Clients::of(&stage);
    println!(
        "\nClients: librdkafka {}: 2 producers (idempotent), a group of 2 consumers that commit",
        clients.librdkafka
    );
    println!("         Kafka's Java clients {}: 1 VerifiableProducer (acks=all, idempotent)", clients.java);
    println!("         a raw watcher of watermarks and epochs");
    let samples = args.moves.clamp(5, 20);
    let mut hot_loads =
        HotLoadReport { idle: time_hot_loads(&mut stage, samples, "before the load")?, ..HotLoadReport::default() };
    let mut load_spec = LoadSpec::new(TOPIC, args.partitions, args.rate);
    load_spec.history = Some(folder.join("history.jsonl"));
    let mut load = Load::start(load_spec, &stage)?;
    let ticker = Ticker::start(load.recorder(), begin);
    load.wait_flowing(Duration::from_secs(40))?;
    rest(args.seconds);
    hot_loads.under_load = time_hot_loads(&mut stage, samples, "under load")?;
    if args.kubernetes {
        hot_loads.by_kubectl = kubernetes::time_hot_loads_by_kubectl(&mut stage, samples)?;
    }
    let mut reports = Vec::new();
    for number in 0..moves {
        let to = CLUSTERS[usize::from(number % 2 == 0)];
        let report = if let Some(routes) = &routes {
            routes.show_apply(TOPIC, to);
            let report = load.move_to(&mut stage, to, Duration::from_mins(1), |_| {})?;
            routes.settle();
            report
        } else {
            println!("\n  apply: TopicRoute {TOPIC} -> {to}");
            let watch = Instant::now();
            // What the status says of the move before is no news.
            let mut last = stage.mesh()?.route_status(TOPIC)?.and_then(|status| status.phase);
            load.move_to(&mut stage, to, Duration::from_mins(1), |status| show(watch, &mut last, status))?
        };
        println!("  {}\n", one_line(&report));
        reports.push(report);
        if number == 0 {
            load.start_fresh_reader();
        }
        rest(args.seconds);
    }
    if moves == 0 {
        rest(args.seconds);
    }
    ticker.stop();
    println!("\nThe end of the load");
    let finished = load.finish(&stage, &mut reports, |line| println!("  {line}"))?;
    if let Some(routes) = routes {
        routes.end();
        kubernetes::show_end(stage.mesh()?.kubernetes()?)?;
    }
    let panics = logs_with(&folder.join("logs"), &["panicked at"]);
    stage.end();
    machine.at_end();
    let good = finished.is_good() && panics.is_empty() && reports.len() == usize::try_from(moves)?;
    print_verdict(&finished, &reports, &panics);
    print_hot_loads(&hot_loads, what_changes(args.kubernetes));
    println!("\nTook {:.0} s; {machine}", begin.elapsed().as_secs_f32());
    println!("\n{}", if good { "ALL RIGHT" } else { "NOT RIGHT: see above" });
    if let Some(file) = &args.report {
        let report = ReportFile {
            good,
            machine,
            kafka: [&args.kafka_a, &args.kafka_b],
            brokers_per_cluster: args.brokers,
            clients,
            partitions: args.partitions,
            records_per_second: Rate { wanted: args.rate, acknowledged: finished.records_per_second().round() },
            hot_load: hot_loads,
            pause: Pauses::of(&reports),
            moves: &reports,
            verdict: &finished.verdict,
            client_errors: &finished.errors,
        };
        write_report(file, &report)?;
    }
    Ok(good)
}

/// What a hot load begins with.
fn what_changes(kubernetes: bool) -> &'static str {
    if kubernetes { "a request to the API server" } else { "a changed file" }
}

/// Makes changes that move nothing, and waits each time until every proxy serves by the change.
fn time_hot_loads(stage: &mut Stage, samples: u32, when: &str) -> Result<Option<HotLoads>> {
    let (name, bootstrap) = (stage.clusters[0].name().to_owned(), stage.clusters[0].bootstrap());
    let Some(mesh) = &stage.mesh else { return Ok(None) };
    let found = HotLoads::of(&mesh.time_hot_loads(&name, &bootstrap, true, samples)?);
    if let Some(found) = &found {
        let Spread { median, worst, .. } = found.total;
        let what = what_changes(mesh.kubernetes().is_ok());
        println!("  {when}: {what} reaches all proxies within {median:.1} ms (median of {samples}, worst {worst:.1})");
    }
    // A move is not to begin while something else is still being taken up.
    stage.mesh()?.wait_ready(&CLUSTERS, Duration::from_secs(30))?;
    Ok(found)
}

fn rest(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

/// A line for each new phase.
fn show(watch: Instant, last: &mut Option<Phase>, status: &TopicRouteStatus) {
    if status.phase == *last {
        return;
    }
    *last = status.phase;
    let Some(phase) = status.phase else { return };
    let words = match phase {
        Phase::Pending => "waits for its turn",
        Phase::Preparing => "checks run, the target is created, still closed",
        Phase::Fencing => "proxies hold new writes",
        Phase::Sealing => "the old cluster itself refuses writes; its log ends are read",
        Phase::Recording => "the cut goes to the ledgers",
        Phase::Switching => "the new cluster opens, proxies follow",
        Phase::Completed => "the topic lives there",
    };
    println!("  {:>7.3} s  {:<10} {words}", watch.elapsed().as_secs_f64(), phase.as_str());
}

fn one_line(report: &MoveReport) -> String {
    let pause = report.pause_millis.map_or_else(|| "unknown".to_owned(), |millis| format!("{millis} ms"));
    format!("{} -> {} after {} ms, pause of writes {pause}", report.from, report.to, report.total_millis)
}

/// Prints running totals each second.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Ticker {
    fn start(recorder: &Arc<Recorder>, begin: Instant) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (token, recorder) = (Arc::clone(&stop), Arc::clone(recorder));
        let thread = std::thread::spawn(move || {
            let mut before = recorder.counts();
            while !token.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(1));
                let now = recorder.counts();
                println!(
                    "  [{:>3} s] acknowledged {:>7} (+{:>5}/s)  not acknowledged {}  group read {:>7}  commits {:>5}  others read {}",
                    begin.elapsed().as_secs(),
                    now.acknowledged,
                    now.acknowledged - before.acknowledged,
                    now.not_acknowledged,
                    now.group_read,
                    now.commits,
                    now.read,
                );
                before = now;
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        // Nothing to lose but a line of output.
        let _ = self.thread.join();
    }
}
