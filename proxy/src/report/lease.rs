//! Reports as Leases: `sluice-proxy-<proxy>`, with the report in an annotation. The Lease's own fields say the same for
//! people and tools that know nothing of Sluice: who holds it, and since when nothing was heard.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use sluice_mesh::name::ProxyName;
use sluice_mesh::report::{LIVE_MILLIS, OBJECT_KEY, OBJECT_PREFIX, Report};

use super::{Sink, SinkError};
use crate::kubernetes::sentence;

/// The label that names the mesh.
const MESH: &str = "sluice.dev/mesh";
/// Who owns the fields.
const MANAGER: &str = "sluice-proxy";
/// Longest wait for one answer: a report is renewed before it has grown old.
const CALL: Duration = Duration::from_secs(3);

/// The sink.
pub(crate) struct ReportLease {
    api: Api<Lease>,
    name: String,
}

/// The Lease of a proxy.
pub(crate) fn name_of(proxy: &ProxyName) -> String {
    format!("{OBJECT_PREFIX}{proxy}")
}

impl ReportLease {
    pub(crate) fn new(client: Client, namespace: &str, proxy: &ProxyName) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name_of(proxy) }
    }

    /// Waits for an answer, but not for ever.
    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, SinkError> {
        let refused = |reason: String| SinkError::Lease { lease: self.name.clone(), reason };
        match tokio::time::timeout(CALL, call).await {
            Ok(answer) => answer.map_err(|error| refused(sentence(&error))),
            Err(_) => Err(refused(format!("no answer within {} s", CALL.as_secs()))),
        }
    }

    fn lease(&self, report: &Report, mesh: Option<&str>) -> Lease {
        let mut labels: BTreeMap<String, String> =
            [("app.kubernetes.io/name", "sluice"), ("app.kubernetes.io/component", "proxy")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
        // One bad label would cost the whole report.
        labels.extend(mesh.filter(|mesh| is_label(mesh)).map(|mesh| (MESH.to_owned(), mesh.to_owned())));
        let content = serde_json::to_string(report).unwrap_or_default();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels),
                annotations: Some([(OBJECT_KEY.to_owned(), content)].into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(report.incarnation.clone()),
                lease_duration_seconds: i32::try_from(LIVE_MILLIS / 1000).ok(),
                renew_time: Timestamp::from_millisecond(report.renewed_at).ok().map(MicroTime),
                ..LeaseSpec::default()
            }),
        }
    }
}

impl Sink for ReportLease {
    async fn put(&mut self, report: &Report, mesh: Option<&str>) -> Result<(), SinkError> {
        let (lease, ours) = (self.lease(report, mesh), PatchParams::apply(MANAGER).force());
        self.call(self.api.patch(&self.name, &ours, &Patch::Apply(&lease))).await.map(drop)
    }

    async fn take_back(&mut self, report: &Report) -> Result<(), SinkError> {
        let Some(found) = self.call(self.api.get_opt(&self.name)).await? else { return Ok(()) };
        if found.spec.and_then(|spec| spec.holder_identity).as_ref() != Some(&report.incarnation) {
            return Ok(());
        }
        // A successor that comes in between has made another version of it.
        let same = Preconditions { resource_version: found.metadata.resource_version, uid: found.metadata.uid };
        self.call(self.api.delete(&self.name, &DeleteParams::default().preconditions(same))).await.map(drop)
    }
}

/// What Kubernetes takes as the value of a label.
fn is_label(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests;
