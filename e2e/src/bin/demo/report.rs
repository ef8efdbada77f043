//! The end of the demo as JSON, for `--report`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use sluice_e2e::history::Verdict;
use sluice_e2e::load::MoveReport;
use sluice_e2e::measure::{HotLoads, Machine, Pauses};
use sluice_e2e::stage::Stage;

/// Which client libraries are at work.
#[derive(Serialize)]
pub(crate) struct Clients {
    pub(crate) librdkafka: String,
    pub(crate) java: String,
}

impl Clients {
    pub(crate) fn of(stage: &Stage) -> Self {
        let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
        let java = stage.clusters[0].jars().clients_version().unwrap_or_else(|| "of unknown version".to_owned());
        Self { librdkafka, java }
    }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HotLoadReport {
    pub(crate) idle: Option<HotLoads>,
    pub(crate) under_load: Option<HotLoads>,
    /// Under load, with all that `kubectl apply` does before it asks; only on Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by_kubectl: Option<HotLoads>,
}

#[derive(Serialize)]
pub(crate) struct Rate {
    pub(crate) wanted: u32,
    pub(crate) acknowledged: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportFile<'a> {
    pub(crate) good: bool,
    pub(crate) machine: Machine,
    pub(crate) kafka: [&'a str; 2],
    pub(crate) brokers_per_cluster: u8,
    pub(crate) clients: Clients,
    pub(crate) partitions: i32,
    pub(crate) records_per_second: Rate,
    pub(crate) hot_load: HotLoadReport,
    pub(crate) pause: Pauses,
    pub(crate) moves: &'a [MoveReport],
    pub(crate) verdict: &'a Verdict,
    pub(crate) client_errors: &'a [String],
}

pub(crate) fn write_report(file: &Path, report: &ReportFile<'_>) -> Result<()> {
    let text = serde_json::to_string_pretty(report).context("the report as JSON")?;
    ensure!(file.file_name().is_some(), "--report names no file");
    std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))
}
