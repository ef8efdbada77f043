//! ApiVersions: what is offered, cut down to what every broker of every cluster offers.

use kafka_protocol::messages::ApiVersionsRequest;
use sluice_mesh::model::World;
use sluice_wire::version::{self, Range};

use crate::code;
use crate::outcome::{Frame, Outcome, Scope};

/// The offered ranges.
pub(crate) fn offered(world: &World) -> Vec<Range> {
    let clusters: Vec<Vec<Range>> = world
        .views
        .clusters
        .values()
        .filter(|view| !view.api_versions.is_empty())
        .map(|view| view.api_versions.iter().map(|(key, min, max)| Range { key: *key, min: *min, max: *max }).collect())
        .collect();
    version::intersect(clusters.iter().map(Vec::as_slice))
}

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    if let Err(error) = frame.decode::<ApiVersionsRequest>() {
        return error.into();
    }
    // No finalized features: clients then name partitions in AddPartitionsToTxn before they write to them.
    let answer = version::api_versions_answer(&offered(scope.world), code::NONE, &[], -1);
    frame.head.answer(&answer)
}
