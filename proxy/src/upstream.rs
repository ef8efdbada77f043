//! Where a broker is, and the way to it.

use std::time::Duration;

use sluice_mesh::model::{BrokerRef, World};
use sluice_net::dial::{self, DialError};
use tokio::net::TcpStream;

use crate::args::Limits;
use crate::thread::Thread;

/// The real address of a broker: the document's, else the one that its cluster was last seen to advertise.
pub(crate) fn address(world: &World, broker: BrokerRef) -> Option<(String, u16)> {
    if let Some(found) = world.model.broker(broker) {
        return Some(found.real.clone());
    }
    let view = world.view(broker.cluster)?;
    let seen = view.brokers.iter().find(|seen| seen.id == broker.broker)?;
    Some((seen.host.clone(), seen.port))
}

/// Begins to connect to a broker; `None` if nobody knows where it is.
#[expect(clippy::type_complexity, reason = "a boxed future is what the leg keeps")]
pub(crate) fn dial(
    world: &World,
    broker: BrokerRef,
    limits: &Limits,
) -> Option<std::pin::Pin<Box<dyn Future<Output = Result<TcpStream, DialError>>>>> {
    let (host, port) = address(world, broker)?;
    let timeout = Duration::from_millis(limits.connect_millis);
    Some(Box::pin(async move { dial::connect_broker_leg(&host, port, timeout).await }))
}

/// Counts a broker that could not be reached, and says so at most once a second.
pub(crate) fn complain(thread: &Thread, error: &DialError) {
    thread.metrics.upstream_connect_failures.inc();
    if let Some(unsaid) = thread.may_complain() {
        tracing::warn!(unsaid, "{error}");
    }
}
