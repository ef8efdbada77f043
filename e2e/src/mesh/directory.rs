//! The directory: resources go in by rename, statuses, document and reports are read.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use sluice_crds::{KafkaClusterStatus, TopicRouteStatus};
use sluice_mesh::document::Document;
use sluice_mesh::report::Report;

use super::Mesh;

impl Mesh {
    /// The folder for resources.
    pub fn resources(&self) -> PathBuf {
        self.spec.directory.join("resources")
    }

    /// Writes a file of resources.
    pub fn apply(&self, file: &str, yaml: &str) -> Result<()> {
        crate::write_by_rename(&self.resources().join(file), yaml)
    }

    /// Removes a file of resources: deletes what is in it.
    pub fn delete(&self, file: &str) -> Result<()> {
        let path = self.resources().join(file);
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }

    /// Applies a KafkaCluster.
    pub fn apply_cluster(&self, name: &str, bootstrap: &str, home: bool) -> Result<()> {
        self.apply(&cluster_file(name), &cluster_yaml(name, bootstrap, home, &[]))
    }

    /// Applies a TopicRoute with the topic's name.
    pub fn apply_route(&self, topic: &str, cluster: &str) -> Result<()> {
        self.apply(&format!("topicroute-{topic}.yaml"), &route_yaml(topic, topic, cluster))
    }

    /// The status of a KafkaCluster, once there is one.
    pub fn cluster_status(&self, name: &str) -> Result<Option<KafkaClusterStatus>> {
        self.status("kafkacluster", name)
    }

    /// The status of a TopicRoute, once there is one.
    pub fn route_status(&self, name: &str) -> Result<Option<TopicRouteStatus>> {
        self.status("topicroute", name)
    }

    fn status<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Option<T>> {
        let file = self.spec.directory.join("status").join(kind).join(format!("{name}.yaml"));
        let Some(text) = read_if_there(&file)? else { return Ok(None) };
        let mut value: serde_yaml::Value =
            serde_yaml::from_str(&text).with_context(|| format!("read {}", file.display()))?;
        if let Some(status) = value.get_mut("status") {
            value = std::mem::take(status);
        }
        if value.is_null() {
            return Ok(None);
        }
        Ok(Some(serde_yaml::from_value(value).with_context(|| format!("read the status in {}", file.display()))?))
    }

    /// The mesh document, once there is one.
    pub fn document(&self) -> Result<Option<Document>> {
        let file = self.spec.directory.join("document.json");
        let Some(text) = read_if_there(&file)? else { return Ok(None) };
        Ok(Some(serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?))
    }

    /// The reports of all proxies that have written one.
    pub fn reports(&self) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        for node in &self.spec.nodes {
            let file = self.spec.directory.join("reports").join(format!("{}.json", node.name));
            if let Some(text) = read_if_there(&file)? {
                reports.push(serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?);
            }
        }
        Ok(reports)
    }
}

/// The file that [`Mesh::apply_cluster`] writes.
pub(super) fn cluster_file(name: &str) -> String {
    format!("kafkacluster-{name}.yaml")
}

/// The text of a KafkaCluster.
pub fn cluster_yaml(name: &str, bootstrap: &str, home: bool, exclude: &[&str]) -> String {
    let quoted = |list: &mut dyn Iterator<Item = &str>| list.map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
    let servers = quoted(&mut bootstrap.split(','));
    let home = if home { "  home: true\n" } else { "" };
    let topics = if exclude.is_empty() {
        String::new()
    } else {
        format!("  topics:\n    exclude: [{}]\n", quoted(&mut exclude.iter().copied()))
    };
    format!(
        "apiVersion: sluice.dev/v1alpha1\nkind: KafkaCluster\nmetadata:\n  name: {name}\nspec:\n  \
         bootstrapServers: [{servers}]\n{home}{topics}"
    )
}

/// The text of a TopicRoute.
pub fn route_yaml(name: &str, topic: &str, cluster: &str) -> String {
    format!(
        "apiVersion: sluice.dev/v1alpha1\nkind: TopicRoute\nmetadata:\n  name: {name}\nspec:\n  topic: {topic}\n  \
         clusterRef:\n    name: {cluster}\n"
    )
}

fn read_if_there(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}
