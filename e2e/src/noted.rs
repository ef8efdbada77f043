//! Processes that were left running, and the file that says which: a line each, `pid start name`. The start time tells
//! a process of ours from a later one that got the same pid.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Process, end_exactly, start_time};

/// A process that was noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Its pid.
    pub pid: u32,
    /// Its start time, see [`Process::start_time`].
    pub start: u64,
    /// Its name, for people.
    pub name: String,
}

/// Notes these processes, and no others, in a file.
pub fn write<'a>(file: &Path, processes: impl IntoIterator<Item = &'a Process>) -> Result<()> {
    let mut text = String::new();
    for process in processes {
        writeln!(text, "{} {} {}", process.pid(), process.start_time(), process.name())?;
    }
    crate::write_by_rename(file, &text)
}

/// Those of the noted processes that still run; none if there is no file.
pub fn running(file: &Path) -> Result<Vec<Noted>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    let noted: Result<Vec<Noted>> = text.lines().map(parse).collect();
    let noted = noted.with_context(|| format!("read {}", file.display()))?;
    Ok(noted.into_iter().filter(|noted| start_time(noted.pid) == Some(noted.start)).collect())
}

fn parse(line: &str) -> Result<Noted> {
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().with_context(|| format!("{line:?} is not `pid start name`"));
    Ok(Noted { pid: word()?.parse()?, start: word()?.parse()?, name: word()?.to_owned() })
}

/// Ends these processes at the same time, SIGKILL after `grace`, and says how many were still there.
pub fn end(processes: Vec<Noted>, grace: Duration) -> usize {
    let threads: Vec<_> = processes
        .into_iter()
        .map(|noted| std::thread::spawn(move || end_exactly(noted.pid, noted.start, grace)))
        .collect();
    threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|there| *there).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Spawn;

    #[test]
    fn what_runs_is_found_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("processes");
        assert_eq!(running(&file).unwrap(), []);
        let mut sleeper = Spawn::new("a sleeper", "sleep", folder.path().join("log")).arg("60").start().unwrap();
        write(&file, [&sleeper]).unwrap();
        let found = running(&file).unwrap();
        assert_eq!(found, [Noted { pid: sleeper.pid(), start: sleeper.start_time(), name: "a sleeper".to_owned() }]);
        assert_eq!(end(found, Duration::from_secs(5)), 1);
        assert!(!sleeper.alive());
        assert_eq!(running(&file).unwrap(), []);
    }

    #[test]
    fn a_recycled_pid_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("processes");
        let me = std::process::id();
        std::fs::write(&file, format!("{me} {} me\n", start_time(me).unwrap() + 1)).unwrap();
        assert_eq!(running(&file).unwrap(), []);
        std::fs::write(&file, "nonsense\n").unwrap();
        assert!(running(&file).is_err());
    }
}
