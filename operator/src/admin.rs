//! The admin endpoint: metrics, liveness, readiness, and what the operator holds, as JSON. Read-only.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::metrics::Metrics;

/// What the endpoint shows.
#[derive(Clone)]
pub struct Shown {
    /// Counted things.
    pub metrics: Arc<Metrics>,
    /// What this process does now.
    pub role: watch::Receiver<Role>,
}

/// What a process does among those that may lead.
#[derive(Clone, Default)]
pub enum Role {
    /// It waits for its turn.
    #[default]
    StandingBy,
    /// It leads; the context is there while the mesh has a home.
    Leading(Option<Arc<Context>>),
}

impl Shown {
    fn context(&self) -> Option<Arc<Context>> {
        match &*self.role.borrow() {
            Role::StandingBy => None,
            Role::Leading(context) => context.clone(),
        }
    }
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, shown: Shown, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router(shown)).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(|| async { "alive\n" }))
        .route("/ready", get(ready))
        .route("/document", get(document))
        .route("/ledger", get(ledger))
        .with_state(shown)
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shown.metrics.encode()).into_response()
}

/// Ready: this process leads and its document is published, or it can take over from the one that does.
async fn ready(State(shown): State<Shown>) -> Response {
    if matches!(*shown.role.borrow(), Role::StandingBy) {
        return "standing by: another operator leads\n".into_response();
    }
    let Some(context) = shown.context() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no home cluster yet\n").into_response();
    };
    match (context.publisher.revision(), context.publisher.failure()) {
        (0, failure) => {
            let reason = failure.unwrap_or_else(|| "ledgers are being read".to_owned());
            (StatusCode::SERVICE_UNAVAILABLE, format!("no mesh document yet: {reason}\n")).into_response()
        }
        (revision, _) => format!("revision {revision}\n").into_response(),
    }
}

async fn document(State(shown): State<Shown>) -> Response {
    let document = shown.context().and_then(|context| context.publisher.document().borrow().clone());
    match document {
        Some(document) => json(document.to_json_pretty()),
        None => (StatusCode::NOT_FOUND, "no mesh document yet\n").into_response(),
    }
}

/// What the ledgers add up to, for people.
async fn ledger(State(shown): State<Shown>) -> Response {
    let Some(context) = shown.context() else {
        return (StatusCode::NOT_FOUND, "no ledger is open\n").into_response();
    };
    let merged = context.ledger.merged();
    let clusters: serde_json::Map<_, _> = merged
        .clusters
        .iter()
        .map(|(id, identity)| {
            let value = serde_json::json!({
                "name": identity.name,
                "tag": identity.tag,
                "nodeIdBase": identity.node_id_base,
                "indexes": identity.indexes,
            });
            (id.clone(), value)
        })
        .collect();
    let catalogue: serde_json::Map<_, _> = merged
        .catalogue
        .iter()
        .map(|(topic, entry)| {
            let value = serde_json::json!({
                "cluster": entry.cluster,
                "topicId": entry.topic_id,
                "placeholder": entry.placeholder,
            });
            (topic.to_string(), value)
        })
        .collect();
    let topics: serde_json::Map<_, _> = merged
        .topics
        .iter()
        .map(|(topic, found)| {
            let value = serde_json::json!({
                "standing": format!("{:?}", found.standing),
                "latest": found.record,
                "producers": found.producers.len(),
            });
            (topic.to_string(), value)
        })
        .collect();
    let text = serde_json::json!({
        "open": context.ledger.open_clusters(),
        "counter": merged.counter,
        "revision": merged.revision,
        "clusters": clusters,
        "catalogue": catalogue,
        "topics": topics,
    });
    json(format!("{text:#}\n").into_bytes())
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn alive_before_it_is_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, role) = watch::channel(Role::Leading(None));
        let stop = CancellationToken::new();
        let shown = Shown { metrics: Arc::new(Metrics::new()), role };
        let server = tokio::spawn(serve(listener, shown, stop.clone()));
        assert!(get(address, "/live").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/ready").await.starts_with("HTTP/1.1 503"));
        assert!(get(address, "/document").await.starts_with("HTTP/1.1 404"));
        sender.send_replace(Role::StandingBy);
        let standby = get(address, "/ready").await;
        assert!(standby.starts_with("HTTP/1.1 200") && standby.contains("standing by"), "{standby}");
        assert!(get(address, "/metrics").await.contains("sluice_operator_leader 0"));
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
