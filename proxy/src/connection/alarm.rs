//! One timer per connection, armed for the earliest of its deadlines. It is moved only when a deadline comes closer;
//! one that moved away is looked at when the old one fires, so traffic costs no timer work.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The timer.
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    armed_for: u64,
}

impl Alarm {
    pub(super) fn new(now: u64, first: u64) -> Self {
        let sleep = tokio::time::sleep(Duration::from_millis(first.saturating_sub(now)));
        Self { sleep: Box::pin(sleep), armed_for: first }
    }

    /// Ready when the deadline (in the driver's milliseconds) has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: u64, deadline: u64) -> Poll<()> {
        if deadline <= now {
            return Poll::Ready(());
        }
        let mut rearm = deadline < self.armed_for;
        loop {
            if rearm {
                self.armed_for = deadline;
                // One more millisecond: the timer must not fire before the driver's clock shows the deadline.
                let wait = Duration::from_millis(deadline.saturating_sub(now).saturating_add(1));
                self.sleep.as_mut().reset(Instant::now() + wait);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if rearm {
                return Poll::Ready(());
            }
            rearm = true;
        }
    }
}
