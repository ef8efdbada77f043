//! Reports as files in the directory that is shared with the operator: `reports/<proxy>.json`.

use std::io;
use std::path::{Path, PathBuf};

use sluice_mesh::name::ProxyName;
use sluice_mesh::report::Report;

use super::{Sink, SinkError};

/// The sink.
pub(crate) struct ReportFile {
    file: PathBuf,
}

impl ReportFile {
    /// Makes the directory of reports if there is none.
    pub(crate) fn new(directory: &Path, proxy: &ProxyName) -> io::Result<Self> {
        let directory = directory.join("reports");
        std::fs::create_dir_all(&directory)?;
        Ok(Self { file: directory.join(format!("{proxy}.json")) })
    }

    fn refused(&self) -> impl Fn(io::Error) -> SinkError {
        |source| SinkError::File { path: self.file.clone(), source }
    }
}

impl Sink for ReportFile {
    async fn put(&mut self, report: &Report, _mesh: Option<&str>) -> Result<(), SinkError> {
        replace(&self.file, &report.to_json_pretty()).map_err(self.refused())
    }

    async fn take_back(&mut self, report: &Report) -> Result<(), SinkError> {
        let found = match std::fs::read(&self.file) {
            Ok(bytes) => Report::parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.refused()(error)),
        };
        if found.is_ok_and(|found| found.incarnation == report.incarnation) {
            std::fs::remove_file(&self.file).map_err(self.refused())?;
        }
        Ok(())
    }
}

/// Readers see the old file or the new one, never half of one. Names that begin with a dot are skipped by all readers.
fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = file.with_file_name(format!(".{name}.tmp"));
    std::fs::write(&temporary, content)?;
    std::fs::rename(&temporary, file)
}
