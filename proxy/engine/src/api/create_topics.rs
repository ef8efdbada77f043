//! `CreateTopics`: new topics live on the home cluster. A name that any cluster shows is taken.

use std::collections::HashMap;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};
use kafka_protocol::messages::{BrokerId, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::ledger;
use sluice_mesh::model::World;

use crate::ask::{Ask, Call, Reply, Request, Response, Target};
use crate::code;
use crate::outcome::{Frame, Outcome, RequestHead, Scope};

/// Added to the client's own time limit for the call, milliseconds.
const GRACE: u64 = 5_000;

/// From this version on the details of a created topic are told.
const DETAILS: i16 = 5;

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let head = frame.head;
    match frame.decode::<CreateTopicsRequest>() {
        // A name that was taken on another cluster a moment ago must not be given out again.
        Ok(request) => {
            scope.memory.refreshed_at = Some(scope.now);
            Outcome::Ask(Ask::Refresh, Box::new(move |_, scope| create(head, request, scope)))
        }
        Err(error) => error.into(),
    }
}

fn create(head: RequestHead, mut request: CreateTopicsRequest, scope: &mut Scope<'_>) -> Outcome {
    let world = scope.world;
    let order: Vec<WireTopicName> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let mut refused = Vec::new();
    let mut accepted = Vec::new();
    for mut topic in std::mem::take(&mut request.topics) {
        match check(&mut topic, world) {
            Ok(()) => accepted.push(topic),
            Err((error, message)) => refused.push(result(&topic.name, error, &message)),
        }
    }
    if accepted.is_empty() {
        return answer(head, &order, refused);
    }
    let names: Vec<WireTopicName> = accepted.iter().map(|topic| topic.name.clone()).collect();
    let timeout_millis = u64::try_from(request.timeout_ms).unwrap_or(0).saturating_add(GRACE);
    request.topics = accepted;
    let ask = Ask::Calls(vec![Call {
        cluster: world.model.home,
        to: Target::Controller,
        request: Request::CreateTopics(request),
        timeout_millis,
    }]);
    Outcome::Ask(
        ask,
        Box::new(move |reply, scope| {
            refused.extend(created(reply, &names));
            scope.memory.refreshed_at = Some(scope.now);
            // Whoever asks for metadata next, here, sees what was created.
            Outcome::Ask(Ask::Refresh, Box::new(move |_, _| answer(head, &order, refused)))
        }),
    )
}

/// Whether the home cluster may be asked to create it; its replica assignment becomes physical.
fn check(topic: &mut CreatableTopic, world: &World) -> Result<(), (i16, String)> {
    let name = topic.name.as_str();
    if name == ledger::TOPIC {
        return Err((code::INVALID_TOPIC, format!("topic name {name} is reserved")));
    }
    if !world.all_listed() {
        let text =
            "not every cluster of the mesh has been reached yet, so nobody can say whether the name is free; try again";
        return Err((code::NOT_CONTROLLER, text.to_owned()));
    }
    if world.locate(name).is_some() {
        return Err((code::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists.")));
    }
    let model = &world.model;
    if model.hidden(model.home, name) {
        return Err((code::INVALID_TOPIC, format!("topic name {name} is excluded from the mesh")));
    }
    for broker in topic.assignments.iter_mut().flat_map(|assignment| &mut assignment.broker_ids) {
        let real = model.broker_by_virtual(broker.0).map(|broker| broker.broker);
        if let Some(real) = real.filter(|real| real.cluster == model.home) {
            *broker = BrokerId(real.broker);
        } else {
            let text = format!("broker {} is not one of the home cluster, where new topics live", broker.0);
            return Err((code::INVALID_REPLICA_ASSIGNMENT, text));
        }
    }
    Ok(())
}

fn result(name: &WireTopicName, error: i16, message: &str) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_error_code(error)
        .with_error_message(Some(StrBytes::from_string(message.to_owned())))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
}

fn created(reply: Reply, names: &[WireTopicName]) -> Vec<CreatableTopicResult> {
    let answer = match reply {
        Reply::Calls(results) => match results.into_iter().next() {
            Some(Ok(Response::CreateTopics(answer))) => Ok(answer),
            Some(Err(failed)) => Err(failed.to_string()),
            _ => Err("no answer".to_owned()),
        },
        Reply::Refreshed => Err("no answer".to_owned()),
    };
    match answer {
        Ok(answer) => answer.topics,
        // It may have been created all the same: the next try will say so.
        Err(text) => {
            let text = format!("the home cluster did not answer: {text}; try again");
            names.iter().map(|name| result(name, code::NOT_CONTROLLER, &text)).collect()
        }
    }
}

fn answer(head: RequestHead, order: &[WireTopicName], mut results: Vec<CreatableTopicResult>) -> Outcome {
    let places: HashMap<&WireTopicName, usize> = order.iter().zip(0..).collect();
    results.sort_by_key(|result| places.get(&result.name).copied().unwrap_or(order.len()));
    for result in &mut results {
        if head.version < DETAILS {
            result.topic_config_error_code = 0;
            result.configs = Some(Vec::new());
            result.num_partitions = -1;
            result.replication_factor = -1;
        }
    }
    head.answer(&CreateTopicsResponse::default().with_topics(results))
}
