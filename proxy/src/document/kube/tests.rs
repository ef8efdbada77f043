//! What an API server can do to a proxy, and what it may not.

use sluice_mesh::chain::Chain;
use sluice_mesh::document::Document;
use sluice_mesh::document::shards::{Parts, Shard, split, split_after};
use sluice_mesh::name::{ClusterName, TopicName};
use uuid::Uuid;

use super::super::Applier;
use super::super::tests::{applied, applier, document, rejected};
use super::*;
use crate::kubernetes::fake_server::{FakeServer, NAMESPACE};

const SOON: Duration = Duration::from_secs(10);

fn put_index(server: &FakeServer, index: &[u8]) {
    server.put_map(INDEX_NAME, INDEX_KEY, std::str::from_utf8(index).unwrap());
}

fn put_shard(server: &FakeServer, shard: &Shard) {
    server.put_map(&shard.name(), SHARD_KEY, std::str::from_utf8(&shard.bytes).unwrap());
}

fn put(server: &FakeServer, revision: u64) {
    put_index(server, &document(revision, "m").seal().to_json_pretty());
}

/// A proxy's document side, following this server.
fn follow(server: &FakeServer, mounted: Option<Mounted>) -> Arc<Applier> {
    let applier = Arc::new(applier(None));
    let source = ConfigMaps::new(server.client(), NAMESPACE, mounted);
    tokio::spawn(Arc::clone(&applier).run(source));
    applier
}

async fn until(what: &str, is: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < SOON, "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

/// Applied, and counted: that comes a moment later, on another thread.
async fn until_applied(applier: &Applier, revision: u64) -> Duration {
    let counted = || u64::try_from(applier.metrics.document_revision.get()) == Ok(revision);
    until(&format!("revision {revision}"), || applied(applier) == revision && counted()).await
}

/// A document of so many moved topics, in pieces of 20 kB.
fn large(revision: u64, topics: usize) -> Document {
    let home = ClusterName::new("home").unwrap();
    let mut large = document(revision, "m");
    large.topics = (0..topics)
        .map(|number| sluice_mesh::document::Topic {
            name: TopicName::new(&format!("topic-{number:05}")).unwrap(),
            topic_id: Uuid::from_u128(7),
            cluster: home.clone(),
            chains: vec![Chain::single(home.clone(), Uuid::from_u128(7)); 2],
            fence: None,
            placeholder: true,
            cut: None,
        })
        .collect();
    large.seal()
}

fn pieces(document: &Document, before: &[Shard]) -> Parts {
    let parts = if before.is_empty() { split(document, 20_000) } else { split_after(document, 20_000, before) };
    assert!(parts.shards.len() > 2);
    parts
}

fn fetches(server: &FakeServer) -> usize {
    server.store().requests.iter().filter(|request| request.starts_with("GET ")).count()
}

#[tokio::test]
async fn an_index_is_applied_at_once_and_the_same_again_is_no_news() {
    let server = FakeServer::start();
    let applier = follow(&server, None);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((applied(&applier), rejected(&applier)), (0, None), "no document is no fault");
    put(&server, 5);
    until_applied(&applier, 5).await;
    let mut best = SOON;
    for revision in 6..12 {
        put(&server, revision);
        best = best.min(until_applied(&applier, revision).await);
    }
    assert!(best < Duration::from_millis(500), "{best:?} is not by the watch");
    put(&server, 11);
    put(&server, 12);
    until_applied(&applier, 12).await;
    assert_eq!(applier.metrics.documents_applied.get(), 8);
    assert_eq!(applier.metrics.document_rejected.get(), 0);
    assert_eq!(server.store().watches.len(), 1);
}

#[tokio::test]
async fn an_edit_by_hand_is_refused_until_it_is_put_right() {
    let server = FakeServer::start();
    put(&server, 5);
    let applier = follow(&server, None);
    until_applied(&applier, 5).await;
    let mut edited = document(5, "m").seal();
    edited.limits.max_in_flight = 1;
    put_index(&server, &edited.to_json_pretty());
    until("a refusal", || rejected(&applier) == Some(5)).await;
    put_index(&server, b"{");
    until("a refusal of what is no JSON", || rejected(&applier) == Some(0)).await;
    put(&server, 5);
    until("peace", || rejected(&applier).is_none()).await;
    server.put_map(INDEX_NAME, "other.json", "{}");
    until("a refusal of what has no key", || rejected(&applier) == Some(0)).await;
    put(&server, 6);
    until_applied(&applier, 6).await;
    assert_eq!((rejected(&applier), applier.metrics.document_rejected.get()), (None, 3));
}

#[tokio::test]
async fn a_deleted_document_serves_on() {
    let server = FakeServer::start();
    put(&server, 5);
    let applier = follow(&server, None);
    until_applied(&applier, 5).await;
    server.delete_map(INDEX_NAME);
    until("a refusal", || rejected(&applier) == Some(0)).await;
    let reason = applier.rejected.lock().unwrap().as_ref().map(|rejected| rejected.reason.clone()).unwrap();
    assert!(reason.contains("deleted"), "{reason}");
    assert_eq!(applied(&applier), 5);
    put(&server, 5);
    until("peace", || rejected(&applier).is_none()).await;
}

#[tokio::test]
async fn history_that_is_gone_is_listed_anew() {
    let server = FakeServer::start();
    put(&server, 5);
    let applier = follow(&server, None);
    until_applied(&applier, 5).await;
    server.expire();
    put(&server, 6);
    until_applied(&applier, 6).await;
    until("another watch", || server.store().watches.len() >= 2).await;
    let store = server.store();
    let lists = store.requests.iter().filter(|request| request.starts_with("LIST")).count();
    assert!(lists >= 2, "{:?}", store.requests);
}

#[tokio::test]
async fn an_api_server_that_is_away_changes_nothing() {
    let mut server = FakeServer::start();
    put(&server, 5);
    let applier = follow(&server, None);
    until_applied(&applier, 5).await;
    server.go_away();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((applied(&applier), rejected(&applier)), (5, None));
    // Restored with less than it had: its versions are behind those that were seen.
    server.lose_everything();
    put(&server, 6);
    server.come_back();
    until_applied(&applier, 6).await;
    put(&server, 7);
    until_applied(&applier, 7).await;
    assert_eq!(applier.metrics.document_rejected.get(), 0);
}

#[tokio::test]
async fn every_shard_is_fetched_once() {
    let server = FakeServer::start();
    let first = large(5, 300);
    let parts = pieces(&first, &[]);
    parts.shards.iter().for_each(|shard| put_shard(&server, shard));
    put_index(&server, &parts.index);
    let applier = follow(&server, None);
    until_applied(&applier, 5).await;
    assert_eq!(applier.worlds.model().unwrap().document, first);
    assert_eq!(fetches(&server), parts.shards.len());

    // A fence needs no shard.
    let mut fenced = large(6, 300);
    fenced.topics[150].fence = Some(sluice_mesh::document::Fence { attempt: 1, hold_millis: 5_000 });
    let fenced = fenced.seal();
    put_index(&server, &pieces(&fenced, &parts.shards).index);
    until_applied(&applier, 6).await;
    assert_eq!(applier.worlds.model().unwrap().document, fenced);
    assert_eq!(fetches(&server), parts.shards.len());

    // Another document needs those that are new.
    let other = pieces(&large(7, 290), &[]);
    let new = other.shards.iter().filter(|shard| !parts.shards.contains(shard)).count();
    assert!(new < other.shards.len());
    other.shards.iter().for_each(|shard| put_shard(&server, shard));
    put_index(&server, &other.index);
    until_applied(&applier, 7).await;
    assert_eq!(fetches(&server), parts.shards.len() + new);
}

#[tokio::test]
async fn a_missing_or_altered_shard_is_refused_and_looked_for_again() {
    let server = FakeServer::start();
    put(&server, 4);
    let applier = follow(&server, None);
    until_applied(&applier, 4).await;
    let parts = pieces(&large(5, 300), &[]);
    parts.shards[1..].iter().for_each(|shard| put_shard(&server, shard));
    put_index(&server, &parts.index);
    let reason =
        || applier.rejected.lock().unwrap().as_ref().map(|rejected| rejected.reason.clone()).unwrap_or_default();
    until("a refusal", || reason().contains("is not there")).await;
    server.put_map(&parts.shards[0].name(), SHARD_KEY, "{}");
    until("another", || reason().contains("does not match its digest")).await;
    assert_eq!((applied(&applier), applier.metrics.document_rejected.get()), (4, 2));
    put_shard(&server, &parts.shards[0]);
    until_applied(&applier, 5).await;
    assert_eq!(rejected(&applier), None);
    let listed_twice =
        String::from_utf8(parts.index).unwrap().replace(&parts.shards[1].digest, &parts.shards[0].digest);
    put_index(&server, listed_twice.as_bytes());
    until("a refusal of the list", || reason().contains("twice")).await;
}

#[tokio::test]
async fn the_mounted_copy_serves_while_the_api_server_is_away() {
    let mounted = tempfile::tempdir().unwrap();
    std::fs::write(mounted.path().join("document.json"), document(5, "m").seal().to_json_pretty()).unwrap();
    let mut server = FakeServer::away();
    let applier = follow(&server, Some(Mounted::new(mounted.path().to_owned())));
    until_applied(&applier, 5).await;
    // Older than the copy: passed over. Newer: applied.
    put(&server, 4);
    server.come_back();
    until("a watch", || !server.store().watches.is_empty()).await;
    put(&server, 6);
    until_applied(&applier, 6).await;
    // From now on the copy is not looked at any more.
    std::fs::write(mounted.path().join("document.json"), document(9, "m").seal().to_json_pretty()).unwrap();
    tokio::time::sleep(LOOK + Duration::from_millis(300)).await;
    assert_eq!((applied(&applier), rejected(&applier)), (6, None));
}

#[tokio::test]
async fn an_api_server_that_answers_is_preferred_to_the_copy() {
    let mounted = tempfile::tempdir().unwrap();
    std::fs::write(mounted.path().join("document.json"), document(5, "m").seal().to_json_pretty()).unwrap();
    let server = FakeServer::start();
    put(&server, 4);
    let applier = follow(&server, Some(Mounted::new(mounted.path().to_owned())));
    until_applied(&applier, 4).await;
    tokio::time::sleep(PATIENCE + Duration::from_millis(200)).await;
    assert_eq!(applied(&applier), 4);
}
