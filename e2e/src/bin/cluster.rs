//! `make cluster-up`: a Kubernetes control plane, left running in the background.
//! `make cluster-down`: ends exactly those processes.

#![allow(clippy::print_stdout, reason = "a program for people: its output is its purpose")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use sluice_e2e::kubernetes::{ControlPlane, ControlPlaneSpec};
use sluice_e2e::noted;
use sluice_e2e::process::Lifetime;

/// A Kubernetes control plane (etcd, API server, controllers; no nodes), left running.
#[derive(Debug, Parser)]
#[command(name = "cluster", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts it
    Up(Up),
    /// Ends it and throws its data away
    Down,
}

#[derive(Debug, Parser)]
struct Up {
    /// Loopback address to listen on
    #[arg(long, env = "CLUSTER_HOST", default_value = "127.0.31.1")]
    host: String,
    /// Port of the API server
    #[arg(long, env = "CLUSTER_PORT", default_value_t = 6443)]
    port: u16,
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Up(up) => start(&up),
        Command::Down => end(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cluster: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn folder() -> Result<PathBuf> {
    Ok(sluice_e2e::target_folder()?.join("cluster"))
}

fn spec(folder: &Path, up: &Up) -> ControlPlaneSpec {
    ControlPlaneSpec {
        port: up.port,
        lifetime: Lifetime::Detached,
        ..ControlPlaneSpec::new(&folder.join("control-plane"), &up.host)
    }
}

fn start(up: &Up) -> Result<()> {
    let folder = folder()?;
    let spec = spec(&folder, up);
    if let Some(first) = noted::running(&spec.processes())?.first() {
        bail!("a cluster is running already (pid {}); end it first: make cluster-down", first.pid);
    }
    let begun = Instant::now();
    let plane = ControlPlane::start(spec)?;
    let (kubeconfig, kubectl) = (plane.kubeconfig().display(), plane.kubectl().program().display());
    let text = format!("KUBECONFIG={kubeconfig}\nKUBECTL={kubectl}\nLOGS={}\n", folder.join("control-plane").display());
    sluice_e2e::write_by_rename(&folder.join("env"), &text)?;
    println!("A Kubernetes control plane is up after {:.1} s.", begun.elapsed().as_secs_f64());
    println!("\n  export KUBECONFIG={kubeconfig}");
    println!("  alias kubectl={kubectl}");
    println!("  kubectl apply --server-side -f crds/generated/");
    println!("  kubectl explain topicroute.spec");
    println!(
        "\nThe same as KEY=VALUE lines in {}. There are no nodes: nothing runs a pod.",
        folder.join("env").display()
    );
    println!("End it: make cluster-down");
    Ok(())
}

fn end() -> Result<()> {
    let folder = folder()?;
    // Which address it has does not matter for where its processes are noted.
    let spec = spec(&folder, &Up { host: String::new(), port: 0 });
    // etcd last: without it the API server cannot come to its end.
    let (etcd, others) = noted::running(&spec.processes())?.into_iter().partition(|noted| noted.name == "etcd");
    let ended = [others, etcd].map(|all| noted::end(all, Duration::from_secs(10))).into_iter().sum::<usize>();
    let left = noted::running(&spec.processes())?;
    ensure!(left.is_empty(), "still running: {left:?}");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    println!("cluster: {ended} processes ended");
    Ok(())
}
