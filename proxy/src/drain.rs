//! How a data thread ends: no new clients, then each connection is closed between a response and the next request,
//! idle ones first, spread out so that not all clients dial the next proxy in the same instant.

use std::time::Duration;

use tokio::time::Instant;

use crate::thread::Thread;

const LEAST_PACE: Duration = Duration::from_millis(20);

/// Closes all connections of the thread within the time. Returns early when all are gone.
pub(crate) async fn drain(thread: &Thread, within: Duration) {
    let end = Instant::now() + within;
    while Instant::now() < end && thread.connections.count() > 0 {
        let waiting: Vec<_> =
            thread.connections.idle_first().into_iter().filter(|handle| !handle.draining.get()).collect();
        let left = end.saturating_duration_since(Instant::now());
        let pause = match u32::try_from(waiting.len()) {
            Ok(0) | Err(_) => LEAST_PACE,
            Ok(n) => (left.saturating_sub(within / 5) / n).min(LEAST_PACE),
        };
        // A pause below the timer's millisecond means several at a time.
        let at_once = if pause < Duration::from_millis(1) { waiting.len().div_ceil(100).max(1) } else { 1 };
        for handle in waiting.into_iter().take(at_once) {
            handle.drain();
        }
        tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
    }
}
