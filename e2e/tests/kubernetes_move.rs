//! The main promise through a real API server: a live topic moves there and back by `kubectl apply`, no client can tell, and
//! who watches with `kubectl` sees all of it.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sluice_e2e::load::{Load, LoadSpec};
use sluice_e2e::measure::HotLoads;
use sluice_e2e::mesh::{Kind, Kubernetes, KubernetesSpec, Mesh, cluster_yaml, fuse_yaml, route_yaml};
use sluice_e2e::process::Lifetime;
use sluice_e2e::stage::{CLUSTERS, Stage, StageSpec, logs_with};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 6;
const MOVED_WITHIN: Duration = Duration::from_mins(2);
const PHASES: [&str; 6] = ["Preparing", "Fencing", "Sealing", "Recording", "Switching", "Completed"];
const ROUTE: &str = "troute/orders";
const FUSE: &str = "tfuse/orders";

#[test]
#[ignore = "needs Kafka and Kubernetes: run by make e2e-kubernetes"]
fn a_live_topic_moves_there_and_back_by_kubectl_apply() -> Result<()> {
    let mut spec = StageSpec::new("e2e/kubernetes-move", "127.0.33", 21_000)?;
    spec.kubernetes = Some(KubernetesSpec::new("127.0.30.10"));
    let logs = spec.folder.join("logs");
    let mut stage = spec.start(|line| eprintln!("{line}"))?;
    stage.create_topic(TOPIC, PARTITIONS)?;
    roles_are_the_shipped_ones(stage.mesh()?.kubernetes()?)?;
    a_change_reaches_all_proxies_within_a_second(&mut stage)?;

    let watch = stage.mesh()?.kubernetes()?.watch(&["get", "troute", "--watch"])?;
    let mut spec = LoadSpec::new(TOPIC, PARTITIONS, 1_200);
    spec.history = Some(stage.spec().folder.join("history.jsonl"));
    let mut load = Load::start(spec, &stage)?;
    load.wait_flowing(Duration::from_mins(1))?;
    let mut moves = Vec::new();
    let mut seen = 0;
    for number in 0..4 {
        std::thread::sleep(Duration::from_secs(2));
        let to = CLUSTERS[(number + 1) % 2];
        if number < 2 {
            let report = load.move_to(&mut stage, to, MOVED_WITHIN, |_| {})?;
            eprintln!("move {}: {report:?}", number + 1);
            moves.push(report);
            load.start_fresh_reader();
        } else {
            waited_for_by_kubectl(stage.mesh()?, to)?;
        }
        let completed = |line: &str| phase_of(line) == Some((to, "Completed")) && line.contains(" True ");
        let rows = loop {
            let rows: Vec<String> = watch.lines().into_iter().skip(seen).map(|(_, line)| line).collect();
            // The first row may be the end of the move before, under the new cluster's name.
            if rows.last().is_some_and(|line| completed(line)) && passed(&rows, to).len() > 1 {
                break rows;
            }
            ensure!(!watch.ended(), "the watch ended: {rows:#?}");
            std::thread::sleep(Duration::from_millis(20));
        };
        if number == 0 {
            let header = "NAME TOPIC FROM TO PHASE PAUSE PROXIES READY AGE";
            let found = rows.first().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "));
            ensure!(found.as_deref() == Some(header), "the columns are {found:?}");
        }
        every_phase_was_seen(&rows, to)?;
        status_speaks_of_this_generation(stage.mesh()?.kubernetes()?, &[ROUTE, "kcl/east", "kcl/west"])?;
        seen = watch.lines().len();
    }
    applying_again_changes_nothing(&stage)?;
    events_tell_the_story(stage.mesh()?.kubernetes()?, 4)?;
    a_fuse_is_tripped_by_kubectl_apply(stage.mesh()?, &load)?;
    std::thread::sleep(Duration::from_secs(2));
    let finished = load.finish(&stage, &mut moves, |line| eprintln!("{line}"))?;
    ensure!(finished.is_good(), "{}\n{:?}", finished.verdict, finished.errors);
    ensure!(finished.verdict.acknowledged > 10_000, "too little load to mean anything: {}", finished.verdict);
    for report in &moves {
        ensure!(report.pause_millis.is_some(), "a move without a pause: {report:?}");
    }
    let panics = logs_with(&logs, &["panicked at"]);
    ensure!(panics.is_empty(), "{panics:?}");
    // A right that is missing from a Role shows here.
    let forbidden = logs_with(&logs, &["forbidden"]);
    ensure!(forbidden.is_empty(), "{forbidden:?}");
    Ok(())
}

fn roles_are_the_shipped_ones(kubernetes: &Kubernetes) -> Result<()> {
    for (kubectl, account) in
        [(kubernetes.kubectl_as_operator(), "sluice-operator"), (kubernetes.kubectl_as_proxy(), "sluice-proxy")]
    {
        let who = kubectl.run(&["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"])?;
        ensure!(who == format!("system:serviceaccount:{}:{account}", kubernetes.namespace()), "it runs as {who}");
        for denied in [
            ["get", "secrets"],
            ["create", "pods"],
            ["update", "topicroutes.sluice.dev"],
            ["update", "topicfuses.sluice.dev"],
            ["delete", "kafkaclusters.sluice.dev"],
            ["create", "rolebindings.rbac.authorization.k8s.io"],
        ] {
            let output = kubectl.output(&[&["auth", "can-i"], denied.as_slice()].concat(), None)?;
            let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            ensure!(answer == "no", "{account} can {denied:?}: {answer}");
        }
    }
    let error = kubernetes.kubectl_as_proxy().refusal(&["get", "kafkaclusters"], None)?;
    ensure!(error.contains("orbidden"), "a proxy reads KafkaClusters: {error}");
    let error = kubernetes.kubectl_as_operator().refusal(&["get", "configmaps", "--namespace=default"], None)?;
    ensure!(error.contains("orbidden"), "the operator reads other namespaces: {error}");
    Ok(())
}

fn a_change_reaches_all_proxies_within_a_second(stage: &mut Stage) -> Result<()> {
    let bootstrap = stage.cluster("east")?.bootstrap();
    let mesh = stage.mesh()?;
    let found = HotLoads::of(&mesh.time_hot_loads("east", &bootstrap, true, 9)?).context("no samples")?;
    eprintln!("from a request to the API server to all proxies: {found:?}");
    ensure!(found.total.median < 1_000.0, "a change takes too long: {found:?}");
    mesh.wait_ready(&CLUSTERS, Duration::from_secs(30))
}

/// Where to, and the phase, of a row that has one.
fn phase_of(row: &str) -> Option<(&str, &str)> {
    let words: Vec<&str> = row.split_whitespace().collect();
    words.windows(2).find(|pair| PHASES.contains(&pair[1]) || pair[1] == "Pending").map(|pair| (pair[0], pair[1]))
}

/// The phases of the rows of one move, each once for as long as it lasted. What an object showed just after it was
/// applied is the end of the move before.
fn passed<'a>(rows: &'a [String], to: &str) -> Vec<&'a str> {
    let mut phases: Vec<&str> =
        rows.iter().filter_map(|row| phase_of(row)).filter(|(of, _)| *of == to).map(|(_, phase)| phase).collect();
    phases.dedup();
    if phases.first() == Some(&"Completed") {
        phases.remove(0);
    }
    phases
}

fn every_phase_was_seen(rows: &[String], to: &str) -> Result<()> {
    let mut phases = passed(rows, to);
    // It may wait for the first look at a cluster, and an attempt may be given up on a busy machine.
    phases.retain(|phase| *phase != "Pending");
    if let Some(last) = phases.iter().rposition(|phase| *phase == "Preparing") {
        let before = &phases[..last];
        ensure!(!before.contains(&"Recording"), "a committed move went back: {phases:?}");
        phases.drain(..last);
    }
    ensure!(phases == PHASES, "kubectl get troute --watch showed {phases:?} of the move to {to}: {rows:#?}");
    Ok(())
}

/// `kubectl wait` right after `kubectl apply` must not take the condition of the move before for this one's.
fn waited_for_by_kubectl(mesh: &mut Mesh, to: &str) -> Result<()> {
    mesh.apply_route(TOPIC, to)?;
    let kubectl = mesh.kubernetes()?.kubectl().clone();
    kubectl.run(&["wait", "--for=condition=Ready", ROUTE, "--timeout=120s"])?;
    let route = kubectl.get_json(&[ROUTE])?;
    ensure!(route["status"]["phase"] == "Completed" && route["status"]["to"] == to, "waited for nothing: {route:#}");
    Ok(())
}

fn status_speaks_of_this_generation(kubernetes: &Kubernetes, names: &[&str]) -> Result<()> {
    for name in names {
        let object = kubernetes.kubectl().get_json(&[name])?;
        let generation = &object["metadata"]["generation"];
        let status = &object["status"];
        ensure!(status["observedGeneration"] == *generation, "{name}: {object:#}");
        let conditions = status["conditions"].as_array().context("conditions")?;
        ensure!(conditions.iter().any(|one| one["type"] == "Ready"), "{name} has no Ready: {object:#}");
        for condition in conditions {
            ensure!(condition["observedGeneration"] == *generation, "{name}: {condition:#} of {generation}");
            for text in ["reason", "message", "lastTransitionTime"] {
                ensure!(condition[text].as_str().is_some_and(|text| !text.is_empty()), "{name}: {condition:#}");
            }
            // Both are there only while they are true: kstatus takes their absence for rest.
            let abnormal = condition["type"] == "Reconciling" || condition["type"] == "Stalled";
            ensure!(!abnormal || condition["status"] == "False", "{name} is not at rest: {condition:#}");
        }
    }
    Ok(())
}

fn applying_again_changes_nothing(stage: &Stage) -> Result<()> {
    let kubectl = stage.mesh.as_ref().context("a mesh")?.kubernetes()?.kubectl();
    let bootstrap = stage.cluster("east")?.bootstrap();
    let written = |object: &Value| {
        let managed = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let of_kubectl: Vec<Value> = managed.iter().filter(|one| one["manager"] == "kubectl").cloned().collect();
        let managers: BTreeSet<String> = managed.iter().map(|one| one["manager"].to_string()).collect();
        (object["metadata"]["generation"].clone(), object["spec"].clone(), of_kubectl, managers)
    };
    for (name, yaml) in
        [(ROUTE, route_yaml(TOPIC, TOPIC, CLUSTERS[0])), ("kcl/east", cluster_yaml("east", &bootstrap, true, &[]))]
    {
        let before = kubectl.get_json(&[name, "--show-managed-fields"])?;
        // No --force-conflicts: nobody else owns a field of the spec.
        kubectl.apply(&yaml)?;
        // The operator looks, and may write its own fields.
        std::thread::sleep(Duration::from_secs(2));
        let after = kubectl.get_json(&[name, "--show-managed-fields"])?;
        ensure!(written(&before) == written(&after), "{name}: {before:#}\nthen {after:#}");
        ensure!(!written(&after).2.is_empty(), "kubectl owns nothing of {name}: {after:#}");
        ensure!(kubectl.output(&["diff", "--server-side", "-f", "-"], Some(&yaml))?.status.success(), "{name} drifts");
    }
    Ok(())
}

fn events_tell_the_story(kubernetes: &Kubernetes, moves: usize) -> Result<()> {
    let events = kubernetes.events_of(Kind::TopicRoute, TOPIC)?;
    for phase in PHASES {
        ensure!(events.iter().any(|event| event.reason == phase), "no event tells of {phase}: {events:#?}");
    }
    let completed = events.iter().filter(|event| event.reason == "Completed").count();
    ensure!(completed == moves, "{completed} of {moves} moves are told as completed: {events:#?}");
    ensure!(events.iter().all(|event| !event.note.is_empty() && event.kind == "Normal"), "{events:#?}");
    Ok(())
}

fn a_fuse_is_tripped_by_kubectl_apply(mesh: &Mesh, load: &Load) -> Result<()> {
    let kubernetes = mesh.kubernetes()?;
    let kubectl = kubernetes.kubectl();
    let acknowledged = || load.recorder().counts().acknowledged;
    mesh.apply_fuse(TOPIC, &["produce: {state: Blocked}"])?;
    kubectl.run(&["wait", "--for=condition=Tripped", FUSE, "--timeout=60s"])?;
    kubectl.run(&["wait", "--for=condition=Ready", FUSE, "--timeout=60s"])?;
    // What was on its way when it tripped is told to clients, and by them, in its own time.
    let end = Instant::now() + Duration::from_secs(15);
    let before = loop {
        let now = acknowledged();
        std::thread::sleep(Duration::from_millis(500));
        if acknowledged() == now {
            break now;
        }
        ensure!(Instant::now() < end, "writes pass a tripped fuse");
    };
    let table = kubectl.run(&["get", FUSE, "--output=wide"])?;
    eprintln!("{table}");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(rows.len() == 2, "{table}");
    // The ages change, and a message has any number of words.
    let shown = [&rows[1][..5], &rows[1][6..7], &rows[1][8..9]].concat();
    ensure!(shown == ["orders", "orders", "Tripped", "Closed", "Blocked", "True", "4/4"], "{table}");
    status_speaks_of_this_generation(kubernetes, &[FUSE])?;
    ensure!(acknowledged() == before, "{} writes passed a tripped fuse", acknowledged() - before);

    mesh.apply_fuse(TOPIC, &["produce: {state: Disabled}"])?;
    kubectl.run(&["wait", "--for=condition=Tripped=False", FUSE, "--timeout=60s"])?;
    kubectl.run(&["wait", "--for=condition=Ready", FUSE, "--timeout=60s"])?;
    let closed = acknowledged();
    let end = Instant::now() + Duration::from_secs(15);
    while acknowledged() == closed {
        ensure!(Instant::now() < end, "no writes pass a fuse that was closed");
        std::thread::sleep(Duration::from_millis(10));
    }
    let events = kubernetes.events_of(Kind::TopicFuse, TOPIC)?;
    for reason in ["Tripped", "Closed"] {
        ensure!(events.iter().any(|event| event.reason == reason), "no event tells of {reason}: {events:#?}");
    }
    kubectl.run(&["delete", FUSE]).map(drop)
}

/// Objects that must be refused, with the sentence that says why.
const REFUSED: &[(&str, &str)] = &[
    ("spec: {topic: 'or ders', clusterRef: {name: east}}", "topic must be a Kafka topic name"),
    ("spec: {topic: '..', clusterRef: {name: east}}", "topic must be a Kafka topic name"),
    ("spec: {topic: __consumer_offsets, clusterRef: {name: east}}", "a topic whose name begins with '__'"),
    ("spec: {topic: payments, clusterRef: {name: east}}", "topic cannot be changed"),
    ("spec: {topic: orders, clusterRef: {name: East}}", "clusterRef.name must be the name of a KafkaCluster"),
    ("spec: {topic: orders, clusterRef: {name: east}, move: {pauseBudget: 1h}}", "move.pauseBudget must be a duration"),
    (
        "spec: {topic: orders, clusterRef: {name: east}, move: {pauseBudget: 50ms}}",
        "move.pauseBudget must be a duration",
    ),
    ("spec: {topic: orders}", "spec.clusterRef: Required value"),
    ("spec: {topic: orders, clusterRef: {name: east}, cluster: east}", ".spec.cluster: field not declared in schema"),
];

/// The same for clusters.
const REFUSED_CLUSTERS: &[(&str, &str)] = &[
    ("spec: {bootstrapServers: ['east-1'], home: true}", "each bootstrap server must be host:port"),
    ("spec: {bootstrapServers: ['e:1', 'e:1'], home: true}", "each bootstrap server may be named once"),
    ("spec: {bootstrapServers: ['e:1']}", "home cannot be changed"),
    ("spec: {bootstrapServers: ['e:1'], home: true, zone: '-'}", "zone must be"),
    (
        "spec: {bootstrapServers: ['e:1'], home: true, topics: {exclude: ['a b']}}",
        "a pattern of topics.exclude may hold",
    ),
    ("spec: {bootstrapServers: []}", "spec.bootstrapServers"),
];

/// The same for fuses.
const REFUSED_FUSES: &[(&str, &str)] = &[
    ("spec: {topic: 'or ders', produce: {state: Blocked}}", "topic must be a Kafka topic name"),
    ("spec: {topic: __consumer_offsets, produce: {state: Blocked}}", "a topic whose name begins with '__'"),
    ("spec: {topic: payments, produce: {state: Blocked}}", "topic cannot be changed"),
    ("spec: {topic: orders}", "name at least one of produce and consume"),
    ("spec: {topic: orders, produce: {state: Open}}", "Unsupported value: \"Open\""),
    ("spec: {topic: orders, produce: {action: Hold}}", "spec.produce.state: Required value"),
    (
        "spec: {topic: orders, consume: {state: Blocked, action: Hold}}",
        ".spec.consume.action: field not declared in schema",
    ),
];

#[test]
#[ignore = "needs Kafka and Kubernetes: run by make e2e-kubernetes"]
fn the_api_server_refuses_and_explains_in_our_words() -> Result<()> {
    let folder = sluice_e2e::target_folder()?.join("e2e/kubernetes-definitions");
    let spec = KubernetesSpec::new("127.0.30.11");
    let mut kubernetes = Kubernetes::start(&spec, &folder, Lifetime::WithUs, |line| eprintln!("{line}"))?;
    let kubectl = kubernetes.kubectl().clone();
    kubectl.apply(&cluster_yaml("east", "127.0.33.1:9192", true, &["__*"]))?;
    kubectl.apply(&route_yaml(TOPIC, TOPIC, "east"))?;
    kubectl.apply(&fuse_yaml(TOPIC, TOPIC, &["produce: {state: Disabled}"]))?;

    let mut said = String::new();
    for (kind, name, refused) in [
        ("TopicRoute", TOPIC, REFUSED),
        ("KafkaCluster", "east", REFUSED_CLUSTERS),
        ("TopicFuse", TOPIC, REFUSED_FUSES),
    ] {
        for (spec, sentence) in refused {
            let yaml = format!("apiVersion: sluice.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n{spec}\n");
            let error = kubectl.refusal(&["apply", "--server-side", "-f", "-"], Some(&yaml))?;
            ensure!(error.contains(sentence), "{spec} was refused with other words than {sentence:?}: {error}");
            said += &error;
        }
    }
    let mut rules = 0;
    for crd in ["topicroutes.sluice.dev", "kafkaclusters.sluice.dev", "topicfuses.sluice.dev"] {
        let crd = kubectl.get_json(&["customresourcedefinition", crd])?;
        let mut sentences = Vec::new();
        collect(&crd, "x-kubernetes-validations", &mut sentences);
        for rule in sentences.iter().filter_map(Value::as_array).flatten() {
            let sentence = rule["message"].as_str().context("a rule without a sentence of ours")?;
            ensure!(said.contains(sentence), "no object here breaks the rule {sentence:?}");
            rules += 1;
        }
    }
    ensure!(rules >= 10, "only {rules} rules were found");

    let schema: Value =
        serde_json::from_str(&kubectl.run(&["get", "--raw", "/openapi/v3/apis/sluice.dev/v1alpha1"])?)?;
    for kind in ["TopicRoute", "KafkaCluster", "TopicFuse"] {
        let explained = kubectl.run(&["explain", kind, "--recursive"])?;
        let of_kind = schema
            .pointer(&format!("/components/schemas/dev.sluice.v1alpha1.{kind}/properties"))
            .context("the kind's schema")?;
        for part in ["spec", "status"] {
            every_field_has_text(&of_kind[part], &format!("{kind}.{part}"), &explained)?;
        }
    }
    let explained = kubectl.run(&["explain", "troute.spec.move.pauseBudget"])?;
    ensure!(explained.contains("Longest time for which one attempt may hold writers back"), "{explained}");

    let header = |args: &[&str]| -> Result<String> {
        let table = kubectl.run(args)?;
        Ok(table.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let expected = [
        (["get", "kcl", "-o", "wide"], "NAME BOOTSTRAP VERSION BROKERS TOPICS READY AGE ZONE MESSAGE"),
        (["get", "troute", "-o", "wide"], "NAME TOPIC FROM TO PHASE PAUSE PROXIES READY AGE REVISION MESSAGE"),
        (["get", "tfuse", "-o", "wide"], "NAME TOPIC PRODUCE CONSUME REASON SINCE READY AGE PROXIES MESSAGE"),
    ];
    for (args, columns) in expected {
        let found = header(&args)?;
        ensure!(found == columns, "{args:?} shows {found}");
    }
    // The category, and selection by field.
    let all = kubectl.run(&["get", "sluice", "--output=name"])?;
    ensure!(all.lines().count() == 3, "kubectl get sluice: {all}");
    let selected = kubectl.run(&["get", "troute", "--field-selector=spec.clusterRef.name=east", "--output=name"])?;
    ensure!(selected.trim() == "topicroute.sluice.dev/orders", "selected: {selected}");
    let selected = kubectl.run(&["get", "tfuse", "--field-selector=spec.topic=orders", "--output=name"])?;
    ensure!(selected.trim() == "topicfuse.sluice.dev/orders", "selected: {selected}");
    kubernetes.end();
    Ok(())
}

fn every_field_has_text(field: &Value, path: &str, explained: &str) -> Result<()> {
    let text = field["description"].as_str().unwrap_or_default();
    ensure!(text.len() > 8, "kubectl explain {path} says {text:?}");
    let below = field.pointer("/items/properties").or_else(|| field.get("properties"));
    for (name, field) in below.and_then(Value::as_object).into_iter().flatten() {
        ensure!(explained.contains(&format!(" {name}\t<")), "kubectl explain --recursive does not list {path}.{name}");
        every_field_has_text(field, &format!("{path}.{name}"), explained)?;
    }
    Ok(())
}

/// All values of a key, wherever it stands.
fn collect(value: &Value, key: &str, found: &mut Vec<Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.push(value.clone());
                } else {
                    collect(value, key, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}
