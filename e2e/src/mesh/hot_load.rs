//! How long a change takes from the moment it is made to the moment when the last proxy serves by it.
//!
//! [`hot_load`] is the stop watch and knows no files; [`DirectorySight`] is where it looks in directory mode,
//! [`NamespaceSight`] on Kubernetes.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_mesh::document::Document;
use sluice_mesh::report::Report;

use super::resource::{Kind, cluster_yaml};
use super::{Directory, Kubernetes, Mesh, NamespaceSight, Outside};

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

/// A KafkaCluster as [`Mesh::apply_cluster`] wrote it, to be changed in a way that reaches every proxy and moves nothing:
/// it hides one more topic that isn't there.
struct Changing<'a> {
    name: &'a str,
    bootstrap: &'a str,
    home: bool,
}

impl Changing<'_> {
    /// Times changes that `change` makes of YAML, the last of which takes them back. `change` returns the moment just
    /// before it made one.
    fn time(
        &self,
        sight: &mut impl Sight,
        samples: u32,
        mut change: impl FnMut(&str) -> Result<Instant>,
    ) -> Result<Vec<HotLoad>> {
        let hidden = |document: &Document| {
            let found = document.clusters.iter().find(|known| known.name.as_str() == self.name);
            found.map(|known| known.exclude.clone()).unwrap_or_default()
        };
        let mut found = Vec::new();
        for sample in 0..samples {
            // Not in step with anything that looks every second, or every tenth of one.
            std::thread::sleep(Duration::from_millis(120 + u64::from(sample) * 37 % 100));
            let pattern = format!("nothing-is-called-so-{sample}");
            let yaml = cluster_yaml(self.name, self.bootstrap, self.home, &[&pattern]);
            let loaded = hot_load(sight, || change(&yaml), |document| hidden(document).contains(&pattern), WITHIN);
            found.push(loaded.with_context(|| format!("change {} of KafkaCluster {}", sample + 1, self.name))?);
        }
        if samples > 0 {
            let yaml = cluster_yaml(self.name, self.bootstrap, self.home, &[]);
            hot_load(sight, || change(&yaml), |document| hidden(document).is_empty(), WITHIN)?;
        }
        Ok(found)
    }

    fn by_file(&self, directory: &Directory, mut sight: DirectorySight, samples: u32) -> Result<Vec<HotLoad>> {
        let file = directory.file(Kind::KafkaCluster, self.name);
        self.time(&mut sight, samples, |yaml| {
            let beside = crate::write_beside(&file, yaml)?;
            rename(&beside, &file)
        })
    }

    fn by_request(&self, kubernetes: &Kubernetes, mut sight: NamespaceSight<'_>, samples: u32) -> Result<Vec<HotLoad>> {
        let mut under_way = Vec::new();
        let found = self.time(&mut sight, samples, |yaml| {
            let begin = Instant::now();
            under_way.push(kubernetes.view().begin_apply_cluster(self.name, yaml)?);
            Ok(begin)
        });
        // Why a request was refused says more than that nothing came of it.
        under_way.into_iter().try_for_each(|applying| kubernetes.view().finish(applying))?;
        found
    }

    fn by_kubectl(&self, kubernetes: &Kubernetes, mut sight: NamespaceSight<'_>, samples: u32) -> Result<Vec<HotLoad>> {
        std::thread::scope(|scope| {
            let mut under_way = Vec::new();
            let found = self.time(&mut sight, samples, |yaml| {
                let yaml = yaml.to_owned();
                let begin = Instant::now();
                under_way.push(scope.spawn(move || kubernetes.kubectl().apply(&yaml)));
                Ok(begin)
            });
            for run in under_way {
                run.join().map_err(|_| anyhow::anyhow!("kubectl apply was not waited for"))??;
            }
            found
        })
    }
}

impl Mesh {
    /// Times changes of a KafkaCluster (as [`Mesh::apply_cluster`] wrote it) that reach every proxy and move nothing: from
    /// the moment before its file is replaced, or before the request is sent to the API server, until the last proxy
    /// serves by it. The KafkaCluster is as before in the end.
    pub fn time_hot_loads(&self, cluster: &str, bootstrap: &str, home: bool, samples: u32) -> Result<Vec<HotLoad>> {
        let changing = Changing { name: cluster, bootstrap, home };
        let proxies = || self.proxies.keys().map(String::as_str);
        match &self.outside {
            Outside::Directory(directory) => {
                changing.by_file(directory, DirectorySight::new(directory.folder(), proxies()), samples)
            }
            Outside::Kubernetes(kubernetes) => {
                changing.by_request(kubernetes, NamespaceSight::new(kubernetes, proxies()), samples)
            }
        }
    }

    /// The same from the moment before `kubectl apply` is started: with all that the process does before it asks.
    pub fn time_hot_loads_by_kubectl(
        &self,
        cluster: &str,
        bootstrap: &str,
        home: bool,
        samples: u32,
    ) -> Result<Vec<HotLoad>> {
        let kubernetes = self.kubernetes()?;
        let sight = NamespaceSight::new(kubernetes, self.proxies.keys().map(String::as_str));
        Changing { name: cluster, bootstrap, home }.by_kubectl(kubernetes, sight, samples)
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
