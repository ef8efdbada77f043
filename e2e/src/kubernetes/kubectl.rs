//! `kubectl`, a run at a time: what a user types, and nothing that a user could not type.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Watch;
use crate::process::Spawn;

/// No run takes longer, whatever the API server does.
const RUN_WITHIN: Duration = Duration::from_mins(3);

/// How `--output=name` names a CRD.
const CRD: &str = "customresourcedefinition.apiextensions.k8s.io/";

/// `kubectl` with a kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    /// This program with this kubeconfig; what it remembers of the API goes into a subfolder of `folder`.
    pub(super) fn new(program: &Path, kubeconfig: &Path, folder: &Path) -> Self {
        Self {
            program: program.to_path_buf(),
            kubeconfig: kubeconfig.to_path_buf(),
            cache: folder.join("kubectl-cache"),
        }
    }

    /// The same with another kubeconfig.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_path_buf(), ..self.clone() }
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs it and returns what it printed; fails with what it said on standard error.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.finished(args, self.output(args, None)?)
    }

    /// The same with a text on standard input: for `-f -`.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        self.finished(args, self.output(args, Some(input))?)
    }

    /// Server-side apply of YAML, as field manager `kubectl`.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        self.run_with_input(&["apply", "--server-side", "-f", "-"], yaml)
    }

    /// Server-side apply of a file, or of all files in a folder.
    pub fn apply_file(&self, path: &Path) -> Result<String> {
        self.run(&["apply", "--server-side", "-f", &path.to_string_lossy()])
    }

    /// Applies the CRDs of a file or folder and waits until their kinds can be used and explained.
    pub fn install_crds(&self, path: &Path) -> Result<()> {
        let path = path.to_string_lossy();
        let applied = self.run(&["apply", "--server-side", "-f", &path, "--output=name"])?;
        self.run(&["wait", "--for=condition=Established", "-f", &path, "--timeout=60s"])?;
        let end = Instant::now() + RUN_WITHIN;
        for name in applied.lines().filter_map(|line| line.strip_prefix(CRD)) {
            // The API's description of itself follows a moment after the CRD is established.
            while let Err(error) = self.run(&["explain", name]) {
                ensure!(Instant::now() < end, "the CRD {name} is established, but its kind is not there: {error:#}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }

    /// `get ... --output json`, parsed.
    pub fn get_json(&self, args: &[&str]) -> Result<Value> {
        let args = [&["get", "--output=json"], args].concat();
        serde_json::from_str(&self.run(&args)?).with_context(|| format!("read the JSON of kubectl {}", args.join(" ")))
    }

    /// The message with which it fails; an error if it succeeds.
    pub fn refusal(&self, args: &[&str], input: Option<&str>) -> Result<String> {
        let output = self.output(args, input)?;
        ensure!(!output.status.success(), "kubectl {} should have been refused", args.join(" "));
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Runs it to its end, however that is; only a run that cannot be started, or hangs, is an error.
    pub fn output(&self, args: &[&str], input: Option<&str>) -> Result<Output> {
        // `timeout` (coreutils) ends a run that hangs on an API server that holds its sockets and says nothing.
        let mut command = Command::new("timeout");
        command.arg("--kill-after=5").arg(RUN_WITHIN.as_secs().to_string()).arg(&self.program).args(args);
        command.envs(self.env()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child =
            command.spawn().with_context(|| format!("start {}: is it built or installed?", self.program.display()))?;
        let output = std::thread::scope(|scope| {
            if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
                // A kubectl that refuses its arguments reads nothing; its own message is the one to tell.
                scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            }
            child.wait_with_output()
        })?;
        ensure!(
            output.status.code() != Some(124),
            "kubectl {} does not end within {RUN_WITHIN:?}: does the API server answer?",
            args.join(" ")
        );
        Ok(output)
    }

    /// A run that stays, `port-forward` say, still to be started.
    pub fn spawn(&self, name: &str, log: &Path) -> Spawn {
        self.env().into_iter().fold(Spawn::new(name, &self.program, log), |spawn, (key, value)| spawn.env(key, value))
    }

    /// Starts a run whose lines are collected: `get topicroutes --watch` say. What it says on standard error goes to
    /// `log`.
    pub fn watch(&self, args: &[&str], log: &Path) -> Result<Watch> {
        Watch::of(self.spawn("kubectl-watch", log).args(args))
    }

    /// Forgets which kinds the API server had: those of the CRDs of a cluster that was wiped are gone.
    pub(super) fn forget_discovery(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.cache) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.cache.display()))
            }
            _ => Ok(()),
        }
    }

    fn env(&self) -> [(&'static str, PathBuf); 3] {
        // A user's own preferences file must not change what a test sees.
        [("KUBECONFIG", self.kubeconfig.clone()), ("KUBECACHEDIR", self.cache.clone()), ("KUBERC", "off".into())]
    }

    fn finished(&self, args: &[&str], output: Output) -> Result<String> {
        ensure!(
            output.status.success(),
            "kubectl {} ({}): {}",
            args.join(" "),
            self.kubeconfig.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        String::from_utf8(output.stdout).with_context(|| format!("what kubectl {} printed", args.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A stand-in that shows how it is called.
    fn script(folder: &Path, text: &str) -> Kubectl {
        let program = folder.join("kubectl");
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Kubectl::new(&program, &folder.join("admin.kubeconfig"), folder)
    }

    #[test]
    fn arguments_input_and_environment_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let kubectl = script(folder.path(), r#"echo "$@ $KUBECONFIG $KUBERC"; cat"#);
        let file = folder.path().join("admin.kubeconfig");
        // More than a pipe holds.
        let input = "x".repeat(300_000);
        let printed = kubectl.run_with_input(&["apply", "-f", "-"], &input).unwrap();
        assert_eq!(printed, format!("apply -f - {} off\n{input}", file.display()));
    }

    #[test]
    fn crds_are_installed_when_they_can_be_explained() {
        let folder = tempfile::tempdir().unwrap();
        // Explains at the second try.
        let kubectl = script(
            folder.path(),
            r#"cd "$(dirname "$0")"; echo "$@" >>calls
               case $1 in
               apply) echo customresourcedefinition.apiextensions.k8s.io/xs.example.com; echo namespace/y ;;
               explain) [ -e asked ] || { : >asked; exit 1; } ;;
               esac"#,
        );
        kubectl.install_crds(Path::new("crds")).unwrap();
        let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
        let verbs: Vec<&str> = calls.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(verbs, ["apply", "wait", "explain", "explain"]);
        assert!(calls.ends_with("explain xs.example.com\nexplain xs.example.com\n"), "{calls}");
    }

    #[test]
    fn a_refusal_is_told_in_kubectls_words() {
        let folder = tempfile::tempdir().unwrap();
        let kubectl = script(folder.path(), "echo 'the server says no' >&2; exit 1");
        let error = kubectl.run(&["get", "x"]).unwrap_err().to_string();
        assert!(error.contains("kubectl get x") && error.ends_with("the server says no"), "{error}");
        assert_eq!(kubectl.refusal(&["get", "x"], None).unwrap(), "the server says no");
        let kubectl = script(folder.path(), "exit 0");
        assert!(kubectl.refusal(&["get", "x"], None).is_err());
    }
}
