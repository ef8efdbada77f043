//! Last good wins.

use std::time::Instant;

use sluice_mesh::document::{Cluster, FORMAT_VERSION, Limits};
use sluice_mesh::name::ClusterName;

use super::*;

fn document(revision: u64, mesh: &str) -> Document {
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
        limits: Limits::default(),
    }
}

fn applier(mesh: Option<&str>) -> Applier {
    let worlds = Arc::new(Worlds::default());
    let metrics = Arc::new(Metrics::default());
    Applier {
        clusters: Arc::new(Clusters::new(Arc::clone(&worlds), Arc::clone(&metrics))),
        worlds,
        metrics,
        mesh: mesh.map(str::to_owned),
        rejected: Mutex::default(),
        news: Notify::new(),
    }
}

fn show(applier: &Applier, bytes: Vec<u8>) -> bool {
    applier.handle(&Seen { bytes, at: Instant::now() }).is_some()
}

fn rejected(applier: &Applier) -> Option<u64> {
    applier.rejected.lock().unwrap().as_ref().map(|rejected| rejected.revision)
}

fn applied(applier: &Applier) -> u64 {
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
