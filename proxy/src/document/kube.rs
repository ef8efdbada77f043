//! The document in ConfigMaps: the index is watched through the API, shards are fetched when an index names them and
//! kept by their digest. Until the API server has shown a document, the mounted copy serves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use sluice_mesh::document::shards::{self, INDEX_KEY, INDEX_NAME, Listed, SHARD_KEY, ShardError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::follow::Index;
use super::mounted::Mounted;
use super::source::{DocumentSource, Seen, Unreadable};
use crate::kubernetes::sentence;

mod follow;

/// Longest wait for one answer of the API server.
const CALL: Duration = Duration::from_secs(5);
/// Between tries: at first, and at most. The document is on the way of every pause.
const RETRY: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A shard that should be there is looked for again this often.
const LOOK: Duration = Duration::from_secs(1);
/// How long the API server may take for its first answer before the mounted copy is looked at.
const PATIENCE: Duration = Duration::from_millis(500);
/// Shards fetched at a time.
const FETCHES: usize = 8;

/// The source.
pub(crate) struct ConfigMaps {
    index: watch::Receiver<Index>,
    follower: JoinHandle<()>,
    shards: Shards,
    mounted: Option<Mounted>,
    shown: Shown,
    began: Instant,
}

/// What was returned last, of what the API server shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Document(Arc<str>),
    Refused(Unreadable),
}

impl Drop for ConfigMaps {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl ConfigMaps {
    /// Begins to watch; to be called in the runtime that is to do it.
    pub(crate) fn new(client: Client, namespace: &str, mounted: Option<Mounted>) -> Self {
        let api = Api::namespaced(client, namespace);
        let (sender, index) = watch::channel(Index::Unknown);
        Self {
            index,
            follower: tokio::spawn(follow::follow(api.clone(), sender)),
            shards: Shards { api, cache: HashMap::new() },
            mounted,
            shown: Shown::Nothing,
            began: Instant::now(),
        }
    }

    /// Says what is new, if anything.
    fn show(&mut self, shown: Shown, seen: Seen) -> Option<Seen> {
        if self.shown == shown {
            return None;
        }
        self.shown = shown;
        Some(seen)
    }

    /// Looks at the index as it is now. Returns what is new, and how long to wait for the next look if there is no other
    /// index before.
    async fn look(&mut self, retry: &mut Duration) -> (Option<Seen>, Duration) {
        let index = self.index.borrow_and_update().clone();
        let (text, at) = match index {
            Index::Unknown => return self.look_at_copy(PATIENCE.saturating_sub(self.began.elapsed())),
            Index::Away | Index::Absent => return self.look_at_copy(Duration::ZERO),
            Index::Unreadable(reason, at) => {
                let seen = Seen { content: Err(reason.clone()), at, copy: false };
                return (self.show(Shown::Refused(reason), seen), LOOK);
            }
            Index::Text(text, at) => (text, at),
        };
        if self.shown == Shown::Document(Arc::clone(&text)) {
            return (None, LOOK);
        }
        let assembled = tokio::select! {
            // What this index names may be gone by now.
            _ = self.index.changed() => return (None, Duration::ZERO),
            assembled = self.shards.assemble(&text) => assembled,
        };
        match assembled {
            Ok(bytes) => {
                *retry = RETRY;
                let seen = Seen { content: Ok(bytes), at, copy: false };
                (self.show(Shown::Document(text), seen), LOOK)
            }
            Err(Failed::Refused(reason)) => {
                let reason = Unreadable::Shards(reason);
                let seen = Seen { content: Err(reason.clone()), at, copy: false };
                (self.show(Shown::Refused(reason), seen), LOOK)
            }
            Err(Failed::Away(error)) => {
                tracing::warn!(%error, "a shard of the document cannot be fetched; it is tried again");
                let pause = *retry;
                *retry = (pause * 2).min(RETRY_MAX);
                (None, pause)
            }
        }
    }

    /// The mounted copy, if nothing better was ever shown and it is time for it.
    fn look_at_copy(&mut self, patience: Duration) -> (Option<Seen>, Duration) {
        if !patience.is_zero() || self.shown != Shown::Nothing {
            return (None, patience.max(RETRY));
        }
        let at = Instant::now();
        let found = self.mounted.as_mut().and_then(Mounted::look);
        (found.map(|bytes| Seen { content: Ok(bytes), at, copy: true }), LOOK)
    }
}

impl DocumentSource for ConfigMaps {
    async fn next(&mut self) -> Seen {
        let mut retry = RETRY;
        loop {
            let (seen, pause) = self.look(&mut retry).await;
            if let Some(seen) = seen {
                return seen;
            }
            // The look marks the index as seen before it reads it: no change is lost in between.
            if let Ok(Err(_)) = tokio::time::timeout(pause, self.index.changed()).await {
                // The follower is gone: the process ends.
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// Why there is no document of an index.
enum Failed {
    /// The pieces are there, or surely not, and do not fit.
    Refused(ShardError),
    /// Nobody knows.
    Away(String),
}

/// Shards, by digest: those of the last index that was put together, and of the one under way.
struct Shards {
    api: Api<ConfigMap>,
    cache: HashMap<String, Arc<[u8]>>,
}

impl Shards {
    async fn assemble(&mut self, index: &Arc<str>) -> Result<Vec<u8>, Failed> {
        if !index.contains("\"shards\"") {
            return Ok(index.as_bytes().to_vec());
        }
        let listed = shards::listed(index.as_bytes()).map_err(Failed::Refused)?;
        self.fetch(&listed).await?;
        self.cache.retain(|digest, _| listed.iter().any(|one| one.digest == *digest));
        let (index, cache) = (Arc::clone(index), self.cache.clone());
        // Putting a large document together is work for a thread that nobody waits for.
        let assembled = tokio::task::spawn_blocking(move || {
            shards::assemble(index.as_bytes(), |digest| cache.get(digest).map(AsRef::as_ref))
        });
        match assembled.await {
            Ok(assembled) => assembled.map_err(Failed::Refused),
            Err(error) => Err(Failed::Away(error.to_string())),
        }
    }

    /// Fetches what is missing. What has come stays, also if this is given up half-way.
    async fn fetch(&mut self, listed: &[Listed]) -> Result<(), Failed> {
        let missing = listed.iter().filter(|one| !self.cache.contains_key(&one.digest)).cloned();
        let missing: Vec<Listed> = missing.collect();
        let mut fetches = futures::stream::iter(missing.into_iter().map(|one| fetch_one(self.api.clone(), one)))
            .buffer_unordered(FETCHES);
        while let Some(fetched) = fetches.next().await {
            let (digest, bytes) = fetched?;
            self.cache.insert(digest, bytes);
        }
        Ok(())
    }
}

async fn fetch_one(api: Api<ConfigMap>, shard: Listed) -> Result<(String, Arc<[u8]>), Failed> {
    let name = shards::shard_name(&shard.digest);
    let away = |error: String| Failed::Away(format!("ConfigMap {name}: {error}"));
    let answer = tokio::time::timeout(CALL, api.get_opt(&name)).await;
    let found = answer.map_err(|_| away("no answer".into()))?.map_err(|error| away(sentence(&error)))?;
    let Some(text) = found.and_then(|map| map.data).and_then(|mut data| data.remove(SHARD_KEY)) else {
        return Err(Failed::Refused(ShardError::Missing(shard.digest)));
    };
    if shards::Shard::new(text.clone().into_bytes()).digest != shard.digest {
        return Err(Failed::Refused(ShardError::Wrong(shard.digest)));
    }
    Ok((shard.digest, text.into_bytes().into()))
}

#[cfg(test)]
mod tests;
