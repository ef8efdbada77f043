//! Tells events, one after the other, beside everything else. Few enough wait to be bounded; a story that nobody could
//! take in for a minute is cut short, and the log has it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::{mpsc, watch};

use super::api::{MANAGER, Trouble, call};
use crate::store;
use crate::store::told::Told;

/// More are not kept waiting.
const MAX_WAITING: usize = 1_000;
/// An event is tried for this long.
const TRIED: Duration = Duration::from_mins(1);
/// First and longest pause between tries.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// What the API takes.
const MAX_NOTE_BYTES: usize = 1_000;
/// More series than this are not remembered.
const MAX_SERIES: usize = 1_000;

type Waiting = (ObjectReference, Event);

/// Where events are put.
pub(super) struct Events {
    sender: mpsc::Sender<Waiting>,
    told: Mutex<Told>,
    waiting: watch::Sender<usize>,
}

/// Who tells them.
pub(super) struct Teller {
    inbox: mpsc::Receiver<Waiting>,
    client: Client,
    reporter: Reporter,
    /// A recorder counts events of the same reason as one, and keeps the first one's words: so each words has its own.
    series: HashMap<(Option<String>, String), (Option<String>, Recorder)>,
    waiting: watch::Sender<usize>,
}

/// The two ends.
pub(super) fn events(client: Client, me: &str) -> (Events, Teller) {
    let (sender, inbox) = mpsc::channel(MAX_WAITING);
    let waiting = watch::Sender::new(0);
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(me.to_owned()) };
    let events = Events { sender, told: Mutex::default(), waiting: waiting.clone() };
    (events, Teller { inbox, client, reporter, series: HashMap::new(), waiting })
}

impl Events {
    /// Puts one, unless it is what was told of the object last.
    pub(super) fn put(&self, about: ObjectReference, event_type: store::EventType, reason: &str, message: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (kind, name) = (about.kind.clone().unwrap_or_default(), about.name.clone().unwrap_or_default());
        if told.is_last(&kind, &name, reason, message) {
            return;
        }
        told.note(&kind, &name, reason, message);
        let event = Event {
            type_: match event_type {
                store::EventType::Normal => EventType::Normal,
                store::EventType::Warning => EventType::Warning,
            },
            reason: reason.to_owned(),
            note: Some(cut(message).to_owned()),
            action: reason.to_owned(),
            secondary: None,
        };
        self.waiting.send_modify(|waiting| *waiting += 1);
        if self.sender.try_send((about, event)).is_err() {
            self.waiting.send_modify(|waiting| *waiting -= 1);
            tracing::warn!(kind, name, reason, message, "too many events wait to be told; this one is only in the log");
        }
    }

    /// Waits until everything is told.
    pub(super) async fn done(&self) {
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting == 0).await;
    }
}

impl Teller {
    /// Tells until nobody puts any more.
    pub(super) async fn run(mut self) {
        while let Some((about, event)) = self.inbox.recv().await {
            self.tell(&about, &event).await;
            self.waiting.send_modify(|waiting| *waiting = waiting.saturating_sub(1));
        }
    }

    async fn tell(&mut self, about: &ObjectReference, event: &Event) {
        let recorder = self.recorder(about, event);
        let mut pause = PAUSE;
        let told = tokio::time::timeout(TRIED, async {
            loop {
                match call(recorder.publish(event, about)).await {
                    Err(Trouble::Away(_)) => {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                    // An event that has run out in the server cannot be counted on.
                    Err(Trouble::Missing) => {
                        break Recorder::new(self.client.clone(), self.reporter.clone())
                            .publish(event, about)
                            .await
                            .map_err(|error| error.to_string());
                    }
                    Err(trouble) => break Err(trouble.to_string()),
                    Ok(()) => break Ok(()),
                }
            }
        });
        let trouble = match told.await {
            Ok(Ok(())) => return,
            Ok(Err(trouble)) => trouble,
            Err(_) => "the API server did not take it for a minute".to_owned(),
        };
        tracing::warn!(name = ?about.name, reason = event.reason, trouble, "an event is not told");
    }

    fn recorder(&mut self, about: &ObjectReference, event: &Event) -> Recorder {
        if self.series.len() >= MAX_SERIES {
            self.series.clear();
        }
        let fresh = || Recorder::new(self.client.clone(), self.reporter.clone());
        let key = (about.uid.clone(), event.reason.clone());
        let series = self.series.entry(key).or_insert_with(|| (event.note.clone(), fresh()));
        if series.0 != event.note {
            *series = (event.note.clone(), fresh());
        }
        series.1.clone()
    }
}

/// At most what the API takes, not in the middle of a character.
fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_NOTE_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = format!("a{}", "é".repeat(1_000));
        assert_eq!(cut(&long).len(), 999);
    }
}
