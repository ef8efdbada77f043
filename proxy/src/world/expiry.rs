//! Ends fences that have grown too old, and says so. It must never know requests.

use std::sync::Arc;
use std::time::Instant;

use super::Worlds;
use crate::fences::Expired;
use crate::metrics::Metrics;

/// Ends fences when their time has come, for ever.
pub(crate) async fn end_fences(worlds: Arc<Worlds>, metrics: Arc<Metrics>) {
    let mut worlds_change = worlds.subscribe();
    loop {
        let next = worlds.next_fence_end();
        let due = async {
            match next {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {
                for Expired { topic, attempt } in worlds.expire_fences(Instant::now()) {
                    metrics.fences_expired.inc();
                    tracing::warn!(
                        %topic,
                        attempt,
                        "nobody has ended the fence of this move: it has expired, writes go to the topic's present home; \
                         see whether the operator runs and reaches this proxy"
                    );
                }
            }
            changed = worlds_change.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}
