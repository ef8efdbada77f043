//! Where documents come from. The proxy is the same whether that is a directory or a Kubernetes API server.

use std::time::Instant;

use sluice_mesh::document::shards::ShardError;

/// A document as it was found; nothing of it has been checked.
#[derive(Debug)]
pub(crate) struct Seen {
    /// All of it, or why there is nothing to read.
    pub(crate) content: Result<Vec<u8>, Unreadable>,
    /// When it was noticed.
    pub(crate) at: Instant,
    /// It is a copy that may be old: of the same revision, the original counts.
    pub(crate) copy: bool,
}

/// There is something, but no document in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the document was deleted; the operator writes it again")]
    Deleted,
    #[error("ConfigMap {name} has no key {key}: only the operator may write it")]
    NoKey { name: &'static str, key: &'static str },
    #[error(transparent)]
    Shards(#[from] ShardError),
}

/// A place that shows the newest document.
pub(crate) trait DocumentSource: Send + 'static {
    /// Waits for content that differs from the last.
    fn next(&mut self) -> impl Future<Output = Seen> + Send;
}
