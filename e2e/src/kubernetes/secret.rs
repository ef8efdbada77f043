//! Files that nobody else may read: keys, tokens, kubeconfigs. What is in them it must never know.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Writes a file that only we may read, by rename.
pub(super) fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().context("a file has a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let beside = file.with_added_extension("new");
    let context = || format!("write {}", beside.display());
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&beside).with_context(context)?;
    out.write_all(text.as_bytes()).with_context(context)?;
    std::fs::rename(&beside, file).with_context(|| format!("write {}", file.display()))
}
