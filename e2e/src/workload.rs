//! Clients that do what applications do, and record what they see: librdkafka and Java producers, groups, readers.
//!
//! Everything is bounded by a rate, a time or a count. No client here knows that anything moves.

pub mod asker;
pub mod group;
pub mod java;
pub mod producer;
pub mod raw;
pub mod reader;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow};

/// Tells a worker to end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A client on a thread of its own.
#[derive(Debug)]
pub struct Worker<T = ()> {
    name: String,
    stop: Stop,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts `work`, which must look at the token at least every second.
    pub fn start(name: &str, work: impl FnOnce(Stop) -> Result<T> + Send + 'static) -> Self {
        let stop = Stop::default();
        let token = stop.clone();
        let thread = std::thread::spawn(move || work(token));
        Self { name: name.to_owned(), stop, thread: Some(thread) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks it to end; does not wait.
    pub fn ask_to_stop(&self) {
        self.stop.set();
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it ends by itself.
    pub fn join(mut self) -> Result<T> {
        let thread = self.thread.take().ok_or_else(|| anyhow!("{} was joined before", self.name))?;
        thread
            .join()
            .map_err(|_| anyhow!("{} panicked", self.name))?
            .map_err(|error| error.context(format!("client {}", self.name)))
    }

    /// Asks it to end and waits.
    pub fn stop(self) -> Result<T> {
        self.ask_to_stop();
        self.join()
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.stop.set();
    }
}
