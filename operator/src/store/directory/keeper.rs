//! The thread that keeps objects: takes in files, writes status and events, shows the result.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::file;
use super::intake;
use super::objects::{Admitted, Key, Object, Objects, Stored, path};
use crate::clock;
use crate::store::told::Told;
use crate::store::{Event, EventType, Kind, Resource, Resources, Settings, StoreError};

/// How often files are looked at without a wake-up.
const POLL: Duration = Duration::from_secs(1);
/// How long changes are gathered: one save is often several events.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// Larger status files are not read back.
const MAX_STORED_BYTES: u64 = 4 << 20;
/// A longer file of events is put aside.
const MAX_EVENTS_BYTES: u64 = 10 << 20;

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Some file changed.
    FilesChanged,
    /// A status to write.
    Status(Key, Value),
    /// An event to write.
    Event(Event),
    /// An object that may go.
    Release(Key),
    /// Write what is left and end.
    Stop,
}

/// Keeps objects.
pub(super) struct Keeper {
    root: PathBuf,
    objects: Objects,
    settings: Settings,
    /// The trouble with `settings.yaml` that was told last.
    settings_trouble: Option<String>,
    sender: watch::Sender<Arc<Resources>>,
    /// Readers have been shown something.
    shown: bool,
    /// Files are read again at this time.
    read_at: Instant,
    told: Told,
}

impl Keeper {
    pub(super) fn new(root: &Path, sender: watch::Sender<Arc<Resources>>) -> Self {
        Self {
            root: root.to_owned(),
            objects: Objects::default(),
            settings: Settings::default(),
            settings_trouble: None,
            sender,
            shown: false,
            read_at: Instant::now(),
            told: Told::default(),
        }
    }

    /// Takes back what was stored before a restart. What cannot be read begins anew.
    pub(super) fn restore(&mut self) -> Result<(), StoreError> {
        for kind in Kind::ALL {
            let directory = self.root.join("status").join(kind.as_str().to_lowercase());
            file::make_directory(&directory)?;
            let failed = |source| StoreError::File { action: "list", path: directory.clone(), source };
            for entry in std::fs::read_dir(&directory).map_err(failed)?.flatten() {
                let path = entry.path();
                if file::is_hidden(&path) || path.extension().is_none_or(|extension| extension != "yaml") {
                    continue;
                }
                let content = file::read(&path, MAX_STORED_BYTES)?.unwrap_or_default();
                match serde_yaml::from_slice::<Stored>(&content) {
                    Ok(stored) if stored.kind == kind => self.objects.restore(stored),
                    Ok(_) => tracing::warn!(path = %path.display(), "a stored object lies in the wrong directory"),
                    Err(error) => tracing::warn!(path = %path.display(), %error, "a stored object cannot be read"),
                }
            }
        }
        Ok(())
    }

    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        loop {
            let wait = self.read_at.saturating_duration_since(Instant::now());
            let mut next = match inbox.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut statuses = BTreeMap::new();
            let mut stop = false;
            while let Some(message) = next {
                match message {
                    Message::FilesChanged => self.read_at = self.read_at.min(Instant::now() + DEBOUNCE),
                    Message::Status(key, status) => {
                        statuses.insert(key, status);
                    }
                    Message::Event(event) => self.tell(&event),
                    Message::Release(key) => self.release(&key),
                    Message::Stop => stop = true,
                }
                next = inbox.try_recv().ok();
            }
            for (key, status) in statuses {
                self.put_status(&key, status);
            }
            if stop {
                return;
            }
            if Instant::now() >= self.read_at {
                self.read();
                self.write_missing();
            }
        }
    }

    /// Takes in all files now.
    pub(super) fn read(&mut self) {
        self.read_at = Instant::now() + POLL;
        let intake = intake::read(&self.root.join("resources"));
        let admitted = self.objects.admit(&intake, clock::now(), Instant::now());
        if let Some(again) = admitted.again {
            self.read_at = self.read_at.min(Instant::now() + again);
        }
        let settings_changed = self.read_settings();
        self.write_changes(&admitted);
        // What was stored before a restart is news to everybody, even if no file has changed.
        let first = !std::mem::replace(&mut self.shown, true);
        if first || admitted.news || settings_changed {
            self.show();
        }
    }

    fn write_changes(&mut self, admitted: &Admitted) {
        for key in &admitted.changed {
            self.store(key);
        }
        for key in &admitted.removed {
            self.remove(key);
        }
        for (kind, name, reason, message) in &admitted.warnings {
            tracing::warn!(kind, name, reason, "{message}");
            self.write_event(kind, name, EventType::Warning, reason, message);
        }
    }

    /// The last good settings stay.
    fn read_settings(&mut self) -> bool {
        let path = self.root.join("settings.yaml");
        let read = file::read(&path, MAX_STORED_BYTES).map_err(|error| error.to_string());
        let read = read.and_then(|content| Settings::parse(&content.unwrap_or_default()));
        match read {
            Ok(settings) => {
                self.settings_trouble = None;
                let changed = settings != self.settings;
                self.settings = settings;
                changed
            }
            Err(trouble) => {
                if self.settings_trouble.as_ref() != Some(&trouble) {
                    tracing::warn!("{trouble}");
                    self.write_event("File", "settings.yaml", EventType::Warning, "Unreadable", &trouble);
                    self.settings_trouble = Some(trouble);
                }
                false
            }
        }
    }

    /// Shows everything anew, with a wake-up.
    fn show(&self) {
        let mut resources = Resources { settings: self.settings.clone(), ..Resources::default() };
        for ((kind, name), object) in &self.objects.all {
            match kind {
                Kind::KafkaCluster => insert(&mut resources.clusters, name, object),
                Kind::TopicRoute => insert(&mut resources.routes, name, object),
                Kind::TopicFuse => insert(&mut resources.fuses, name, object),
            }
        }
        self.sender.send_replace(Arc::new(resources));
    }

    fn put_status(&mut self, key: &Key, status: Value) {
        let Some(object) = self.objects.all.get_mut(key) else { return };
        if object.stored.status.as_ref() == Some(&status) {
            return;
        }
        object.stored.status = Some(status);
        // The writer knows what it wrote: no wake-up.
        self.sender.send_if_modified(|resources| {
            let resources = Arc::make_mut(resources);
            match key.0 {
                Kind::KafkaCluster => replace(&mut resources.clusters, &key.1, object),
                Kind::TopicRoute => replace(&mut resources.routes, &key.1, object),
                Kind::TopicFuse => replace(&mut resources.fuses, &key.1, object),
            }
            false
        });
        self.store(key);
    }

    fn release(&mut self, key: &Key) {
        if self.objects.release(key) {
            self.remove(key);
            self.show();
        }
    }

    fn store(&self, key: &Key) {
        let Some(object) = self.objects.all.get(key) else { return };
        let result = match serde_yaml::to_string(&object.stored) {
            Ok(text) => file::write(&self.status_path(key), text.as_bytes()).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = result {
            tracing::error!(kind = key.0.as_str(), name = key.1, error, "a status cannot be written");
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Err(error) = file::remove(&self.status_path(key)) {
            tracing::error!(%error, "a status cannot be removed");
        }
        let message = format!("{} {} was deleted", key.0.as_str(), key.1);
        self.write_event(key.0.as_str(), &key.1, EventType::Normal, "Deleted", &message);
    }

    /// Somebody may have cleared the directory of outputs.
    fn write_missing(&self) {
        for key in self.objects.all.keys() {
            let path = self.status_path(key);
            if !path.exists() {
                if let Some(directory) = path.parent()
                    && let Err(error) = file::make_directory(directory)
                {
                    tracing::error!(%error, "a status cannot be written");
                    continue;
                }
                self.store(key);
            }
        }
    }

    fn status_path(&self, key: &Key) -> PathBuf {
        self.root.join("status").join(path(key))
    }

    fn tell(&mut self, event: &Event) {
        self.write_event(event.kind.as_str(), &event.name, event.event_type, event.reason, &event.message);
    }

    fn write_event(&mut self, kind: &str, name: &str, event_type: EventType, reason: &str, message: &str) {
        if self.told.is_last(kind, name, reason, message) {
            return;
        }
        let line = json!({
            "time": clock::precise_now().to_string(),
            "object": {"kind": kind, "name": name},
            "type": event_type,
            "reason": reason,
            "message": message,
        });
        let path = self.root.join("events.jsonl");
        let append = || -> std::io::Result<()> {
            if path.metadata().is_ok_and(|file| file.len() > MAX_EVENTS_BYTES) {
                std::fs::rename(&path, self.root.join("events.1.jsonl"))?;
            }
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())
        };
        match append() {
            Ok(()) => self.told.note(kind, name, reason, message),
            Err(error) => tracing::error!(%error, "an event cannot be written"),
        }
    }
}

/// Shows an object, if a version of it ever obeyed the rules.
fn insert<K: DeserializeOwned>(shown: &mut BTreeMap<String, Arc<Resource<K>>>, name: &str, object: &Object) {
    if let Some(typed) = object.typed() {
        let resource = Resource { object: typed, refused: object.refused.clone() };
        shown.insert(name.to_owned(), Arc::new(resource));
    }
}

/// Shows an object that is shown already as it is now.
fn replace<K: DeserializeOwned + Clone>(shown: &mut BTreeMap<String, Arc<Resource<K>>>, name: &str, object: &Object) {
    if let (Some(known), Some(typed)) = (shown.get_mut(name), object.typed()) {
        Arc::make_mut(known).object = typed;
    }
}
