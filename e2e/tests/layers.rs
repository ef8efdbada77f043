//! The arrows between our crates: a dependency that is not in this table is a mistake, whoever adds it.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Crate, and the crates of ours that it may depend on (dev-dependencies after the bar).
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    ("sluice-crds", &[], &[]),
    ("sluice-wire", &[], &[]),
    ("sluice-mesh", &[], &[]),
    ("sluice-engine", &["sluice-wire", "sluice-mesh"], &["sluice-testkit"]),
    ("sluice-net", &["sluice-wire"], &[]),
    ("sluice-testkit", &["sluice-wire", "sluice-mesh"], &[]),
    ("sluice-proxy", &["sluice-wire", "sluice-mesh", "sluice-engine", "sluice-net"], &["sluice-testkit"]),
    ("sluice-operator", &["sluice-crds", "sluice-mesh", "sluice-wire", "sluice-net"], &[]),
    ("sluice-e2e", &["sluice-crds", "sluice-mesh", "sluice-net"], &["sluice-operator"]),
];

/// Third-party crates that a crate of ours must never know, because its purity is what its tests stand on.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("sluice-crds", &["kafka-protocol", "tokio", "rdkafka"]),
    ("sluice-wire", &["tokio", "socket2", "kube", "rdkafka"]),
    ("sluice-mesh", &["tokio", "kafka-protocol", "kube", "bytes", "socket2"]),
    ("sluice-engine", &["tokio", "socket2", "kube", "jiff"]),
    ("sluice-net", &["kube", "sluice-mesh"]),
    ("sluice-proxy", &["sluice-crds", "rdkafka"]),
    ("sluice-operator", &["rdkafka"]),
];

#[test]
fn every_arrow_is_allowed() -> Result<()> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let mut seen = BTreeSet::new();
    for package in packages {
        let name = package["name"].as_str().context("name")?;
        let known = ALLOWED.iter().find(|(n, ..)| *n == name);
        let (_, normal, dev) = known.with_context(|| format!("{name} is not in the table of arrows"))?;
        let forbidden = FORBIDDEN.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, f)| *f);
        for dependency in package["dependencies"].as_array().context("dependencies")? {
            let to = dependency["name"].as_str().context("dependency name")?;
            let is_dev = dependency["kind"].as_str() == Some("dev");
            if to.starts_with("sluice-") {
                ensure!(
                    normal.contains(&to) || (is_dev && dev.contains(&to)),
                    "{name} must not depend on {to}: see ARCHITECTURE.md, crates and arrows"
                );
            }
            ensure!(is_dev || !forbidden.contains(&to), "{name} must never know {to}: see ARCHITECTURE.md");
        }
        seen.insert(name.to_owned());
    }
    ensure!(seen.len() == ALLOWED.len(), "the table names a crate that is gone");
    Ok(())
}

fn metadata() -> Result<serde_json::Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .context("cargo metadata runs")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata prints JSON")
}
