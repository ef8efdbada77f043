//! The admin endpoints, on a port and a runtime of their own: a scrape never hurts traffic.

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
use sluice_mesh::view::ClusterView;

use crate::world::Worlds;

/// What the endpoints look at.
pub(crate) struct Admin {
    pub(crate) registry: Registry,
    pub(crate) worlds: Arc<Worlds>,
    /// One per data thread.
    pub(crate) bound: Vec<Arc<AtomicBool>>,
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Admin {
    /// What the proxy waits for; empty when it is ready.
    fn waits_for(&self) -> Vec<&'static str> {
        let world = self.worlds.current();
        let listed = world.as_ref().is_some_and(|world| world.view(world.model.home).is_some());
        let bound = self.bound.iter().all(|bound| bound.load(Ordering::Acquire));
        [
            (self.stopping.load(Ordering::Acquire), "it is stopping"),
            (world.is_none(), "no mesh document has been applied yet"),
            (!bound, "not all ports are bound"),
            (!listed, "the home cluster has not been listed yet"),
        ]
        .into_iter()
        .filter_map(|(waits, why)| waits.then_some(why))
        .collect()
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

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response<Body> {
    let waits_for = admin.waits_for();
    if waits_for.is_empty() {
        reply(StatusCode::OK, "text/plain", "ready\n")
    } else {
        reply(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("not ready: {}\n", waits_for.join("; ")))
    }
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
