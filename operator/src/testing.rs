//! What the tests of several modules begin with.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use sluice_crds::TopicFuse;
use sluice_mesh::document::{Document, FORMAT_VERSION, Limits};
use sluice_mesh::name::ClusterName;

use crate::store::{Resource, Resources};

/// The document of a mesh whose home is `east`, and which has nothing yet.
pub(crate) fn document(revision: u64) -> Document {
    let document = Document {
        format_version: FORMAT_VERSION,
        revision,
        digest: String::new(),
        mesh: "default".into(),
        home: ClusterName::new("east").unwrap(),
        clusters: vec![],
        proxies: vec![],
        brokers: vec![],
        topics: vec![],
        fuses: vec![],
        limits: Limits::default(),
    };
    document.seal()
}

/// Fuses from minimal YAML: name, age (seconds since the epoch), spec.
pub(crate) fn fuses(list: &[(&str, i64, &str)]) -> Resources {
    let mut resources = Resources::default();
    for (name, created, spec) in list {
        let mut object = TopicFuse::new(name, serde_yaml::from_str(spec).unwrap());
        object.metadata.creation_timestamp = Some(Time(Timestamp::from_second(*created).unwrap()));
        object.metadata.uid = Some(format!("uid-{name}"));
        object.metadata.generation = Some(1);
        resources.fuses.insert((*name).to_owned(), Arc::new(Resource { object, refused: None }));
    }
    resources
}
