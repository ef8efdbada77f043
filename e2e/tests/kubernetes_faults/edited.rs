//! Somebody's hand in the `ConfigMap` of the mesh document.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sluice_e2e::load::Load;
use sluice_e2e::mesh::Mesh;
use sluice_e2e::stage::CLUSTERS;
use sluice_mesh::document::Document;
use sluice_mesh::document::shards::{INDEX_KEY, INDEX_NAME};

use super::{MOVED_WITHIN, PARTITIONS, TOPIC, judge, load, stage, until};

/// The operator looks once a second, and writes at once.
const RIGHT_WITHIN: Duration = Duration::from_secs(5);
/// No document of an operator's has this number in it.
const MARK: u64 = 7_654_321;

#[test]
#[ignore = "needs Kafka and Kubernetes: run by make e2e-kubernetes"]
fn a_document_edited_by_hand_is_never_believed_and_put_right() -> Result<()> {
    let mut stage = stage("kubernetes-edited", "127.0.38", "127.0.30.24", 1)?;
    stage.create_topic(TOPIC, PARTITIONS)?;
    let load = load(&stage, TOPIC, PARTITIONS, Duration::from_secs(15))?;
    let mesh = stage.mesh()?;

    shown_as_rejected_while_nobody_puts_it_right(mesh, &load)?;

    for (what, edit) in [
        ("another content under the old digest", Edit::Text(|document| marked(&document).to_string())),
        ("no JSON", Edit::Text(|_| "{".to_owned())),
        ("JSON that is no document", Edit::Text(|_| json!({"shards": [], "mark": MARK}).to_string())),
        ("a list of shards that are nowhere", Edit::Text(|document| with_shards(&document))),
        ("no key at all", Edit::NoKey),
    ] {
        let refused = refusals(mesh)?;
        edit_by_hand(mesh, &edit)?;
        let took = put_right(mesh)?;
        until("every proxy counts a refusal", RIGHT_WITHIN, || {
            let now = refusals(mesh)?;
            let all = now.iter().zip(&refused).all(|(now, before)| now > before);
            Ok(if all { Ok(()) } else { Err(format!("{now:?} after {refused:?}")) })
        })
        .with_context(|| what.to_owned())?;
        eprintln!("{what}: put right after {took:?}");
    }

    // What an operator wrote, or might have written, earlier.
    let refused = refusals(mesh)?;
    edit_by_hand(mesh, &Edit::Text(older))?;
    let took = put_right(mesh)?;
    eprintln!("an older document with a right digest: put right after {took:?}");
    // What says the revision of the present one, and is another.
    edit_by_hand(mesh, &Edit::Text(same_revision))?;
    let took = put_right(mesh)?;
    eprintln!("another document of the same revision with a right digest: put right after {took:?}");
    let now = refusals(mesh)?;
    ensure!(now.iter().zip(&refused).all(|(now, before)| *now <= before + 1), "an old one is no fault: {now:?}");

    mesh.kubernetes()?.kubectl().run(&["delete", "configmap", INDEX_NAME])?;
    let took = put_right(mesh)?;
    eprintln!("deleted by hand: written again after {took:?}");

    mesh.apply_route(TOPIC, CLUSTERS[1])?;
    mesh.wait_moved(TOPIC, CLUSTERS[1], MOVED_WITHIN, |_| {}).context("the move after")?;
    nobody_serves_it(mesh)?;
    judge(&stage, load)
}

/// With the operator stopped: proxies say what they refuse, and serve on.
fn shown_as_rejected_while_nobody_puts_it_right(mesh: &mut Mesh, load: &Load) -> Result<()> {
    mesh.operator()?.pause();
    let before = load.recorder().counts().acknowledged;
    edit_by_hand(mesh, &Edit::Text(|document| marked(&document).to_string()))?;
    until("every proxy reports that it refuses the document", RIGHT_WITHIN, || {
        nobody_serves_it(mesh)?;
        let reports = mesh.reports()?;
        let told = reports.iter().all(|report| {
            report.rejected.as_ref().is_some_and(|rejected| {
                rejected.revision == MARK && report.revision < MARK && rejected.reason.contains("digest")
            })
        });
        Ok(if told && reports.len() == mesh.spec().nodes.len() { Ok(()) } else { Err(format!("{reports:?}")) })
    })?;
    std::thread::sleep(Duration::from_secs(1));
    nobody_serves_it(mesh)?;
    let done = load.recorder().counts().acknowledged - before;
    ensure!(done > 500, "only {done} records were acknowledged while the document was wrong");
    mesh.operator()?.resume();
    let took = put_right(mesh)?;
    eprintln!("edited while the operator was stopped: put right {took:?} after it woke");
    Ok(())
}

/// What the hand does.
enum Edit {
    /// Writes what is made of the document that is there.
    Text(fn(Document) -> String),
    /// Takes the key away.
    NoKey,
}

/// Something that clients would notice, and a revision above all others.
fn marked(document: &Document) -> Value {
    let mut value = serde_json::to_value(document).unwrap_or_default();
    value["limits"]["maxHoldMillis"] = MARK.into();
    value["revision"] = MARK.into();
    value
}

fn with_shards(document: &Document) -> String {
    let mut value = marked(document);
    value["shards"] = json!([{"digest": "0".repeat(64), "bytes": 10}]);
    value.to_string()
}

fn older(mut document: Document) -> String {
    document.limits.max_hold_millis = MARK;
    document.revision -= 1;
    String::from_utf8_lossy(&document.seal().to_json_pretty()).into_owned()
}

fn same_revision(mut document: Document) -> String {
    document.limits.max_hold_millis = MARK;
    String::from_utf8_lossy(&document.seal().to_json_pretty()).into_owned()
}

fn edit_by_hand(mesh: &Mesh, edit: &Edit) -> Result<()> {
    let document = stored(mesh)?.map_err(anyhow::Error::msg)?;
    let data = match edit {
        Edit::Text(make) => json!({INDEX_KEY: make(document)}),
        Edit::NoKey => json!({INDEX_KEY: null, "mark": MARK.to_string()}),
    };
    let patch = json!({"data": data}).to_string();
    let kubectl = mesh.kubernetes()?.kubectl();
    let done = kubectl.run(&["patch", "configmap", INDEX_NAME, "--type=merge", "--patch", &patch])?;
    ensure!(done.contains("patched"), "nothing was changed: {done}");
    Ok(())
}

/// The document as the API server has it, if it is right.
fn stored(mesh: &Mesh) -> Result<Result<Document, String>> {
    let key = format!("--output=jsonpath={{.data.{}}}", INDEX_KEY.replace('.', r"\."));
    let text = mesh.kubernetes()?.kubectl().run(&["get", "configmap", INDEX_NAME, "--ignore-not-found", &key])?;
    Ok(match Document::parse(text.as_bytes()) {
        Ok(document) if document.limits.max_hold_millis == MARK => Err("it has the mark".to_owned()),
        Ok(document) => Ok(document),
        Err(error) => Err(format!("{error}: {text:?}")),
    })
}

/// Waits until the API server has a document of the operator's, and all proxies serve it and are content.
fn put_right(mesh: &mut Mesh) -> Result<Duration> {
    let took = until("the document is put right", RIGHT_WITHIN, || {
        nobody_serves_it(mesh)?;
        Ok(stored(mesh)?.map(drop))
    })?;
    let document = stored(mesh)?.map_err(anyhow::Error::msg)?;
    until("all proxies are content", RIGHT_WITHIN, || {
        nobody_serves_it(mesh)?;
        let reports = mesh.reports()?;
        let content = |r: &&_| -> bool {
            let report: &sluice_mesh::report::Report = r;
            report.rejected.is_none() && report.revision >= document.revision
        };
        let all = reports.len() == mesh.spec().nodes.len() && reports.iter().filter(content).count() == reports.len();
        Ok(if all { Ok(()) } else { Err(format!("{reports:?}")) })
    })?;
    mesh.check_alive()?;
    Ok(took)
}

/// No proxy serves by what the hand wrote.
fn nobody_serves_it(mesh: &Mesh) -> Result<()> {
    for node in &mesh.spec().nodes {
        let answer = mesh.get_from_proxy(&node.name, "/document")?;
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        ensure!(!body.contains(&MARK.to_string()), "{} serves by what was written by hand: {body}", node.name);
        let document = Document::parse(body.as_bytes()).with_context(|| format!("what {} serves by", node.name))?;
        ensure!(document.clusters.len() == CLUSTERS.len(), "{} serves by {body}", node.name);
    }
    Ok(())
}

/// How many documents each proxy has refused.
fn refusals(mesh: &Mesh) -> Result<Vec<u64>> {
    let count = |node: &sluice_e2e::mesh::Node| {
        let answer = mesh.get_from_proxy(&node.name, "/metrics")?;
        let value = answer.lines().find_map(|line| line.strip_prefix("sluice_proxy_document_rejected_total "));
        value.with_context(|| format!("{} does not count refusals", node.name))?.trim().parse().context("a count")
    };
    mesh.spec().nodes.iter().map(count).collect()
}
