//! Follows the index through the API server: a list of one object, then a watch from there, for ever.
//!
//! After every interruption the object is listed anew, never watched on from the last version known: a server whose
//! store was restored or emptied would stay silent until its versions have caught up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Status;
use tokio::sync::watch;

use super::{CALL, INDEX_KEY, INDEX_NAME, RETRY, RETRY_MAX, Unreadable};
use crate::kubernetes::sentence;

/// How long one watch lasts, in seconds, before the object is listed anew: also the longest time for which a connection
/// that is dead without a word stays unnoticed, plus [`CALL`].
const WATCH_SECONDS: u32 = 60;

/// What the API server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Index {
    /// Nothing yet.
    Unknown,
    /// It has not been reached since start.
    Away,
    /// No index, and there was none since start.
    Absent,
    /// The index, and when it was noticed.
    Text(Arc<str>, Instant),
    /// There was an index, or is none in what there is.
    Unreadable(Unreadable, Instant),
}

/// Why following was interrupted.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("no answer within {} s", CALL.as_secs())]
    Silent,
    #[error("{}", sentence(.0))]
    Api(#[from] kube::Error),
    #[error("the API server refuses to go on: {}", .0.message)]
    Refused(Box<Status>),
    #[error("the API server lists ConfigMaps without a version")]
    NoVersion,
}

/// Keeps `sender` true for ever.
pub(super) async fn follow(api: Api<ConfigMap>, sender: watch::Sender<Index>) {
    let mut pause = RETRY;
    let mut complained = false;
    loop {
        let began = Instant::now();
        let end = round(&api, &sender, &mut complained).await;
        if began.elapsed() > RETRY_MAX {
            pause = RETRY;
        }
        match end {
            Ok(()) if began.elapsed() > RETRY_MAX => continue,
            Ok(()) => {}
            Err(error) => {
                sender.send_if_modified(|index| {
                    let first = *index == Index::Unknown;
                    if first {
                        *index = Index::Away;
                    }
                    first
                });
                // Said once, until it works again.
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(%error, "ConfigMap {INDEX_NAME} cannot be watched; what is known serves on");
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// One list and one watch.
async fn round(api: &Api<ConfigMap>, sender: &watch::Sender<Index>, complained: &mut bool) -> Result<(), Interrupted> {
    let fields = format!("metadata.name={INDEX_NAME}");
    let params = ListParams::default().fields(&fields);
    let list = tokio::time::timeout(CALL, api.list(&params)).await;
    let list = list.map_err(|_| Interrupted::Silent)??;
    if std::mem::take(complained) {
        tracing::info!("ConfigMap {INDEX_NAME} is watched again");
    }
    note(sender, list.items.into_iter().next());
    let version = list.metadata.resource_version.ok_or(Interrupted::NoVersion)?;

    let params = WatchParams::default().fields(&fields).timeout(WATCH_SECONDS);
    let events = tokio::time::timeout(CALL, api.watch(&params, &version));
    let mut events = std::pin::pin!(events.await.map_err(|_| Interrupted::Silent)??);
    let patience = CALL + Duration::from_secs(u64::from(WATCH_SECONDS));
    loop {
        let event = tokio::time::timeout(patience, events.try_next());
        match event.await.map_err(|_| Interrupted::Silent)?? {
            None => return Ok(()),
            Some(WatchEvent::Added(map) | WatchEvent::Modified(map)) => note(sender, Some(map)),
            Some(WatchEvent::Deleted(_)) => note(sender, None),
            Some(WatchEvent::Bookmark(_)) => {}
            // History has moved on: list anew.
            Some(WatchEvent::Error(status)) if status.code == 410 => return Ok(()),
            Some(WatchEvent::Error(status)) => return Err(Interrupted::Refused(status)),
        }
    }
}

/// Notes what the API server shows now.
fn note(sender: &watch::Sender<Index>, map: Option<ConfigMap>) {
    let at = Instant::now();
    sender.send_if_modified(|index| {
        let new = match map {
            Some(map) => match map.data.and_then(|mut data| data.remove(INDEX_KEY)) {
                Some(text) => Index::Text(text.into(), at),
                None => Index::Unreadable(Unreadable::NoKey { name: INDEX_NAME, key: INDEX_KEY }, at),
            },
            None if matches!(index, Index::Unknown | Index::Away | Index::Absent) => Index::Absent,
            None => Index::Unreadable(Unreadable::Deleted, at),
        };
        let news = match (&*index, &new) {
            (Index::Text(old, _), Index::Text(new, _)) => old != new,
            (Index::Unreadable(old, _), Index::Unreadable(new, _)) => old != new,
            (old, new) => old != new,
        };
        if news {
            *index = new;
        }
        news
    });
}
