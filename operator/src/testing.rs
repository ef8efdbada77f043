//! What the tests of several modules begin with.

use sluice_mesh::document::{Document, FORMAT_VERSION, Limits};
use sluice_mesh::name::ClusterName;

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
        limits: Limits::default(),
    };
    document.seal()
}
