//! What a proxy says back to the operator. Serialised boundary, like the document.

use serde::{Deserialize, Serialize};

use crate::name::ProxyName;

#[cfg(test)]
mod tests;

/// How often a proxy renews its report without a change.
pub const RENEW_MILLIS: u64 = 3_000;

/// A proxy is live when its report was renewed within this time.
pub const LIVE_MILLIS: u64 = 10_000;

/// A lost proxy is waited for (counted as desired) this long.
pub const LOST_MILLIS: u64 = 30_000;

/// The largest report that is read.
pub const MAX_REPORT_BYTES: usize = 256 * 1024;

/// Where reports are objects: their names begin so, and end with the proxy's name.
pub const OBJECT_PREFIX: &str = "sluice-proxy-";

/// Where reports are objects: what they are kept under.
pub const OBJECT_KEY: &str = "sluice.dev/report";

/// One proxy's report: a file `reports/<proxy>.json` in directory mode. Written at once on a change, renewed every 3 s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The proxy's name.
    pub proxy: ProxyName,
    /// Changes with each start of the process.
    pub incarnation: String,
    /// The address that clients are to be told.
    pub host: String,
    /// The bootstrap port.
    pub bootstrap_port: u16,
    /// Port of virtual broker `index` is `port_base + index`.
    pub port_base: u16,
    /// Addresses of brokers on this proxy's node.
    pub broker_hosts: Vec<String>,
    /// The revision of the document that is applied; 0 before the first.
    pub revision: u64,
    /// The highest revision R such that no Produce decided under a revision below R still waits for its answer.
    pub drained: u64,
    /// The last document that was refused, if it is newer than the applied one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    /// When this report was written, milliseconds since the Unix epoch.
    pub renewed_at: i64,
    /// The binary's version.
    pub version: String,
}

/// A document that a proxy refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Its revision, 0 if it could not be read.
    pub revision: u64,
    /// A sentence for people.
    pub reason: String,
}

/// Why bytes are not a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Over [`MAX_REPORT_BYTES`].
    #[error("a proxy's report has {0} bytes, more than {MAX_REPORT_BYTES}: no proxy wrote it, remove it")]
    TooLarge(usize),
    /// Not a report.
    #[error("not a proxy's report: {0}; if its proxy is gone, remove it")]
    Shape(#[from] serde_json::Error),
}

impl Report {
    /// Reads a report.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > MAX_REPORT_BYTES {
            return Err(ReportError::TooLarge(bytes.len()));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// As JSON for people: what is written to `reports/<proxy>.json`.
    pub fn to_json_pretty(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).unwrap_or_default();
        format!("{value:#}\n").into_bytes()
    }

    /// Renewed within [`LIVE_MILLIS`]. `now` is in milliseconds since the Unix epoch. A report from the future is not
    /// live for ever: it counts by its distance, too.
    pub fn is_live(&self, now: i64) -> bool {
        self.renewed_at.abs_diff(now) <= LIVE_MILLIS
    }

    /// Live, or lost for less than [`LOST_MILLIS`]: still waited for.
    pub fn is_desired(&self, now: i64) -> bool {
        self.renewed_at.abs_diff(now) <= LIVE_MILLIS + LOST_MILLIS
    }

    /// Serves by this revision or a newer one.
    pub fn has_applied(&self, revision: u64) -> bool {
        self.revision >= revision
    }

    /// Applied the revision, and no Produce decided under an older one waits for its answer.
    pub fn has_drained(&self, revision: u64) -> bool {
        self.revision >= revision && self.drained >= revision
    }
}
