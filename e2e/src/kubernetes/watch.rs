//! The lines of a program that goes on printing, each with the time at which it came.

use std::io::{BufRead, BufReader};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Process, Spawn};

/// A line and when it came.
pub type Line = (Instant, String);

#[derive(Debug, Default)]
struct Seen {
    lines: Vec<Line>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// A running program whose lines are collected until it is dropped.
#[derive(Debug)]
pub struct Watch {
    process: Process,
    shared: Arc<Shared>,
}

impl Watch {
    pub(super) fn of(spawn: Spawn) -> Result<Self> {
        let mut process = spawn.piped().start()?;
        let output = process.take_output().context("a piped process has an output")?;
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut seen = writer.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.lines.push((Instant::now(), line));
                writer.changed.notify_all();
            }
            writer.seen.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            writer.changed.notify_all();
        });
        Ok(Self { process, shared })
    }

    /// All lines up to now.
    pub fn lines(&self) -> Vec<Line> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// Whether the program has ended: a watch does when the API server goes away.
    pub fn ended(&self) -> bool {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).ended
    }

    /// Waits for the first line, of all that came and will come, that `matches`.
    pub fn wait_for(&self, matches: impl Fn(&str) -> bool, within: Duration) -> Result<Line> {
        let end = Instant::now() + within;
        let mut checked = 0;
        let mut seen = self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = seen.lines[checked..].iter().find(|(_, line)| matches(line)) {
                return Ok(line.clone());
            }
            checked = seen.lines.len();
            let left = end.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                let what = if seen.ended { "ended" } else { "did not print it in time" };
                let all: Vec<&str> = seen.lines.iter().map(|(_, line)| line.as_str()).collect();
                bail!(
                    "{} {what}; it printed\n{}\nand its log ends with\n{}",
                    self.process.name(),
                    all.join("\n"),
                    self.process.log_tail(10)
                );
            }
            seen = self.shared.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &std::path::Path, script: &str) -> Watch {
        Watch::of(Spawn::new("shell", "sh", folder.join("log")).args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_are_found_before_and_after_they_came() {
        let folder = tempfile::tempdir().unwrap();
        let watch = shell(folder.path(), "echo one; sleep 0.2; echo two; sleep 60");
        let second = watch.wait_for(|line| line == "two", Duration::from_secs(10)).unwrap();
        let first = watch.wait_for(|line| line == "one", Duration::ZERO).unwrap();
        assert!(first.0 < second.0);
        assert_eq!(watch.lines().len(), 2);
        assert!(!watch.ended());
        let error = watch.wait_for(|line| line == "three", Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not print it in time"), "{error}");
    }

    #[test]
    fn the_end_is_told_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let watch = shell(folder.path(), "echo one; echo why >&2");
        let error = watch.wait_for(|line| line == "two", Duration::from_secs(10)).unwrap_err().to_string();
        assert!(error.contains("ended") && error.contains("one") && error.ends_with("why"), "{error}");
        assert!(watch.ended());
    }
}
