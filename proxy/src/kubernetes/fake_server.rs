//! An API server for tests: ConfigMaps and Leases of one namespace, lists, watches with history, and server-side apply
//! without merging. It can go away, come back, forget its history, and lose everything.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use kube::Client;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The one namespace.
pub(crate) const NAMESPACE: &str = "kafka";

/// The server.
pub(crate) struct FakeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    state: Mutex<Store>,
    changes: watch::Sender<u64>,
}

/// What it holds.
#[derive(Default)]
pub(crate) struct Store {
    version: u64,
    objects: BTreeMap<(String, String), Value>,
    /// Version and event.
    history: Vec<(u64, Value)>,
    /// Method and path of each request that is not a watch.
    pub(crate) requests: Vec<String>,
    /// Versions that watches began at.
    pub(crate) watches: Vec<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Store> {
        self.state.lock().unwrap()
    }
}

impl FakeServer {
    pub(crate) fn start() -> Self {
        let mut server = Self::away();
        server.come_back();
        server
    }

    /// One that has an address, but does not answer yet.
    pub(crate) fn away() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let shared = Arc::new(Shared { state: Mutex::default(), changes: watch::Sender::new(0) });
        Self { address, shared, runtime: None }
    }

    pub(crate) fn come_back(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let router = Router::new()
            .route("/api/v1/namespaces/kafka/configmaps", get(list))
            .route("/api/v1/namespaces/kafka/configmaps/{name}", get(read_map))
            .route(
                "/apis/coordination.k8s.io/v1/namespaces/kafka/leases/{name}",
                get(read_lease).patch(apply_lease).delete(delete_lease),
            )
            .with_state(Arc::clone(&self.shared));
        runtime.spawn(async move { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await });
        self.runtime = Some(runtime);
    }

    /// All connections break, and no new ones are taken.
    pub(crate) fn go_away(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
        let began = Instant::now();
        while TcpStream::connect(self.address).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn client(&self) -> Client {
        let config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        super::finish(config, NAMESPACE).unwrap()
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.state()
    }

    /// Writes a ConfigMap with one key.
    pub(crate) fn put_map(&self, name: &str, key: &str, content: &str) {
        self.put("configmaps", name, json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {key: content}}));
    }

    pub(crate) fn delete_map(&self, name: &str) {
        let version = self.store().delete("configmaps", name);
        self.shared.changes.send_replace(version);
    }

    pub(crate) fn put(&self, kind: &str, name: &str, object: Value) {
        let version = self.store().put(kind, name, object);
        self.shared.changes.send_replace(version);
    }

    pub(crate) fn lease(&self, name: &str) -> Option<Value> {
        self.store().objects.get(&("leases".into(), name.into())).cloned()
    }

    /// Every watch is told that its history is gone.
    pub(crate) fn expire(&self) {
        let mut store = self.store();
        store.version += 1;
        let version = store.version;
        store.history.push((version, json!({"type": "ERROR", "object": status(410, "Expired")})));
        drop(store);
        self.shared.changes.send_replace(version);
    }

    /// The store is lost; versions begin anew.
    pub(crate) fn lose_everything(&self) {
        *self.store() = Store::default();
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Store {
    fn put(&mut self, kind: &str, name: &str, mut object: Value) -> u64 {
        self.version += 1;
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = NAMESPACE.into();
        object["metadata"]["uid"] = name.into();
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let old = self.objects.insert((kind.into(), name.into()), object.clone());
        let what = if old.is_some() { "MODIFIED" } else { "ADDED" };
        self.history.push((self.version, json!({"type": what, "object": object})));
        self.version
    }

    fn delete(&mut self, kind: &str, name: &str) -> u64 {
        self.version += 1;
        let mut object = self.objects.remove(&(kind.into(), name.into())).unwrap();
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.history.push((self.version, json!({"type": "DELETED", "object": object})));
        self.version
    }
}

fn status(code: u16, reason: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason})
}

fn answer(code: u16, body: &Value) -> Response {
    let content = [("content-type", "application/json")];
    (StatusCode::from_u16(code).unwrap(), content, body.to_string()).into_response()
}

fn read(shared: &Shared, kind: &str, name: &str) -> Response {
    let mut store = shared.state();
    store.requests.push(format!("GET {name}"));
    match store.objects.get(&(kind.into(), name.into())) {
        Some(object) => answer(200, object),
        None => answer(404, &status(404, "NotFound")),
    }
}

async fn read_map(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    read(&shared, "configmaps", &name)
}

async fn read_lease(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    read(&shared, "leases", &name)
}

async fn apply_lease(State(shared): State<Arc<Shared>>, Path(name): Path<String>, body: String) -> Response {
    let object: Value = serde_json::from_str(&body).unwrap();
    let mut store = shared.state();
    store.requests.push(format!("PATCH {name}"));
    store.put("leases", &name, object.clone());
    answer(200, &object)
}

async fn delete_lease(State(shared): State<Arc<Shared>>, Path(name): Path<String>, body: String) -> Response {
    let mut store = shared.state();
    store.requests.push(format!("DELETE {name}"));
    let options: Value = serde_json::from_str(&body).unwrap();
    let wanted = &options["preconditions"]["resourceVersion"];
    let found = store.objects.get(&("leases".into(), name.clone())).map(|o| o["metadata"]["resourceVersion"].clone());
    match found {
        None => answer(404, &status(404, "NotFound")),
        Some(version) if version != *wanted => answer(409, &status(409, "Conflict")),
        Some(_) => {
            store.delete("leases", &name);
            answer(200, &json!({"apiVersion": "v1", "kind": "Status", "status": "Success"}))
        }
    }
}

async fn list(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).unwrap_or("");
    // A Role that names the object allows no other list.
    let name = value("fieldSelector").replace("%3D", "=").strip_prefix("metadata.name=").unwrap().to_owned();
    if value("watch") == "true" {
        let from = value("resourceVersion").parse().unwrap();
        shared.state().watches.push(from);
        return follow(shared, name, from);
    }
    let mut store = shared.state();
    store.requests.push(format!("LIST {name}"));
    let items: Vec<_> = store.objects.get(&("configmaps".into(), name)).into_iter().collect();
    let metadata = json!({"resourceVersion": store.version.to_string()});
    answer(200, &json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items}))
}

/// All events of one ConfigMap after a version, for ever. From a version that is yet to come nothing is told.
fn follow(shared: Arc<Shared>, name: String, from: u64) -> Response {
    let changes = shared.changes.subscribe();
    let events =
        futures::stream::unfold((shared, changes, name, from), |(shared, mut changes, name, from)| async move {
            loop {
                changes.mark_unchanged();
                let next = shared.state().history.iter().find(|(version, _)| *version > from).cloned();
                match next {
                    Some((version, event)) => {
                        let ours = event["type"] == "ERROR"
                            || (event["object"]["metadata"]["name"] == name.as_str()
                                && event["object"]["kind"] == "ConfigMap");
                        let line = if ours { format!("{event}\n") } else { String::new() };
                        return Some((Ok::<_, Infallible>(line), (shared, changes, name, version)));
                    }
                    None => changes.changed().await.ok()?,
                }
            }
        });
    ([("content-type", "application/json")], Body::from_stream(events)).into_response()
}
