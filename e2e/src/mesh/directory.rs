//! The directory: resources go in by rename, statuses, document and reports are read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use sluice_mesh::document::Document;
use sluice_mesh::report::Report;

use super::resource::Kind;

/// A directory that operator and proxies share.
#[derive(Debug, Clone)]
pub struct Directory {
    folder: PathBuf,
}

impl Directory {
    /// This folder; nothing in it is touched.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder for resources.
    pub fn resources(&self) -> PathBuf {
        self.folder.join("resources")
    }

    /// The file in which a resource is kept that is applied by kind and name.
    pub fn file(&self, kind: Kind, name: &str) -> PathBuf {
        self.resources().join(format!("{}-{name}.yaml", kind.as_str()))
    }

    /// Writes a file of resources.
    pub(super) fn apply(&self, file: &str, yaml: &str) -> Result<()> {
        crate::write_by_rename(&self.resources().join(file), yaml)
    }

    /// Removes a resource's file: deletes the resource.
    pub(super) fn delete(&self, kind: Kind, name: &str) -> Result<()> {
        let file = self.file(kind, name);
        std::fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))
    }

    pub(super) fn status<T: DeserializeOwned>(&self, kind: Kind, name: &str) -> Result<Option<T>> {
        let file = self.folder.join("status").join(kind.as_str()).join(format!("{name}.yaml"));
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

    pub(super) fn document(&self) -> Result<Option<Document>> {
        let file = self.folder.join("document.json");
        let Some(text) = read_if_there(&file)? else { return Ok(None) };
        Ok(Some(serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?))
    }

    pub(super) fn report(&self, proxy: &str) -> Result<Option<Report>> {
        let file = self.folder.join("reports").join(format!("{proxy}.json"));
        let Some(text) = read_if_there(&file)? else { return Ok(None) };
        Ok(Some(serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?))
    }

    pub(super) fn args(&self) -> Vec<OsString> {
        vec!["--directory".into(), self.folder.clone().into()]
    }
}

fn read_if_there(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}
