//! Calls to the API server: where it is, how long an answer is waited for, and what a failure means. Knows no resource.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::store::StoreError;

/// The name that this operator's writes carry in `managedFields`, and that events are reported under.
pub(super) const MANAGER: &str = "sluice-operator";
/// Longest wait for one answer. An API server that hangs must not look better than one that is gone.
const ANSWER: Duration = Duration::from_secs(2);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_millis(1500);

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody knows whether it was done: the server is away, or busy, or just starting. Worth another try.
    #[error("{0}")]
    Away(String),
    /// Somebody else wrote in between.
    #[error("somebody else wrote it in between")]
    Conflict,
    /// There is no such object.
    #[error("it does not exist")]
    Missing,
    /// There is such an object already.
    #[error("it exists already")]
    Exists,
    /// The server does not want it.
    #[error("{0}")]
    Refused(String),
}

impl Trouble {
    /// For the one who publishes.
    pub(super) fn into_error(self, action: &'static str) -> StoreError {
        StoreError::Api { action, reason: self.to_string() }
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Away(chain(&error)) };
        if status.is_already_exists() {
            return Self::Exists;
        }
        match status.code {
            404 => Self::Missing,
            409 => Self::Conflict,
            // A server that has just started refuses everybody for a moment: it has not read the Roles yet.
            401 | 403 | 408 | 429 | 500.. => Self::Away(format!("{} ({})", status.message, status.code)),
            code => Self::Refused(format!("{} ({code})", status.message)),
        }
    }
}

/// The error with its causes: the outermost alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Waits for an answer, but not for long.
pub(super) async fn call<T>(request: impl Future<Output = kube::Result<T>> + Send) -> Result<T, Trouble> {
    match tokio::time::timeout(ANSWER, request).await {
        Ok(answer) => answer.map_err(Trouble::from),
        Err(_) => Err(Trouble::Away(format!("no answer for {} s", ANSWER.as_secs()))),
    }
}

/// A client by the file that was named, else by `$KUBECONFIG`, else by what a pod is given.
pub(super) async fn client(kubeconfig: Option<&Path>) -> Result<Client, StoreError> {
    let failed = |reason: String| StoreError::Connect { reason };
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| failed(chain(&error)))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| failed(chain(&error)))?
        }
        None => Config::infer().await.map_err(|error| failed(chain(&error)))?,
    };
    config.connect_timeout = Some(CONNECT);
    // Everything here is tried again where it is called, with what is known by then.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| failed(chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, reason: &str) -> Trouble {
        let status = kube::core::Status::failure("words", reason).with_code(code);
        kube::Error::Api(Box::new(status)).into()
    }

    #[test]
    fn each_answer_means_what_the_callers_act_on() {
        assert_eq!(api(404, "NotFound"), Trouble::Missing);
        assert_eq!(api(409, "Conflict"), Trouble::Conflict);
        assert_eq!(api(409, "AlreadyExists"), Trouble::Exists);
        for code in [401, 403, 429, 500, 503, 504] {
            assert!(matches!(api(code, ""), Trouble::Away(_)), "{code}");
        }
        for code in [400, 413, 422] {
            assert!(matches!(api(code, ""), Trouble::Refused(_)), "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_is_away() {
        let trouble = call(std::future::pending::<kube::Result<()>>()).await.unwrap_err();
        assert_eq!(trouble, Trouble::Away("no answer for 2 s".into()));
        let error = trouble.into_error("write the mesh document");
        assert!(error.to_string().starts_with("cannot write the mesh document: no answer for 2 s; check"));
    }
}
