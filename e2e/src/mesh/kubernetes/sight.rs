//! Where the way of a change can be watched on Kubernetes: the index of the mesh document, and the proxies' Leases.

use anyhow::Result;
use sluice_mesh::document::Document;

use super::Kubernetes;
use crate::mesh::Sight;

/// Document and reports as watches show them.
#[derive(Debug)]
pub struct NamespaceSight<'a> {
    kubernetes: &'a Kubernetes,
    proxies: Vec<String>,
    /// Changes of the index up to the last look.
    last: Option<u64>,
}

impl<'a> NamespaceSight<'a> {
    /// Looks at a namespace and the proxies of these names.
    pub fn new<'p>(kubernetes: &'a Kubernetes, proxies: impl IntoIterator<Item = &'p str>) -> Self {
        Self { kubernetes, proxies: proxies.into_iter().map(str::to_owned).collect(), last: None }
    }
}

impl Sight for NamespaceSight<'_> {
    fn document(&mut self) -> Result<Option<Document>> {
        // Counted before it is read: what comes in between is looked at once more.
        let changes = self.kubernetes.view().changes();
        if self.last.replace(changes) == Some(changes) {
            return Ok(None);
        }
        self.kubernetes.document()
    }

    fn applied(&mut self) -> Result<Vec<u64>> {
        let revision = |proxy: &String| self.kubernetes.report(proxy).map_or(0, |report| report.revision);
        Ok(self.proxies.iter().map(revision).collect())
    }
}
