//! Connections by address: made on demand, one at a time per address, with a pause after each failure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ClientOptions;
use super::connection::Connection;
use super::error::CallError;
use crate::dial;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is known of one address.
#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    /// Failures since the last success.
    failures: u32,
    /// No dial before this instant, and why.
    pause: Option<(Instant, String)>,
}

impl Slot {
    fn open(&mut self) -> Option<Arc<Connection>> {
        let open = self.connection.as_ref().filter(|connection| connection.is_open()).map(Arc::clone);
        if open.is_none() {
            self.connection = None;
        }
        open
    }

    fn failed(&mut self, reason: String) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(5)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.pause = Some((Instant::now() + pause, reason));
    }
}

/// The connections of one client.
pub(super) struct Pool {
    options: ClientOptions,
    /// The lock of a slot is held while dialing: callers for the same address wait for the one dial.
    slots: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
}

impl Pool {
    pub(super) fn new(options: ClientOptions) -> Self {
        Self { options, slots: Mutex::default() }
    }

    /// An open connection to this address, made if need be. Errors say that nothing was sent.
    pub(super) async fn get(&self, address: &str) -> Result<Arc<Connection>, CallError> {
        let slot = Arc::clone(self.slots().entry(address.to_owned()).or_default());
        let mut slot = slot.lock().await;
        if let Some(open) = slot.open() {
            return Ok(open);
        }
        if let Some((until, reason)) = &slot.pause
            && let Some(rest) = until.checked_duration_since(Instant::now())
        {
            let reason = format!("{reason} (next try in {} ms)", rest.as_millis());
            return Err(CallError::Unreachable { reason });
        }
        match self.dial(address).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *slot = Slot { connection: Some(Arc::clone(&connection)), failures: 0, pause: None };
                Ok(connection)
            }
            Err(error) => {
                slot.failed(error.to_string());
                Err(error)
            }
        }
    }

    async fn dial(&self, address: &str) -> Result<Connection, CallError> {
        let unreachable = |reason: String| CallError::Unreachable { reason };
        let (host, port) = split(address).ok_or_else(|| unreachable(format!("{address:?} is not host:port")))?;
        let stream = dial::connect(host, port, self.options.connect_timeout)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let connection = Connection::start(stream, address.to_owned(), &self.options).await;
        connection.map_err(|error| match error {
            // It speaks something else, which will not pass by waiting.
            CallError::Protocol { .. } | CallError::Unsupported { .. } => error,
            // Nothing of the caller's was sent, so nothing is unknown.
            error => unreachable(format!("{address} accepts but does not answer ApiVersions: {error}")),
        })
    }

    /// A call over this address failed: prefer others for a while.
    pub(super) async fn blame(&self, address: &str) {
        let slot = self.slots().get(address).map(Arc::clone);
        let Some(slot) = slot else { return };
        let mut slot = slot.lock().await;
        if slot.open().is_none() {
            slot.failures = slot.failures.saturating_add(1);
        }
    }

    /// Addresses in the order in which to try them: connected, then those with the fewest failures.
    pub(super) fn by_health(&self, addresses: Vec<String>) -> Vec<String> {
        let mut ranked = Vec::with_capacity(addresses.len());
        for address in addresses {
            if ranked.iter().any(|(_, known)| *known == address) {
                continue;
            }
            let slot = self.slots().get(&address).map(Arc::clone);
            let rank = match slot.as_ref().map(|slot| slot.try_lock()) {
                None => (1, 0),
                // Somebody dials it just now.
                Some(Err(_)) => (1, 1),
                Some(Ok(mut slot)) => (u8::from(slot.open().is_none()), slot.failures),
            };
            ranked.push((rank, address));
        }
        // Stable: bootstrap servers stay in the order in which they were given.
        ranked.sort_by_key(|&(rank, _)| rank);
        ranked.into_iter().map(|(_, address)| address).collect()
    }

    /// Forgets addresses that are no longer anybody's.
    pub(super) fn retain(&self, known: &[String]) {
        self.slots().retain(|address, _| known.contains(address));
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<Slot>>>> {
        // Nothing panics under the lock; a poisoned one is still whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `host:port`, `[v6]:port`.
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(split("127.0.0.1:9092"), Some(("127.0.0.1", 9092)));
        assert_eq!(split("[::1]:9092"), Some(("::1", 9092)));
        assert_eq!(split("::1:9092"), Some(("::1", 9092)));
        assert_eq!(split("broker"), None);
        assert_eq!(split(":9092"), None);
        assert_eq!(split("broker:x"), None);
        assert_eq!(split("broker:70000"), None);
    }

    #[test]
    fn pauses_grow_to_a_second() {
        let mut slot = Slot::default();
        for _ in 0..40 {
            slot.failed(String::new());
            let (until, _) = slot.pause.as_ref().unwrap();
            assert!(until.saturating_duration_since(Instant::now()) <= LONGEST_PAUSE);
        }
        assert_eq!(slot.failures, 40);
    }
}
