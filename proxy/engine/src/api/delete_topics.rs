//! `DeleteTopics`. A topic that never moved is deleted where it lives, and its placeholder with it. A moved topic consists
//! of several, and one that is moving must stay until it has arrived: both are refused with a sentence.

use std::collections::HashMap;

use kafka_protocol::messages::TopicName as WireTopicName;
use kafka_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use kafka_protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::model::{ClusterIndex, World};
use sluice_mesh::view::Located;
use uuid::Uuid;

use super::metadata;
use crate::ask::{Ask, Call, Reply, Request, Response, Target};
use crate::code;
use crate::outcome::{Frame, Outcome, RequestHead, Scope};

/// Added to the client's own time limit for the call, milliseconds.
const GRACE: u64 = 5_000;

/// From this version on topics may be named by id.
const BY_ID: i16 = 6;

/// From this version on an error has a message.
const MESSAGES: i16 = 5;

/// A topic to delete.
struct Item {
    name: String,
    /// As asked for; told back.
    shown_id: Uuid,
    cluster: ClusterIndex,
    /// The home cluster has its placeholder.
    placeholder: bool,
}

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let head = frame.head;
    let request = match frame.decode::<DeleteTopicsRequest>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    let asked: Vec<(Option<String>, Uuid)> = if head.version >= BY_ID {
        let pair =
            |topic: &DeleteTopicState| (topic.name.as_ref().map(|name| name.as_str().to_owned()), topic.topic_id);
        request.topics.iter().map(pair).collect()
    } else {
        request.topic_names.iter().map(|name| (Some(name.as_str().to_owned()), Uuid::nil())).collect()
    };
    let mut results = Vec::new();
    let mut items = Vec::new();
    let by_id = asked.iter().any(|(name, _)| name.is_none());
    let ids = if by_id { metadata::by_id(scope.world) } else { HashMap::new() };
    for (name, id) in asked {
        match check(name.as_deref(), id, &ids, scope.world) {
            Ok(item) => items.push(item),
            Err((error, message)) => results.push(result(name, id, error, Some(message))),
        }
    }
    let timeout_ms = request.timeout_ms;
    // The topics themselves first: while they are there, their placeholders have to be.
    let calls = calls(&items, timeout_ms, |item| Some(item.cluster));
    if calls.is_empty() {
        return answer(head, results);
    }
    Outcome::Ask(
        Ask::Calls(calls),
        Box::new(move |reply, scope| {
            let said = said(reply);
            let mut placeholders = Vec::new();
            for item in items {
                let error = said.iter().find(|(name, _)| *name == item.name);
                let (error, message) = match error {
                    Some((_, Ok(()))) => (code::NONE, None),
                    Some((_, Err((error, message)))) => (*error, message.clone()),
                    None => (code::NOT_CONTROLLER, Some("its cluster did not answer; try again".to_owned())),
                };
                results.push(result(Some(item.name.clone()), item.shown_id, error, message));
                if item.placeholder && matches!(error, code::NONE | code::UNKNOWN_TOPIC_OR_PARTITION) {
                    placeholders.push(item);
                }
            }
            let home = scope.world.model.home;
            let calls = calls_for(&placeholders, timeout_ms, home);
            scope.memory.refreshed_at = Some(scope.now);
            let refresh = move || Outcome::Ask(Ask::Refresh, Box::new(move |_, _| answer(head, results)));
            if calls.is_empty() {
                return refresh();
            }
            // A placeholder that stays behind is the operator's to remove.
            Outcome::Ask(Ask::Calls(calls), Box::new(move |_, _| refresh()))
        }),
    )
}

/// Whether the topic may be deleted from here.
fn check(name: Option<&str>, id: Uuid, ids: &HashMap<Uuid, Located<'_>>, world: &World) -> Result<Item, (i16, String)> {
    if !world.all_listed() {
        let text = "not every cluster of the mesh has been reached yet; try again";
        return Err((code::NOT_CONTROLLER, text.to_owned()));
    }
    let located = match name {
        Some(name) => world.locate(name).ok_or(code::UNKNOWN_TOPIC_OR_PARTITION),
        None => ids.get(&id).copied().ok_or(code::UNKNOWN_TOPIC_ID),
    };
    let located = located.map_err(|error| (error, "This server does not host this topic-partition.".to_owned()))?;
    if let Some(topic) = located.model {
        // Also if the fence has expired: nobody has said yet what has become of the move.
        if topic.fence.is_some() {
            return Err((code::NOT_CONTROLLER, "the topic is moving to another cluster; try again".to_owned()));
        }
        if topic.is_stitched() {
            let text = format!(
                "topic {} has moved between clusters and consists of several topics: delete its TopicRoute's topic \
                 through the operator, not through a client",
                located.name
            );
            return Err((code::POLICY_VIOLATION, text));
        }
    }
    let home = world.model.home;
    let placeholder = located.cluster != home && world.live_id(home, located.name).is_some();
    Ok(Item { name: located.name.to_owned(), shown_id: id, cluster: located.cluster, placeholder })
}

/// One request per cluster.
fn calls(items: &[Item], timeout_ms: i32, on: impl Fn(&Item) -> Option<ClusterIndex>) -> Vec<Call> {
    let mut clusters: Vec<ClusterIndex> = items.iter().filter_map(&on).collect();
    clusters.sort_unstable();
    clusters.dedup();
    clusters
        .into_iter()
        .map(|cluster| {
            let names = items.iter().filter(|item| on(item) == Some(cluster));
            let names = names.map(|item| WireTopicName(StrBytes::from_string(item.name.clone())));
            let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms);
            // Both shapes of the request can't be filled at once: this one is of version 6, which every broker knows.
            let topics = names.map(|name| DeleteTopicState::default().with_name(Some(name)));
            Call {
                cluster,
                to: Target::Controller,
                request: Request::DeleteTopics(request.with_topics(topics.collect())),
                timeout_millis: u64::try_from(timeout_ms).unwrap_or(0).saturating_add(GRACE),
            }
        })
        .collect()
}

fn calls_for(items: &[Item], timeout_ms: i32, cluster: ClusterIndex) -> Vec<Call> {
    calls(items, timeout_ms, |_| Some(cluster))
}

type Said = (String, Result<(), (i16, Option<String>)>);

fn said(reply: Reply) -> Vec<Said> {
    let Reply::Calls(results) = reply else {
        return Vec::new();
    };
    let answers = results.into_iter().filter_map(|result| match result {
        Ok(Response::DeleteTopics(answer)) => Some(answer),
        _ => None,
    });
    answers
        .flat_map(|answer| answer.responses)
        .filter_map(|result| {
            let name = result.name?.as_str().to_owned();
            let message = result.error_message.map(|message| message.as_str().to_owned());
            Some((name, if result.error_code == code::NONE { Ok(()) } else { Err((result.error_code, message)) }))
        })
        .collect()
}

fn result(name: Option<String>, id: Uuid, error: i16, message: Option<String>) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(name.map(|name| WireTopicName(StrBytes::from_string(name))))
        .with_topic_id(id)
        .with_error_code(error)
        .with_error_message(message.map(StrBytes::from_string))
}

fn answer(head: RequestHead, mut results: Vec<DeletableTopicResult>) -> Outcome {
    for result in &mut results {
        if head.version < MESSAGES {
            result.error_message = None;
        }
    }
    head.answer(&DeleteTopicsResponse::default().with_responses(results))
}
