//! The admin endpoints, on a port and a runtime of their own: a scrape never hurts traffic.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode, header};
use axum::routing::get;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use sluice_mesh::model::World;
use sluice_mesh::name::ClusterName;
use sluice_mesh::view::ClusterView;

use crate::cluster_view::{AWAITED, Clusters};
use crate::world::Worlds;

/// What the endpoints look at.
pub(crate) struct Admin {
    pub(crate) registry: Registry,
    pub(crate) worlds: Arc<Worlds>,
    pub(crate) clusters: Arc<Clusters>,
    /// One per data thread.
    pub(crate) bound: Vec<Arc<AtomicBool>>,
    pub(crate) stopping: Arc<AtomicBool>,
    /// Every cluster was waited for once. One that joins a living mesh later must not take all proxies out of service at
    /// the same moment.
    pub(crate) waited: AtomicBool,
}

impl Admin {
    fn readiness(&self) -> Readiness {
        let world = self.worlds.current();
        let bound = self.bound.iter().all(|bound| bound.load(Ordering::Acquire));
        let reasons = [
            (self.stopping.load(Ordering::Acquire), "it is stopping"),
            (world.is_none(), "no mesh document has been applied yet"),
            (!bound, "not all ports are bound"),
        ];
        let mut waits_for: Vec<String> =
            reasons.into_iter().filter(|(waits, _)| *waits).map(|(_, why)| why.to_owned()).collect();
        let unlisted = world.as_ref().map_or_else(Vec::new, |world| self.clusters.unlisted(world));
        let waited = self.waited.load(Ordering::Acquire);
        let (awaited, given_up): (Vec<_>, Vec<_>) =
            unlisted.into_iter().partition(|cluster| !waited && cluster.is_awaited());
        if world.is_some() && awaited.is_empty() {
            self.waited.store(true, Ordering::Release);
        }
        waits_for.extend(awaited.into_iter().map(|cluster| {
            let (name, tried, awaited) = (cluster.name, cluster.tried.as_secs_f32(), AWAITED.as_secs());
            format!("cluster {name} has not been listed yet (tried for {tried:.1} s, waited for {awaited} s)")
        }));
        Readiness { waits_for, without: given_up.into_iter().map(|cluster| cluster.name).collect() }
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/live", get(async || "live\n"))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .route("/document", get(document))
            .route("/views", get(views))
            .with_state(Arc::new(self))
    }
}

/// Whether clients are well served here.
#[derive(Debug, PartialEq, Eq)]
struct Readiness {
    /// What the proxy waits for; empty when it is ready.
    waits_for: Vec<String>,
    /// Clusters that it has never seen and does not wait for any longer.
    without: Vec<ClusterName>,
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response<Body> {
    let Readiness { waits_for, without } = admin.readiness();
    if !waits_for.is_empty() {
        let body = format!("not ready: {}\n", waits_for.join("; "));
        return reply(StatusCode::SERVICE_UNAVAILABLE, "text/plain", body);
    }
    let mut body = String::from("ready\n");
    for cluster in without {
        let _ = writeln!(body, "cluster {cluster} could not be listed since the start: its brokers do not answer");
    }
    reply(StatusCode::OK, "text/plain", body)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response<Body> {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &admin.registry) {
        Ok(()) => reply(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text),
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

async fn document(State(admin): State<Arc<Admin>>) -> Response<Body> {
    match admin.worlds.model() {
        Some(model) => reply(StatusCode::OK, "application/json", model.document.to_json_pretty()),
        None => reply(StatusCode::NOT_FOUND, "text/plain", "no mesh document has been applied yet\n"),
    }
}

async fn views(State(admin): State<Arc<Admin>>) -> Response<Body> {
    let views = admin.worlds.current().map_or(Value::Object(Map::new()), |world| as_json(&world));
    reply(StatusCode::OK, "application/json", format!("{views:#}\n"))
}

fn as_json(world: &World) -> Value {
    let clusters = world.views.clusters.iter().map(|(name, view)| (name.to_string(), cluster(view)));
    Value::Object(clusters.collect())
}

fn cluster(view: &ClusterView) -> Value {
    let brokers: Vec<_> = view
        .brokers
        .iter()
        .map(|broker| json!({"id": broker.id, "host": broker.host, "port": broker.port, "rack": broker.rack}))
        .collect();
    let topics = view.topics.iter().map(|(name, topic)| {
        let partitions: Vec<_> = topic
            .partitions
            .iter()
            .map(|one| json!({"error": one.error, "leader": one.leader, "epoch": one.epoch, "replicas": one.replicas, "isr": one.isr}))
            .collect();
        (name.clone(), json!({"id": topic.id, "internal": topic.internal, "partitions": partitions}))
    });
    json!({
        "clusterId": view.cluster_id,
        "controller": view.controller,
        "brokers": brokers,
        "apiVersions": view.api_versions,
        "topics": Value::Object(topics.collect()),
    })
}

#[cfg(test)]
mod tests;
