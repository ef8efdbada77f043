//! The one error of malformed bytes.

/// Bytes that are not the Kafka protocol, or not a part of it that is offered here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The frame ends inside a field.
    #[error(
        "the frame ends inside {what}: the peer does not speak Kafka, or not this version of it; close the connection"
    )]
    Truncated {
        /// The field.
        what: &'static str,
    },
    /// A count of elements that the rest of the frame can't hold.
    #[error("{count} elements of {what} can't lie in the {remaining} bytes that are left; close the connection")]
    Count {
        /// The array.
        what: &'static str,
        /// Declared.
        count: i64,
        /// Bytes left in the frame.
        remaining: usize,
    },
    /// A length that is negative where null is not allowed, or goes past the end of the frame, or over its limit.
    #[error("{what} of {length} bytes does not fit ({limit} allowed); close the connection")]
    Length {
        /// The field.
        what: &'static str,
        /// Declared.
        length: i64,
        /// The most that is allowed here.
        limit: usize,
    },
    /// A varint of more bytes than its type has.
    #[error("a varint in {what} is too long; close the connection")]
    Varint {
        /// The field.
        what: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("{what} is not UTF-8; close the connection")]
    Utf8 {
        /// The field.
        what: &'static str,
    },
    /// Bytes after the last field.
    #[error("{count} bytes follow the last field; close the connection")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A version, or a key, that this crate has no description of.
    #[error("API {key} version {version} is not known here: offer only what the version table lists")]
    Unsupported {
        /// API key.
        key: i16,
        /// Version.
        version: i16,
    },
    /// A message that passed the bounds and still does not decode or encode.
    #[error("message does not decode or encode: {0}; close the connection")]
    Message(String),
    /// The answer belongs to another request.
    #[error(
        "answer {found} arrived where {expected} was awaited: the order of answers is broken, close both connections"
    )]
    Correlation {
        /// Awaited.
        expected: i32,
        /// Found.
        found: i32,
    },
}
