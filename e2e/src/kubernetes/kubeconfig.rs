//! Kubeconfig files: for who shows a certificate, and for who shows a service account's token.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Kubectl, certificates, secret};

/// Where the kubeconfig of this name lies.
pub(super) fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.kubeconfig"))
}

/// Writes the kubeconfig of one of our identities.
pub(super) fn write_for_certificate(folder: &Path, name: &str, server: &str) -> Result<()> {
    let cluster = json!({ "server": server, "certificate-authority": certificates::authority(folder) });
    let user = json!({
        "client-certificate": certificates::certificate(folder, name),
        "client-key": certificates::key(folder, name),
    });
    secret::write(&path(folder, name), &text(&cluster, &user, name, "default")?)
}

/// Writes the kubeconfig of a service account whose token lies in a file, for the cluster that `kubectl` talks to.
pub(super) fn write_for_token(
    kubectl: &Kubectl,
    folder: &Path,
    namespace: &str,
    name: &str,
    token: &Path,
) -> Result<PathBuf> {
    let view = kubectl.run(&["config", "view", "--raw", "--minify", "--flatten", "--output=json"])?;
    let cluster = cluster_of(&view)?;
    let user = json!({ "tokenFile": token });
    let file = path(folder, &format!("{namespace}.{name}"));
    secret::write(&file, &text(&cluster, &user, name, namespace)?)?;
    Ok(file)
}

/// The cluster's entry in what `kubectl config view --minify` prints.
fn cluster_of(view: &str) -> Result<Value> {
    let view: Value = serde_json::from_str(view).context("read the kubeconfig")?;
    view.pointer("/clusters/0/cluster").cloned().context("the kubeconfig has no cluster: is its current-context set?")
}

fn text(cluster: &Value, user: &Value, name: &str, namespace: &str) -> Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "default",
        "clusters": [{ "name": "default", "cluster": cluster }],
        "users": [{ "name": name, "user": user }],
        "contexts": [{ "name": "default", "context": { "cluster": "default", "user": name, "namespace": namespace } }],
    });
    serde_yaml::to_string(&config).context("write a kubeconfig")
}

/// The environment's kubeconfig as one complete text.
pub(super) fn flattened(kubectl: &Path) -> Result<String> {
    let output = std::process::Command::new(kubectl)
        .args(["config", "view", "--raw", "--minify", "--flatten"])
        .output()
        .with_context(|| format!("start {}", kubectl.display()))?;
    ensure!(output.status.success(), "$KUBECONFIG: {}", String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8(output.stdout).context("$KUBECONFIG")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_its_file() {
        let cluster =
            cluster_of(r#"{"clusters":[{"name":"x","cluster":{"server":"https://127.0.30.1:6443"}}]}"#).unwrap();
        let text = text(&cluster, &json!({ "tokenFile": "/t" }), "sa", "team").unwrap();
        let config: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://127.0.30.1:6443");
        assert_eq!(config["users"][0]["user"]["tokenFile"], "/t");
        assert_eq!(config["contexts"][0]["context"]["namespace"], "team");
    }

    #[test]
    fn a_kubeconfig_without_a_context_is_told() {
        let error = cluster_of(r#"{"clusters":null}"#).unwrap_err();
        assert!(error.to_string().contains("current-context"), "{error}");
    }
}
