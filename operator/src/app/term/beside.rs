//! What a term does beside its rounds, because it waits for proxies or brokers: no round, and with it nothing that a
//! person has just asked for, should wait for that.

use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::ledger::LedgerError;
use crate::placeholders;

/// Placeholders are looked at so often even if nothing seems to happen.
const LOOK: Duration = Duration::from_secs(1);
/// How often the writer's epoch is renewed, so that brokers keep it (they forget it after a day by default).
const RENEW: Duration = Duration::from_hours(6);
/// How long after a failure that is tried again.
const RENEW_RETRY: Duration = Duration::from_mins(10);

/// Ends only by being dropped.
pub(super) async fn look_after_placeholders(context: Arc<Context>) {
    let mut missing = placeholders::Missing::new();
    let mut compiled = context.publisher.compiled();
    loop {
        compiled.mark_unchanged();
        placeholders::reconcile(&context, &mut missing).await;
        // Whether a topic is gone shows only in looks that change nothing.
        let _ = tokio::time::timeout(LOOK, compiled.changed()).await;
    }
}

/// Ends by being dropped, or when another operator writes the ledgers: the term hears of that from the ledger itself. One
/// ledger that is away must not let the others' brokers forget who writes.
pub(super) async fn renew_ledgers(context: Arc<Context>) {
    let mut wait = RENEW;
    loop {
        tokio::time::sleep(wait).await;
        wait = RENEW;
        for cluster in context.ledger.open_clusters() {
            match context.ledger.renew(&cluster).await {
                Ok(()) => tracing::debug!(%cluster, "the ledger's writer is renewed"),
                Err(LedgerError::Fenced { .. }) => return,
                Err(error) => {
                    tracing::warn!(%cluster, %error, "the ledger's writer could not be renewed; it is tried again");
                    wait = RENEW_RETRY;
                }
            }
        }
    }
}
