//! `FindCoordinator`: asked at the home cluster, answered with virtual brokers.

use std::collections::HashMap;

use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::model::{BrokerRef, World};

use crate::ask::{Ask, Call, Reply, Request, Response, Target};
use crate::code;
use crate::outcome::{Frame, Outcome, RequestHead, Scope};

/// From this version on a request names several keys.
const BATCHED: i16 = 4;

/// Time limit, milliseconds.
const ASK_TIMEOUT: u64 = 5_000;

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let head = frame.head;
    let request = match frame.decode::<FindCoordinatorRequest>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    let keys = if head.version >= BATCHED { request.coordinator_keys } else { vec![request.key] };
    let ask = Ask::Calls(vec![Call {
        cluster: scope.world.model.home,
        to: Target::Any,
        request: Request::FindCoordinator(
            FindCoordinatorRequest::default().with_key_type(request.key_type).with_coordinator_keys(keys.clone()),
        ),
        timeout_millis: ASK_TIMEOUT,
    }]);
    Outcome::Ask(ask, Box::new(move |reply, scope| answer(head, &keys, reply, scope)))
}

fn answer(head: RequestHead, keys: &[StrBytes], reply: Reply, scope: &mut Scope<'_>) -> Outcome {
    let found = match reply {
        Reply::Calls(results) => match results.into_iter().next() {
            Some(Ok(Response::FindCoordinator(answer))) => Some(answer),
            _ => None,
        },
        Reply::Refreshed => None,
    };
    let by_key: HashMap<&StrBytes, &Coordinator> =
        found.iter().flat_map(|found| &found.coordinators).map(|one| (&one.key, one)).collect();
    let coordinators: Vec<Coordinator> = keys
        .iter()
        .map(|key| {
            let real = found.as_ref().and_then(|found| coordinator_of(found, by_key.get(key).copied()));
            shown(key, real, scope.world)
        })
        .collect();
    if head.version >= BATCHED {
        return head.answer(&FindCoordinatorResponse::default().with_coordinators(coordinators));
    }
    let Some(one) = coordinators.into_iter().next() else {
        return Outcome::Close(crate::step::CloseReason::Malformed);
    };
    let mut answer = FindCoordinatorResponse::default()
        .with_error_code(one.error_code)
        .with_node_id(one.node_id)
        .with_host(one.host)
        .with_port(one.port);
    if head.version >= 1 {
        answer.error_message = one.error_message;
    }
    head.answer(&answer)
}

/// (error, message, node id) for a key, from an answer of either shape.
fn coordinator_of(
    found: &FindCoordinatorResponse,
    batched: Option<&Coordinator>,
) -> Option<(i16, Option<StrBytes>, i32)> {
    if let Some(one) = batched {
        return Some((one.error_code, one.error_message.clone(), one.node_id.0));
    }
    found.coordinators.is_empty().then(|| (found.error_code, found.error_message.clone(), found.node_id.0))
}

fn shown(key: &StrBytes, real: Option<(i16, Option<StrBytes>, i32)>, world: &World) -> Coordinator {
    let none = Coordinator::default().with_key(key.clone()).with_node_id(BrokerId(-1)).with_port(-1);
    let unavailable = || {
        let text = "the home cluster names no coordinator that is served here: ask again";
        none.clone()
            .with_error_code(code::COORDINATOR_NOT_AVAILABLE)
            .with_error_message(Some(StrBytes::from_static_str(text)))
    };
    let Some((error, message, broker)) = real else {
        return unavailable();
    };
    if error != code::NONE {
        return none.with_error_code(error).with_error_message(message);
    }
    let broker = BrokerRef { cluster: world.model.home, broker };
    let found = world.model.broker(broker).and_then(|broker| Some((broker.id, broker.shown.clone()?)));
    match found {
        Some((id, (host, port))) => Coordinator::default()
            .with_key(key.clone())
            .with_node_id(BrokerId(id))
            .with_host(StrBytes::from_string(host))
            .with_port(i32::from(port)),
        None => unavailable(),
    }
}
