//! Last good wins.

use std::time::Instant;

use sluice_mesh::document::{Cluster, FORMAT_VERSION, Limits};
use sluice_mesh::name::ClusterName;

use super::*;

pub(super) fn document(revision: u64, mesh: &str) -> Document {
    let home = ClusterName::new("home").unwrap();
    Document {
        format_version: FORMAT_VERSION,
        revision,
        digest: String::new(),
        mesh: mesh.into(),
        home: home.clone(),
        clusters: vec![Cluster {
            name: home,
            cluster_id: "kraft".into(),
            bootstrap_servers: vec!["127.0.0.1:1".into()],
            zone: None,
            tag: 1,
            node_id_base: 10_000,
            exclude: Vec::new(),
        }],
        proxies: Vec::new(),
        brokers: Vec::new(),
        topics: Vec::new(),
        fuses: vec![],
        limits: Limits::default(),
    }
}

pub(super) fn applier(mesh: Option<&str>) -> Applier {
    let worlds = Arc::new(Worlds::default());
    let metrics = Arc::new(Metrics::default());
    Applier {
        clusters: Arc::new(Clusters::new(Arc::clone(&worlds), Arc::clone(&metrics))),
        worlds,
        metrics,
        mesh: mesh.map(str::to_owned),
        rejected: Mutex::default(),
        copy: AtomicBool::default(),
        news: Notify::new(),
    }
}

fn show(applier: &Applier, bytes: Vec<u8>) -> bool {
    applier.handle(&Seen { content: Ok(bytes), at: Instant::now(), copy: false }).is_some()
}

fn show_copy(applier: &Applier, bytes: Vec<u8>) -> bool {
    applier.handle(&Seen { content: Ok(bytes), at: Instant::now(), copy: true }).is_some()
}

pub(super) fn rejected(applier: &Applier) -> Option<u64> {
    applier.rejected.lock().unwrap().as_ref().map(|rejected| rejected.revision)
}

pub(super) fn applied(applier: &Applier) -> u64 {
    applier.worlds.model().map_or(0, |model| model.revision)
}

#[test]
fn newer_documents_are_applied_and_others_passed_over() {
    let applier = applier(None);
    assert!(show(&applier, document(5, "m").seal().to_json()));
    assert!(!show(&applier, document(5, "m").seal().to_json_pretty()), "the same again is no news");
    assert!(!show(&applier, document(4, "m").seal().to_json()), "an older one is passed over");
    assert_eq!((applied(&applier), rejected(&applier)), (5, None));
    assert!(show(&applier, document(6, "m").seal().to_json()));
    assert_eq!(applied(&applier), 6);
}

#[test]
fn a_bad_document_is_refused_whole_and_the_last_good_one_stays() {
    let applier = applier(Some("m"));
    assert!(show(&applier, document(5, "m").seal().to_json()));
    let mut altered = document(6, "m").seal();
    altered.revision = 7;
    let mut homeless = document(8, "m");
    homeless.home = ClusterName::new("nowhere").unwrap();
    let mut other = document(5, "m");
    other.limits.max_in_flight = 9;
    for (bytes, revision, what) in [
        (b"{".to_vec(), 0, "no JSON"),
        (Vec::new(), 0, "empty"),
        (altered.to_json(), 7, "a wrong digest"),
        (homeless.seal().to_json(), 8, "a home that is no cluster"),
        (document(9, "x").seal().to_json(), 9, "another mesh"),
        (other.seal().to_json(), 5, "the same revision with other content"),
    ] {
        assert!(!show(&applier, bytes), "{what}");
        assert_eq!((applied(&applier), rejected(&applier)), (5, Some(revision)), "{what}");
    }
    assert_eq!(applier.metrics.document_rejected.get(), 6);
    assert!(show(&applier, document(10, "m").seal().to_json()));
    assert_eq!((applied(&applier), rejected(&applier)), (10, None));
}

#[test]
fn the_applied_document_shown_again_puts_things_right() {
    let applier = applier(None);
    let good = document(5, "m").seal().to_json();
    assert!(show(&applier, good.clone()));
    assert!(!show(&applier, b"{".to_vec()));
    let gone = Seen { content: Err(Unreadable::Deleted), at: Instant::now(), copy: false };
    assert!(applier.handle(&gone).is_none());
    assert_eq!((applied(&applier), rejected(&applier)), (5, Some(0)));
    assert_eq!(applier.metrics.document_rejected.get(), 2);
    assert!(!show(&applier, good));
    assert_eq!((applied(&applier), rejected(&applier)), (5, None));
}

#[test]
fn of_a_copy_and_the_original_the_newer_counts_and_then_the_original() {
    let applier = applier(None);
    let mut other = document(5, "m");
    other.limits.max_in_flight = 9;
    let other = other.seal().to_json();
    assert!(show_copy(&applier, document(5, "m").seal().to_json()));
    assert!(!show(&applier, document(4, "m").seal().to_json()), "an older original is passed over");
    assert!(show(&applier, other), "of the same revision, the original counts");
    assert!(!show_copy(&applier, document(5, "m").seal().to_json()), "and stays");
    assert_eq!((applied(&applier), rejected(&applier)), (5, None));
    assert!(show_copy(&applier, document(6, "m").seal().to_json()));
    assert_eq!(applied(&applier), 6);
}
