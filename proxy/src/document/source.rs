//! Where documents come from. The proxy is the same whether that is a directory or a Kubernetes API server.

use std::time::Instant;

/// A document as it was found; nothing of it has been checked.
#[derive(Debug)]
pub(crate) struct Seen {
    /// All of it.
    pub(crate) bytes: Vec<u8>,
    /// When it was noticed.
    pub(crate) at: Instant,
}

/// A place that shows the newest document.
pub(crate) trait DocumentSource: Send + 'static {
    /// Waits for content that differs from the last.
    fn next(&mut self) -> impl Future<Output = Seen> + Send;
}
