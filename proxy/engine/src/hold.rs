//! How long a request may be kept unanswered. It must never know why.

use sluice_mesh::model::World;

/// The longest that a Produce may wait for any reason: a third of what the client gives it.
pub(crate) fn longest_hold(timeout_ms: i32, world: &World) -> u64 {
    (u64::try_from(timeout_ms).unwrap_or(0) / 3).min(world.model.limits.max_hold_millis)
}
