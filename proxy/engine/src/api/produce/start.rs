//! What a frame's first topic says before anything of the frame may go. It must never know bytes.

use sluice_mesh::document::Fence;
use sluice_mesh::model::TopicModel;

use crate::fuse::{self, Asked, Stop};
use crate::hold::longest_hold;
use crate::outcome::Scope;
use crate::route::{self, Place};

/// What becomes of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It goes.
    Go,
    /// It is held until then, or until the world changes.
    Hold(u64),
    /// Its first topic is refused.
    Refused,
}

/// By its first topic. A fuse counts before a fence, but who asks at the wrong cluster is sent to the right one first.
pub(super) fn decide(topic: &str, asked: Asked, scope: &mut Scope<'_>) -> Start {
    let world = scope.world;
    let entry = match route::place(world, scope.broker.cluster, topic) {
        Place::Here(entry) => entry,
        Place::Elsewhere | Place::Hidden => return Start::Refused,
    };
    match fuse::write(topic, asked, world, scope.now, &mut scope.memory.stops) {
        Some(Stop::Hold { until }) => return Start::Hold(until),
        Some(Stop::Refuse(_)) => return Start::Refused,
        None => {}
    }
    let Some((entry, fence)) = entry.and_then(|entry| Some((entry, world.fence(entry)?))) else {
        return Start::Go;
    };
    // A fuse may have held it before.
    let longest = asked.seen.saturating_add(longest_hold(asked.timeout_ms, world));
    let until = fence_until(entry, fence, asked.timeout_ms, scope).min(longest);
    if scope.now < until { Start::Hold(until) } else { Start::Refused }
}

/// When the hold by the topic's fence ends for this connection.
pub(super) fn fence_until(topic: &TopicModel, fence: &Fence, timeout_ms: i32, scope: &mut Scope<'_>) -> u64 {
    let hold = longest_hold(timeout_ms, scope.world).min(fence.hold_millis);
    scope.memory.fence_until(&topic.name, fence.attempt, scope.now.saturating_add(hold))
}
