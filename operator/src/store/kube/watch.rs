//! Follows the objects of one kind for ever. A list, the first one and any later one, is seen as a whole or not at all: what
//! was deleted in between is then missing from it, and nothing ever looks empty in between.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use kube::Resource;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long after a failure it is tried again. Short and steady: the pause after an outage is on the way of a move.
const AGAIN: Duration = Duration::from_millis(400);
/// How often the same trouble is told.
const TELL: Duration = Duration::from_secs(30);

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change<K> {
    /// These are all there are.
    All(Vec<K>),
    /// This one is new, or changed.
    Applied(K),
    /// This one is gone.
    Deleted(K),
}

/// Makes changes of events.
#[derive(Debug, Default)]
pub(super) struct Gather<K> {
    listing: Vec<K>,
}

impl<K> Gather<K> {
    pub(super) fn take(&mut self, event: Event<K>) -> Option<Change<K>> {
        match event {
            // A list that broke off before its end counts for nothing.
            Event::Init => {
                self.listing.clear();
                None
            }
            Event::InitApply(object) => {
                self.listing.push(object);
                None
            }
            Event::InitDone => Some(Change::All(std::mem::take(&mut self.listing))),
            Event::Apply(object) => Some(Change::Applied(object)),
            Event::Delete(object) => Some(Change::Deleted(object)),
        }
    }
}

struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(AGAIN)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// Follows; lists everything again when `wiped` changes. Ends only by being dropped.
pub(super) async fn follow<K>(
    api: Api<K>,
    config: Config,
    what: &'static str,
    mut wiped: watch::Receiver<u64>,
    mut take: impl FnMut(Change<K>) + Send,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut told: Option<Instant> = None;
    loop {
        wiped.mark_unchanged();
        let mut events = watcher(api.clone(), config.clone()).backoff(Steady).boxed();
        let mut gather = Gather { listing: Vec::new() };
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                Ok(()) = wiped.changed() => break,
            };
            match event {
                Some(Ok(event)) => {
                    if let Some(change) = gather.take(event) {
                        if told.take().is_some() {
                            tracing::info!(what, "followed again");
                        }
                        take(change);
                    }
                }
                Some(Err(error)) => {
                    if told.is_none_or(|told| told.elapsed() > TELL) {
                        told = Some(Instant::now());
                        tracing::warn!(
                            what,
                            %error,
                            "cannot be followed, what was seen last stays; check that the definitions are installed and the Role allows it"
                        );
                    }
                }
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_seen_as_a_whole() {
        let mut gather = Gather { listing: Vec::new() };
        let events = [
            (Event::Init, None),
            (Event::InitApply("broken off"), None),
            (Event::Init, None),
            (Event::InitApply("a"), None),
            (Event::InitApply("b"), None),
            (Event::InitDone, Some(Change::All(vec!["a", "b"]))),
            (Event::Apply("c"), Some(Change::Applied("c"))),
            (Event::Delete("a"), Some(Change::Deleted("a"))),
            (Event::Init, None),
            (Event::InitDone, Some(Change::All(vec![]))),
        ];
        for (event, change) in events {
            assert_eq!(gather.take(event), change);
        }
    }
}
