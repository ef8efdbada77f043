//! What "drained" means.

use sluice_mesh::document::{Cluster, Document, FORMAT_VERSION, Limits};

use super::*;

fn model(revision: u64) -> Arc<Model> {
    let name = ClusterName::new("home").unwrap();
    let document = Document {
        format_version: FORMAT_VERSION,
        revision,
        digest: String::new(),
        mesh: "test".into(),
        home: name.clone(),
        clusters: vec![Cluster {
            name,
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
    };
    Arc::new(Model::build(document.seal()).unwrap())
}

fn drained(worlds: &Worlds) -> (u64, bool) {
    let drained = worlds.drained();
    (drained.revision, drained.settled)
}

#[test]
fn nothing_is_drained_before_the_first_document() {
    let worlds = Worlds::default();
    assert_eq!(drained(&worlds), (0, true));
    worlds.apply(model(4));
    assert_eq!(drained(&worlds), (4, true));
}

#[test]
fn a_produce_under_an_older_model_holds_the_drain_back() {
    let worlds = Worlds::default();
    worlds.apply(model(4));
    let lease = Arc::clone(&worlds.model().unwrap().produce_lease);
    worlds.apply(model(5));
    worlds.apply(model(6));
    assert_eq!(drained(&worlds), (4, false));
    drop(lease);
    assert_eq!(drained(&worlds), (6, true));
}

#[test]
fn a_thread_that_may_still_decide_under_an_older_model_holds_the_drain_back() {
    let worlds = Worlds::default();
    let thread = worlds.thread();
    worlds.apply(model(4));
    thread.set(4);
    worlds.apply(model(5));
    assert_eq!(drained(&worlds), (4, false));
    // It takes a lease while it still may.
    let lease = Arc::clone(&worlds.state().superseded[0].produce_lease);
    thread.set(5);
    assert_eq!(drained(&worlds), (4, false));
    drop(lease);
    assert_eq!(drained(&worlds), (5, true));
}

#[test]
fn only_a_view_that_says_something_new_changes_the_world() {
    let worlds = Worlds::default();
    let name = ClusterName::new("home").unwrap();
    worlds.see(&name, ClusterView::default());
    assert!(worlds.current().is_none(), "a view alone makes no world");
    worlds.apply(model(1));
    let receiver = worlds.subscribe();
    worlds.see(&name, ClusterView { controller: 3, ..ClusterView::default() });
    assert!(receiver.has_changed().unwrap());
    let receiver = worlds.subscribe();
    worlds.see(&name, ClusterView { controller: 3, ..ClusterView::default() });
    assert!(!receiver.has_changed().unwrap());
    worlds.see(&ClusterName::new("stranger").unwrap(), ClusterView::default());
    assert!(!receiver.has_changed().unwrap());
}
