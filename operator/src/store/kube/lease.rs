//! Who leads, by the Lease `sluice-operator`: what to make of it. Pure; asking and writing is next door.
//!
//! A holder that is gone is known by its silence as this process has seen it, on this process's own monotonic clock: the
//! times inside the Lease are another machine's, and only whether they change counts. Silence counts only while this
//! process looks: after an outage of the API server the holder, who could not renew either, gets its time anew.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// Its name.
pub(super) const NAME: &str = "sluice-operator";
/// Silent for this long, a holder has lost it. Short: an operator that dies while a topic is sealed is an outage of it.
pub(super) const DURATION: Duration = Duration::from_secs(5);

/// Looks that are further apart than this have a failed one, or a sleep, between them.
const LOOKED_AWAY: Duration = Duration::from_secs(3);

/// What tells one renewal from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    holder: String,
    acquired: Option<Timestamp>,
    renewed: Option<Timestamp>,
    transitions: i32,
}

/// The Lease as a candidate has seen it so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Observed {
    last: Option<Look>,
}

#[derive(Debug, Clone)]
struct Look {
    record: Record,
    /// Since when it is as it is.
    since: Instant,
    /// When it was looked at last.
    at: Instant,
}

/// What a candidate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nobody leads: take it.
    Take,
    /// Somebody leads, for at least this long if nothing is heard.
    Wait(Duration),
}

/// Whose a Lease is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// This process's.
    Mine,
    /// Nobody's.
    Free,
    /// That process's.
    Other(String),
}

/// Whose it is.
pub(super) fn standing(lease: &Lease, me: &str) -> Standing {
    match lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) {
        None | Some("") => Standing::Free,
        Some(holder) if holder == me => Standing::Mine,
        Some(holder) => Standing::Other(holder.to_owned()),
    }
}

/// What a candidate does about the Lease as it is `now`.
pub(super) fn decide(observed: &mut Observed, found: Option<&Lease>, me: &str, now: Instant) -> Decision {
    let Some(lease) = found else { return Decision::Take };
    let Standing::Other(holder) = standing(lease, me) else { return Decision::Take };
    let record = record(lease, holder);
    let since = match &observed.last {
        Some(last) if last.record == record && now.saturating_duration_since(last.at) <= LOOKED_AWAY => last.since,
        _ => now,
    };
    observed.last = Some(Look { record, since, at: now });
    let left = duration(lease).saturating_sub(now.saturating_duration_since(since));
    if left.is_zero() { Decision::Take } else { Decision::Wait(left) }
}

fn record(lease: &Lease, holder: String) -> Record {
    let spec = lease.spec.as_ref();
    let time = |time: Option<&MicroTime>| time.map(|time| time.0);
    Record {
        holder,
        acquired: time(spec.and_then(|spec| spec.acquire_time.as_ref())),
        renewed: time(spec.and_then(|spec| spec.renew_time.as_ref())),
        transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or(0),
    }
}

/// What its holder said, within reason: nobody keeps the others out for a day.
fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(DURATION, |seconds| Duration::from_secs(seconds.clamp(1, 60)))
}

/// The Lease as this process takes it. Carries the version that was seen, so that only one candidate gets it.
pub(super) fn taken(found: Option<&Lease>, me: &str, wall: Timestamp) -> Lease {
    let before = found.and_then(|lease| lease.spec.as_ref()).and_then(|spec| spec.lease_transitions);
    let metadata = match found {
        Some(lease) => kept(&lease.metadata),
        None => ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
    };
    Lease {
        metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(MicroTime(wall)),
            renew_time: Some(MicroTime(wall)),
            lease_transitions: Some(before.map_or(0, |before| before.saturating_add(1))),
            ..LeaseSpec::default()
        }),
    }
}

/// The Lease as its holder renews it.
pub(super) fn renewed(held: &Lease, me: &str, wall: Timestamp) -> Lease {
    let mut lease = Lease { metadata: kept(&held.metadata), spec: held.spec.clone() };
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(me.to_owned());
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    spec.renew_time = Some(MicroTime(wall));
    lease
}

/// The Lease as its holder gives it up: the next candidate need not wait.
pub(super) fn released(held: &Lease) -> Lease {
    let mut lease = Lease { metadata: kept(&held.metadata), spec: held.spec.clone() };
    lease.spec.get_or_insert_default().holder_identity = None;
    lease
}

fn kept(metadata: &ObjectMeta) -> ObjectMeta {
    ObjectMeta { managed_fields: None, ..metadata.clone() }
}

#[cfg(test)]
mod tests;
