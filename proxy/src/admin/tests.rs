//! What `/ready` promises.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::to_bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, BrokerId, MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::model::Model;
use sluice_testkit::broker::{Action, ScriptedBroker, Seen};
use sluice_testkit::sample::{self, EAST, WEST};

use super::*;
use crate::metrics::Metrics;

/// Far more than anything here should take, beside what is waited for on purpose.
const SLACK: Duration = Duration::from_secs(4);

/// What a proxy's own client asks; the Metadata later.
fn lists(seen: &Seen, at: SocketAddr, after: Duration) -> Action {
    match seen.key {
        18 => {
            let keys = sample::api_versions().into_iter().map(|(key, min, max)| {
                ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
            });
            seen.answer::<ApiVersionsRequest>(&ApiVersionsResponse::default().with_api_keys(keys.collect()))
        }
        3 => {
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(1))
                .with_host(StrBytes::from_string(at.ip().to_string()))
                .with_port(i32::from(at.port()));
            seen.answer::<MetadataRequest>(&MetadataResponse::default().with_brokers(vec![broker])).after(after)
        }
        _ => Action::Close,
    }
}

/// A broker that lists itself after this time.
async fn broker(after: Duration) -> ScriptedBroker {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    ScriptedBroker::start_at(free, move |seen| lists(seen, free, after)).await.unwrap()
}

/// The sample's two clusters, with a real address each.
fn model(east: SocketAddr, west: SocketAddr) -> Arc<Model> {
    let mut document = sample::document();
    for (cluster, address) in document.clusters.iter_mut().zip([east, west]) {
        cluster.bootstrap_servers = vec![address.to_string()];
    }
    Arc::new(Model::build(document.seal()).unwrap())
}

fn admin() -> Arc<Admin> {
    let worlds = Arc::new(Worlds::default());
    Arc::new(Admin {
        registry: Registry::default(),
        clusters: Arc::new(Clusters::new(Arc::clone(&worlds), Arc::new(Metrics::default()))),
        worlds,
        bound: Vec::new(),
        stopping: Arc::default(),
        waited: AtomicBool::new(false),
    })
}

async fn asked(admin: &Arc<Admin>) -> (u16, String) {
    let answer = ready(State(Arc::clone(admin))).await;
    let status = answer.status().as_u16();
    (status, String::from_utf8(to_bytes(answer.into_body(), 4096).await.unwrap().to_vec()).unwrap())
}

/// Asks until the answer is such; returns it, and how long that took.
async fn until(admin: &Arc<Admin>, within: Duration, is: impl Fn(u16, &str) -> bool) -> (String, Duration) {
    let began = Instant::now();
    loop {
        let (status, body) = asked(admin).await;
        if is(status, &body) {
            return (body, began.elapsed());
        }
        assert!(began.elapsed() < within, "{status}: {body}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn ready_means_that_every_cluster_has_been_listed() {
    let (east, west) = (broker(Duration::ZERO).await, broker(Duration::from_millis(600)).await);
    let admin = admin();
    assert_eq!(asked(&admin).await, (503, "not ready: no mesh document has been applied yet\n".to_owned()));
    let model = model(east.address(), west.address());
    admin.worlds.apply(Arc::clone(&model));
    let (status, body) = asked(&admin).await;
    assert_eq!(status, 503, "between a document's application and its first listing");
    assert!(body.contains("cluster east has not") && body.contains("cluster west has not"), "{body}");

    admin.clusters.follow(&model);
    until(&admin, SLACK, |status, body| status == 503 && !body.contains(EAST) && body.contains(WEST)).await;
    let (body, _) = until(&admin, SLACK, |status, _| status == 200).await;
    assert_eq!(body, "ready\n");
    let world = admin.worlds.current().unwrap();
    assert!(world.model.clusters.iter().all(|cluster| world.views.clusters.contains_key(&cluster.name)));

    // A cluster that joins later takes nobody out of service.
    let mut joined = model.document.clone();
    joined.revision += 1;
    joined.clusters[1].name = ClusterName::new("north").unwrap();
    for broker in joined.brokers.iter_mut().filter(|broker| broker.cluster.as_str() == WEST) {
        broker.cluster = ClusterName::new("north").unwrap();
    }
    joined.topics.clear();
    admin.worlds.apply(Arc::new(Model::build(joined.seal()).unwrap()));
    let (status, body) = asked(&admin).await;
    assert!(status == 200 && body.contains("north"), "{status}: {body}");
    admin.worlds.apply(Arc::clone(&model));

    // What was listed once may be gone for a while.
    drop((east, west));
    admin.clusters.refresh_all().await;
    assert_eq!(asked(&admin).await.0, 200);
    admin.stopping.store(true, Ordering::Release);
    assert_eq!(asked(&admin).await, (503, "not ready: it is stopping\n".to_owned()));
}

#[tokio::test]
async fn a_cluster_that_was_never_listed_is_waited_for_and_then_done_without() {
    let east = broker(Duration::ZERO).await;
    // It takes connections and says nothing: worse than one that refuses them.
    let west = ScriptedBroker::start(|_| Action::Silent).await.unwrap();
    let admin = admin();
    let model = model(east.address(), west.address());
    admin.worlds.apply(Arc::clone(&model));
    let began = Instant::now();
    admin.clusters.follow(&model);
    let (body, _) = until(&admin, SLACK, |status, body| status == 503 && !body.contains(EAST)).await;
    assert!(body.starts_with("not ready: cluster west has not been listed yet (tried for "), "{body}");
    let (body, _) = until(&admin, AWAITED + SLACK, |status, _| status == 200).await;
    assert!(began.elapsed() >= AWAITED, "{:?}", began.elapsed());
    assert!(body.starts_with("ready\n") && body.contains("cluster west could not be listed"), "{body}");
}
