//! Child processes that never outlive their purpose: each is named by pid *and* start time, so that a recycled pid is
//! never signalled, and each dies with us unless it is told to stay.
//!
//! `setpriv --pdeathsig` (util-linux) makes the kernel end a child when the thread that started it ends, whatever
//! happens to us; the children are therefore started by one thread that lives as long as the process. Where `setpriv`
//! is missing, `Drop` and [`stop_all`] are the only guard.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a process may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Ends when its handle is dropped, and when we end.
    WithUs,
    /// Stays when we end.
    Detached,
}

/// What to start.
#[derive(Debug)]
pub struct Spawn {
    name: String,
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    log: PathBuf,
    pipe: bool,
    lifetime: Lifetime,
}

impl Spawn {
    /// `program`, with standard error (and output) appended to `log`.
    pub fn new(name: &str, program: impl Into<OsString>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            folder: None,
            log: log.into(),
            pipe: false,
            lifetime: Lifetime::WithUs,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the working folder.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Standard output is to be read by us.
    #[must_use]
    pub fn piped(mut self) -> Self {
        self.pipe = true;
        self
    }

    /// How long it may live.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Process> {
        if let Some(parent) = self.log.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        let log = append(&self.log)?;
        let guard = self.lifetime == Lifetime::WithUs && has_setpriv();
        let mut command = if guard {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.args(&self.args).envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.stdin(Stdio::null()).stderr(log.try_clone()?);
        // Its own process group: Ctrl-C on the terminal reaches us alone, and we decide in which order children end.
        command.process_group(0);
        if self.pipe {
            command.stdout(Stdio::piped());
        } else {
            command.stdout(log);
        }
        let mut child = spawner(command)
            .with_context(|| format!("start {} ({}): is it built or installed?", self.name, self.program.display()))?;
        let pid = child.id();
        let output = child.stdout.take();
        let start = start_time(pid).unwrap_or(0);
        let process = Process { name: self.name, child, start, log: self.log, lifetime: self.lifetime, output };
        if self.lifetime == Lifetime::WithUs {
            registry().insert(pid, start);
        }
        Ok(process)
    }
}

fn append(path: &PathBuf) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("open the log {}", path.display()))
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    start: u64,
    log: PathBuf,
    lifetime: Lifetime,
    output: Option<ChildStdout>,
}

impl Process {
    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it started, in clock ticks since boot; with the pid it names a process for sure.
    pub fn start_time(&self) -> u64 {
        self.start
    }

    /// The file that its output goes to.
    pub fn log(&self) -> &PathBuf {
        &self.log
    }

    /// Its standard output, once, if it was started with [`Spawn::piped`].
    pub fn take_output(&mut self) -> Option<ChildStdout> {
        self.output.take()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, and SIGKILL if it is still there after `grace`. Returns whether it ended by itself.
    pub fn stop(&mut self, grace: Duration) -> bool {
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        let end = Instant::now() + grace;
        while Instant::now() < end {
            if !self.alive() {
                self.forget();
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
        false
    }

    /// SIGKILL, to it and to what it started.
    pub fn kill(&mut self) {
        if self.alive() {
            if let Some(pid) = raw(self.pid()) {
                // A group that is gone already is what we want.
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.forget();
    }

    /// SIGSTOP: it holds its sockets and says nothing.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        if self.alive()
            && let Some(pid) = raw(self.pid())
        {
            let _ = kill_process(pid, signal);
        }
    }

    fn forget(&self) {
        registry().remove(&self.pid());
    }

    /// The end of its log, for an error message.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::WithUs {
            self.kill();
        }
    }
}

/// Ends every child that was started with [`Lifetime::WithUs`] and still runs: for a signal handler.
pub fn stop_all() {
    let all: Vec<(u32, u64)> = registry().iter().map(|(pid, start)| (*pid, *start)).collect();
    for (pid, start) in all {
        signal_exactly(pid, start, Signal::KILL);
    }
}

/// Ends the process that has this pid and this start time; any other is left alone. Returns whether it was there.
pub fn end_exactly(pid: u32, start: u64, grace: Duration) -> bool {
    if !signal_exactly(pid, start, Signal::TERM) {
        return false;
    }
    let end = Instant::now() + grace;
    while Instant::now() < end {
        if start_time(pid) != Some(start) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    signal_exactly(pid, start, Signal::KILL);
    true
}

fn signal_exactly(pid: u32, start: u64, signal: Signal) -> bool {
    if start_time(pid) != Some(start) {
        return false;
    }
    raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Start time of a process in clock ticks since boot; none if it is gone or a zombie.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in brackets and may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Fails with one message that names every missing program.
pub fn require(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<String> = programs
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(program, advice)| format!("{program} ({advice})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("not found on PATH: {}", missing.join(", "))
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn has_setpriv() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| on_path("setpriv"))
}

fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn registry() -> std::sync::MutexGuard<'static, BTreeMap<u32, u64>> {
    static LIVE: Mutex<BTreeMap<u32, u64>> = Mutex::new(BTreeMap::new());
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts a command from a thread that never ends before the process does (see the module's comment).
fn spawner(command: Command) -> Result<Child> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, answer) = channel();
    orders.send((command, reply)).context("the thread that starts children is gone")?;
    Ok(answer.recv().context("the thread that starts children is gone")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &std::path::Path) -> Process {
        Spawn::new("sleeper", "sleep", folder.join("log")).arg("60").start().unwrap()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        let (pid, start) = (process.pid(), process.start_time());
        assert!(start > 0);
        assert_eq!(start_time(pid), Some(start));
        drop(process);
        assert_ne!(start_time(pid), Some(start));
    }

    #[test]
    fn a_recycled_pid_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = sleeper(folder.path());
        assert!(!end_exactly(process.pid(), process.start_time() + 1, Duration::ZERO));
        assert!(process.alive());
        assert!(end_exactly(process.pid(), process.start_time(), Duration::from_secs(5)));
        assert!(!process.alive());
    }

    #[test]
    fn missing_programs_are_named_together() {
        let error = require(&[("no-such-a", "install a"), ("sleep", "-"), ("no-such-b", "install b")]).unwrap_err();
        assert_eq!(error.to_string(), "not found on PATH: no-such-a (install a), no-such-b (install b)");
    }
}
