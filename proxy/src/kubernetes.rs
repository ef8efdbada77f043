//! The way to the API server. It must never know what is read from there or written to it.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

#[cfg(test)]
pub(crate) mod fake_server;

/// Longest wait for a connection: a server that is away must not keep a try for long.
const CONNECT: Duration = Duration::from_secs(2);

/// Why there is no client. An API server that is merely away is no reason.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `--kubeconfig`.
    #[error("--kubeconfig {path}: {source}; name a file that kubectl works with")]
    Kubeconfig {
        /// As given.
        path: PathBuf,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// Nothing was given, and nothing was found.
    #[error("{0}; give --kubeconfig, set KUBECONFIG, or run in a pod that has a service account")]
    Inferred(#[source] Box<InferConfigError>),
    /// What was found can't be used.
    #[error("the API server's certificate authority or this proxy's credentials cannot be used: {0}")]
    Unusable(#[source] Box<kube::Error>),
}

/// Makes a client. Nothing is sent yet. To be called in the runtime that is to drive it.
pub(crate) async fn client(namespace: &str, kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    let config = match kubeconfig {
        Some(path) => {
            let refused = |source| ClientError::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
            let file = Kubeconfig::read_from(path).map_err(refused)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(refused)?
        }
        None => Config::infer().await.map_err(|error| ClientError::Inferred(Box::new(error)))?,
    };
    finish(config, namespace)
}

fn finish(mut config: Config, namespace: &str) -> Result<Client, ClientError> {
    // One provider for all TLS of the process. An error says that it was installed before: by another start in this
    // process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    namespace.clone_into(&mut config.default_namespace);
    config.connect_timeout = Some(CONNECT);
    // Whoever asks knows better when to try again.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ClientError::Unusable(Box::new(error)))
}

/// An error with its causes, in one line: "connection refused" is never the first of them.
pub(crate) fn sentence(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
