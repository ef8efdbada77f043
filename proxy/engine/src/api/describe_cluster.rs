//! `DescribeCluster`: the virtual cluster.

use kafka_protocol::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest};
use kafka_protocol::protocol::StrBytes;

use crate::code;
use crate::outcome::{Frame, Outcome, Scope};

/// Brokers, as opposed to controllers.
const BROKERS: i8 = 1;

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let request = match frame.decode::<DescribeClusterRequest>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    let model = &scope.world.model;
    let answer = DescribeClusterResponse::default().with_cluster_id(StrBytes::from_string(model.cluster_id.clone()));
    if request.endpoint_type != BROKERS {
        let answer = answer
            .with_error_code(code::INVALID_REQUEST)
            .with_error_message(Some(StrBytes::from_static_str("controllers are not reachable here: ask for brokers")))
            .with_controller_id(BrokerId(-1));
        return frame.head.answer(&answer);
    }
    let brokers = model.brokers.iter().filter_map(|broker| {
        let (host, port) = broker.shown.as_ref()?;
        Some(
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(broker.id))
                .with_host(StrBytes::from_string(host.clone()))
                .with_port(i32::from(*port))
                .with_rack(broker.rack.clone().map(StrBytes::from_string)),
        )
    });
    let controller = scope.world.controller().map_or(-1, |broker| model.virtual_id(broker));
    frame.head.answer(&answer.with_brokers(brokers.collect()).with_controller_id(BrokerId(controller)))
}
