//! Makes a cluster's brokers learn at once what its controller has committed, where they would be told half a second late.

use std::time::{Duration, Instant};

use sluice_net::admin::configs::{self, ConfigChange};
use sluice_net::{Client, Offered, Target};
use tokio::task::JoinHandle;

/// Kafka's number of the Fetch API.
const FETCH: i16 = 1;
/// From this version of Fetch on (Kafka 4.1) a follower says which high watermark it knows, and is told of a newer one at
/// once.
const TELLS_HIGH_WATERMARK: i16 = 18;
/// When the first nudge is sent; the next ones come at twice this distance.
const AFTER: Duration = Duration::from_millis(6);
/// More are not sent: then something else is wrong.
const MOST: u32 = 8;

/// Nudges to one cluster while something is waited for.
///
/// Up to Kafka 4.0 a follower of the metadata log hears that a record is committed only with the next record, or after
/// half a second. So the next record is made: a setting of the mesh's own ledger topic that means nothing (by how many
/// milliseconds at most segments roll apart).
pub(super) struct Nudge<'a> {
    client: &'a Client,
    since: Instant,
    sent: u32,
    /// Whether the cluster needs it; not known before it is asked.
    needed: Option<bool>,
    under_way: Option<JoinHandle<()>>,
}

impl<'a> Nudge<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, since: Instant::now(), sent: 0, needed: None, under_way: None }
    }

    /// Sends one if it is time. Never waits for its answer.
    pub(super) async fn maybe(&mut self) {
        let busy = self.under_way.as_ref().is_some_and(|call| !call.is_finished());
        if busy || !due(self.sent, self.since.elapsed()) || !self.is_needed().await {
            return;
        }
        self.sent = self.sent.saturating_add(1);
        let client = self.client.clone();
        self.under_way = Some(tokio::spawn(async move {
            let value = (crate::clock::now_millis() % 1_000).to_string();
            let change = ConfigChange::Set { name: "segment.jitter.ms".to_owned(), value };
            if let Err(error) = configs::alter(&client, sluice_mesh::ledger::TOPIC, &[change], false).await {
                tracing::debug!(%error, "the nudge was refused; the metadata arrives by itself a little later");
            }
        }));
    }

    async fn is_needed(&mut self) -> bool {
        if let Some(needed) = self.needed {
            return needed;
        }
        // Told when a connection is made: no question on the way.
        let needed = self.client.api_versions(&Target::Any).await.is_ok_and(|offered| is_told_late(&offered));
        self.needed = Some(needed);
        needed
    }
}

fn is_told_late(offered: &Offered) -> bool {
    offered.api(FETCH).is_some_and(|(_, highest)| highest < TELLS_HIGH_WATERMARK)
}

/// The distance keeps brokers from being flooded should the wait be long for another reason.
fn due(sent: u32, waited: Duration) -> bool {
    sent < MOST && waited >= AFTER.saturating_mul(sent.saturating_mul(2).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_brokers_that_are_told_late_are_nudged() {
        let offers = |highest| Offered { apis: vec![(0, 0, 12), (FETCH, 0, highest)], ..Offered::default() };
        assert!(is_told_late(&offers(17)), "3.9 and 4.0");
        assert!(!is_told_late(&offers(18)), "4.1");
        assert!(!is_told_late(&Offered::default()));
    }

    #[test]
    fn nudges_are_few_and_far_between() {
        let at = |sent, millis| due(sent, Duration::from_millis(millis));
        assert!(!at(0, 5) && at(0, 6));
        assert!(!at(1, 17) && at(1, 18));
        assert!(at(7, 1_000) && !at(8, 60_000));
    }
}
