//! Where operator, proxies and users meet: what differs between a directory and a namespace, and nothing else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use sluice_crds::{KafkaClusterStatus, TopicFuseStatus, TopicRouteStatus};
use sluice_mesh::document::Document;
use sluice_mesh::report::Report;

use super::resource::{Kind, cluster_yaml, fuse_yaml, route_yaml};
use super::{Directory, Kubernetes, Mesh};

/// Where operator, proxies and users meet.
#[derive(Debug)]
pub enum Outside {
    /// A directory.
    Directory(Directory),
    /// A namespace of a Kubernetes cluster.
    Kubernetes(Box<Kubernetes>),
}

impl Outside {
    pub(super) fn kubernetes(&self) -> Result<&Kubernetes> {
        match self {
            Self::Kubernetes(kubernetes) => Ok(kubernetes),
            Self::Directory(_) => bail!("this mesh is in directory mode: set StageSpec::kubernetes"),
        }
    }

    pub(super) fn kubernetes_mut(&mut self) -> Result<&mut Kubernetes> {
        match self {
            Self::Kubernetes(kubernetes) => Ok(kubernetes),
            Self::Directory(_) => bail!("this mesh is in directory mode: set StageSpec::kubernetes"),
        }
    }

    pub(super) fn directory(&self) -> Result<&Directory> {
        match self {
            Self::Directory(directory) => Ok(directory),
            Self::Kubernetes(_) => bail!("this mesh is on Kubernetes, it has no directory"),
        }
    }

    fn status<T: DeserializeOwned>(&self, kind: Kind, name: &str) -> Result<Option<T>> {
        match self {
            Self::Directory(directory) => directory.status(kind, name),
            Self::Kubernetes(kubernetes) => kubernetes.status(kind, name),
        }
    }

    pub(super) fn operator_args(&self, identity: &str) -> Vec<OsString> {
        match self {
            Self::Directory(directory) => directory.args(),
            Self::Kubernetes(kubernetes) => kubernetes.operator_args(identity),
        }
    }

    pub(super) fn proxy_args(&self, mounted: &Path) -> Vec<OsString> {
        match self {
            Self::Directory(directory) => directory.args(),
            Self::Kubernetes(kubernetes) => kubernetes.proxy_args(mounted),
        }
    }
}

impl Mesh {
    /// The folder for resources; of use in directory mode only.
    pub fn resources(&self) -> PathBuf {
        Directory::new(&self.spec.directory).resources()
    }

    /// Writes a file of resources; only in directory mode.
    pub fn apply(&self, file: &str, yaml: &str) -> Result<()> {
        self.outside.directory()?.apply(file, yaml)
    }

    /// Applies one resource as a user does: writes its file, or `kubectl apply --server-side`.
    pub fn apply_one(&self, kind: Kind, name: &str, yaml: &str) -> Result<()> {
        match &self.outside {
            Outside::Directory(directory) => crate::write_by_rename(&directory.file(kind, name), yaml),
            Outside::Kubernetes(kubernetes) => kubernetes.kubectl().apply(yaml).map(drop),
        }
        .with_context(|| format!("apply {} {name}", kind.as_str()))
    }

    /// Applies a KafkaCluster.
    pub fn apply_cluster(&self, name: &str, bootstrap: &str, home: bool) -> Result<()> {
        self.apply_one(Kind::KafkaCluster, name, &cluster_yaml(name, bootstrap, home, &[]))
    }

    /// Applies a TopicRoute with the topic's name.
    pub fn apply_route(&self, topic: &str, cluster: &str) -> Result<()> {
        self.apply_one(Kind::TopicRoute, topic, &route_yaml(topic, topic, cluster))
    }

    /// Applies a TopicFuse with the topic's name; `rules` as for [`fuse_yaml`].
    pub fn apply_fuse(&self, topic: &str, rules: &[&str]) -> Result<()> {
        self.apply_one(Kind::TopicFuse, topic, &fuse_yaml(topic, topic, rules))
    }

    /// Deletes a resource and does not wait until it is gone; an error if there is none.
    pub fn delete(&self, kind: Kind, name: &str) -> Result<()> {
        match &self.outside {
            Outside::Directory(directory) => directory.delete(kind, name),
            Outside::Kubernetes(kubernetes) => {
                kubernetes.kubectl().run(&["delete", kind.as_str(), name, "--wait=false"]).map(drop)
            }
        }
    }

    /// Deletes a TopicRoute.
    pub fn delete_route(&self, name: &str) -> Result<()> {
        self.delete(Kind::TopicRoute, name)
    }

    /// Deletes a KafkaCluster.
    pub fn delete_cluster(&self, name: &str) -> Result<()> {
        self.delete(Kind::KafkaCluster, name)
    }

    /// Deletes a TopicFuse: closes it.
    pub fn delete_fuse(&self, name: &str) -> Result<()> {
        self.delete(Kind::TopicFuse, name)
    }

    /// The status of a KafkaCluster, once there is one. On Kubernetes, as last seen (see [`Kubernetes`]).
    pub fn cluster_status(&self, name: &str) -> Result<Option<KafkaClusterStatus>> {
        self.outside.status(Kind::KafkaCluster, name)
    }

    /// The status of a TopicRoute, once there is one. On Kubernetes, as last seen (see [`Kubernetes`]).
    pub fn route_status(&self, name: &str) -> Result<Option<TopicRouteStatus>> {
        self.outside.status(Kind::TopicRoute, name)
    }

    /// The status of a TopicFuse, once there is one. On Kubernetes, as last seen (see [`Kubernetes`]).
    pub fn fuse_status(&self, name: &str) -> Result<Option<TopicFuseStatus>> {
        self.outside.status(Kind::TopicFuse, name)
    }

    /// The mesh document, once there is one. On Kubernetes an error if it is not whole or its digest is wrong.
    pub fn document(&self) -> Result<Option<Document>> {
        match &self.outside {
            Outside::Directory(directory) => directory.document(),
            Outside::Kubernetes(kubernetes) => kubernetes.document(),
        }
    }

    /// The reports of all proxies that have written one.
    pub fn reports(&self) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        for node in &self.spec.nodes {
            reports.extend(match &self.outside {
                Outside::Directory(directory) => directory.report(&node.name)?,
                Outside::Kubernetes(kubernetes) => kubernetes.report(&node.name),
            });
        }
        Ok(reports)
    }
}
