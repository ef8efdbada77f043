//! Placeholders: a coordinator refuses commits for a topic that its cluster lacks, so for every shown topic that lives
//! elsewhere the home cluster gets an empty, sealed topic of the same name. Also keeps the catalogue: which topics live
//! elsewhere, written down before anything of that name appears on the home cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::{CreatePartitionsRequest, TopicName as KafkaTopic};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::ledger::{CatalogueEntry, Fact, Merged, Subject};
use sluice_mesh::name::{ClusterName, TopicName};
use sluice_mesh::view::TopicView;
use sluice_net::admin::configs::{self, MAX_MESSAGE_BYTES};
use sluice_net::admin::log_ends::{self, EARLIEST, LATEST};
use sluice_net::admin::topics::{self, NewTopic};
use sluice_net::{CallError, Client, ErrorCode, Target};
use uuid::Uuid;

use crate::compile::Compiled;
use crate::context::Context;
use crate::ledger::LedgerError;
use crate::observe::Observations;
use crate::store::{Event, EventType, Kind};

/// More placeholders than this are not made.
const MAX_PLACEHOLDERS: usize = 1_000;
/// The largest `max.message.bytes` that lets no batch in: a batch header alone has 61 bytes.
const SEALED: i64 = 60;
/// A topic is gone when it was absent from this many looks at its cluster in a row.
const LOOKS_UNTIL_GONE: u64 = 3;
/// How long proxies may take to learn where the topic lives before a topic of its name appears on the home cluster.
const REPORTS: Duration = Duration::from_secs(5);

/// What to do for one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write down where it lives.
    Record(CatalogueEntry),
    /// Make its placeholder with so many partitions.
    Create(usize),
    /// Give its placeholder (this id) so many partitions.
    Grow(Uuid, usize),
    /// The home cluster has a topic of its name, this id, of which nothing is recorded: ours, if it is sealed and empty.
    Adopt(Uuid),
    /// It is gone: remove its placeholder, if there is one, and the record.
    Forget(Option<Uuid>),
}

/// Topics that seem to be gone: at which look they were first missed.
pub type Missing = BTreeMap<TopicName, u64>;

/// Decides what to do. Pure but for `missing`, which it keeps.
pub fn plan(
    home: &ClusterName,
    compiled: &Compiled,
    ledger: &Merged,
    observations: &Observations,
    missing: &mut Missing,
) -> Vec<(TopicName, Step)> {
    let topic_on = |cluster: &ClusterName, topic: &TopicName| -> Option<&Arc<TopicView>> {
        observations.get(cluster)?.seen.as_ref()?.view.topic(topic.as_str())
    };
    let mut steps = Vec::new();
    for conflict in compiled.conflicts.iter().filter(|conflict| !conflict.recorded) {
        let (cluster, topic_id) = conflict.shown.clone();
        steps.push((conflict.topic.clone(), Step::Record(CatalogueEntry { cluster, topic_id, placeholder: None })));
    }
    let mut placeholders = 0;
    for elsewhere in &compiled.elsewhere {
        let (topic, cluster) = (&elsewhere.topic, &elsewhere.cluster);
        let recorded = ledger.catalogue.get(topic);
        // What is hidden from clients is still there: look at the cluster itself.
        let Some(there) = topic_on(cluster, topic) else {
            if !elsewhere.routed && recorded.is_some_and(|entry| entry.cluster == *cluster) {
                let looks = observations.get(cluster).map_or(0, |observation| observation.looks);
                let first = *missing.entry(topic.clone()).or_insert(looks);
                if looks.saturating_sub(first) >= LOOKS_UNTIL_GONE {
                    let placeholder = recorded.and_then(|entry| entry.placeholder);
                    let at_home = topic_on(home, topic).map(|view| view.id);
                    steps.push((topic.clone(), Step::Forget(placeholder.filter(|id| at_home == Some(*id)))));
                }
            }
            continue;
        };
        missing.remove(topic);
        let wanted =
            recorded.filter(|entry| entry.cluster == *cluster && (elsewhere.routed || entry.topic_id == there.id));
        let Some(entry) = wanted else {
            // A move writes its own topics down.
            if !elsewhere.routed {
                let placeholder = recorded.and_then(|entry| entry.placeholder);
                let entry = CatalogueEntry { cluster: cluster.clone(), topic_id: there.id, placeholder };
                steps.push((topic.clone(), Step::Record(entry)));
            }
            continue;
        };
        placeholders += 1;
        if placeholders > MAX_PLACEHOLDERS {
            break;
        }
        let partitions = there.partitions.len();
        match topic_on(home, topic) {
            None => steps.push((topic.clone(), Step::Create(partitions))),
            Some(at_home) if entry.placeholder == Some(at_home.id) => {
                if at_home.partitions.len() < partitions {
                    steps.push((topic.clone(), Step::Grow(at_home.id, partitions)));
                }
            }
            // The old home of a moved topic serves as its own placeholder.
            Some(at_home) if !ledger.topics.contains_key(topic) => {
                steps.push((topic.clone(), Step::Adopt(at_home.id)));
            }
            Some(_) => {}
        }
    }
    missing.retain(|topic, _| compiled.elsewhere.iter().any(|elsewhere| elsewhere.topic == *topic));
    steps
}

/// Whether a step writes down for the first time that a topic lives off the home cluster.
fn is_first_claim(home: &ClusterName, ledger: &Merged, topic: &TopicName, step: &Step) -> bool {
    matches!(step, Step::Record(entry) if entry.cluster != *home) && !ledger.catalogue.contains_key(topic)
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0}")]
    NotNow(String),
}

/// Does what is to be done now, one topic after the other. Whether anything was done.
pub async fn reconcile(ctx: &Context, missing: &mut Missing) -> bool {
    let compiled = ctx.publisher.compiled().borrow().clone();
    let Some(compiled) = compiled else { return false };
    let observations = Arc::clone(&ctx.observer.observations().borrow());
    let ledger = ctx.ledger.merged();
    let steps = plan(&ctx.home, &compiled, &ledger, &observations, missing);
    // Looks at clusters are seconds apart: a name that was made on the home cluster first and elsewhere right after it may
    // have been seen elsewhere only. What is written down stays, so the home cluster is looked at afresh before.
    let first = |topic: &TopicName, step: &Step| is_first_claim(&ctx.home, &ledger, topic, step);
    let at_home =
        if steps.iter().any(|(topic, step)| first(topic, step)) { ctx.observer.refresh(&ctx.home).await } else { None };
    let mut done = false;
    for (topic, step) in steps {
        let free = || at_home.as_ref().is_some_and(|seen| seen.view.topic(topic.as_str()).is_none());
        if first(&topic, &step) && !free() {
            tracing::debug!(%topic, "not recorded: the home cluster has it too, or does not answer");
            continue;
        }
        match apply(ctx, &topic, step.clone()).await {
            Ok(changed) => done |= changed,
            Err(error) => {
                tracing::warn!(%topic, ?step, %error, "a placeholder could not be looked after");
                ctx.store.record_event(Event {
                    kind: Kind::KafkaCluster,
                    name: ctx.home.to_string(),
                    event_type: EventType::Warning,
                    reason: "PlaceholderFailed",
                    message: format!("groups may not be able to commit offsets of topic {topic}: {error}"),
                });
            }
        }
    }
    if done {
        ctx.observer.refresh(&ctx.home).await;
    }
    done
}

async fn apply(ctx: &Context, topic: &TopicName, step: Step) -> Result<bool, StepError> {
    let client = ctx
        .observer
        .client(&ctx.home)
        .ok_or_else(|| StepError::NotNow(format!("cluster {} is not part of the mesh now", ctx.home)))?;
    match step {
        Step::Record(entry) => {
            tracing::info!(%topic, cluster = %entry.cluster, "the topic lives elsewhere: recorded");
            record(ctx, topic, entry).await?;
            Ok(true)
        }
        Step::Create(partitions) => create(ctx, &client, topic, partitions).await,
        Step::Grow(id, partitions) => grow(&client, topic, id, partitions).await,
        Step::Adopt(id) => {
            if is_sealed(&client, topic).await? && is_empty(&client, topic).await? {
                remember(ctx, topic, id).await?;
                return Ok(true);
            }
            // Somebody's topic: hidden by the recorded choice, and none of our business.
            Ok(false)
        }
        Step::Forget(placeholder) => {
            if let Some(id) = placeholder
                && is_empty(&client, topic).await?
            {
                match topics::delete(&client, topic.as_str(), id).await {
                    Ok(()) => tracing::info!(%topic, "the topic is gone: its placeholder is removed"),
                    Err(error) if error.code() == ErrorCode::UNKNOWN_TOPIC_ID => {}
                    Err(error) => return Err(error.into()),
                }
            }
            ctx.ledger.remove_everywhere(Subject::Catalogue(topic.clone())).await?;
            Ok(true)
        }
    }
}

async fn record(ctx: &Context, topic: &TopicName, entry: CatalogueEntry) -> Result<(), LedgerError> {
    let CatalogueEntry { cluster, topic_id, placeholder } = entry;
    let fact = Fact::Catalogue { cluster, topic_id, placeholder };
    ctx.ledger.append_everywhere(Subject::Catalogue(topic.clone()), fact).await
}

/// Writes down which topic is the placeholder; the rest of the record stays as it is now.
async fn remember(ctx: &Context, topic: &TopicName, id: Uuid) -> Result<(), LedgerError> {
    match ctx.ledger.merged().catalogue.get(topic) {
        Some(entry) => record(ctx, topic, CatalogueEntry { placeholder: Some(id), ..entry.clone() }).await,
        None => Ok(()),
    }
}

async fn create(ctx: &Context, client: &Client, topic: &TopicName, partitions: usize) -> Result<bool, StepError> {
    // The document must say where the topic lives before anything of its name appears on the home cluster.
    let document = ctx.publisher.document().borrow().clone();
    let entry = document.as_ref().and_then(|document| document.topics.iter().find(|entry| entry.name == *topic));
    let (Some(document), true) = (&document, entry.is_some_and(|entry| entry.cluster != ctx.home)) else {
        return Ok(false);
    };
    let revision = document.revision;
    let applied = ctx.proxies.wait_applied(revision, REPORTS).await;
    if !applied.complete() {
        let late: Vec<String> = applied.stale.iter().map(ToString::to_string).collect();
        return Err(StepError::NotNow(format!("these proxies do not know yet where it lives: {}", late.join(", "))));
    }
    let new = NewTopic {
        name: topic.as_str().to_owned(),
        partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
        replication_factor: -1,
        configs: Vec::new(),
    };
    match topics::create_sealed(client, &new, 0).await {
        Ok(id) => {
            tracing::info!(%topic, partitions, "placeholder made on the home cluster");
            remember(ctx, topic, id).await?;
            Ok(true)
        }
        Err(error) if error.code() == ErrorCode::TOPIC_ALREADY_EXISTS => Ok(true),
        Err(error) => Err(error.into()),
    }
}

async fn grow(client: &Client, topic: &TopicName, id: Uuid, partitions: usize) -> Result<bool, StepError> {
    let still_ours = topics::describe_one(client, topic.as_str()).await?.is_some_and(|view| view.topic_id == id);
    if !still_ours {
        return Ok(true);
    }
    let change = CreatePartitionsTopic::default()
        .with_name(KafkaTopic(StrBytes::from_string(topic.as_str().to_owned())))
        .with_count(i32::try_from(partitions).unwrap_or(i32::MAX))
        .with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![change]).with_timeout_ms(5_000);
    let answer = client.call(&Target::Controller, request).await?;
    match answer.results.first() {
        Some(result) if result.error_code != 0 => {
            let said = result.error_message.as_ref().map(ToString::to_string).unwrap_or_default();
            Err(StepError::NotNow(format!(
                "its placeholder cannot get {partitions} partitions: error {} {said}",
                result.error_code
            )))
        }
        _ => Ok(true),
    }
}

async fn is_sealed(client: &Client, topic: &TopicName) -> Result<bool, CallError> {
    let configs = configs::describe(client, &Target::Any, topic.as_str(), Some(&[MAX_MESSAGE_BYTES])).await?;
    let value = configs.iter().find(|config| config.name == MAX_MESSAGE_BYTES && config.overridden);
    Ok(value.and_then(|config| config.value.as_deref()?.parse::<i64>().ok()).is_some_and(|value| value <= SEALED))
}

/// No partition holds a record, nor ever did.
async fn is_empty(client: &Client, topic: &TopicName) -> Result<bool, StepError> {
    let Some(view) = topics::describe_one(client, topic.as_str()).await? else { return Ok(true) };
    let partitions: Vec<i32> = view.partitions.iter().map(|partition| partition.partition).collect();
    for timestamp in [EARLIEST, LATEST] {
        for (partition, found) in log_ends::list_offsets(client, topic.as_str(), &partitions, timestamp).await {
            match found {
                Ok(found) if found.offset == 0 => {}
                Ok(_) => return Ok(false),
                Err(code) => {
                    return Err(StepError::NotNow(format!(
                        "whether partition {partition} is empty is not known: {code}"
                    )));
                }
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
