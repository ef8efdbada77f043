//! What was told last of each object, so that the same is not told twice in a row. Pure.

use std::collections::BTreeMap;

/// More objects than this are not remembered: then the same may be told again.
const MAX_OBJECTS: usize = 20_000;

/// Remembers.
#[derive(Debug, Default)]
pub(super) struct Told {
    last: BTreeMap<(String, String), (String, String)>,
}

impl Told {
    /// Whether this is what was told of the object last.
    pub(super) fn is_last(&self, kind: &str, name: &str, reason: &str, message: &str) -> bool {
        let last = self.last.get(&(kind.to_owned(), name.to_owned()));
        last.is_some_and(|(last_reason, last_message)| last_reason == reason && last_message == message)
    }

    /// This was told.
    pub(super) fn note(&mut self, kind: &str, name: &str, reason: &str, message: &str) {
        if self.last.len() >= MAX_OBJECTS {
            self.last.clear();
        }
        self.last.insert((kind.to_owned(), name.to_owned()), (reason.to_owned(), message.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_counts_as_told_only_while_nothing_else_was_told_since() {
        let mut told = Told::default();
        assert!(!told.is_last("TopicRoute", "a", "Sealing", "x"));
        told.note("TopicRoute", "a", "Sealing", "x");
        assert!(told.is_last("TopicRoute", "a", "Sealing", "x"));
        assert!(!told.is_last("TopicRoute", "a", "Sealing", "y"));
        assert!(!told.is_last("TopicRoute", "b", "Sealing", "x"));
        told.note("TopicRoute", "a", "Switching", "y");
        assert!(!told.is_last("TopicRoute", "a", "Sealing", "x"));
    }
}
