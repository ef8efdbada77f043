//! What every kind asks of the topic that it names, in CEL, with the sentence for whoever breaks it.

/// A topic has a name that Kafka accepts (Kafka's `Topic.validate`).
pub(crate) const NAME: &str = "self.topic.matches('^[A-Za-z0-9._-]+$') && self.topic != '.' && self.topic != '..'";
/// The sentence to [`NAME`].
pub(crate) const NAME_MESSAGE: &str =
    "topic must be a Kafka topic name: 1 to 249 letters, digits, '.', '_' and '-', not '.' or '..'";
/// A topic is nobody's bookkeeping. The sentence says what the kind can't do with such a topic.
pub(crate) const NOT_INTERNAL: &str = "!self.topic.startsWith('__')";
/// A topic stays the one that was named first. The sentence names the kind.
pub(crate) const SAME: &str = "self.topic == oldSelf.topic";
