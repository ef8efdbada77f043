//! Writes the mesh document: shards first, the index last, guarded by the version that was seen. And cleans up behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, PostParams};
use sluice_mesh::document::Document;
use sluice_mesh::document::shards::{
    INDEX_NAME, MAX_PIECE_BYTES, Parts, Shard, assemble, listed, shard_name, split_after,
};
use tokio::time::Instant;

use super::api::{MANAGER, Trouble, call};
use super::document::{Found, Shelf, Verdict, index_object, judge, shard_object, shard_text};
use super::elector::{Elector, Renewal};
use crate::store::StoreError;

/// A publication is tried for this long; then its caller decides. Shorter than any pause budget should be.
const TRIED: Duration = Duration::from_secs(2);
/// A publication with this much to write gets more time.
const TRIED_BY_SHARD: Duration = Duration::from_millis(250);
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(100);
/// Shards read or written at the same time.
const AT_ONCE: usize = 4;
/// How often shards that nobody needs are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// Writes the document.
pub(super) struct Desk {
    api: Api<ConfigMap>,
    elector: Arc<Elector>,
    shelf: Arc<Mutex<Shelf>>,
    /// The shards of the present document: as few as possible are cut anew.
    shards: tokio::sync::Mutex<Vec<Shard>>,
}

/// Why one try came to nothing.
enum Failure {
    Trouble(Trouble),
    NotLeader,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Desk {
    pub(super) fn new(api: Api<ConfigMap>, elector: Arc<Elector>, shelf: Arc<Mutex<Shelf>>) -> Self {
        Self { api, elector, shelf, shards: tokio::sync::Mutex::default() }
    }

    /// Writes a document. When this returns, proxies can see it.
    pub(super) async fn publish(&self, document: &Document) -> Result<(), StoreError> {
        let mut shards = self.shards.lock().await;
        let parts = split_after(document, MAX_PIECE_BYTES, &shards);
        let new = parts.shards.iter().filter(|shard| !self.shelf().has(&shard.name())).count();
        let time = TRIED + TRIED_BY_SHARD * u32::try_from(new).unwrap_or(u32::MAX);
        let deadline = Instant::now() + time;
        loop {
            let tried = tokio::time::timeout_at(deadline, self.write(&parts, document.revision)).await;
            let trouble = match tried {
                Ok(Ok(())) => {
                    *shards = parts.shards;
                    return Ok(());
                }
                Ok(Err(Failure::NotLeader)) => return Err(StoreError::NotLeader),
                Ok(Err(Failure::Trouble(trouble))) => trouble,
                Err(_) => Trouble::Away(format!("not done within {} ms", time.as_millis())),
            };
            let worth = matches!(trouble, Trouble::Away(_) | Trouble::Conflict | Trouble::Missing | Trouble::Exists);
            if !worth || Instant::now() + PAUSE >= deadline {
                return Err(trouble.into_error("write the mesh document"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether everything that was written last is still there.
    pub(super) fn is_whole(&self) -> bool {
        self.shelf().is_whole()
    }

    /// The document that is there, if it can be read.
    pub(super) async fn last(&self) -> Option<Document> {
        let deadline = Instant::now() + TRIED;
        loop {
            match self.read().await {
                Ok(document) => return document,
                Err(trouble @ Trouble::Away(_)) if Instant::now() < deadline => {
                    tracing::debug!(%trouble, "the last mesh document cannot be read yet");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(trouble) => {
                    tracing::warn!(%trouble, "the last mesh document cannot be read; a new one will be made");
                    return None;
                }
            }
        }
    }

    /// Deletes shards that nobody needs, for ever.
    pub(super) async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            if self.elector.confirm().await != Renewal::Held {
                continue;
            }
            let unneeded = self.shelf().unneeded(Instant::now());
            for shard in unneeded {
                match call(self.api.delete(&shard, &DeleteParams::default())).await {
                    Ok(_) | Err(Trouble::Missing) => tracing::debug!(shard, "nobody needs it any more: deleted"),
                    Err(trouble) => tracing::warn!(shard, %trouble, "a shard that nobody needs cannot be deleted"),
                }
            }
        }
    }

    async fn write(&self, parts: &Parts, revision: u64) -> Result<(), Failure> {
        match self.elector.confirm().await {
            Renewal::Held => {}
            Renewal::Lost(_) => return Err(Failure::NotLeader),
            Renewal::Away(trouble) => return Err(Trouble::Away(trouble).into()),
        }
        let missing = parts.shards.iter().filter(|shard| !self.shelf().has(&shard.name()));
        let writes: Vec<_> = missing.map(|shard| self.write_shard(shard)).collect();
        stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.write_index(parts, revision).await
    }

    async fn write_shard(&self, shard: &Shard) -> Result<(), Trouble> {
        let (name, object) = (shard.name(), shard_object(shard));
        match call(self.api.create(&parameters(), &object)).await {
            Err(Trouble::Exists) => {
                let found = call(self.api.get_opt(&name)).await?;
                if found.as_ref().and_then(shard_text).map(str::as_bytes) != Some(&shard.bytes) {
                    // It cannot be changed, and it is not what it says.
                    tracing::warn!(shard = name, "a shard of the mesh document was changed by hand; it is put right");
                    match call(self.api.delete(&name, &DeleteParams::default())).await {
                        Ok(_) | Err(Trouble::Missing) => {}
                        Err(trouble) => return Err(trouble),
                    }
                    call(self.api.create(&parameters(), &object)).await?;
                }
            }
            created => {
                created?;
            }
        }
        self.shelf().note_shard(name);
        Ok(())
    }

    async fn write_index(&self, parts: &Parts, revision: u64) -> Result<(), Failure> {
        let content = String::from_utf8_lossy(&parts.index).into_owned();
        let names: BTreeSet<String> = parts.shards.iter().map(Shard::name).collect();
        let version = self.shelf().version().map(str::to_owned);
        let there = version.is_some();
        let object = index_object(content.clone(), version, self.elector.me());
        let written = if there {
            call(self.api.replace(INDEX_NAME, &parameters(), &object)).await
        } else {
            call(self.api.create(&parameters(), &object)).await
        };
        let trouble = match written {
            Ok(written) => {
                self.shelf().note_index(written.metadata.resource_version, &content, names);
                return Ok(());
            }
            Err(trouble @ (Trouble::Conflict | Trouble::Missing | Trouble::Exists)) => trouble,
            Err(trouble) => return Err(trouble.into()),
        };
        // Not what was expected: see what is there, then decide. The next try goes by what was found.
        let found = call(self.api.get_opt(INDEX_NAME)).await?.as_ref().map(Found::of);
        self.shelf().find(found.as_ref());
        let Some(found) = found else { return Err(trouble.into()) };
        match judge(&found, &content, revision, self.elector.me()) {
            Verdict::Done => {
                self.shelf().note_index(found.version, &content, names);
                Ok(())
            }
            Verdict::NotLeader(writer) => {
                self.elector.lose(&writer);
                Err(Failure::NotLeader)
            }
            Verdict::Overwrite => {
                tracing::warn!("the mesh document was written by somebody else; it is put right");
                Err(trouble.into())
            }
        }
    }

    async fn read(&self) -> Result<Option<Document>, Trouble> {
        let mut shards = self.shards.lock().await;
        let found = call(self.api.get_opt(INDEX_NAME)).await?.as_ref().map(Found::of);
        self.shelf().find(found.as_ref());
        let Some((content, version)) = found.and_then(|found| Some((found.content?, found.version))) else {
            return Ok(None);
        };
        let refused = |error: &dyn std::error::Error| Trouble::Refused(error.to_string());
        let digests = listed(content.as_bytes()).map_err(|error| refused(&error))?;
        let reads: Vec<_> = digests.iter().map(|shard| self.read_shard(&shard.digest)).collect();
        let texts: Vec<_> = stream::iter(reads).buffer_unordered(AT_ONCE).try_collect().await?;
        let texts: BTreeMap<String, Vec<u8>> = texts.into_iter().flatten().collect();
        let whole = assemble(content.as_bytes(), |digest| texts.get(digest).map(Vec::as_slice));
        let document = Document::parse(&whole.map_err(|error| refused(&error))?).map_err(|error| refused(&error))?;
        let found = digests.iter().filter_map(|shard| texts.get(&shard.digest).cloned());
        *shards = found.map(Shard::new).collect();
        let names: BTreeSet<String> = shards.iter().map(Shard::name).collect();
        for name in &names {
            self.shelf().note_shard(name.clone());
        }
        self.shelf().note_index(version, &content, names);
        Ok(Some(document))
    }

    /// Its digest and content, if it is there and what its name says.
    async fn read_shard(&self, digest: &str) -> Result<Option<(String, Vec<u8>)>, Trouble> {
        let object = call(self.api.get_opt(&shard_name(digest))).await?;
        let text = object.as_ref().and_then(shard_text);
        Ok(text.map(|text| (digest.to_owned(), text.as_bytes().to_vec())))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() }
}
