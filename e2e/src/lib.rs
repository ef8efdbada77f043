//! The end-to-end kit: real Kafka, real clients, Sluice's own binaries, and a checker that says from the recorded
//! history alone whether anything was lost, repeated or put out of order.
//!
//! `kafka` and `kubernetes` know nothing of Sluice, `history` nothing of any; `stage` puts them together for the demo,
//! the playground and the tests.

pub mod history;
pub mod kafka;
pub mod kubernetes;
pub mod load;
pub mod measure;
pub mod mesh;
pub mod noted;
pub mod process;
pub mod stage;
pub mod workload;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Cargo's target folder: `SLUICE_TARGET`, else the one that the running program lies in.
pub fn target_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("SLUICE_TARGET") {
        return Ok(PathBuf::from(folder));
    }
    let exe = std::env::current_exe().context("the path of the running program")?;
    exe.ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .map(Path::to_path_buf)
        .with_context(|| format!("{} is not in a Cargo target folder: set SLUICE_TARGET", exe.display()))
}

/// Writes a file by rename, under a name that readers skip until it is complete.
pub fn write_by_rename(file: &Path, text: &str) -> Result<()> {
    let beside = write_beside(file, text)?;
    std::fs::rename(&beside, file).with_context(|| format!("write {}", file.display()))
}

/// Writes what is to become `file`, under a name beside it that readers skip.
pub fn write_beside(file: &Path, text: &str) -> Result<PathBuf> {
    let folder = file.parent().context("a file has a folder")?;
    let name = file.file_name().context("a file has a name")?.to_string_lossy();
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    std::fs::write(&beside, text).with_context(|| format!("write {}", beside.display()))?;
    Ok(beside)
}
