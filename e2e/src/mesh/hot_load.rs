//! How long a change takes from the moment it is made to the moment when the last proxy serves by it.
//!
//! [`hot_load`] is the stop watch and knows no files; [`DirectorySight`] is where it looks in directory mode.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_mesh::document::Document;
use sluice_mesh::report::Report;

use super::Mesh;
use super::directory::{cluster_file, cluster_yaml};

/// One change on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotLoad {
    /// From the change to the document that has it.
    pub to_document: Duration,
    /// From that document to the report of the last proxy that serves by it.
    pub to_proxies: Duration,
}

impl HotLoad {
    /// From the change to the last proxy.
    pub fn total(&self) -> Duration {
        self.to_document + self.to_proxies
    }
}

/// Where the way of a change can be watched.
pub trait Sight {
    /// The mesh document, if it has been replaced since the last call.
    fn document(&mut self) -> Result<Option<Document>>;
    /// The revision that each proxy says it serves by; one entry for every proxy that must follow.
    fn applied(&mut self) -> Result<Vec<u64>>;
    /// Waits before the next look.
    fn wait(&mut self) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a change and times its way. `change` returns the moment just before it became visible; `is_in` tells the
/// document that has it.
pub fn hot_load(
    sight: &mut impl Sight,
    change: impl FnOnce() -> Result<Instant>,
    is_in: impl Fn(&Document) -> bool,
    within: Duration,
) -> Result<HotLoad> {
    if let Some(document) = sight.document()? {
        ensure!(!is_in(&document), "the document has the change before it was made");
    }
    let begin = change()?;
    let mut published: Option<(Instant, u64)> = None;
    loop {
        if published.is_none()
            && let Some(document) = sight.document()?
            && is_in(&document)
        {
            published = Some((Instant::now(), document.revision));
        }
        if let Some((moment, revision)) = published {
            let applied = sight.applied()?;
            if !applied.is_empty() && applied.iter().all(|theirs| *theirs >= revision) {
                return Ok(HotLoad { to_document: moment - begin, to_proxies: moment.elapsed() });
            }
            ensure!(begin.elapsed() < within, "revision {revision} after {within:?}: the proxies serve by {applied:?}");
        }
        ensure!(begin.elapsed() < within, "no document has the change after {within:?}: see the operator's log");
        sight.wait();
    }
}

/// A file that is replaced by rename, read only after it was.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// What told the last one from those before it.
    last: Option<(u64, i64, i64, u64)>,
}

impl Watched {
    fn new(path: PathBuf) -> Self {
        Self { path, last: None }
    }

    fn changed(&mut self) -> Result<Option<Vec<u8>>> {
        let read = |path: &Path| -> std::io::Result<_> {
            let data = std::fs::metadata(path)?;
            Ok((data.ino(), data.mtime(), data.mtime_nsec(), data.size()))
        };
        let now = match read(&self.path) {
            Ok(now) => now,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("look at {}", self.path.display())),
        };
        if self.last == Some(now) {
            return Ok(None);
        }
        // The file may be replaced between the two calls: then it is read once more, which does no harm.
        let bytes = std::fs::read(&self.path).with_context(|| format!("read {}", self.path.display()))?;
        self.last = Some(now);
        Ok(Some(bytes))
    }
}

/// Document and reports as files.
#[derive(Debug)]
pub struct DirectorySight {
    document: Watched,
    reports: Vec<(Watched, u64)>,
}

impl DirectorySight {
    /// Looks at a directory and the proxies of these names.
    pub fn new<'a>(directory: &Path, proxies: impl IntoIterator<Item = &'a str>) -> Self {
        let report = |name| (Watched::new(directory.join("reports").join(format!("{name}.json"))), 0);
        Self {
            document: Watched::new(directory.join("document.json")),
            reports: proxies.into_iter().map(report).collect(),
        }
    }
}

impl Sight for DirectorySight {
    fn document(&mut self) -> Result<Option<Document>> {
        let Some(bytes) = self.document.changed()? else { return Ok(None) };
        Ok(Some(serde_json::from_slice(&bytes).context("read the mesh document")?))
    }

    fn applied(&mut self) -> Result<Vec<u64>> {
        for (file, revision) in &mut self.reports {
            if let Some(bytes) = file.changed()? {
                *revision = Report::parse(&bytes).with_context(|| format!("read {}", file.path.display()))?.revision;
            }
        }
        Ok(self.reports.iter().map(|(_, revision)| *revision).collect())
    }
}

const WITHIN: Duration = Duration::from_secs(30);

impl Mesh {
    /// Times changes that reach every proxy and move nothing: a KafkaCluster (as [`Mesh::apply_cluster`] wrote it) hides
    /// one more topic that isn't there. It is as before in the end.
    pub fn time_hot_loads(&self, cluster: &str, bootstrap: &str, home: bool, samples: u32) -> Result<Vec<HotLoad>> {
        let mut sight = DirectorySight::new(&self.spec.directory, self.proxies.keys().map(String::as_str));
        let file = self.resources().join(cluster_file(cluster));
        let hidden = |document: &Document| {
            let found = document.clusters.iter().find(|known| known.name.as_str() == cluster);
            found.map(|known| known.exclude.clone()).unwrap_or_default()
        };
        let mut found = Vec::new();
        for sample in 0..samples {
            // Not in step with anything that looks every second, or every tenth of one.
            std::thread::sleep(Duration::from_millis(120 + u64::from(sample) * 37 % 100));
            let pattern = format!("nothing-is-called-so-{sample}");
            let beside = crate::write_beside(&file, &cluster_yaml(cluster, bootstrap, home, &[&pattern]))?;
            let change = || rename(&beside, &file);
            found.push(
                hot_load(&mut sight, change, |document| hidden(document).contains(&pattern), WITHIN)
                    .with_context(|| format!("change {} of KafkaCluster {cluster}", sample + 1))?,
            );
        }
        if samples > 0 {
            let beside = crate::write_beside(&file, &cluster_yaml(cluster, bootstrap, home, &[]))?;
            hot_load(&mut sight, || rename(&beside, &file), |document| hidden(document).is_empty(), WITHIN)?;
        }
        Ok(found)
    }
}

/// Returns the moment just before.
fn rename(from: &Path, to: &Path) -> Result<Instant> {
    let begin = Instant::now();
    std::fs::rename(from, to).with_context(|| format!("write {}", to.display()))?;
    Ok(begin)
}

#[cfg(test)]
mod tests;
