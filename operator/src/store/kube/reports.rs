//! The proxies' reports, out of their Leases. No I/O.
//!
//! How long ago a proxy was heard of is judged by when *this process* saw its Lease change, on its own clock: the proxies'
//! wall clocks may be wrong. While the API server is away nobody can be heard, so nobody grows older: an outage must not
//! make all proxies look lost and the document send clients nowhere. After it everybody gets the whole time to renew.
//! Whether anybody can be heard shows by this operator's own Lease, which comes and is renewed by the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use sluice_mesh::name::ProxyName;
use sluice_mesh::report::{LIVE_MILLIS, LOST_MILLIS, OBJECT_KEY, OBJECT_PREFIX, Report};
use tokio::time::Instant;

use super::watch::Change;
use crate::store::Reports;

/// The server counts as away after this time without any news: twice what the own Lease takes to be renewed.
const AWAY: Duration = Duration::from_secs(3);
/// A stamp that is this far off is set anew: the wall clock was moved.
const OFF_MILLIS: u64 = 1_000;
/// More reports than this are not kept.
const MAX_REPORTS: usize = 10_000;

/// Reports with their ages.
#[derive(Debug)]
pub(super) struct Heard {
    proxies: BTreeMap<ProxyName, Seen>,
    /// When anything was seen last.
    contact: Instant,
}

#[derive(Debug)]
struct Seen {
    /// Its `renewed_at` is this process's.
    report: Report,
    /// The proxy's own stamp: tells one renewal from another.
    stamp: i64,
    version: Option<String>,
    /// When it was last seen to change, moved on by outages.
    at: Instant,
    /// No Lease shows it any more.
    gone: bool,
}

/// Why a Lease does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unfit(String);

/// The report in a Lease; none if it is not a proxy's.
pub(super) fn read(lease: &Lease) -> Result<Option<Report>, Unfit> {
    let name = lease.name_any();
    let Some(proxy) = name.strip_prefix(OBJECT_PREFIX) else { return Ok(None) };
    let annotation = lease.annotations().get(OBJECT_KEY);
    let text = annotation.ok_or_else(|| Unfit(format!("it has no annotation {OBJECT_KEY} yet")))?;
    let report = Report::parse(text.as_bytes()).map_err(|error| Unfit(error.to_string()))?;
    // A report under another proxy's name would make that one look alive.
    if report.proxy.as_str() != proxy {
        return Err(Unfit(format!("it carries the report of proxy {}", report.proxy)));
    }
    Ok(Some(report))
}

impl Heard {
    pub(super) fn new(now: Instant) -> Self {
        Self { proxies: BTreeMap::new(), contact: now }
    }

    /// Takes what was seen of Leases. What does not count is told, by the Lease's name.
    pub(super) fn take(&mut self, change: Change<Lease>, now: Instant, wall: i64) -> Vec<(String, Unfit)> {
        self.hear(now);
        let mut unfit = Vec::new();
        match change {
            Change::All(leases) => {
                let mut there = BTreeSet::new();
                for lease in leases {
                    there.extend(self.apply(&lease, now, wall, &mut unfit));
                }
                // Not deleted by anybody as far as was seen: a server that was wiped has lost the Leases, not the
                // proxies. Those that are gone grow old.
                for (name, seen) in &mut self.proxies {
                    seen.gone = !there.contains(name);
                }
            }
            Change::Applied(lease) => {
                self.apply(&lease, now, wall, &mut unfit);
            }
            Change::Deleted(lease) => {
                if let Some(proxy) = lease.name_any().strip_prefix(OBJECT_PREFIX) {
                    self.proxies.retain(|name, _| name.as_str() != proxy);
                }
            }
        }
        unfit
    }

    fn apply(&mut self, lease: &Lease, now: Instant, wall: i64, unfit: &mut Vec<(String, Unfit)>) -> Option<ProxyName> {
        let report = match read(lease) {
            Ok(report) => report?,
            Err(reason) => {
                unfit.push((lease.name_any(), reason));
                return None;
            }
        };
        let name = report.proxy.clone();
        let (stamp, version) = (report.renewed_at, lease.metadata.resource_version.clone());
        let at = match self.proxies.get(&name) {
            // The same renewal, seen again.
            Some(seen) if seen.version == version || seen.stamp == stamp => seen.at,
            Some(_) => now,
            None if self.proxies.len() >= MAX_REPORTS => return None,
            // How old it was before it was seen first can only be told by its own clock; the next renewal tells better.
            None => now.checked_sub(Duration::from_millis(stamp.abs_diff(wall))).unwrap_or(now),
        };
        let renewed_at = stamped(at, now, wall);
        let report = Report { renewed_at, ..report };
        self.proxies.insert(name.clone(), Seen { report, stamp, version, at, gone: false });
        Some(name)
    }

    /// When anything was seen last.
    pub(super) fn contact(&self) -> Instant {
        self.contact
    }

    /// Something was seen at this time.
    fn hear(&mut self, contact: Instant) {
        let silence = contact.saturating_duration_since(self.contact);
        if silence > AWAY {
            let live = Duration::from_millis(LIVE_MILLIS);
            for seen in self.proxies.values_mut() {
                let was_live = self.contact.saturating_duration_since(seen.at) <= live;
                let at = if was_live { contact } else { seen.at + silence };
                // It may have been heard of already by now.
                seen.at = seen.at.max(at);
            }
        }
        self.contact = self.contact.max(contact);
    }

    /// The reports as they count now, with times of this process's wall clock.
    pub(super) fn shown(&mut self, now: Instant, wall: i64) -> Reports {
        let frozen = now.min(self.contact + AWAY);
        let forgotten = Duration::from_millis(LIVE_MILLIS + LOST_MILLIS);
        self.proxies.retain(|_, seen| !seen.gone || frozen.saturating_duration_since(seen.at) <= forgotten);
        let mut reports = Reports::new();
        for (name, seen) in &mut self.proxies {
            let renewed_at = stamped(seen.at, frozen, wall);
            if renewed_at.abs_diff(seen.report.renewed_at) > OFF_MILLIS || now > frozen {
                seen.report.renewed_at = renewed_at;
            }
            reports.insert(name.clone(), seen.report.clone());
        }
        reports
    }
}

/// A time of the own clock as one of the wall clock.
fn stamped(at: Instant, now: Instant, wall: i64) -> i64 {
    let age = now.saturating_duration_since(at).as_millis();
    wall.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
